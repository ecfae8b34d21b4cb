//! The connection that writes, and whose turn it is.
//!
//! On SQLite it is the only one in the world. On PostgreSQL every replica has one, and each transaction first takes
//! the same advisory lock: so all replicas write one after the other, what a transaction reads stays true until it has
//! ended, and the numbers of events follow the order of the commits.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, sleep, timeout};

use super::db::{Connection, Query, Sql, WriteRow};
use super::file::{FileConnection, FileTransaction, statement};
use super::server::ServerOptions;
use super::write::json;
use super::{StoreError, is_lost};

/// Begins a transaction that writes, in one turn to the server. Whatever the server's defaults are: each statement
/// sees what was committed before it, and a commit is on disk before it is confirmed. A replica that stops in the
/// middle of a transaction is cut off by the server, so that it holds up the others for 5 s at most. Rows are looked up
/// by their indexes: a statement that was planned while a table was small would go on to read all of it. The number
/// is "pingbox" in ASCII.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
    SET LOCAL synchronous_commit TO on;
    SET LOCAL idle_in_transaction_session_timeout TO '5s';
    SET LOCAL lock_timeout TO '7s';
    SET LOCAL statement_timeout TO '30s';
    SET LOCAL jit TO off;
    SET LOCAL enable_seqscan TO off;
    SET LOCAL enable_hashjoin TO off;
    SET LOCAL enable_mergejoin TO off;
    SELECT pg_advisory_xact_lock(31641120293416824)";
/// The last transaction of this connection's owner that was committed.
const LAST_TURN: &str = "SELECT number FROM turn WHERE holder = $1";
/// How long a write waits for a server that is away. Restarts take less; when it is away for longer, writes fail at
/// once until it is back.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries to connect.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// How long a transaction may take to begin, or to commit: longer than the server waits for a lock.
const TURN_DEADLINE: Duration = Duration::from_secs(9);

/// The connection that writes.
#[derive(Debug)]
pub(super) enum WriteConnection {
    Sqlite(Box<FileConnection>),
    Postgres(Box<ServerConnection>),
}

/// A connection to a server that may go away and come back.
#[derive(Debug)]
pub(super) struct ServerConnection {
    options: ServerOptions,
    open: Option<PgConnection>,
    /// By which its transactions are known, and how many there were.
    holder: i64,
    turns: i64,
    /// When it was first found to be away.
    down_since: Option<Instant>,
}

/// A transaction on the server. One that is given up takes its connection along: the server hears of that at once, and
/// gives the turn to others.
struct ServerTransaction<'c> {
    server: &'c mut ServerConnection,
    /// Which one it is of those of this connection.
    turn: i64,
    is_over: bool,
}

/// The turn to write.
pub(crate) struct Writing(pub(super) OwnedMutexGuard<Option<WriteConnection>>);

/// A write under way. Dropped without [`commit`](Self::commit), a transaction leaves no trace.
pub(crate) struct WriteTx<'c> {
    scope: Scope<'c>,
}

/// Where its statements run.
enum Scope<'c> {
    Sqlite(FileTransaction<'c>),
    Postgres(ServerTransaction<'c>),
}

impl Writing {
    /// Begins a transaction. Fails when the database is locked by another program, away, or closed.
    pub(crate) async fn begin(&mut self) -> Result<WriteTx<'_>, StoreError> {
        let scope = match self.connection()? {
            WriteConnection::Sqlite(file) => Scope::Sqlite(file.begin().await?),
            WriteConnection::Postgres(server) => Scope::Postgres(server.begin().await?),
        };
        Ok(WriteTx { scope })
    }

    /// Has SQLite not wait for the disk.
    #[cfg(test)]
    pub(super) async fn forget(&mut self) -> Result<(), StoreError> {
        match self.connection()? {
            WriteConnection::Sqlite(file) => file.forget().await,
            WriteConnection::Postgres(_) => Ok(()),
        }
    }

    fn connection(&mut self) -> Result<&mut WriteConnection, StoreError> {
        Ok(self.0.as_mut().ok_or(sqlx::Error::PoolClosed)?)
    }
}

impl WriteConnection {
    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(file) => file.close(),
            Self::Postgres(server) => match server.open {
                Some(connection) => connection.close().await,
                None => Ok(()),
            },
        }
    }
}

impl ServerConnection {
    /// # Errors
    /// When the system gives no randomness.
    pub(super) fn new(options: ServerOptions) -> Result<Self, getrandom::Error> {
        let holder = i64::try_from(getrandom::u64()? >> 1).unwrap_or_default();
        Ok(Self { options, open: None, holder, turns: 0, down_since: None })
    }

    /// Begins a transaction, on a new connection if there is none or the old one is lost.
    async fn begin(&mut self) -> Result<ServerTransaction<'_>, StoreError> {
        if self.open.is_some() {
            match self.send_begin().await {
                Err(error) if error.is_lost() => {}
                begun => {
                    begun?;
                    return Ok(self.transaction());
                }
            }
        }
        self.open = Some(self.connect().await?);
        self.send_begin().await?;
        Ok(self.transaction())
    }

    fn transaction(&mut self) -> ServerTransaction<'_> {
        self.turns += 1;
        ServerTransaction { turn: self.turns, server: self, is_over: false }
    }

    async fn send_begin(&mut self) -> Result<(), StoreError> {
        // Dropped in the middle, or failed, the connection is of no use.
        let mut connection = self.open.take().ok_or(sqlx::Error::PoolClosed)?;
        let begun = timeout(TURN_DEADLINE, sqlx::raw_sql(BEGIN).execute(&mut connection)).await;
        begun.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
        self.open = Some(connection);
        Ok(())
    }

    /// What became of a transaction whose commit was not confirmed: `Ok` if it is stored. The number that the server
    /// gave it does not tell: after a crash another one may have it.
    async fn settle(&mut self, turn: i64) -> Result<(), StoreError> {
        let begun = Instant::now();
        let mut why = sqlx::Error::PoolTimedOut;
        while begun.elapsed() < PATIENCE * 2 {
            match self.last_turn().await {
                Ok(Some(stored)) if stored == turn => return Ok(()),
                Ok(_) => {
                    let lost = std::io::Error::from(std::io::ErrorKind::ConnectionAborted);
                    return Err(StoreError::Failed(sqlx::Error::Io(lost)));
                }
                Err(StoreError::Failed(error) | StoreError::InDoubt(error)) => why = error,
                Err(unusable @ StoreError::Unusable(_)) => return Err(unusable),
            }
            self.open = None;
            sleep(RETRY_PAUSE).await;
        }
        Err(StoreError::InDoubt(why))
    }

    /// Read when the lock is ours: then the transaction that had it before is over.
    async fn last_turn(&mut self) -> Result<Option<i64>, StoreError> {
        self.open = Some(self.connect().await?);
        self.send_begin().await?;
        let mut connection = self.open.take().ok_or(sqlx::Error::PoolClosed)?;
        let asked = async {
            let row = sqlx::query(LAST_TURN).bind(self.holder).fetch_optional(&mut connection).await?;
            sqlx::raw_sql("ROLLBACK").execute(&mut connection).await?;
            row.map(|row| row.try_get(0)).transpose()
        };
        let last = timeout(TURN_DEADLINE, asked).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
        self.open = Some(connection);
        Ok(last)
    }

    async fn connect(&mut self) -> Result<PgConnection, sqlx::Error> {
        let down_since = *self.down_since.get_or_insert_with(Instant::now);
        loop {
            match self.options.connect().await {
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
    /// Leaves word of itself and commits, in one turn to the server.
    async fn commit(mut self) -> Result<(), StoreError> {
        let (holder, turn) = (self.server.holder, self.turn);
        // Of numbers alone.
        let commit = AssertSqlSafe(format!(
            "INSERT INTO turn (holder, number, at) VALUES ({holder}, {turn}, clock_micros())
                ON CONFLICT (holder) DO UPDATE SET number = excluded.number, at = excluded.at;
            COMMIT"
        ));
        let done = timeout(TURN_DEADLINE, sqlx::raw_sql(commit).execute(self.connection())).await;
        self.is_over = true;
        if let Ok(Ok(_)) = done {
            return Ok(());
        }
        self.server.open = None;
        match done {
            // The server says that it has rolled back.
            Ok(Err(refused @ sqlx::Error::Database(_))) if !is_lost(&refused) => Err(refused.into()),
            _ => self.server.settle(turn).await,
        }
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
    /// Makes everything durable: when this returns, it is on disk. When it fails, nothing of the transaction is
    /// stored, unless the error says that this is in doubt.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        match self.scope {
            Scope::Sqlite(transaction) => transaction.commit(),
            Scope::Postgres(transaction) => transaction.commit().await,
        }
    }

    /// Whether other processes may write too, between two transactions.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.scope, Scope::Postgres(_))
    }

    /// The connection to the server, for what only a server is told; `None` on a file.
    pub(super) fn server(&mut self) -> Option<&mut PgConnection> {
        match &mut self.scope {
            Scope::Postgres(transaction) => Some(transaction.connection()),
            Scope::Sqlite(_) => None,
        }
    }

    /// Changes rows: on a server all by one statement, which finds them in the JSON array `$1`; in a file each by its
    /// own, to which its values are bound.
    pub(super) async fn change_rows<R: WriteRow>(&mut self, sql: Sql, rows: &[R]) -> Result<(), sqlx::Error> {
        match &mut self.scope {
            Scope::Sqlite(transaction) => {
                statement::execute_each(transaction.connection(), sql.sqlite, rows.iter().map(R::values))
            }
            Scope::Postgres(_) => self.query(sql).bind(json(rows.iter())).execute().await.map(drop),
        }
    }

    /// Inserts rows: on a server all by one statement, as above; the statement for a file ends with `VALUES`.
    pub(super) async fn insert_rows<R: WriteRow>(&mut self, sql: Sql, rows: &[R]) -> Result<(), sqlx::Error> {
        match &mut self.scope {
            Scope::Sqlite(transaction) => {
                let rows: Vec<_> = rows.iter().map(R::values).collect();
                statement::insert(transaction.connection(), sql.sqlite, &rows)
            }
            Scope::Postgres(_) => self.query(sql).bind(json(rows.iter())).execute().await.map(drop),
        }
    }

    pub(super) fn query(&mut self, sql: impl Into<Sql>) -> Query<'_> {
        match &mut self.scope {
            Scope::Sqlite(transaction) => Connection::File(transaction.connection()).query(sql),
            Scope::Postgres(transaction) => Connection::Postgres(transaction.connection()).query(sql),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::*;

    const KEEP: &str = "INSERT INTO memory (name, value) VALUES ('kept', 'yes')";

    fn server(writing: &mut Writing) -> &mut ServerConnection {
        match writing.connection().unwrap() {
            WriteConnection::Postgres(server) => server,
            WriteConnection::Sqlite(_) => panic!("it is on a server"),
        }
    }

    /// Ends every other connection, as an operator would.
    async fn cut(store: &Store) {
        const SQL: &str = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        store.reader.query(SQL).fetch_one().await.unwrap();
    }

    #[tokio::test]
    async fn what_was_committed_without_word_of_it_is_known_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let Some(store) = Store::on_postgres(&folder).await else { return };
        let mut writing = store.writing().await;
        let transaction = server(&mut writing).begin().await.unwrap();
        let turn = transaction.turn;
        transaction.commit().await.unwrap();
        server(&mut writing).open = None;
        server(&mut writing).settle(turn).await.unwrap();
        // One that has left no word was rolled back.
        let error = server(&mut writing).settle(turn + 1).await.unwrap_err();
        assert!(error.is_lost(), "{error:?}");
    }

    #[tokio::test]
    async fn what_was_lost_before_its_commit_is_known_not_to_be_stored_and_may_be_done_again() {
        let folder = tempfile::tempdir().unwrap();
        let Some(store) = Store::on_postgres(&folder).await else { return };
        let mut writing = store.writing().await;
        let mut tx = writing.begin().await.unwrap();
        tx.query(KEEP).execute().await.unwrap();
        cut(&store).await;
        let error = tx.commit().await.unwrap_err();
        assert!(error.is_lost(), "{error:?}");
        assert_eq!(store.recall("kept").await.unwrap(), None);
        let mut tx = writing.begin().await.unwrap();
        tx.query(KEEP).execute().await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(store.recall("kept").await.unwrap().as_deref(), Some("yes"));
    }

    #[tokio::test]
    async fn a_transaction_that_is_given_up_leaves_the_turn_to_others_at_once() {
        let Some(stores) = Store::several_on_postgres(2).await else { return };
        let mut writing = stores[0].writing().await;
        let mut tx = writing.begin().await.unwrap();
        tx.query(KEEP).execute().await.unwrap();
        drop(tx);
        let mut other = stores[1].writing().await;
        // The server would cut off one that is idle after 5 s; the lock is waited for longer than that.
        let begun = Instant::now();
        let mut tx = other.begin().await.unwrap();
        assert!(begun.elapsed() < PATIENCE, "it did not have to be cut off");
        assert_eq!(tx.recall("kept").await.unwrap(), None);
        tx.commit().await.unwrap();
    }

    #[tokio::test]
    async fn readers_whose_connections_were_cut_read_on() {
        let folder = tempfile::tempdir().unwrap();
        let Some(store) = Store::on_postgres(&folder).await else { return };
        store.feed_ends().await.unwrap();
        store.recall("feed").await.unwrap();
        cut(&store).await;
        store.recall("feed").await.unwrap();
        store.events(0, &crate::store::EventFilter::ALL, 1).await.unwrap();
    }
}
