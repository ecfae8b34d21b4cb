//! A copy of a SQLite file, made while a server uses it.
//!
//! `VACUUM INTO` reads one moment of the file, as any reader does: the writer goes on meanwhile, and only its log grows,
//! since it cannot be reset past that reader. SQLite's other way, page by page, begins anew whenever another process
//! has written, so under load it would never end. And a copy by `VACUUM` has no free pages: what was erased from the
//! file is not in it.

mod tally;
mod target;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Row as _, SqliteConnection};
use tokio::time::{MissedTickBehavior, interval};

use self::tally::Tally;
use self::target::Target;
use super::fault::Fault;
use super::file;

/// How often it is told how far it is.
const STEP: Duration = Duration::from_millis(200);
/// How long it waits for another program that holds the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How many task numbers the original may use until a copy of it takes its place: more than it could in ten days of 1,000
/// tasks a second, and ten million copies of copies fit into 53 bits.
const NUMBERS_AHEAD: i64 = 900_000_000;

/// A copy that is to be made.
#[derive(Debug)]
pub(crate) struct Backup<'a> {
    /// The file of `database.url`.
    pub(crate) from: &'a Path,
    /// Where the copy goes.
    pub(crate) to: &'a Path,
    /// Whether it takes the place of a file that is there.
    pub(crate) replaces: bool,
}

/// A copy that was made, and looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct BackedUp {
    /// Where it is.
    pub(crate) file: PathBuf,
    pub(crate) bytes: u64,
    /// The last migration.
    pub(crate) schema: i64,
    pub(crate) tasks: u64,
    pub(crate) pingbacks: u64,
    pub(crate) events: u64,
    pub(crate) deliveries: u64,
}

/// What a backup is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BackupStep {
    /// So many bytes are written, of about so many.
    Copying { bytes: u64, of: u64 },
    /// The copy is read and compared.
    Checking,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    #[error("there is no database {}: give the settings of the server, as with --config or --data-dir", .0.display())]
    Missing(PathBuf),
    #[error("{} is no database of pingbox", .0.display())]
    Foreign(PathBuf),
    #[error("the database {} was written by a newer pingbox: use that version for the backup", .0.display())]
    Newer(PathBuf),
    #[error("could not read the database {}: {fault}", path.display())]
    Source { path: PathBuf, fault: Fault, source: sqlx::Error },
    #[error("there is a file {} already: name another, or replace it with --force", .0.display())]
    Exists(PathBuf),
    #[error("{} is in use by the database: name another file", .0.display())]
    Own(PathBuf),
    #[error("{} is a folder: name a file in it", .0.display())]
    Folder(PathBuf),
    #[error(
        "there is a file {}, which would be taken for part of the copy: name another file, or delete that one", .0.display()
    )]
    Leftover(PathBuf),
    #[error("{} cannot be named to SQLite, because it is no UTF-8", .0.display())]
    Name(PathBuf),
    #[error("could not write {}: {}", .0.display(), file::remedy(.1))]
    Write(PathBuf, #[source] std::io::Error),
    #[error("could not write the copy {}: {}", path.display(), fault)]
    Copy { path: PathBuf, fault: Fault, source: sqlx::Error },
    #[error("the copy is not sound, so there is no backup: {0}")]
    Unsound(String),
}

impl Backup<'_> {
    /// Makes the copy and looks at it: only a sound one gets its name. Dropped before its end, it leaves nothing behind.
    pub(crate) async fn run(
        &self,
        told: &mut (dyn FnMut(BackupStep) + Send),
    ) -> Result<BackedUp, BackupError> {
        let mut source = self.source().await?;
        let target = Target::new(self.from, self.to, self.replaces)?;
        let read =
            |source| BackupError::Source { path: self.from.to_owned(), fault: Fault::of(&source), source };
        let before = Tally::of(&mut source, None).await.map_err(read)?;
        self.copy(&mut source, &target, told).await?;
        let after = Tally::of(&mut source, Some(&before)).await.map_err(read)?;
        source.close().await.map_err(read)?;
        told(BackupStep::Checking);
        make_new(target.scratch()).await.map_err(|error| target.failed(error))?;
        let backed_up = inspect(&target, &before, &after).await?;
        target.keep()?;
        Ok(backed_up)
    }

    /// A connection that reads the file, which has to be one of ours.
    async fn source(&self) -> Result<SqliteConnection, BackupError> {
        const TABLES: &str = "SELECT COUNT(*) FROM sqlite_schema WHERE name IN ('_sqlx_migrations', 'memory', 'task', 'event')";
        let path = || self.from.to_owned();
        if !tokio::fs::try_exists(self.from).await.unwrap_or(true) {
            return Err(BackupError::Missing(path()));
        }
        let failed = |source: sqlx::Error| match Fault::of(&source) {
            Fault::Corrupt => BackupError::Foreign(path()),
            fault => BackupError::Source { path: path(), fault, source },
        };
        let options =
            SqliteConnectOptions::new().filename(self.from).read_only(true).busy_timeout(BUSY_TIMEOUT);
        let mut source = options.connect().await.map_err(failed)?;
        let row = sqlx::query(TABLES).fetch_one(&mut source).await.map_err(failed)?;
        if row.get::<i64, _>(0) != 4 {
            return Err(BackupError::Foreign(path()));
        }
        if schema(&mut source).await.map_err(failed)? > file::newest_schema() {
            return Err(BackupError::Newer(path()));
        }
        Ok(source)
    }

    async fn copy(
        &self,
        source: &mut SqliteConnection,
        target: &Target,
        told: &mut (dyn FnMut(BackupStep) + Send),
    ) -> Result<(), BackupError> {
        const SIZE: &str = "SELECT (page_count - freelist_count) * page_size
            FROM pragma_page_count, pragma_freelist_count, pragma_page_size";
        let size = sqlx::query(SIZE).fetch_one(&mut *source).await;
        let of = size.map_or(0, |row| row.get::<i64, _>(0).unsigned_abs());
        let mut ticks = interval(STEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let copying = sqlx::query("VACUUM INTO $1").bind(target.scratch_name()?).execute(source);
        tokio::pin!(copying);
        loop {
            tokio::select! {
                copied = &mut copying => return copied.map(drop).map_err(|error| target.failed(error)),
                _ = ticks.tick() => told(BackupStep::Copying { bytes: target.bytes(), of }),
            }
        }
    }
}

/// Has the copy use no name a second time that the original has used since. Its feed gets another name, so that a cursor of
/// the original is known for what it is; its next task a number far ahead, so that nobody who asks for a task of the
/// original is told the answer to another one. And it has no key of sessions: who reads it cannot make some of the
/// original's.
async fn make_new(copy: &Path) -> Result<(), sqlx::Error> {
    const FEED: &str = "UPDATE memory SET value = lower(hex(randomblob(4))) WHERE name = 'feed'";
    const SESSIONS: &str = "DELETE FROM memory WHERE name = 'session_key'";
    const FIRST: &str = "INSERT INTO sqlite_sequence (name, seq)
        SELECT 'task', 0 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'task')";
    const AHEAD: &str = "UPDATE sqlite_sequence SET seq = seq + $1 WHERE name = 'task'";
    let options = SqliteConnectOptions::new()
        .filename(copy)
        .journal_mode(SqliteJournalMode::Delete)
        .synchronous(SqliteSynchronous::Full);
    let mut copy = options.connect().await?;
    let mut tx = copy.begin().await?;
    sqlx::query(FEED).execute(&mut *tx).await?;
    sqlx::query(SESSIONS).execute(&mut *tx).await?;
    sqlx::query(FIRST).execute(&mut *tx).await?;
    sqlx::query(AHEAD).bind(NUMBERS_AHEAD).execute(&mut *tx).await?;
    tx.commit().await?;
    copy.close().await
}

/// Opens the copy anew and compares it with what the file held before and after it was made.
async fn inspect(target: &Target, before: &Tally, after: &Tally) -> Result<BackedUp, BackupError> {
    let unsound = |what: String| Err(BackupError::Unsound(what));
    let failed = |error| target.failed(error);
    let options = SqliteConnectOptions::new().filename(target.scratch()).read_only(true);
    let mut copy = options.connect().await.map_err(failed)?;
    let check = sqlx::query("PRAGMA integrity_check(1)").fetch_one(&mut copy).await.map_err(failed)?;
    if check.get::<&str, _>(0) != "ok" {
        return unsound(format!("integrity_check says {}", check.get::<&str, _>(0)));
    }
    let dangling = sqlx::query("PRAGMA foreign_key_check").fetch_optional(&mut copy).await.map_err(failed)?;
    if let Some(row) = dangling {
        return unsound(format!(
            "a row of the table {} refers to one that is missing",
            row.get::<&str, _>(0)
        ));
    }
    let mut tally = Tally::of(&mut copy, Some(before)).await.map_err(failed)?;
    tally.take_back_numbers(NUMBERS_AHEAD);
    copy.close().await.map_err(failed)?;
    if let Some(difference) = tally.difference(before, after) {
        return unsound(difference);
    }
    let [tasks, pingbacks, events, deliveries] = tally.rows();
    let (file, bytes, schema) = (target.path().to_owned(), target.bytes(), tally.schema);
    Ok(BackedUp { file, bytes, schema, tasks, pingbacks, events, deliveries })
}

/// The last migration of a database.
async fn schema(database: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    const SQL: &str = "SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations";
    sqlx::query(SQL).fetch_one(database).await?.try_get(0)
}
