//! The two databases behind one door. A statement that both understand is written once; where they differ, both
//! forms stand side by side, and what is bound to them is the same.

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query as Prepared;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{
    ColumnIndex, Decode, Encode, PgConnection, PgPool, Postgres, Row as _, Sqlite, SqliteConnection,
    SqlitePool, Type,
};

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
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// One connection, in whoever's hands.
pub(super) enum Connection<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
}

/// What a statement runs on.
enum On<'c> {
    Pool(&'c Pool),
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
}

/// A statement, with what is bound to it, where it will run.
pub(super) struct Query<'c> {
    prepared: Either<Prepared<'static, Sqlite, SqliteArguments>, Prepared<'static, Postgres, PgArguments>>,
    on: On<'c>,
}

enum Either<S, P> {
    Sqlite(S),
    Postgres(P),
}

/// A row that was found.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// Rows read within one look at the database: what others change meanwhile is in all of them or in none.
pub(super) enum Snapshot {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

impl Pool {
    pub(super) fn query(&self, sql: impl Into<Sql>) -> Query<'_> {
        let sql = sql.into();
        let prepared = match self {
            Self::Sqlite(_) => Either::Sqlite(sqlx::query(sql.sqlite)),
            Self::Postgres(_) => Either::Postgres(sqlx::query(sql.postgres)),
        };
        Query { prepared, on: On::Pool(self) }
    }

    pub(super) async fn snapshot(&self) -> Result<Snapshot, sqlx::Error> {
        const REPEATABLE: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        Ok(match self {
            Self::Sqlite(pool) => Snapshot::Sqlite(pool.begin().await?),
            Self::Postgres(pool) => Snapshot::Postgres(pool.begin_with(REPEATABLE).await?),
        })
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

impl Snapshot {
    pub(super) fn query(&mut self, sql: impl Into<Sql>) -> Query<'_> {
        match self {
            Self::Sqlite(tx) => Connection::Sqlite(tx).query(sql),
            Self::Postgres(tx) => Connection::Postgres(tx).query(sql),
        }
    }

    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(tx) => tx.rollback().await,
            Self::Postgres(tx) => tx.rollback().await,
        }
    }
}

impl<'c> Connection<'c> {
    pub(super) fn query(self, sql: impl Into<Sql>) -> Query<'c> {
        let sql = sql.into();
        match self {
            Self::Sqlite(connection) => {
                Query { prepared: Either::Sqlite(sqlx::query(sql.sqlite)), on: On::Sqlite(connection) }
            }
            Self::Postgres(connection) => {
                Query { prepared: Either::Postgres(sqlx::query(sql.postgres)), on: On::Postgres(connection) }
            }
        }
    }
}

/// Runs a query on what it is for.
macro_rules! run {
    ($query:expr, $method:ident, $then:expr, $wrap_sqlite:expr, $wrap_postgres:expr) => {
        match ($query.prepared, $query.on) {
            (Either::Sqlite(query), On::Pool(Pool::Sqlite(pool))) => {
                query.$method(pool).await.map(|found| $then(found, $wrap_sqlite))
            }
            (Either::Sqlite(query), On::Sqlite(connection)) => {
                query.$method(connection).await.map(|found| $then(found, $wrap_sqlite))
            }
            (Either::Postgres(query), On::Pool(Pool::Postgres(pool))) => {
                query.$method(pool).await.map(|found| $then(found, $wrap_postgres))
            }
            (Either::Postgres(query), On::Postgres(connection)) => {
                query.$method(connection).await.map(|found| $then(found, $wrap_postgres))
            }
            _ => unreachable!("a query is prepared for what it runs on"),
        }
    };
}

impl Query<'_> {
    pub(super) fn bind<'t, T>(self, value: T) -> Self
    where
        T: Encode<'t, Sqlite> + Type<Sqlite> + Encode<'t, Postgres> + Type<Postgres>,
    {
        let prepared = match self.prepared {
            Either::Sqlite(query) => Either::Sqlite(query.bind(value)),
            Either::Postgres(query) => Either::Postgres(query.bind(value)),
        };
        Self { prepared, on: self.on }
    }

    pub(super) async fn fetch_all(self) -> Result<Vec<Row>, sqlx::Error> {
        fn all<R>(rows: Vec<R>, wrap: fn(R) -> Row) -> Vec<Row> {
            rows.into_iter().map(wrap).collect()
        }
        run!(self, fetch_all, all, Row::Sqlite, Row::Postgres)
    }

    pub(super) async fn fetch_optional(self) -> Result<Option<Row>, sqlx::Error> {
        fn any<R>(row: Option<R>, wrap: fn(R) -> Row) -> Option<Row> {
            row.map(wrap)
        }
        run!(self, fetch_optional, any, Row::Sqlite, Row::Postgres)
    }

    pub(super) async fn fetch_one(self) -> Result<Row, sqlx::Error> {
        fn one<R>(row: R, wrap: fn(R) -> Row) -> Row {
            wrap(row)
        }
        run!(self, fetch_one, one, Row::Sqlite, Row::Postgres)
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
            |done: sqlx::postgres::PgQueryResult| done.rows_affected()
        )
    }
}

impl Row {
    /// The value of a column, by its name or its place.
    pub(super) fn try_get<'r, T, I>(&'r self, column: I) -> Result<T, sqlx::Error>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>,
        I: ColumnIndex<SqliteRow> + ColumnIndex<PgRow>,
    {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
    }
}
