//! Leases: who does what only one replica may do. Their time is that of the database's clock.

use std::time::Duration;

use super::{Store, StoreError};

impl Store {
    /// Takes a lease for `holder`, or renews theirs; whether it is theirs now. `false` also where nobody shares the
    /// database, and so nobody needs it.
    pub(crate) async fn take_lease(
        &self,
        name: &str,
        holder: &str,
        length: Duration,
    ) -> Result<bool, StoreError> {
        // Who has to wait writes nothing.
        const SQL: &str = "INSERT INTO lease (name, holder, until)
            SELECT $1, $2, clock_micros() + $3 WHERE NOT EXISTS (
                SELECT FROM lease WHERE name = $1 AND holder <> $2 AND until >= clock_micros())
            ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
            WHERE lease.holder = excluded.holder OR lease.until < clock_micros()
            RETURNING holder";
        if !self.is_shared() {
            return Ok(false);
        }
        let micros = i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
        let row = self.own_reader.query(SQL).bind(name).bind(holder).bind(micros).fetch_optional().await?;
        Ok(row.is_some())
    }

    /// Gives up a lease, if it is theirs.
    pub(crate) async fn release_lease(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE lease SET until = 0 WHERE name = $1 AND holder = $2";
        if self.is_shared() {
            self.own_reader.query(SQL).bind(name).bind(holder).execute().await?;
        }
        Ok(())
    }
}
