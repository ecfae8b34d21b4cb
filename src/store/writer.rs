//! The connection that writes, and whose turn it is.
//!
//! On SQLite it is the only one in the world. On PostgreSQL every replica has one, and each transaction first takes
//! the same advisory lock: so all replicas write one after the other, what a transaction reads stays true until it has
//! ended, and the numbers of events follow the order of the commits.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Sqlite, SqliteConnection, Transaction};
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, sleep, timeout};

use super::StoreError;
use super::db::{Connection, Query, Sql};

/// Begins a transaction that writes, in one turn to the server. Whatever the server's defaults are: each statement
/// sees what was committed before it, and a commit is on disk before it is confirmed. A replica that stops in the
/// middle of a transaction is cut off by the server, so that it holds up the others for 5 s at most. Rows are looked up
/// by their indexes: a statement that was planned while a table was small would go on to read all of it. The number
/// is "pingbox" in ASCII.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
    SET LOCAL synchronous_commit TO on;
    SET LOCAL idle_in_transaction_session_timeout TO '5s';
    SET LOCAL lock_timeout TO '10s';
    SET LOCAL statement_timeout TO '30s';
    SET LOCAL jit TO off;
    SET LOCAL enable_seqscan TO off;
    SET LOCAL enable_hashjoin TO off;
    SET LOCAL enable_mergejoin TO off;
    SELECT pg_advisory_xact_lock(31641120293416824)";
/// How long a write waits for a server that is away. Restarts take less; when it is away for longer, writes fail at
/// once until it is back.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries to connect.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// How long a try to connect may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// How long a transaction may take to begin, or to commit: longer than the server waits for a lock.
const TURN_DEADLINE: Duration = Duration::from_secs(12);

/// The connection that writes.
#[derive(Debug)]
pub(super) enum WriteConnection {
    Sqlite(SqliteConnection),
    Postgres(Box<ServerConnection>),
}

/// A connection to a server that may go away and come back.
#[derive(Debug)]
pub(super) struct ServerConnection {
    options: PgConnectOptions,
    open: Option<PgConnection>,
    /// When it was first found to be away.
    down_since: Option<Instant>,
}

/// A transaction on the server. One that is given up takes its connection along: the server hears of that at once, and
/// gives the turn to others.
struct ServerTransaction<'c> {
    server: &'c mut ServerConnection,
    is_over: bool,
}

/// The turn to write.
pub(crate) struct Writing(pub(super) OwnedMutexGuard<Option<WriteConnection>>);

/// A write under way. Dropped without [`commit`](Self::commit), a transaction leaves no trace.
pub(crate) struct WriteTx<'c> {
    scope: Scope<'c>,
}

/// What the statements of a write have in common.
enum Scope<'c> {
    /// All of them count, or none.
    Sqlite(Transaction<'c, Sqlite>),
    Postgres(ServerTransaction<'c>),
    /// Each counts by itself, at once.
    EachAlone(&'c mut SqliteConnection),
}

impl Writing {
    /// Begins a transaction. Fails when the database is locked by another program, away, or closed.
    pub(crate) async fn begin(&mut self) -> Result<WriteTx<'_>, StoreError> {
        let scope = match self.connection()? {
            // A deferred transaction would fail, instead of wait, when it turns from reading to writing.
            WriteConnection::Sqlite(connection) => {
                Scope::Sqlite(connection.begin_with("BEGIN IMMEDIATE").await?)
            }
            WriteConnection::Postgres(server) => Scope::Postgres(server.begin().await?),
        };
        Ok(WriteTx { scope })
    }

    /// Whether nobody else can write, nor has the database: what was read holds for as long as the turn does.
    pub(crate) fn is_sole(&self) -> bool {
        matches!(*self.0, Some(WriteConnection::Sqlite(_)))
    }

    /// Statements that each count by themselves: reading, and then a single one that writes. Only for
    /// [sole](Self::is_sole) writers.
    pub(crate) fn each_alone(&mut self) -> Result<WriteTx<'_>, StoreError> {
        match self.connection()? {
            WriteConnection::Sqlite(connection) => Ok(WriteTx { scope: Scope::EachAlone(connection) }),
            WriteConnection::Postgres(_) => {
                Err(sqlx::Error::Protocol("others may write meanwhile".to_owned()).into())
            }
        }
    }

    fn connection(&mut self) -> Result<&mut WriteConnection, StoreError> {
        Ok(self.0.as_mut().ok_or(sqlx::Error::PoolClosed)?)
    }
}

impl WriteConnection {
    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(connection) => connection.close().await,
            Self::Postgres(server) => match server.open {
                Some(connection) => connection.close().await,
                None => Ok(()),
            },
        }
    }
}

impl ServerConnection {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Self { options, open: None, down_since: None }
    }

    /// Begins a transaction, on a new connection if there is none or the old one is lost.
    async fn begin(&mut self) -> Result<ServerTransaction<'_>, StoreError> {
        if self.open.is_some() {
            match self.send_begin().await {
                Err(error) if error.is_lost() => {}
                begun => return begun.map(|()| ServerTransaction { server: self, is_over: false }),
            }
        }
        self.open = Some(self.connect().await?);
        self.send_begin().await?;
        Ok(ServerTransaction { server: self, is_over: false })
    }

    async fn send_begin(&mut self) -> Result<(), StoreError> {
        let connection = self.open.as_mut().ok_or(sqlx::Error::PoolClosed)?;
        let begun = timeout(TURN_DEADLINE, sqlx::raw_sql(BEGIN).execute(connection)).await;
        let begun = begun.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        if begun.is_err() {
            self.open = None;
        }
        Ok(begun.map(drop)?)
    }

    async fn connect(&mut self) -> Result<PgConnection, sqlx::Error> {
        let down_since = *self.down_since.get_or_insert_with(Instant::now);
        loop {
            let tried = timeout(CONNECT_DEADLINE, self.options.connect()).await;
            match tried.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
                Ok(connection) => {
                    self.down_since = None;
                    return Ok(connection);
                }
                Err(_) if down_since.elapsed() < PATIENCE => sleep(RETRY_PAUSE).await,
                Err(error) => return Err(error),
            }
        }
    }
}

impl ServerTransaction<'_> {
    async fn commit(mut self) -> Result<(), StoreError> {
        let done = timeout(TURN_DEADLINE, sqlx::raw_sql("COMMIT").execute(self.connection())).await;
        done.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(StoreError::InDoubt)?;
        self.is_over = true;
        Ok(())
    }

    fn connection(&mut self) -> &mut PgConnection {
        self.server.open.as_mut().expect("it goes only with the transaction")
    }
}

impl Drop for ServerTransaction<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.server.open = None;
        }
    }
}

impl WriteTx<'_> {
    /// Makes everything durable: when this returns, it is on disk.
    /// When it fails, nothing of the transaction counts as stored.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        match self.scope {
            Scope::Sqlite(transaction) => Ok(transaction.commit().await?),
            Scope::Postgres(transaction) => transaction.commit().await,
            Scope::EachAlone(_) => Ok(()),
        }
    }

    pub(super) fn query(&mut self, sql: impl Into<Sql>) -> Query<'_> {
        match &mut self.scope {
            Scope::Sqlite(transaction) => Connection::Sqlite(transaction).query(sql),
            Scope::Postgres(transaction) => Connection::Postgres(transaction.connection()).query(sql),
            Scope::EachAlone(connection) => Connection::Sqlite(connection).query(sql),
        }
    }
}
