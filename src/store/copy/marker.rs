//! The row of `memory` that says that a database is not yet what it is to be: from the first row that is copied to it
//! until all of it was compared.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::store::{StoreError, WriteTx};

/// Under this name it is remembered.
pub(super) const NAME: &str = "copy";

/// What the row says.
#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Marker {
    /// What is copied.
    pub(super) source: Identity,
    /// The command that is at it, or was the last to be: made anew by each, so that one that was overtaken by another
    /// knows.
    pub(super) run: String,
    /// `false`: it differs from the source, so that it has to be begun anew.
    pub(super) is_sound: bool,
}

/// A database, and how far it is: nothing was written to it as long as this stays the same, or little.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Identity {
    /// The name of its feed of events, which no other database has.
    pub(super) feed: String,
    /// The version of its tables.
    pub(super) schema: i64,
    /// The last number that was given to a row, by table.
    pub(super) sequences: BTreeMap<String, i64>,
}

impl WriteTx<'_> {
    /// Whether a copy to this database was begun and not finished: then nobody is to use it.
    pub(crate) async fn is_unfinished_copy(&mut self) -> Result<bool, StoreError> {
        Ok(self.recall(NAME).await?.is_some())
    }
}
