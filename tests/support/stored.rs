//! The database of a service, whichever it is: asked and changed behind the service's back.

use std::path::Path;

use sha2::{Digest as _, Sha256};
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Connection as _, FromRow, PgConnection, SqliteConnection};

#[path = "database.rs"]
mod chosen;
#[path = "cluster.rs"]
pub(crate) mod cluster;
#[path = "postgres.rs"]
pub(crate) mod postgres;

pub(crate) use chosen::{is_on_postgres, on_postgres};

/// A connection beside those of the service.
pub(crate) enum Database {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// A statement, as each database has it; also several of them, where none is asked for rows.
pub(crate) struct Sql {
    sqlite: &'static str,
    postgres: &'static str,
}

impl From<&'static str> for Sql {
    fn from(both: &'static str) -> Self {
        Self { sqlite: both, postgres: both }
    }
}

/// SQLite's form, and PostgreSQL's.
impl From<(&'static str, &'static str)> for Sql {
    fn from((sqlite, postgres): (&'static str, &'static str)) -> Self {
        Self { sqlite, postgres }
    }
}

/// The URL for `database.url` of a service whose data is in this folder; `None` where it is as by default.
pub(crate) async fn url(data: &Path) -> Option<String> {
    chosen::of(data).await
}

/// The same where nothing can be awaited.
pub(crate) fn blocking_url(data: &Path) -> Option<String> {
    if !is_on_postgres(data) {
        return None;
    }
    let data = data.to_owned();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // A test's own runtime cannot wait for another within itself.
    std::thread::spawn(move || runtime().block_on(url(&data))).join().unwrap()
}

impl Database {
    /// That of the service whose data is in this folder.
    pub(crate) async fn of(data: &Path) -> Self {
        if let Some(url) = url(data).await {
            return Self::Postgres(PgConnection::connect(&url).await.unwrap());
        }
        let url = format!("sqlite://{}", data.join("pingbox.db").display());
        Self::Sqlite(SqliteConnection::connect(&url).await.unwrap())
    }

    /// Changes it in its turn among those who write.
    pub(crate) async fn execute(&mut self, sql: impl Into<Sql>) {
        let Sql { sqlite, postgres } = sql.into();
        match self {
            Self::Sqlite(connection) => drop(sqlx::raw_sql(sqlite).execute(connection).await.unwrap()),
            Self::Postgres(connection) => {
                let mut turn = connection.begin().await.unwrap();
                sqlx::raw_sql(TAKE_TURN).execute(&mut *turn).await.unwrap();
                sqlx::raw_sql(postgres).execute(&mut *turn).await.unwrap();
                turn.commit().await.unwrap();
            }
        }
    }

    /// What a query finds.
    pub(crate) async fn rows<T>(&mut self, sql: impl Into<Sql>) -> Vec<T>
    where
        T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let Sql { sqlite, postgres } = sql.into();
        match self {
            Self::Sqlite(connection) => sqlx::query_as(sqlite).fetch_all(connection).await.unwrap(),
            Self::Postgres(connection) => sqlx::query_as(postgres).fetch_all(connection).await.unwrap(),
        }
    }

    /// The number that a query finds.
    pub(crate) async fn number(&mut self, sql: impl Into<Sql>) -> i64 {
        let rows: Vec<(i64,)> = self.rows(sql).await;
        rows[0].0
    }

    /// The text that a query finds.
    pub(crate) async fn text(&mut self, sql: impl Into<Sql>) -> String {
        let rows: Vec<(String,)> = self.rows(sql).await;
        rows.into_iter().next().unwrap().0
    }

    /// Stores a token; a service on SQLite knows it from its next start on.
    pub(crate) async fn add_token(&mut self, name: &str, token: &str, scopes: &str) {
        const SQL: &str = "INSERT INTO token (name, digest, scopes, created_at) VALUES ($1, $2, $3, 0)";
        let digest = Sha256::digest(token).to_vec();
        match self {
            Self::Sqlite(connection) => {
                let query = sqlx::query(SQL).bind(name).bind(digest).bind(scopes);
                query.execute(connection).await.unwrap();
            }
            Self::Postgres(connection) => {
                let query = sqlx::query(SQL).bind(name).bind(digest).bind(scopes);
                query.execute(connection).await.unwrap();
            }
        }
    }

    /// From here on nobody else can write.
    pub(crate) async fn lock(&mut self) {
        match self {
            Self::Sqlite(connection) => {
                sqlx::raw_sql("BEGIN EXCLUSIVE").execute(connection).await.unwrap();
            }
            Self::Postgres(connection) => {
                sqlx::raw_sql("BEGIN").execute(&mut *connection).await.unwrap();
                sqlx::raw_sql(TAKE_TURN).execute(connection).await.unwrap();
            }
        }
    }

    /// Gives the turn back.
    pub(crate) async fn unlock(&mut self) {
        match self {
            Self::Sqlite(connection) => drop(sqlx::raw_sql("ROLLBACK").execute(connection).await.unwrap()),
            Self::Postgres(connection) => drop(sqlx::raw_sql("ROLLBACK").execute(connection).await.unwrap()),
        }
    }

    /// From here on a transaction that does `what` to a task for which `when` holds runs through to its
    /// `COMMIT`, and fails there.
    pub(crate) async fn spring(&mut self, what: &str, when: &str) {
        let tables = "CREATE TABLE absent (id INTEGER PRIMARY KEY);
            CREATE TABLE trap (id INTEGER REFERENCES absent (id) DEFERRABLE INITIALLY DEFERRED);";
        match self {
            Self::Sqlite(connection) => {
                let trap = format!(
                    "{tables} CREATE TRIGGER spring AFTER {what} ON task WHEN {when}
                     BEGIN INSERT INTO trap VALUES (1); END;"
                );
                sqlx::raw_sql(AssertSqlSafe(trap)).execute(connection).await.unwrap();
            }
            Self::Postgres(connection) => {
                let trap = format!(
                    "{tables} CREATE FUNCTION spring() RETURNS trigger LANGUAGE plpgsql AS $$
                         BEGIN INSERT INTO trap VALUES (1); RETURN NULL; END $$;
                     CREATE TRIGGER spring AFTER {what} ON task FOR EACH ROW WHEN ({when})
                     EXECUTE FUNCTION spring();"
                );
                sqlx::raw_sql(AssertSqlSafe(trap)).execute(connection).await.unwrap();
            }
        }
    }

    /// Commits work again.
    pub(crate) async fn unspring(&mut self) {
        self.execute(("DROP TRIGGER spring", "DROP TRIGGER spring ON task")).await;
    }

    /// Whether it is whole, as far as it can tell.
    pub(crate) async fn is_whole(&mut self) -> bool {
        match self {
            Self::Sqlite(_) => self.text("PRAGMA integrity_check").await == "ok",
            // It can be read.
            Self::Postgres(connection) => !all_rows(connection).await.is_empty(),
        }
    }
}

/// Whether the text is anywhere in the database of the service whose data is in this folder.
pub(crate) async fn holds(data: &Path, text: &str) -> bool {
    if let Database::Postgres(mut connection) = Database::of(data).await {
        return all_rows(&mut connection).await.iter().any(|row| row.contains(text));
    }
    let database = std::fs::read(data.join("pingbox.db")).unwrap();
    // It goes with its service.
    let log = std::fs::read(data.join("pingbox.db-wal")).unwrap_or_default();
    let is_in = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    is_in(&database) || is_in(&log)
}

/// Every row of every table, as JSON.
async fn all_rows(connection: &mut PgConnection) -> Vec<String> {
    const TABLES: &str =
        "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'";
    let tables: Vec<String> = sqlx::query_scalar(TABLES).fetch_all(&mut *connection).await.unwrap();
    let mut rows = Vec::new();
    for table in tables {
        let sql = format!(r#"SELECT row_to_json(found)::text FROM "{table}" AS found"#);
        let found = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut *connection).await;
        rows.extend::<Vec<String>>(found.unwrap());
    }
    rows
}

/// Waits for the turn to write, as every replica does.
const TAKE_TURN: &str = "SELECT pg_advisory_xact_lock(31641120293416824)";
