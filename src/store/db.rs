//! The two databases behind one door. A statement that both understand is written once; where they differ, both
//! forms stand side by side, and what is bound to them is the same.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::ToSql;
use rusqlite::types::Value;
use serde::Serialize;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{
    Arguments as _, ColumnIndex, Decode, Encode, PgConnection, PgPool, Postgres, Row as _, Sqlite,
    SqliteConnection, SqlitePool, Type,
};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::file::{FileField, FileRow, statement};
use super::health::Health;
use super::is_lost;

/// How long a statement that reads may take on a server. A connection whose other end is gone says nothing, ever.
const READ_DEADLINE: Duration = Duration::from_secs(10);

/// A statement, as each database has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sql {
    pub(super) sqlite: &'static str,
    pub(super) postgres: &'static str,
}

impl From<&'static str> for Sql {
    fn from(both: &'static str) -> Self {
        Self { sqlite: both, postgres: both }
    }
}

/// An [`Sql`] of its pieces. A piece is text, or `{text | text}` where SQLite's words and PostgreSQL's differ, or one
/// of these, which say that what stands before is in the JSON array that is bound as number `n`:
/// `among_numbers n`, `among_texts n`, `not_among_texts n`, `not_among_numbers n`.
macro_rules! sql {
    (@[$($s:expr,)*] [$($p:expr,)*]) => {
        $crate::store::db::Sql { sqlite: concat!($($s),*), postgres: concat!($($p),*) }
    };
    (@[$($s:expr,)*] [$($p:expr,)*] among_numbers $n:literal $(, $($rest:tt)*)?) => {
        sql!(@[$($s,)* " IN (SELECT value FROM json_each($", $n, "))",]
             [$($p,)* " = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text($", $n, "::json)))",]
             $($($rest)*)?)
    };
    (@[$($s:expr,)*] [$($p:expr,)*] not_among_numbers $n:literal $(, $($rest:tt)*)?) => {
        sql!(@[$($s,)* " NOT IN (SELECT value FROM json_each($", $n, "))",]
             [$($p,)* " <> ALL (ARRAY(SELECT value::bigint FROM json_array_elements_text($", $n, "::json)))",]
             $($($rest)*)?)
    };
    (@[$($s:expr,)*] [$($p:expr,)*] among_texts $n:literal $(, $($rest:tt)*)?) => {
        sql!(@[$($s,)* " IN (SELECT value FROM json_each($", $n, "))",]
             [$($p,)* " = ANY (ARRAY(SELECT json_array_elements_text($", $n, "::json)))",]
             $($($rest)*)?)
    };
    (@[$($s:expr,)*] [$($p:expr,)*] not_among_texts $n:literal $(, $($rest:tt)*)?) => {
        sql!(@[$($s,)* " NOT IN (SELECT value FROM json_each($", $n, "))",]
             [$($p,)* " <> ALL (ARRAY(SELECT json_array_elements_text($", $n, "::json)))",]
             $($($rest)*)?)
    };
    (@[$($s:expr,)*] [$($p:expr,)*] { $sqlite:literal | $postgres:literal } $(, $($rest:tt)*)?) => {
        sql!(@[$($s,)* $sqlite,] [$($p,)* $postgres,] $($($rest)*)?)
    };
    (@[$($s:expr,)*] [$($p:expr,)*] $both:expr $(, $($rest:tt)*)?) => {
        sql!(@[$($s,)* $both,] [$($p,)* $both,] $($($rest)*)?)
    };
    ($($pieces:tt)*) => { sql!(@[] [] $($pieces)*) };
}
pub(super) use sql;

/// Connections that read.
#[derive(Clone, Debug)]
pub(super) enum Pool {
    Sqlite(SqlitePool, Arc<Health>),
    Postgres(PgPool, Arc<Health>),
}

/// One connection, in whoever's hands.
pub(super) enum Connection<'c> {
    /// Of a file, to read it.
    Sqlite(&'c mut SqliteConnection),
    /// The one that writes a file.
    File(&'c mut rusqlite::Connection),
    Postgres(&'c mut PgConnection),
}

/// What a statement runs on.
enum On<'c> {
    Pool(&'c Pool),
    Sqlite(&'c mut SqliteConnection),
    File(&'c mut rusqlite::Connection),
    Postgres(&'c mut PgConnection),
    Snapshot(&'c mut Borrowed),
}

/// A statement, with what is bound to it, where it will run.
pub(super) struct Query<'c> {
    sql: Sql,
    bound: Bound,
    /// What could not be bound.
    fault: Option<sqlx::Error>,
    on: On<'c>,
    /// Hears of what comes of it; of writes the writer tells.
    health: Option<&'c Health>,
}

enum Bound {
    Sqlite(SqliteArguments),
    File(Vec<Value>),
    Postgres(PgArguments),
}

/// A row that was found.
pub(super) enum Row {
    Sqlite(SqliteRow),
    File(FileRow),
    Postgres(PgRow),
}

/// A row to write: an object of JSON where all of them are bound to one statement, and values where each has its own.
pub(super) trait WriteRow: Serialize {
    /// `$1`, `$2` and so on.
    fn values(&self) -> Vec<&dyn ToSql>;
}

/// The name of a column, or its place.
pub(super) trait Column: ColumnIndex<SqliteRow> + ColumnIndex<PgRow> {
    /// The value that it has in a row of a file.
    fn of_file<'r, T: FileField<'r>>(&self, row: &'r FileRow) -> Result<T, sqlx::Error>;
}

impl Column for &str {
    fn of_file<'r, T: FileField<'r>>(&self, row: &'r FileRow) -> Result<T, sqlx::Error> {
        row.named(self)
    }
}

impl Column for usize {
    fn of_file<'r, T: FileField<'r>>(&self, row: &'r FileRow) -> Result<T, sqlx::Error> {
        row.at(*self)
    }
}

/// Rows read within one look at the database: what others change meanwhile is in all of them or in none.
pub(super) struct Snapshot {
    reading: Reading,
    health: Arc<Health>,
}

enum Reading {
    Sqlite(FileReading),
    Postgres(Borrowed),
}

/// A transaction that reads a file, on a connection out of its pool. That goes back only after a good end: of one that
/// SQLite has given up by itself nobody knows whether it still shows the past, and keeps the log from being reset.
struct FileReading {
    connection: PoolConnection<Sqlite>,
    is_over: bool,
}

impl Drop for FileReading {
    fn drop(&mut self) {
        if !self.is_over {
            self.connection.close_on_drop();
        }
    }
}

/// A connection to a server, out of its pool. It goes back only if it is known to be well: one on which something was
/// broken off, or took too long, is closed.
pub(super) struct Borrowed {
    connection: PoolConnection<Postgres>,
    is_well: bool,
}

impl Borrowed {
    async fn from(pool: &PgPool) -> Result<Self, sqlx::Error> {
        Ok(Self { connection: pool.acquire().await?, is_well: true })
    }

    /// The connection, for one statement. Should that be dropped in the middle, it is closed.
    fn at_work(&mut self) -> &mut PgConnection {
        self.is_well = false;
        &mut self.connection
    }

    /// What came of the statement, within its deadline or not.
    fn judge<T>(&mut self, done: Result<Result<T, sqlx::Error>, Elapsed>) -> Result<T, sqlx::Error> {
        let done = done.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        self.is_well = match &done {
            Ok(_) => true,
            Err(error) => matches!(error, sqlx::Error::Database(_)) && !is_lost(error),
        };
        done
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if !self.is_well {
            self.connection.close_on_drop();
        }
    }
}

impl Pool {
    pub(super) fn query(&self, sql: impl Into<Sql>) -> Query<'_> {
        let (bound, health) = match self {
            Self::Sqlite(_, health) => (Bound::Sqlite(SqliteArguments::default()), health),
            Self::Postgres(_, health) => (Bound::Postgres(PgArguments::default()), health),
        };
        Query { sql: sql.into(), bound, fault: None, on: On::Pool(self), health: Some(health) }
    }

    pub(super) async fn snapshot(&self) -> Result<Snapshot, sqlx::Error> {
        let (Self::Sqlite(_, health) | Self::Postgres(_, health)) = self;
        let begun = self.begin_reading().await;
        health.note_read(begun.as_ref().err());
        Ok(Snapshot { reading: begun?, health: Arc::clone(health) })
    }

    async fn begin_reading(&self) -> Result<Reading, sqlx::Error> {
        const REPEATABLE: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        Ok(match self {
            Self::Sqlite(pool, _) => {
                let mut reading = FileReading { connection: pool.acquire().await?, is_over: false };
                sqlx::raw_sql("BEGIN").execute(&mut *reading.connection).await?;
                Reading::Sqlite(reading)
            }
            Self::Postgres(pool, _) => {
                let mut left = pool.options().get_max_connections();
                loop {
                    let mut borrowed = Borrowed::from(pool).await?;
                    let begun = timeout(READ_DEADLINE, sqlx::raw_sql(REPEATABLE).execute(borrowed.at_work()));
                    let begun = begun.await;
                    match borrowed.judge(begun) {
                        Err(error) if is_lost(&error) && left > 0 => left -= 1,
                        Err(error) => return Err(error),
                        Ok(_) => {
                            // Until it is closed: a transaction does not go back with it.
                            borrowed.is_well = false;
                            break Reading::Postgres(borrowed);
                        }
                    }
                }
            }
        })
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(pool, _) => pool.close().await,
            Self::Postgres(pool, _) => pool.close().await,
        }
    }
}

impl Snapshot {
    pub(super) fn query(&mut self, sql: impl Into<Sql>) -> Query<'_> {
        let health = Some(&*self.health);
        match &mut self.reading {
            Reading::Sqlite(file) => Query { health, ..Connection::Sqlite(&mut file.connection).query(sql) },
            Reading::Postgres(borrowed) => {
                let bound = Bound::Postgres(PgArguments::default());
                Query { sql: sql.into(), bound, fault: None, on: On::Snapshot(borrowed), health }
            }
        }
    }

    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        match self.reading {
            Reading::Sqlite(mut file) => {
                sqlx::raw_sql("ROLLBACK").execute(&mut *file.connection).await?;
                file.is_over = true;
                Ok(())
            }
            Reading::Postgres(mut borrowed) => {
                let done = timeout(READ_DEADLINE, sqlx::raw_sql("COMMIT").execute(borrowed.at_work())).await;
                borrowed.judge(done).map(drop)
            }
        }
    }
}

impl<'c> Connection<'c> {
    pub(super) fn query(self, sql: impl Into<Sql>) -> Query<'c> {
        let (bound, on) = match self {
            Self::Sqlite(connection) => (Bound::Sqlite(SqliteArguments::default()), On::Sqlite(connection)),
            Self::File(connection) => (Bound::File(Vec::new()), On::File(connection)),
            Self::Postgres(connection) => (Bound::Postgres(PgArguments::default()), On::Postgres(connection)),
        };
        Query { sql: sql.into(), bound, fault: None, on, health: None }
    }
}

/// Runs a query on what it is for.
macro_rules! run {
    ($query:expr, $method:ident, $then:expr, $wrap_sqlite:expr, $wrap_file:expr, $wrap_postgres:expr) => {{
        let Query { sql, bound, fault, on, health } = $query;
        if let Some(fault) = fault {
            return Err(fault);
        }
        let done = match (bound, on) {
            (Bound::Sqlite(bound), On::Pool(Pool::Sqlite(pool, _))) => {
                let query = sqlx::query_with(sql.sqlite, bound);
                query.$method(pool).await.map(|found| $then(found, $wrap_sqlite))
            }
            (Bound::Sqlite(bound), On::Sqlite(connection)) => {
                let query = sqlx::query_with(sql.sqlite, bound);
                query.$method(connection).await.map(|found| $then(found, $wrap_sqlite))
            }
            (Bound::File(bound), On::File(connection)) => {
                statement::$method(connection, sql.sqlite, &bound).map(|found| $then(found, $wrap_file))
            }
            // Apart, so that callers who wait take up no room for it.
            (Bound::Postgres(bound), On::Pool(Pool::Postgres(pool, _))) => {
                Box::pin(async move {
                    // A connection that was lost while it rested is found out by the statement, which is run again.
                    let mut left = pool.options().get_max_connections();
                    loop {
                        let mut borrowed = match Borrowed::from(pool).await {
                            Ok(borrowed) => borrowed,
                            Err(error) => break Err(error),
                        };
                        let query = sqlx::query_with(sql.postgres, bound.clone());
                        let done = timeout(READ_DEADLINE, query.$method(borrowed.at_work())).await;
                        match borrowed.judge(done) {
                            Err(error) if is_lost(&error) && left > 0 => left -= 1,
                            done => break done.map(|found| $then(found, $wrap_postgres)),
                        }
                    }
                })
                .await
            }
            (Bound::Postgres(bound), On::Postgres(connection)) => {
                // Whoever has the transaction has a deadline for all of it.
                let query = sqlx::query_with(sql.postgres, bound);
                let done = Box::pin(query.$method(connection)).await;
                done.map(|found| $then(found, $wrap_postgres))
            }
            (Bound::Postgres(bound), On::Snapshot(borrowed)) => {
                let query = sqlx::query_with(sql.postgres, bound);
                let done = Box::pin(timeout(READ_DEADLINE, query.$method(borrowed.at_work()))).await;
                let done = borrowed.judge(done);
                // The transaction goes on.
                borrowed.is_well = false;
                done.map(|found| $then(found, $wrap_postgres))
            }
            _ => unreachable!("a query is bound for what it runs on"),
        };
        if let Some(health) = health {
            health.note_read(done.as_ref().err());
        }
        done
    }};
}

impl Query<'_> {
    pub(super) fn bind<'t, T>(mut self, value: T) -> Self
    where
        T: Encode<'t, Sqlite> + Type<Sqlite> + ToSql + Encode<'t, Postgres> + Type<Postgres>,
    {
        let bound = match &mut self.bound {
            Bound::Sqlite(bound) => bound.add(value).map_err(sqlx::Error::Encode),
            Bound::File(bound) => statement::value(&value).map(|value| bound.push(value)),
            Bound::Postgres(bound) => bound.add(value).map_err(sqlx::Error::Encode),
        };
        if let Err(error) = bound {
            self.fault = Some(error);
        }
        self
    }

    pub(super) async fn fetch_all(self) -> Result<Vec<Row>, sqlx::Error> {
        fn all<R>(rows: Vec<R>, wrap: fn(R) -> Row) -> Vec<Row> {
            rows.into_iter().map(wrap).collect()
        }
        run!(self, fetch_all, all, Row::Sqlite, Row::File, Row::Postgres)
    }

    pub(super) async fn fetch_optional(self) -> Result<Option<Row>, sqlx::Error> {
        fn any<R>(row: Option<R>, wrap: fn(R) -> Row) -> Option<Row> {
            row.map(wrap)
        }
        run!(self, fetch_optional, any, Row::Sqlite, Row::File, Row::Postgres)
    }

    pub(super) async fn fetch_one(self) -> Result<Row, sqlx::Error> {
        fn one<R>(row: R, wrap: fn(R) -> Row) -> Row {
            wrap(row)
        }
        run!(self, fetch_one, one, Row::Sqlite, Row::File, Row::Postgres)
    }

    /// How many rows it changed.
    pub(super) async fn execute(self) -> Result<u64, sqlx::Error> {
        fn count<D>(done: D, rows: impl FnOnce(D) -> u64) -> u64 {
            rows(done)
        }
        run!(
            self,
            execute,
            count,
            |done: sqlx::sqlite::SqliteQueryResult| done.rows_affected(),
            |done: u64| done,
            |done: sqlx::postgres::PgQueryResult| done.rows_affected()
        )
    }
}

impl Row {
    /// The value of a column, by its name or its place.
    pub(super) fn try_get<'r, T, I>(&'r self, column: I) -> Result<T, sqlx::Error>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite> + FileField<'r> + Decode<'r, Postgres> + Type<Postgres>,
        I: Column,
    {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::File(row) => column.of_file(row),
            Self::Postgres(row) => row.try_get(column),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::model::Timestamp;
    use crate::store::Store;

    const KEPT: &str = "SELECT value FROM memory WHERE name = 'kept'";

    /// Whoever waited may have gone, or the disk may have failed: the next reader sees what there is.
    #[tokio::test]
    async fn a_look_that_was_broken_off_shows_nobody_the_past() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("test.db"), Timestamp::now()).await.unwrap();
        // There is one connection.
        let mut snapshot = store.own_reader.snapshot().await.unwrap();
        assert!(snapshot.query(KEPT).fetch_optional().await.unwrap().is_none());
        drop(snapshot);
        store.execute("INSERT INTO memory (name, value) VALUES ('kept', 'yes')").await;
        assert!(store.own_reader.query(KEPT).fetch_optional().await.unwrap().is_some());
        let mut snapshot = store.own_reader.snapshot().await.unwrap();
        assert!(snapshot.query(KEPT).fetch_optional().await.unwrap().is_some());
        snapshot.close().await.unwrap();
        store.close().await;
    }
}
