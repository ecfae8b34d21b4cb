//! What pingbox remembers about itself, and the tokens that it gave out.

use sqlx::Row as _;

use super::{Store, StoreError, WriteTx};
use crate::model::{Timestamp, TokenId};

/// A stored token: its digest stands for it.
#[derive(Clone, Debug)]
pub(crate) struct TokenRow {
    /// Its id.
    pub(crate) id: TokenId,
    /// SHA-256 of the token.
    pub(crate) digest: Vec<u8>,
    /// What it may do, comma-separated.
    pub(crate) scopes: String,
}

impl Store {
    /// What was remembered under a name.
    pub(crate) async fn recall(&self, name: &'static str) -> Result<Option<String>, StoreError> {
        const SQL: &str = "SELECT value FROM memory WHERE name = $1";
        let row = sqlx::query(SQL).bind(name).fetch_optional(&self.reader).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Every stored token.
    pub(crate) async fn tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        let found = sqlx::query("SELECT id, digest, scopes FROM token").fetch_all(&self.reader).await?;
        let tokens = found.iter().map(|row| {
            Ok::<_, sqlx::Error>(TokenRow {
                id: TokenId::from_number(row.try_get("id")?),
                digest: row.try_get("digest")?,
                scopes: row.try_get("scopes")?,
            })
        });
        Ok(tokens.collect::<Result<_, _>>()?)
    }
}

impl WriteTx<'_> {
    /// Remembers a value under a name, in place of an earlier one.
    pub(crate) async fn remember(&mut self, name: &'static str, value: &str) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO memory (name, value) VALUES ($1, $2)
            ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        sqlx::query(SQL).bind(name).bind(value).execute(self.connection()).await?;
        Ok(())
    }

    /// Stores a token by its digest; its id.
    pub(crate) async fn insert_token(
        &mut self,
        name: &str,
        digest: &[u8; 32],
        scopes: &str,
        now: Timestamp,
    ) -> Result<TokenId, StoreError> {
        const SQL: &str =
            "INSERT INTO token (name, digest, scopes, created_at) VALUES ($1, $2, $3, $4) RETURNING id";
        let row = sqlx::query(SQL)
            .bind(name)
            .bind(digest.as_slice())
            .bind(scopes)
            .bind(now.as_micros())
            .fetch_one(self.connection())
            .await?;
        Ok(TokenId::from_number(row.try_get(0)?))
    }
}
