//! What pingbox remembers about itself.

use super::{Store, StoreError, WriteTx};

const RECALL: &str = "SELECT value FROM memory WHERE name = $1";

impl Store {
    /// What was remembered under a name.
    pub(crate) async fn recall(&self, name: &'static str) -> Result<Option<String>, StoreError> {
        let row = self.own_reader.query(RECALL).bind(name).fetch_optional().await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }
}

impl WriteTx<'_> {
    /// What was remembered under a name. Nobody changes it before this transaction ends.
    pub(crate) async fn recall(&mut self, name: &'static str) -> Result<Option<String>, StoreError> {
        let row = self.query(RECALL).bind(name).fetch_optional().await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Remembers a value under a name, in place of an earlier one.
    pub(crate) async fn remember(&mut self, name: &'static str, value: &str) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO memory (name, value) VALUES ($1, $2)
            ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        self.query(SQL).bind(name).bind(value).execute().await?;
        Ok(())
    }
}
