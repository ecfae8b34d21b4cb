//! URLs that callers have registered.

use super::{Store, StoreError, WriteTx};
use crate::model::{CallerUrl, Timestamp, TokenId};

impl Store {
    /// The URLs that the owner registered, in the order in which they were added, as they were given.
    pub(crate) async fn caller_urls(&self, owner: TokenId) -> Result<Vec<String>, StoreError> {
        const SQL: &str = "SELECT url FROM caller_url WHERE owner = $1 ORDER BY id";
        let rows = self.reader.query(SQL).bind(owner.number()).fetch_all().await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }
}

impl WriteTx<'_> {
    /// Registers a URL, unless the owner has it, or has `most` others: `false`.
    pub(crate) async fn insert_caller_url(
        &mut self,
        owner: TokenId,
        url: &CallerUrl,
        most: u32,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO caller_url (owner, url, target, added_at)
            SELECT $1, $2, $3, $4 WHERE (SELECT COUNT(*) FROM caller_url WHERE owner = $1) < $5
            ON CONFLICT (owner, target) DO NOTHING";
        const KNOWN: &str = "SELECT EXISTS (SELECT 1 FROM caller_url WHERE owner = $1 AND target = $2)";
        self.query(SQL)
            .bind(owner.number())
            .bind(url.text())
            .bind(url.expose().as_str())
            .bind(now.as_micros())
            .bind(i64::from(most))
            .execute()
            .await?;
        let known = self.query(KNOWN).bind(owner.number()).bind(url.expose().as_str());
        Ok(known.fetch_one().await?.try_get(0)?)
    }

    /// Deletes one URL of the owner, or all of them; whether there was one.
    pub(crate) async fn delete_caller_url(
        &mut self,
        owner: TokenId,
        url: Option<&CallerUrl>,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "DELETE FROM caller_url WHERE owner = $1 AND ($2 IS NULL OR target = $2)";
        let target = url.map(|url| url.expose().as_str());
        let done = self.query(SQL).bind(owner.number()).bind(target).execute().await?;
        Ok(done > 0)
    }
}
