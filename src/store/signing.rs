//! Secrets that sign messages to URLs that tasks carry, one for each owner of tasks.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::rows::{corrupt, time_if_any};
use super::webhook::OVERLAP;
use super::{StoreError, WriteTx};
use crate::model::{SigningKeys, SigningSecret, Timestamp, TokenId};

impl WriteTx<'_> {
    /// The owner's secrets. If there are none yet, `fresh` is theirs from here on.
    pub(crate) async fn signing_keys(
        &mut self,
        owner: TokenId,
        fresh: &SigningSecret,
    ) -> Result<SigningKeys, StoreError> {
        const NEW: &str =
            "INSERT INTO signing_secret (owner, secret) VALUES ($1, $2) ON CONFLICT (owner) DO NOTHING";
        const SQL: &str = "SELECT secret, old_secret, old_until FROM signing_secret WHERE owner = $1";
        sqlx::query(NEW).bind(owner.number()).bind(fresh.expose()).execute(self.connection()).await?;
        let row = sqlx::query(SQL).bind(owner.number()).fetch_one(self.connection()).await?;
        Ok(keys(&row)?)
    }

    /// Gives an owner of tasks another secret. The one before signs too for a day. The secret that they have already
    /// changes nothing.
    pub(crate) async fn rotate_signing_keys(
        &mut self,
        owner: TokenId,
        secret: &SigningSecret,
        now: Timestamp,
    ) -> Result<SigningKeys, StoreError> {
        const SQL: &str = "UPDATE signing_secret SET
                old_secret = IIF(secret = $2, old_secret, secret), old_until = IIF(secret = $2, old_until, $3),
                secret = $2
            WHERE owner = $1";
        let until = now.after(OVERLAP).as_micros();
        let query = sqlx::query(SQL).bind(owner.number()).bind(secret.expose()).bind(until);
        query.execute(self.connection()).await?;
        self.signing_keys(owner, secret).await
    }
}

/// Reads `secret`, `old_secret` and `old_until`.
pub(super) fn keys(row: &SqliteRow) -> Result<SigningKeys, sqlx::Error> {
    let secret = |text: &str, column| SigningSecret::parse(text).map_err(|_| corrupt(column));
    let old = match (row.try_get("old_secret")?, time_if_any(row, "old_until")?) {
        (Some(old), Some(until)) => Some((secret(old, "old_secret")?, until)),
        _ => None,
    };
    Ok(SigningKeys { current: secret(row.try_get("secret")?, "secret")?, old })
}
