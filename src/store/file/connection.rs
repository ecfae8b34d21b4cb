//! The connection that writes a file. After a failure it is opened anew.
//!
//! SQLite itself gives up a transaction when the disk is full or fails, and there is no telling what else a failure left
//! behind: a transaction that is counted as open, or a file that could only be opened for reading. A new connection
//! has nothing of that.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use sqlx::sqlite::SqliteConnectOptions;

use super::super::StoreError;
use super::super::fault::Fault;
use super::super::health::Health;
use super::inspection::Inspection;
use super::statement::told;
use super::{FileError, connect, log};

/// A file that is written, and how to open it.
#[derive(Debug)]
pub(in crate::store) struct FileConnection {
    path: PathBuf,
    /// How it is read.
    options: SqliteConnectOptions,
    /// By which the file is known, whatever it is called.
    identity: (u64, u64),
    health: Arc<Health>,
    open: Option<Connection>,
    /// Whether something has begun on it that did not come to a good end.
    is_suspect: bool,
    inspection: Inspection,
}

/// A transaction of a file. One that is given up takes its connection along.
pub(in crate::store) struct FileTransaction<'c> {
    connection: &'c mut Connection,
    is_suspect: &'c mut bool,
    is_over: bool,
}

impl FileConnection {
    pub(super) fn new(
        path: &Path,
        options: SqliteConnectOptions,
        open: Connection,
        health: Arc<Health>,
    ) -> std::io::Result<Self> {
        let (path, identity) = (path.to_owned(), identity(path)?);
        let inspection = Inspection::default();
        Ok(Self { path, options, identity, health, open: Some(open), is_suspect: false, inspection })
    }

    /// Begins a transaction. Fails when another program has the file locked for longer than the busy timeout.
    pub(in crate::store) async fn begin(&mut self) -> Result<FileTransaction<'_>, StoreError> {
        let (connection, is_suspect) = self.ready().await?;
        *is_suspect = true;
        // A deferred transaction would fail, instead of wait, when it turns from reading to writing.
        match run(connection, "BEGIN IMMEDIATE") {
            Ok(()) => Ok(FileTransaction { connection, is_suspect, is_over: false }),
            Err(error) => {
                // Then nothing has begun.
                *is_suspect = Fault::of(&error) != Fault::Locked;
                Err(error.into())
            }
        }
    }

    /// A connection that nothing is wrong with, to the file that is under the name.
    async fn ready(&mut self) -> Result<(&mut Connection, &mut bool), StoreError> {
        self.check_place()?;
        self.check_content().await?;
        if self.is_suspect {
            // What it says while it closes does not matter any more.
            drop(self.open.take());
        }
        let connection = match self.open.take() {
            Some(connection) => connection,
            None => connect(&self.path).map_err(|error| match error {
                FileError::Open { source, .. } => source,
                other => StoreError::Failed(sqlx::Error::Configuration(Box::new(other))),
            })?,
        };
        self.is_suspect = false;
        Ok((self.open.insert(connection), &mut self.is_suspect))
    }

    /// What is written to a file without its name is lost with the process. The file may be put back.
    fn check_place(&self) -> Result<(), StoreError> {
        match identity(&self.path) {
            Ok(found) if found == self.identity => Ok(()),
            Err(error) if error.kind() != ErrorKind::NotFound => Ok(()),
            Ok(_) | Err(_) => Err(StoreError::Unusable(Fault::Replaced)),
        }
    }

    /// Damage that was found in one place is to be expected in others, so nothing is written until all of the file was
    /// read and is sound: SQLite says the same of a disk that could not be read for a moment.
    async fn check_content(&mut self) -> Result<(), StoreError> {
        if !self.health.is_damaged() {
            return Ok(());
        }
        if !self.inspection.finds_it_sound(&self.options).await {
            return Err(StoreError::Unusable(Fault::Corrupt));
        }
        self.health.is_sound();
        self.is_suspect = true;
        Ok(())
    }

    pub(in crate::store) fn close(self) -> Result<(), sqlx::Error> {
        match self.open.map(Connection::close) {
            Some(Err((_, error))) => Err(told(error)),
            Some(Ok(())) | None => Ok(()),
        }
    }

    /// Has SQLite not wait for the disk: for tests of which nothing outlives the process.
    #[cfg(test)]
    pub(in crate::store) async fn forget(&mut self) -> Result<(), StoreError> {
        let (connection, _) = self.ready().await?;
        Ok(run(connection, "PRAGMA synchronous = OFF")?)
    }
}

/// Device and number of the file under this name.
fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    std::fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

/// Runs a statement that finds nothing.
fn run(connection: &Connection, sql: &str) -> Result<(), sqlx::Error> {
    let done = connection.prepare_cached(sql).and_then(|mut statement| statement.raw_execute());
    done.map(drop).map_err(told)
}

impl FileTransaction<'_> {
    pub(in crate::store) fn commit(mut self) -> Result<(), StoreError> {
        match log::in_one_piece(|| run(self.connection, "COMMIT")) {
            Ok(()) => {
                self.is_over = true;
                *self.is_suspect = false;
                Ok(())
            }
            // It may be in the log already: the next start finds it there, unless something is written over it before.
            Err(error) if Fault::of(&error) == Fault::Io => Err(StoreError::InDoubt(error)),
            Err(error) => Err(error.into()),
        }
    }

    pub(in crate::store) fn connection(&mut self) -> &mut Connection {
        self.connection
    }
}

impl Drop for FileTransaction<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            // Others need not wait for the connection to go. SQLite may have given it up by itself.
            drop(run(self.connection, "ROLLBACK"));
        }
    }
}
