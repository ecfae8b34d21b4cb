//! Secrets that sign messages to URLs that tasks carry, one for each owner of tasks.

use super::db::Row;
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
        self.query(NEW).bind(owner.number()).bind(fresh.expose()).execute().await?;
        let row = self.query(SQL).bind(owner.number()).fetch_one().await?;
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
                old_secret = CASE WHEN secret = $2 THEN old_secret ELSE secret END,
                old_until = CASE WHEN secret = $2 THEN old_until ELSE $3 END,
                secret = $2
            WHERE owner = $1";
        let until = now.after(OVERLAP).as_micros();
        let query = self.query(SQL).bind(owner.number()).bind(secret.expose()).bind(until);
        query.execute().await?;
        self.signing_keys(owner, secret).await
    }
}

/// Reads `secret`, `old_secret` and `old_until`.
pub(super) fn keys(row: &Row) -> Result<SigningKeys, sqlx::Error> {
    let secret = |text: &str, column| SigningSecret::parse(text).map_err(|_| corrupt(column));
    let old = match (row.try_get("old_secret")?, time_if_any(row, "old_until")?) {
        (Some(old), Some(until)) => Some((secret(old, "old_secret")?, until)),
        _ => None,
    };
    Ok(SigningKeys { current: secret(row.try_get("secret")?, "secret")?, old })
}
