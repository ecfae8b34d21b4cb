//! The file that is copied.

use std::path::Path;

use futures_util::TryStreamExt as _;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, Sqlite, SqlitePool};

use super::marker::Identity;
use super::page::{Key, KeyPart, Page};
use super::tables::Table;
use super::{CopyError, Limits};
use crate::model::Timestamp;
use crate::store::Store;
use crate::store::db::Pool;

/// A file of ours that nobody uses as long as this lives.
pub(super) struct Source {
    store: Store,
    /// One connection, which reads.
    reader: SqlitePool,
}

impl Source {
    /// Opens it as the server does: it is locked, brought up to date, and what was being sent at the last end is
    /// unconfirmed. Nothing else is written to it.
    pub(super) async fn open(path: &Path, now: Timestamp) -> Result<Self, CopyError> {
        check(path).await?;
        let store = Store::open(path, now).await?;
        let Pool::Sqlite(reader, _) = store.own_reader.clone() else {
            unreachable!("a file is a file");
        };
        Ok(Self { store, reader })
    }

    pub(super) async fn identity(&self) -> Result<Identity, CopyError> {
        let feed = self.store.recall("feed").await?.unwrap_or_default();
        let schema = sqlx::query("SELECT MAX(version) FROM _sqlx_migrations");
        let schema = schema.fetch_one(&self.reader).await?.try_get(0)?;
        let sequences = sqlx::query("SELECT name, seq FROM sqlite_sequence").fetch_all(&self.reader).await?;
        let sequences = sequences.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
        Ok(Identity { feed, schema, sequences: sequences.collect::<Result<_, sqlx::Error>>()? })
    }

    pub(super) async fn count(&self, table: &Table) -> Result<u64, CopyError> {
        // Its text is made from constants.
        let row = sqlx::query(AssertSqlSafe(table.count())).fetch_one(&self.reader).await?;
        Ok(row.try_get::<i64, _>(0)?.unsigned_abs())
    }

    /// The next rows behind a key: so many, or so large, as the limits say; none at the end.
    pub(super) async fn page(
        &self,
        table: &'static Table,
        after: Option<&Key>,
        limits: Limits,
    ) -> Result<Page, CopyError> {
        // Its text is made from constants.
        let query = sqlx::query(AssertSqlSafe(table.page(after.is_none())));
        let query = after.into_iter().flatten().fold(query, bind).bind(i64::from(limits.rows));
        let mut page = Page::new(table);
        let mut rows = query.fetch(&self.reader);
        while page.size < limits.bytes
            && let Some(row) = rows.try_next().await?
        {
            page.push(&row)?;
        }
        Ok(page)
    }

    pub(super) async fn close(&self) {
        self.store.close().await;
    }
}

type Query<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

fn bind<'q>(query: Query<'q>, part: &'q KeyPart) -> Query<'q> {
    match part {
        KeyPart::Number(number) => query.bind(*number),
        KeyPart::Text(text) => query.bind(text.as_str()),
    }
}

/// Refuses what no server has ever opened: opening makes files, and tables in them.
async fn check(path: &Path) -> Result<(), CopyError> {
    const SQL: &str =
        "SELECT COUNT(*) FROM sqlite_schema WHERE name IN ('_sqlx_migrations', 'memory', 'task')";
    if !tokio::fs::try_exists(path).await.unwrap_or(true) {
        return Err(CopyError::Missing(path.to_owned()));
    }
    let foreign = || CopyError::Foreign(path.to_owned());
    let mut file = SqliteConnectOptions::new().filename(path).read_only(true).connect().await?;
    let row = sqlx::query(SQL).fetch_one(&mut file).await.map_err(|_| foreign())?;
    let found: i64 = row.try_get(0)?;
    file.close().await?;
    if found == 3 { Ok(()) } else { Err(foreign()) }
}
