//! Everything on disk. Only this room has SQL; the rest of the program calls plain methods.

mod account;
mod caller_url;
mod delivery;
mod event;
mod memory;
mod open;
mod outbox;
mod read;
mod report;
mod retention;
mod rows;
mod signing;
mod unmatched;
mod webhook;
mod write;

use std::fs::File;
use std::sync::Arc;

use sqlx::{Connection as _, SqliteConnection, SqlitePool};
use tokio::sync::{Mutex, OwnedMutexGuard};

pub(crate) use account::{AccountId, Credit};
pub(crate) use delivery::{Due, Look, Target, WebhookState};
pub(crate) use event::{EventFilter, FeedEnds};
pub(crate) use outbox::{DeliveryFilter, Replayed};
pub(crate) use read::{Counted, MAX_SCAN, TaskFilter};
pub(crate) use retention::{Retired, RetirementPlan};
pub(crate) use unmatched::{FinalWord, Trimmed};
pub(crate) use write::{IdempotencyKey, NewTask, Parked, ParkedPingback, WriteTx};

/// A SQLite database: one connection that writes, several that read.
///
/// Writing goes through [`WriteTx`], one transaction at a time. Readers see what is committed.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    /// Not a pool: a pool would ask the connection whether it lives, at every turn.
    writer: Arc<Mutex<Option<SqliteConnection>>>,
    /// For callers.
    reader: SqlitePool,
    /// For the dispatcher and its like, which must not queue behind them.
    own_reader: SqlitePool,
    /// For senders of pingbacks, which must not queue behind either.
    sender_reader: SqlitePool,
    /// Held for as long as the database is in use: one process writes it.
    lock: Arc<File>,
}

/// The turn to write.
pub(crate) struct Writing(OwnedMutexGuard<Option<SqliteConnection>>);

impl Writing {
    /// Begins a transaction. Fails when the database is locked by another program, or closed.
    pub(crate) async fn begin(&mut self) -> Result<WriteTx<'_>, StoreError> {
        WriteTx::begin(self.connection()?).await
    }

    /// Statements that each count by themselves: reading, and then a single one that writes. What was
    /// read still holds then, because nobody else can have the turn, nor the database.
    pub(crate) fn each_alone(&mut self) -> Result<WriteTx<'_>, StoreError> {
        Ok(WriteTx::each_alone(self.connection()?))
    }

    fn connection(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        Ok(self.0.as_mut().ok_or(sqlx::Error::PoolClosed)?)
    }
}

/// Why the database did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct StoreError(#[from] sqlx::Error);

impl StoreError {
    /// Every task number is used up.
    pub(crate) fn out_of_ids() -> Self {
        Self(sqlx::Error::Protocol("every task number is used up".to_owned()))
    }

    /// Whether there was no free connection in time: later there may be.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self.0, sqlx::Error::PoolTimedOut)
    }

    /// Whether one row is to blame, so that the same write without it may well succeed.
    #[must_use]
    pub(crate) fn is_one_rows_fault(&self) -> bool {
        // SQLite's primary result codes TOOBIG, CONSTRAINT and MISMATCH.
        const BY_ONE_ROW: [u32; 3] = [18, 19, 20];
        let code = match &self.0 {
            sqlx::Error::Database(error) => error.code().and_then(|code| code.parse::<u32>().ok()),
            _ => None,
        };
        code.is_some_and(|code| BY_ONE_ROW.contains(&(code & 0xff)))
    }
}

impl Store {
    /// Waits for the turn to write.
    pub(crate) async fn writing(&self) -> Writing {
        Writing(Arc::clone(&self.writer).lock_owned().await)
    }

    /// Closes every connection; what is committed is moved from the log into the database file.
    pub(crate) async fn close(&self) {
        self.reader.close().await;
        self.own_reader.close().await;
        self.sender_reader.close().await;
        let connection = self.writer.lock().await.take();
        if let Some(Err(error)) = match connection {
            Some(connection) => Some(connection.close().await),
            None => None,
        } {
            tracing::warn!(%error, "Could not close the database: {error}");
        }
        // It is released with the process in any case.
        drop(self.lock.unlock());
    }
}
