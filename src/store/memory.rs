//! What pingbox remembers about itself, and the tokens that it gave out.

use super::db::Row;
use super::{Store, StoreError, WriteTx};
use crate::model::{Timestamp, TokenId};

/// A stored token: its digest stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenRow {
    /// Its id.
    pub(crate) id: TokenId,
    /// SHA-256 of the token.
    pub(crate) digest: Vec<u8>,
    /// What it may do, comma-separated.
    pub(crate) scopes: String,
}

const RECALL: &str = "SELECT value FROM memory WHERE name = $1";
const TOKENS: &str = "SELECT id, digest, scopes FROM token ORDER BY id";

fn token(row: &Row) -> Result<TokenRow, sqlx::Error> {
    Ok(TokenRow {
        id: TokenId::from_number(row.try_get("id")?),
        digest: row.try_get("digest")?,
        scopes: row.try_get("scopes")?,
    })
}

impl Store {
    /// What was remembered under a name.
    pub(crate) async fn recall(&self, name: &'static str) -> Result<Option<String>, StoreError> {
        let row = self.own_reader.query(RECALL).bind(name).fetch_optional().await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Every stored token.
    pub(crate) async fn tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        Ok(self.own_reader.query(TOKENS).fetch_all().await?.iter().map(token).collect::<Result<_, _>>()?)
    }
}

impl WriteTx<'_> {
    /// What was remembered under a name. Nobody changes it before this transaction ends.
    pub(crate) async fn recall(&mut self, name: &'static str) -> Result<Option<String>, StoreError> {
        let row = self.query(RECALL).bind(name).fetch_optional().await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Every stored token.
    pub(crate) async fn tokens(&mut self) -> Result<Vec<TokenRow>, StoreError> {
        Ok(self.query(TOKENS).fetch_all().await?.iter().map(token).collect::<Result<_, _>>()?)
    }

    /// Remembers a value under a name, in place of an earlier one.
    pub(crate) async fn remember(&mut self, name: &'static str, value: &str) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO memory (name, value) VALUES ($1, $2)
            ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        self.query(SQL).bind(name).bind(value).execute().await?;
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
        let row = self
            .query(SQL)
            .bind(name)
            .bind(digest.as_slice())
            .bind(scopes)
            .bind(now.as_micros())
            .fetch_one()
            .await?;
        Ok(TokenId::from_number(row.try_get(0)?))
    }
}
