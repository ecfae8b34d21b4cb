//! A PostgreSQL server, shared by several replicas: connected to, migrated, checked.

use std::fmt;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, PgConnection, Row as _};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::db::Pool;
use super::health::Health;
use super::writer::{ServerConnection, WriteConnection};
use super::{Store, is_lost};
use crate::model::Secret;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// Earlier versions lack functions that the migrations use.
const OLDEST_SERVER: i32 = 13_00_00;
/// How long one try to connect may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// How long a start waits for a server that is not there yet, as when both are started at once.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries to connect.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How long a caller waits for a free connection before it is told that the database is busy.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections for pingbox itself: the lease, the echo of other replicas, the dispatcher and its like.
const OWN_READERS: u32 = 4;
/// Connections for senders of pingbacks.
const SENDER_READERS: u32 = 2;

/// Where the server is, and how much of it one replica takes.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// The whole `postgres://` URL.
    pub(crate) url: Secret,
    /// The same for `LISTEN`, which needs a connection of its own that no pooler hands to others.
    pub(crate) listen_url: Option<Secret>,
    /// Connections for callers' reads. Eight more are taken besides.
    pub(crate) pool_size: u32,
}

/// Why a server cannot be used. No text of it holds the URL.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    /// The URL says something that is not understood.
    #[error("{setting} is not a URL for PostgreSQL that can be used")]
    Url {
        /// The setting that it is from.
        setting: &'static str,
        /// What is wrong.
        #[source]
        source: sqlx::Error,
    },
    /// It cannot be connected to.
    #[error("could not connect to PostgreSQL at {place}: check database.url, and that the server lets us in")]
    Connect {
        /// Host, port and name of the database.
        place: String,
        /// What happened.
        #[source]
        source: sqlx::Error,
    },
    /// It could not be connected to when it was looked for.
    #[error("PostgreSQL at {place} cannot be connected to ({cause})")]
    Absent {
        /// Host, port and name of the database.
        place: String,
        /// What happened.
        cause: String,
    },
    /// It is too old.
    #[error("PostgreSQL at {place} is version {found}, but 13 or later is needed")]
    TooOld {
        /// Host, port and name of the database.
        place: String,
        /// Its version.
        found: String,
    },
    /// It does not take writes, or not all text.
    #[error("the database at {place} {fault}")]
    Unfit {
        /// Host, port and name of the database.
        place: String,
        /// What it lacks, and what to do.
        fault: &'static str,
    },
    /// What is listened to is another one.
    #[error(
        "database.listen_url leads to another database than database.url: no replica would be heard there"
    )]
    Elsewhere,
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Randomness(#[from] getrandom::Error),
    /// It was written by a later version of pingbox.
    #[error("the database at {0} was written by a newer pingbox: use that version, or another database")]
    Newer(String),
    /// Its tables cannot be brought up to date.
    #[error(
        "could not migrate the database at {0}: its user must own the tables, or be allowed to create them"
    )]
    Migrate(String, #[source] MigrateError),
}

impl Server {
    /// The options of `database.url`.
    ///
    /// # Errors
    /// When it cannot be understood.
    fn options(&self) -> Result<ServerOptions, ServerError> {
        options(&self.url, "database.url")
    }

    /// The options of `database.listen_url`, or else those of `database.url`.
    fn listen_options(&self) -> Result<ServerOptions, ServerError> {
        match &self.listen_url {
            Some(url) => options(url, "database.listen_url"),
            None => self.options(),
        }
    }

    /// Whether it can be connected to at once and is fit to keep answers; where it is.
    ///
    /// # Errors
    /// When it cannot be reached within 5 s, or is not fit.
    pub(crate) async fn look(&self) -> Result<String, ServerError> {
        let options = self.options()?;
        let place = place(&options);
        let connected = options.connect().await.map_err(|error| match error {
            sqlx::Error::PoolTimedOut => format!("no answer within {} s", CONNECT_DEADLINE.as_secs()),
            error => error.to_string(),
        });
        let mut connection =
            connected.map_err(|cause| ServerError::Absent { place: place.clone(), cause })?;
        check(&mut connection, &place).await?;
        Ok(place)
    }

    /// A first connection, to a server that is fit to keep answers; and where it is: host, port and name of the
    /// database.
    ///
    /// # Errors
    /// When it cannot be reached for 30 s, or is not fit.
    pub(super) async fn connect(&self) -> Result<(PgConnection, String), ServerError> {
        let options = self.options()?;
        let place = place(&options);
        let failed = |source| ServerError::Connect { place: place.clone(), source };
        let mut first = connect(&options).await.map_err(failed)?;
        if self.listen_url.is_some()
            && let Ok(mut straight) = self.listen_options()?.connect().await
        {
            if identity(&mut straight).await.map_err(failed)? != identity(&mut first).await.map_err(failed)? {
                return Err(ServerError::Elsewhere);
            }
            // Migrating takes a lock of the session, which a pooler might leave behind.
            first = straight;
        }
        check(&mut first, &place).await?;
        Ok((first, place))
    }
}

/// How to connect. It holds the password, and prints without it.
#[derive(Clone)]
pub(super) struct ServerOptions(PgConnectOptions);

impl fmt::Debug for ServerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl ServerOptions {
    /// For a pool.
    pub(super) fn expose(&self) -> PgConnectOptions {
        self.0.clone()
    }

    /// One connection, within a deadline.
    pub(super) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        timeout(CONNECT_DEADLINE, self.0.connect()).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }
}

fn options(url: &Secret, setting: &'static str) -> Result<ServerOptions, ServerError> {
    let options = PgConnectOptions::from_str(url.expose())
        .map_err(|source| ServerError::Url { setting, source })?
        .application_name("pingbox");
    // Statements are ours; what is worth a line is told by whoever ran them.
    Ok(ServerOptions(options.disable_statement_logging()))
}

fn place(ServerOptions(options): &ServerOptions) -> String {
    let database = options.get_database().unwrap_or(options.get_username());
    match options.get_socket() {
        Some(socket) => format!("{}, database {database}", socket.display()),
        None => format!("{}:{}, database {database}", options.get_host(), options.get_port()),
    }
}

impl Store {
    /// Connects to a server, whose tables are created and brought up to date as needed.
    ///
    /// # Errors
    /// When it cannot be reached for 30 s, or cannot be used.
    pub(crate) async fn connect(server: &Server) -> Result<Self, ServerError> {
        let options = server.options()?;
        let listen_options = server.listen_options()?;
        let (mut first, place) = server.connect().await?;
        MIGRATIONS.run(&mut first).await.map_err(|error| match error {
            MigrateError::VersionMissing(_) | MigrateError::VersionTooNew(..) => {
                ServerError::Newer(place.clone())
            }
            error => ServerError::Migrate(place.clone(), error),
        })?;
        // Each process leaves a row, of use while its last commit may be in doubt: a matter of seconds.
        let forget = "DELETE FROM turn WHERE at < clock_micros() - 86400000000";
        let forgotten = sqlx::query(forget).execute(&mut first).await;
        forgotten.map_err(|source| ServerError::Connect { place: place.clone(), source })?;
        drop(first);
        let health = Arc::new(Health::default());
        let readers = |connections| {
            let pool = PgPoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT);
            // A lost connection is found out by the statement itself, which is a turn less.
            let pool = pool.test_before_acquire(false).connect_lazy_with(options.expose());
            Pool::Postgres(pool, Arc::clone(&health))
        };
        let writer = WriteConnection::Postgres(Box::new(ServerConnection::new(options.clone())?));
        info!("The database is PostgreSQL at {place}");
        Ok(Self {
            reader: readers(server.pool_size),
            own_reader: readers(OWN_READERS),
            sender_reader: readers(SENDER_READERS),
            writer: Arc::new(Mutex::new(Some(writer))),
            listen_options: Some(listen_options),
            lock: None,
            health,
        })
    }
}

/// The first connection, for which a start waits.
async fn connect(options: &ServerOptions) -> Result<PgConnection, sqlx::Error> {
    let started = Instant::now();
    loop {
        match options.connect().await {
            Err(error)
                if (is_lost(&error) || matches!(error, sqlx::Error::PoolTimedOut))
                    && started.elapsed() < START_PATIENCE =>
            {
                warn!(%error, "PostgreSQL cannot be reached yet: {error}");
                sleep(RETRY_PAUSE).await;
            }
            tried => return tried,
        }
    }
}

/// What tells a database from others, also from those of the same name.
async fn identity(connection: &mut PgConnection) -> Result<(String, String), sqlx::Error> {
    const SQL: &str = "SELECT current_database()::text || ' ' || oid, pg_postmaster_start_time()::text
        FROM pg_database WHERE datname = current_database()";
    let row = sqlx::query(SQL).fetch_one(connection).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// Whether the server is fit to keep answers.
async fn check(connection: &mut PgConnection, place: &str) -> Result<(), ServerError> {
    const SQL: &str = "SELECT current_setting('server_version_num')::int, current_setting('server_version'),
        current_setting('server_encoding'), pg_is_in_recovery(), current_setting('fsync')";
    let failed = |source| ServerError::Connect { place: place.to_owned(), source };
    let row = sqlx::query(SQL).fetch_one(connection).await.map_err(failed)?;
    let unfit = |fault| Err(ServerError::Unfit { place: place.to_owned(), fault });
    let version: i32 = row.get(0);
    if version < OLDEST_SERVER {
        return Err(ServerError::TooOld { place: place.to_owned(), found: row.get(1) });
    }
    if row.get::<&str, _>(2) != "UTF8" {
        return unfit("does not have the encoding UTF8: create one with ENCODING 'UTF8'");
    }
    if row.get(3) {
        return unfit("takes no writes, because it is a standby: name the primary in database.url");
    }
    if row.get::<&str, _>(4) != "on" {
        warn!("PostgreSQL at {place} runs with fsync = off: answers are lost when its machine loses power");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_writers_left_that_are_long_gone_is_forgotten_at_a_start() {
        let folder = tempfile::tempdir().unwrap();
        let Some(store) = Store::on_postgres(&folder).await else { return };
        store.execute("INSERT INTO turn (holder, number, at) VALUES (-1, 1, 1)").await;
        store.close().await;
        let store = Store::on_postgres(&folder).await.unwrap();
        assert_eq!(store.number("SELECT COUNT(*) FROM turn WHERE holder = -1").await, 0);
        assert_eq!(store.number("SELECT COUNT(*) FROM turn").await, 1, "the other one's is kept");
    }
}
