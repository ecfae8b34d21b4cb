//! The connection that writes a file. After a failure it is opened anew.
//!
//! SQLite itself gives up a transaction when the disk is full or fails, and there is no telling what else a failure left
//! behind: a transaction that is counted as open, or a file that could only be opened for reading. A new connection
//! has nothing of that.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, Sqlite, SqliteConnection, Transaction};

use super::super::StoreError;
use super::super::fault::Fault;
use super::super::health::Health;
use super::inspection::Inspection;
use super::{FileError, connect};

/// A file that is written, and how to open it.
#[derive(Debug)]
pub(in crate::store) struct FileConnection {
    path: PathBuf,
    options: SqliteConnectOptions,
    /// By which the file is known, whatever it is called.
    identity: (u64, u64),
    health: Arc<Health>,
    open: Option<SqliteConnection>,
    /// Whether something has begun on it that did not come to a good end.
    is_suspect: bool,
    inspection: Inspection,
}

/// A transaction of a file. One that is given up takes its connection along.
pub(in crate::store) struct FileTransaction<'c> {
    transaction: Transaction<'c, Sqlite>,
    is_suspect: &'c mut bool,
}

/// Statements that each count by themselves.
pub(in crate::store) struct Statements<'c> {
    connection: &'c mut SqliteConnection,
    is_suspect: &'c mut bool,
}

impl FileConnection {
    pub(super) fn new(
        path: &Path,
        options: SqliteConnectOptions,
        open: SqliteConnection,
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
        match connection.begin_with("BEGIN IMMEDIATE").await {
            Ok(transaction) => Ok(FileTransaction { transaction, is_suspect }),
            Err(error) => {
                // Then nothing has begun.
                *is_suspect = Fault::of(&error) != Fault::Locked;
                Err(error.into())
            }
        }
    }

    pub(in crate::store) async fn each_alone(&mut self) -> Result<Statements<'_>, StoreError> {
        let (connection, is_suspect) = self.ready().await?;
        *is_suspect = true;
        Ok(Statements { connection, is_suspect })
    }

    /// A connection that nothing is wrong with, to the file that is under the name.
    async fn ready(&mut self) -> Result<(&mut SqliteConnection, &mut bool), StoreError> {
        self.check_place()?;
        self.check_content().await?;
        if self.is_suspect
            && let Some(suspect) = self.open.take()
        {
            // What it says does not matter any more.
            drop(suspect.close().await);
        }
        let connection = match self.open.take() {
            Some(connection) => connection,
            None => connect(&self.options, &self.path).await.map_err(|error| match error {
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

    pub(in crate::store) async fn close(self) -> Result<(), sqlx::Error> {
        match self.open {
            Some(connection) => connection.close().await,
            None => Ok(()),
        }
    }
}

/// Device and number of the file under this name.
fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    std::fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

impl FileTransaction<'_> {
    pub(in crate::store) async fn commit(self) -> Result<(), StoreError> {
        match self.transaction.commit().await {
            Ok(()) => {
                *self.is_suspect = false;
                Ok(())
            }
            // It may be in the log already: the next start finds it there, unless something is written over it before.
            Err(error) if Fault::of(&error) == Fault::Io => Err(StoreError::InDoubt(error)),
            Err(error) => Err(error.into()),
        }
    }

    pub(in crate::store) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.transaction
    }
}

impl Statements<'_> {
    /// All of them came to a good end.
    pub(in crate::store) fn done(self) {
        *self.is_suspect = false;
    }

    pub(in crate::store) fn connection(&mut self) -> &mut SqliteConnection {
        self.connection
    }
}
