//! Which replica tries a delivery. A process that has the database to itself knows what it tries, and stores nothing.

use std::time::Duration;

use super::db::{Sql, sql};
use super::write::json;
use super::{Store, StoreError};
use crate::model::Delivery;

impl Store {
    /// Has other replicas leave a delivery alone for so long, by the clock of the database; `false` if one of them tries
    /// it at the moment, or has done so since it was read. Where there are none, nothing is stored.
    pub(crate) async fn claim_delivery(
        &self,
        delivery: &Delivery,
        length: Duration,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE delivery SET claimed_until = clock_micros() + $3 WHERE id = (
                SELECT id FROM delivery
                WHERE id = $1 AND status = 'waiting' AND started_at = $2 AND attempts = $4
                    AND (claimed_until IS NULL OR claimed_until <= clock_micros())
                FOR UPDATE SKIP LOCKED)";
        if !self.is_shared() {
            return Ok(true);
        }
        let query = self
            .own_reader
            .query(SQL)
            .bind(delivery.id)
            .bind(delivery.started_at.as_micros())
            .bind(i64::try_from(length.as_micros()).unwrap_or(i64::MAX))
            .bind(i64::from(delivery.attempts));
        Ok(query.execute().await? > 0)
    }

    /// Lets other replicas try these deliveries.
    pub(crate) async fn release_deliveries(&self, ids: impl Iterator<Item = i64>) -> Result<(), StoreError> {
        // Whoever has one locked knows better.
        const SQL: Sql = sql!(
            "UPDATE delivery SET claimed_until = NULL WHERE id IN (
                SELECT id FROM delivery WHERE status = 'waiting' AND id",
            among_numbers 1,
            {"" | " FOR UPDATE SKIP LOCKED"},
            ")"
        );
        if self.is_shared() {
            self.own_reader.query(SQL).bind(json(ids)).execute().await?;
        }
        Ok(())
    }
}
