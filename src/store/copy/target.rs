//! The database that is copied to.

use sqlx::postgres::PgArguments;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, Row as _};

use super::CopyError;
use super::marker::{self, Identity, Marker};
use super::page::{Column, Key, KeyPart, Page};
use super::tables::{TABLES, Table, names};
use crate::model::Secret;
use crate::store::db::Pool;
use crate::store::server::Server;
use crate::store::{Store, StoreError, WriteTx};

/// A database that nobody else is to use until the copy is finished.
pub(super) struct Target {
    store: Store,
    reader: PgPool,
    /// Host, port and name of the database.
    place: String,
    /// What this command is known by in the marker.
    run: Secret,
}

/// What there is in a database.
enum Standing {
    Empty,
    /// A copy that was begun; `None` where a newer version did so.
    Copy(Option<Marker>),
    Used,
}

impl Target {
    /// Connects to it, and creates its tables. One that cannot be copied to is left as it is.
    pub(super) async fn open(server: &Server) -> Result<Self, CopyError> {
        let (mut first, place) = server.connect().await?;
        if matches!(standing(&mut first).await?, Standing::Used) {
            return Err(CopyError::Used(place));
        }
        drop(first);
        let store = Store::connect(server).await?;
        let Pool::Postgres(reader, _) = store.own_reader.clone() else {
            unreachable!("a server is a server");
        };
        let run = Secret::random_hex(8).map_err(|error| sqlx::Error::Protocol(error.to_string()))?;
        Ok(Self { store, reader, place, run })
    }

    /// Takes it for a copy of `source`, unless it is used by others; whether one was begun before that goes on.
    pub(super) async fn begin(&self, source: &Identity) -> Result<bool, CopyError> {
        let mut writing = self.store.writing().await;
        let mut tx = writing.begin().await?;
        let goes_on = match standing(connection(&mut tx)).await? {
            Standing::Used => return Err(CopyError::Used(self.place.clone())),
            Standing::Copy(Some(marker)) if marker.source.feed == source.feed => {
                marker.is_sound && marker.source == *source
            }
            Standing::Copy(_) => return Err(CopyError::OtherCopy(self.place.clone())),
            Standing::Empty => false,
        };
        if !goes_on {
            // Of constants. Whoever made the tables gave the feed a name of its own.
            let empty = format!("TRUNCATE {} RESTART IDENTITY", names());
            sqlx::query(AssertSqlSafe(empty)).execute(connection(&mut tx)).await?;
        }
        self.mark(&mut tx, source, true).await?;
        tx.commit().await?;
        Ok(goes_on)
    }

    pub(super) async fn count(&self, table: &Table) -> Result<u64, CopyError> {
        // Its text is made from constants.
        let row = sqlx::query(AssertSqlSafe(table.count())).fetch_one(&self.reader).await?;
        Ok(row.try_get::<i64, _>(0)?.unsigned_abs())
    }

    /// The greatest key that is there.
    pub(super) async fn last_key(&self, table: &'static Table) -> Result<Option<Key>, CopyError> {
        let mut page = Page::new(table);
        // Its text is made from constants.
        let found = sqlx::query(AssertSqlSafe(table.last())).fetch_optional(&self.reader).await?;
        if let Some(row) = found {
            page.push(&row)?;
        }
        Ok(page.last_key())
    }

    /// Stores rows, all or none, as they are: what triggers would write beside them is copied too.
    pub(super) async fn write(&self, table: &Table, page: Page) -> Result<(), CopyError> {
        let mut writing = self.store.writing().await;
        let mut tx = writing.begin().await?;
        self.claim(&mut tx).await?;
        // Its text is made from constants.
        let insert = sqlx::query(AssertSqlSafe(table.insert()));
        let insert = page.columns.into_iter().fold(insert, |insert, column| match column {
            Column::Numbers(numbers) => insert.bind(numbers),
            Column::Texts(texts) => insert.bind(texts),
            Column::Bytes(contents) => insert.bind(contents),
        });
        insert.execute(connection(&mut tx)).await?;
        Ok(tx.commit().await?)
    }

    /// Has numbers go on where the source's end: of rows, of events, and so of cursors.
    pub(super) async fn number(&self, source: &Identity) -> Result<(), CopyError> {
        const ROWS: &str = "SELECT setval(pg_get_serial_sequence($1, 'id')::regclass, $2)";
        // Retention deletes from the beginning, without holes.
        const EVENTS: &str =
            "UPDATE feed SET deleted_through = COALESCE((SELECT MIN(id) - 1 FROM event), $1)";
        let mut writing = self.store.writing().await;
        let mut tx = writing.begin().await?;
        self.claim(&mut tx).await?;
        for (table, last) in &source.sequences {
            if *last > 0 && TABLES.iter().any(|known| known.name == *table) {
                sqlx::query(ROWS).bind(table).bind(last).execute(connection(&mut tx)).await?;
            }
        }
        let newest = source.sequences.get("event").copied().unwrap_or(0);
        sqlx::query(EVENTS).bind(newest).execute(connection(&mut tx)).await?;
        tx.commit().await?;
        drop(writing);
        // Of constants.
        let analyze = format!("ANALYZE {}", names());
        sqlx::query(AssertSqlSafe(analyze)).execute(&self.reader).await?;
        Ok(())
    }

    /// The rows behind a key, up to another; at most so many.
    pub(super) async fn range(
        &self,
        table: &'static Table,
        after: Option<&Key>,
        through: &Key,
        limit: u32,
    ) -> Result<Page, CopyError> {
        // Its text is made from constants.
        let query = sqlx::query(AssertSqlSafe(table.range(after.is_none())));
        let query = through.iter().chain(after.into_iter().flatten()).fold(query, bind);
        let mut page = Page::new(table);
        for row in query.bind(i64::from(limit)).fetch_all(&self.reader).await? {
            page.push(&row)?;
        }
        Ok(page)
    }

    /// Whether there are rows behind a key.
    pub(super) async fn has_more(&self, table: &Table, after: Option<&Key>) -> Result<bool, CopyError> {
        // Its text is made from constants.
        let query = sqlx::query(AssertSqlSafe(table.page(after.is_none())));
        let query = after.into_iter().flatten().fold(query, bind).bind(1_i64);
        Ok(query.fetch_optional(&self.reader).await?.is_some())
    }

    /// Remembers that it is to be begun anew.
    pub(super) async fn condemn(&self, source: &Identity) -> Result<(), CopyError> {
        let mut writing = self.store.writing().await;
        let mut tx = writing.begin().await?;
        self.claim(&mut tx).await?;
        self.mark(&mut tx, source, false).await?;
        Ok(tx.commit().await?)
    }

    /// Lets servers use it.
    pub(super) async fn finish(&self) -> Result<(), CopyError> {
        let mut writing = self.store.writing().await;
        let mut tx = writing.begin().await?;
        self.claim(&mut tx).await?;
        let forget = sqlx::query("DELETE FROM memory WHERE name = $1").bind(marker::NAME);
        forget.execute(connection(&mut tx)).await?;
        Ok(tx.commit().await?)
    }

    pub(super) async fn close(&self) {
        self.store.close().await;
    }

    /// Makes sure that the copy is still this command's, and has triggers do nothing in this transaction.
    async fn claim(&self, tx: &mut WriteTx<'_>) -> Result<(), CopyError> {
        const SQL: &str =
            "SELECT set_config('pingbox.copying', 'on', true), (SELECT value FROM memory WHERE name = $1)";
        let row = sqlx::query(SQL).bind(marker::NAME).fetch_one(connection(tx)).await?;
        let marker: Option<String> = row.try_get(1)?;
        let marker = marker.and_then(|text| serde_json::from_str::<Marker>(&text).ok());
        match marker {
            Some(marker) if marker.run == self.run.expose() => Ok(()),
            _ => Err(CopyError::Overtaken),
        }
    }

    async fn mark(&self, tx: &mut WriteTx<'_>, source: &Identity, is_sound: bool) -> Result<(), CopyError> {
        let marker = Marker { source: source.clone(), run: self.run.expose().to_owned(), is_sound };
        let text = serde_json::to_string(&marker).expect("texts and numbers are JSON");
        Ok(tx.remember(marker::NAME, &text).await?)
    }
}

type Query<'q> = sqlx::query::Query<'q, Postgres, PgArguments>;

fn bind<'q>(query: Query<'q>, part: &'q KeyPart) -> Query<'q> {
    match part {
        KeyPart::Number(number) => query.bind(*number),
        KeyPart::Text(text) => query.bind(text.as_str()),
    }
}

fn connection<'t>(tx: &'t mut WriteTx<'_>) -> &'t mut PgConnection {
    tx.server().expect("the target is a server")
}

/// What there is in the database. Its tables may be those of an older version, or not be there yet.
async fn standing(connection: &mut PgConnection) -> Result<Standing, StoreError> {
    const TABLES_THERE: &str =
        "SELECT name FROM UNNEST($1::text[]) AS name WHERE to_regclass(quote_ident(name)) IS NOT NULL";
    const MARKER: &str = "SELECT value FROM memory WHERE name = $1";
    // The name of its feed is made with the tables.
    const REMEMBERS: &str = "SELECT EXISTS (SELECT FROM memory WHERE name <> 'feed')";
    let known: Vec<_> = TABLES.iter().map(|table| table.name).collect();
    let there = sqlx::query(TABLES_THERE).bind(known).fetch_all(&mut *connection).await?;
    let there: Vec<String> = there.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    if there.iter().any(|table| table == "memory") {
        let marker = sqlx::query(MARKER).bind(marker::NAME).fetch_optional(&mut *connection).await?;
        if let Some(row) = marker {
            return Ok(Standing::Copy(serde_json::from_str(row.try_get(0)?).ok()));
        }
        if sqlx::query(REMEMBERS).fetch_one(&mut *connection).await?.try_get(0)? {
            return Ok(Standing::Used);
        }
    }
    for table in there.iter().filter(|table| *table != "memory") {
        // One of our own names.
        let has_rows = AssertSqlSafe(format!("SELECT EXISTS (SELECT FROM \"{table}\")"));
        if sqlx::query(has_rows).fetch_one(&mut *connection).await?.try_get(0)? {
            return Ok(Standing::Used);
        }
    }
    Ok(Standing::Empty)
}
