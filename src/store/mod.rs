//! Everything on disk. Only this room has SQL; the rest of the program calls plain methods.

mod account;
mod backlog;
mod backup;
mod caller_url;
mod claim;
mod copy;
mod db;
mod delivery;
mod event;
mod fault;
mod file;
mod health;
mod lease;
mod listen;
mod memory;
mod outbox;
mod read;
mod report;
mod retention;
mod rows;
mod search;
mod server;
mod signing;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod token;
mod unmatched;
mod webhook;
mod write;
mod writer;

use std::fs::File;
use std::sync::Arc;

use tokio::sync::Mutex;

pub(crate) use account::{AccountId, Credit, Spent};
pub(crate) use backlog::Backlog;
pub(crate) use backup::{BackedUp, Backup, BackupStep};
pub(crate) use copy::{Copied, Copy, Step};
pub(crate) use delivery::{Due, Look, Target, WebhookState};
pub(crate) use event::{EventFilter, FeedEnds, Happened};
pub(crate) use fault::Fault;
pub(crate) use file::{Obstacle, look_for_file, look_for_folder};
pub(crate) use health::Health;
pub(crate) use listen::Topic;
pub(crate) use outbox::{DeliveryFilter, Replayed};
pub(crate) use read::{Counted, MAX_SCAN, TaskFilter, TaskPage};
pub(crate) use retention::{Retired, RetirementPlan};
pub(crate) use server::Server;
use server::ServerOptions;
pub(crate) use token::Revoked;
pub(crate) use unmatched::{FinalWord, Trimmed};
pub(crate) use write::{IdempotencyKey, NewTask, Parked, ParkedPingback};
pub(crate) use writer::{WriteTx, Writing};

use db::Pool;
use writer::WriteConnection;

/// A database: one connection that writes, several that read.
///
/// Writing goes through [`WriteTx`], one transaction at a time. Readers see what is committed.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    /// Not a pool: a pool would ask the connection whether it lives, at every turn.
    writer: Arc<Mutex<Option<WriteConnection>>>,
    /// For callers.
    reader: Pool,
    /// For the dispatcher and its like, which must not queue behind them.
    own_reader: Pool,
    /// For senders of pingbacks, which must not queue behind either.
    sender_reader: Pool,
    /// Of a server, how to listen to it.
    listen_options: Option<ServerOptions>,
    /// Of a file, held for as long as it is in use: one process writes it.
    lock: Option<Arc<File>>,
    health: Arc<Health>,
}

/// Why the database did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// Nothing was stored.
    #[error(transparent)]
    Failed(#[from] sqlx::Error),
    /// The commit was under way: it may be stored.
    #[error("the database did not confirm a commit")]
    InDoubt(#[source] sqlx::Error),
    /// Nothing was stored, because the database is in no state for it.
    #[error("nothing more is written to it")]
    Unusable(Fault),
}

impl StoreError {
    /// Every task number is used up.
    pub(crate) fn out_of_ids() -> Self {
        Self::Failed(sqlx::Error::Protocol("every task number is used up".to_owned()))
    }

    /// A write that took too long to be waited for: it may be stored.
    pub(crate) fn too_slow() -> Self {
        Self::InDoubt(sqlx::Error::PoolTimedOut)
    }

    /// Whether the database cannot be asked at the moment, and later can.
    pub(crate) fn is_busy(&self) -> bool {
        self.fault() != Fault::Other
    }

    /// Whether the server went away, or sent us away, before anything was stored: the same again may well succeed.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self, Self::Failed(error) if is_lost(error))
    }

    /// Whether one row is to blame, so that the same write without it may well succeed.
    #[must_use]
    pub(crate) fn is_one_rows_fault(&self) -> bool {
        // SQLite's primary result codes TOOBIG, CONSTRAINT and MISMATCH.
        const BY_ONE_ROW: [u32; 3] = [18, 19, 20];
        // PostgreSQL's classes of data exceptions, constraint violations, and program limits. They have five letters;
        // SQLite's numbers have fewer.
        const CLASSES: [&str; 3] = ["22", "23", "54"];
        let Self::Failed(sqlx::Error::Database(error)) = self else { return false };
        match error.code() {
            Some(code) if code.len() == 5 => CLASSES.iter().any(|class| code.starts_with(class)),
            Some(code) => code.parse::<u32>().is_ok_and(|code| BY_ONE_ROW.contains(&(code & 0xff))),
            None => false,
        }
    }
}

/// Whether a connection to a server is lost, or the server rolled back what it was asked for: the same again may well
/// succeed.
fn is_lost(error: &sqlx::Error) -> bool {
    // The classes of connection exceptions, of rollbacks because of others, and of an operator's intervention; an idle
    // transaction that was ended.
    const GONE: [&str; 4] = ["08", "40", "57P", "25P03"];
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) => true,
        error => has_code(error, &GONE),
    }
}

/// Whether it is an error of PostgreSQL with one of these codes, or of one of these classes.
fn has_code(error: &sqlx::Error, codes: &[&str]) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    let Some(code) = error.code().filter(|code| code.len() == 5) else { return false };
    codes.iter().any(|known| code.starts_with(known))
}

impl Store {
    /// Whether other processes may use the database too.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.reader, Pool::Postgres(..))
    }

    /// How it does.
    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

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
        if let Some(lock) = &self.lock {
            // It is released with the process in any case.
            drop(lock.unlock());
        }
    }
}
