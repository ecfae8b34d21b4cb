//! A SQLite file: made, locked, migrated, checked to be as durable as promised, recovered.

mod connection;
mod inspection;
mod log;
mod prospect;
pub(super) mod statement;

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::db::Pool;
use super::fault::Fault;
use super::health::Health;
use super::writer::WriteConnection;
use super::{Store, StoreError};
use crate::model::Timestamp;

pub(crate) use self::prospect::{Obstacle, look_for_file, look_for_folder};
pub(super) use connection::{FileConnection, FileTransaction};
pub(super) use statement::{FileField, FileRow};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// Earlier versions of SQLite can lose commits of the write-ahead log.
const OLDEST_SQLITE: (u32, u32, u32) = (3, 51, 3);
/// How long a statement waits for another program that holds the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a caller waits for a free connection before it is told that the database is busy.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Readers beside the writer. SQLite's reads are short; more connections would only take turns.
const READERS: u32 = 4;
/// How the writer's connection works. Pages in the write-ahead log before the writer moves them into the database:
/// 4 MiB, measured best between 1,000 and 4,000. What a statement would need to be undone stays in memory: each larger
/// one would make a file for it, and delete it again.
const SETTINGS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
    PRAGMA wal_autocheckpoint = 1000; PRAGMA temp_store = MEMORY;";
/// Statements that the writer keeps prepared: more than it has.
const STATEMENTS: usize = 256;

/// Far longer than a [look](look_for_file) at the lock takes, which holds it meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// Is written at the start, and taken away in the same transaction.
const PROBE: &str = "INSERT INTO memory (name, value) VALUES ('probe', '')";
const NO_PROBE: &str = "DELETE FROM memory WHERE name = 'probe'";

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// Its folder cannot be made.
    #[error("could not create the folder {}: set data.dir to one that pingbox may write in", .0.display())]
    Folder(PathBuf, #[source] std::io::Error),
    /// Its folder is a file.
    #[error("{} is not a folder: set data.dir to one that pingbox may write in", .0.display())]
    NoFolder(PathBuf),
    /// It, or the file that locks it, cannot be made.
    #[error("could not create {}: {}", .0.display(), remedy(.1))]
    Create(PathBuf, #[source] std::io::Error),
    /// Another process holds it.
    #[error("another pingbox uses the database {}: each needs a data.dir of its own", .0.display())]
    InUse(PathBuf),
    /// It cannot be opened or written.
    #[error("could not use the database {}: {fault}", path.display())]
    Open {
        /// The database.
        path: PathBuf,
        /// What is wrong with it.
        fault: Fault,
        /// What SQLite says.
        source: StoreError,
    },
    /// It was written by a later version of pingbox.
    #[error("the database {} was written by a newer pingbox: use that version, or another data.dir", .0.display())]
    Newer(PathBuf),
    /// Its tables cannot be brought up to date.
    #[error("could not migrate the database {}", .0.display())]
    Migrate(PathBuf, #[source] MigrateError),
    /// A setting that durability hangs on did not take.
    #[error("the database {} runs with {setting} = {found}, but durability needs {needed}", path.display())]
    Setting {
        /// The database.
        path: PathBuf,
        /// The pragma, or the library's version.
        setting: &'static str,
        /// What was read back.
        found: String,
        /// What it must be.
        needed: String,
    },
}

impl FileError {
    fn open(path: &Path, source: impl Into<StoreError>) -> Self {
        let source = source.into();
        Self::Open { path: path.to_owned(), fault: source.fault(), source }
    }
}

/// What helps against a file that cannot be made.
pub(super) fn remedy(error: &std::io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space on its disk",
        ErrorKind::ReadOnlyFilesystem => {
            "its file system is read-only, and pingbox needs one that it may write"
        }
        ErrorKind::PermissionDenied => {
            "the user that pingbox runs as may not write there: change the owner of the folder, or data.dir"
        }
        _ => "check that its folder is there, and that it is the right one",
    }
}

/// The last migration that this version knows.
pub(super) fn newest_schema() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default()
}

impl Store {
    /// Opens a SQLite file, created and brought up to date as needed. Tasks that were being sent
    /// when the last process ended become unconfirmed: nobody knows whether they arrived.
    pub(crate) async fn open(path: &Path, now: Timestamp) -> Result<Self, FileError> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder {
            make_folder(folder).await?;
        }
        let lock = lock(path).await?;
        make_private(path).await.map_err(|error| FileError::Create(path.to_owned(), error))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let mut migrator = options.connect().await.map_err(|error| FileError::open(path, error))?;
        migrate(&mut migrator, path).await?;
        let writer = connect(path)?;
        // After the other one is open: the last one to close would move the whole log.
        migrator.close().await.map_err(|error| FileError::open(path, error))?;
        let health = Arc::new(Health::default());
        let readers = async |connections| {
            let pool = SqlitePoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT);
            let pool = pool.connect_with(options.clone().read_only(true)).await;
            let pool = pool.map_err(|error| FileError::open(path, error))?;
            Ok::<_, FileError>(Pool::Sqlite(pool, Arc::clone(&health)))
        };
        let (reader, own_reader, sender_reader) =
            (readers(READERS).await?, readers(1).await?, readers(1).await?);
        let writer = FileConnection::new(path, options, writer, Arc::clone(&health))
            .map_err(|error| FileError::Create(path.to_owned(), error))?;
        let store = Self {
            reader,
            own_reader,
            sender_reader,
            writer: Arc::new(Mutex::new(Some(WriteConnection::Sqlite(Box::new(writer))))),
            listen_options: None,
            lock: Some(Arc::new(lock)),
            health,
        };
        store.recover(now).await.map_err(|error| FileError::open(path, error))?;
        Ok(store)
    }

    /// Also the proof that it can be written: a transaction that writes nothing works on a read-only file too.
    async fn recover(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut writing = self.writing().await;
        let mut tx = writing.begin().await?;
        for probe in [PROBE, NO_PROBE] {
            tx.query(probe).execute().await?;
        }
        let mut tasks = tx.tasks_in_sending(u32::MAX, Timestamp::from_micros(i64::MAX)).await?;
        for task in &mut tasks {
            task.lose_sender(now);
        }
        if !tasks.is_empty() {
            tx.update_tasks(tasks.iter()).await?;
            tracing::warn!(tasks = tasks.len(), "Tasks that were being sent at the last end are unconfirmed");
        }
        tx.commit().await
    }
}

/// A connection that writes as durably as promised.
fn connect(path: &Path) -> Result<Connection, FileError> {
    let open_error = |error| FileError::open(path, statement::told(error));
    // Nobody shares it, so it needs no locks of its own.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match log::files() {
        Some(files) => Connection::open_with_flags_and_vfs(path, flags, files),
        None => Connection::open_with_flags(path, flags),
    };
    let connection = connection.map_err(open_error)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.busy_timeout(BUSY_TIMEOUT).map_err(open_error)?;
    connection.execute_batch(SETTINGS).map_err(open_error)?;
    check_settings(&connection, path)?;
    Ok(connection)
}

async fn make_folder(folder: &Path) -> Result<(), FileError> {
    match tokio::fs::create_dir_all(folder).await {
        Ok(()) => Ok(()),
        Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotADirectory) => {
            Err(FileError::NoFolder(folder.to_owned()))
        }
        Err(error) => Err(FileError::Folder(folder.to_owned(), error)),
    }
}

/// Takes the database for this process. The lock lies on a file beside it, because SQLite has locks of
/// its own on the database, and goes with the process however that ends.
async fn lock(path: &Path) -> Result<File, FileError> {
    let path_of_lock = beside(path, ".lock");
    let create = |error| FileError::Create(path_of_lock.clone(), error);
    let file =
        File::options().write(true).create(true).truncate(false).open(&path_of_lock).map_err(create)?;
    let mut tried = file.try_lock();
    if let Err(TryLockError::WouldBlock) = tried {
        sleep(LOOK).await;
        tried = file.try_lock();
    }
    match tried {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(FileError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(create(error)),
    }
}

/// The file beside the database whose name ends in this.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    path.with_file_name(name)
}

/// Makes the file, if there is none, so that only its owner reads it: answers and the pingback secret
/// are in it. SQLite gives the files beside it the same mode.
async fn make_private(path: &Path) -> std::io::Result<()> {
    let made = tokio::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).await;
    match made {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

async fn migrate(writer: &mut SqliteConnection, path: &Path) -> Result<(), FileError> {
    MIGRATIONS.run(writer).await.map_err(|error| match error {
        MigrateError::VersionMissing(_) | MigrateError::VersionTooNew(..) => {
            FileError::Newer(path.to_owned())
        }
        MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _)
            if Fault::of(&source) != Fault::Other =>
        {
            FileError::open(path, source)
        }
        error => FileError::Migrate(path.to_owned(), error),
    })
}

/// Reads back what was asked for: a file system or another program may have refused it.
fn check_settings(writer: &Connection, path: &Path) -> Result<(), FileError> {
    const NEEDED: [(&str, &str, &str); 4] = [
        ("journal_mode", "SELECT CAST(journal_mode AS TEXT) FROM pragma_journal_mode", "wal"),
        ("synchronous", "SELECT CAST(synchronous AS TEXT) FROM pragma_synchronous", "2"),
        ("foreign_keys", "SELECT CAST(foreign_keys AS TEXT) FROM pragma_foreign_keys", "1"),
        ("busy_timeout", "SELECT CAST(timeout AS TEXT) FROM pragma_busy_timeout", "5000"),
    ];
    let read = |sql| {
        let found = writer.query_row(sql, [], |row| row.get::<_, String>(0));
        found.map_err(|error| FileError::open(path, statement::told(error)))
    };
    let refused = |setting, found, needed: &str| {
        Err(FileError::Setting { path: path.to_owned(), setting, found, needed: needed.to_owned() })
    };
    for (setting, sql, needed) in NEEDED {
        let found = read(sql)?;
        if found != needed {
            return refused(setting, found, needed);
        }
    }
    let found = read("SELECT sqlite_version()")?;
    if version(&found) < Some(OLDEST_SQLITE) {
        return refused("SQLite", found, "3.51.3 or later");
    }
    Ok(())
}

fn version(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.splitn(3, '.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use sqlx::Connection as _;

    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(version("3.51.3") >= Some(OLDEST_SQLITE));
        assert!(version("3.100.0") > Some(OLDEST_SQLITE));
        assert!(version("3.51.2") < Some(OLDEST_SQLITE));
        assert!(version("4") < Some(OLDEST_SQLITE));
    }

    #[tokio::test]
    async fn only_the_owner_reads_the_database_and_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep").join("test.db");
        let store = Store::open(&path, Timestamp::now()).await.unwrap();
        for name in ["test.db", "test.db-wal", "test.db-shm"] {
            let mode = std::fs::metadata(path.with_file_name(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        store.close().await;
    }

    #[tokio::test]
    async fn a_database_serves_one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        let store = Store::open(&path, Timestamp::now()).await.unwrap();
        let error = Store::open(&path, Timestamp::now()).await.expect_err("it should be refused");
        assert!(matches!(error, FileError::InUse(_)), "{error}");
        store.close().await;
        Store::open(&path, Timestamp::now()).await.unwrap();
    }

    #[tokio::test]
    async fn a_database_of_a_newer_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        let store = Store::open(&path, Timestamp::now()).await.unwrap();
        let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                     VALUES (9999, 'later', 1, x'00', 0)";
        store.execute(later).await;
        store.close().await;
        let error = Store::open(&path, Timestamp::now()).await.expect_err("it should be refused");
        assert!(matches!(error, FileError::Newer(_)), "{error}");
    }

    /// A database as the version before events left it: one task ended, its callback waits; another is open.
    async fn before_events(path: &Path) {
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true).foreign_keys(true);
        let mut database = options.connect().await.unwrap();
        let earlier = MIGRATIONS.iter().filter(|migration| migration.version <= 3).cloned();
        Migrator::with_migrations(earlier.collect()).run(&mut database).await.unwrap();
        let tasks = "INSERT INTO task (owner, type, status, priority, params, created_at, expires_at, captcha_id,
                                       callback_url, callback_receiver)
            SELECT 7, 'text', 'submitted', 0, '[]', 1, 4000000000000000, '7' || value, 'http://a.example/', 'a.example:80'
            FROM json_each('[1, 2]')";
        let end = "UPDATE task SET status = 'solved', answer = 'x', answered_at = 5 WHERE id = 1";
        let tried = "UPDATE delivery SET attempts = 3, last_error = 'no reply', id = 40";
        for sql in [tasks, end, tried] {
            sqlx::query(sql).execute(&mut database).await.unwrap();
        }
        database.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_database_from_before_events_keeps_its_deliveries_and_tells_of_what_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        before_events(&path).await;
        let store = Store::open(&path, Timestamp::now()).await.unwrap();
        let kept = store.text(
            "SELECT id || type || owner || url || receiver || attempts || last_error || started_at
            FROM delivery",
        );
        assert_eq!(kept.await, "40task.solved7http://a.example/a.example:803no reply5");
        let told = "SELECT group_concat(type || task_id || owner || time) FROM event";
        assert_eq!(store.text(told).await, "task.solved175");

        store
            .execute("UPDATE task SET status = 'failed', error = 'ERROR_X', answered_at = 6 WHERE id = 2")
            .await;
        assert_eq!(
            store.text("SELECT group_concat(id || type) FROM delivery").await,
            "40task.solved,41task.failed"
        );
        assert_eq!(
            store.text("SELECT group_concat(id || type) FROM event").await,
            "1task.solved,2task.failed"
        );
        store.execute("DELETE FROM task").await;
        assert_eq!(store.number("SELECT COUNT(*) FROM delivery").await, 0);
    }
}
