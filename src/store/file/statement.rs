//! Statements on the connection that writes a file, and the rows that they find.
//!
//! They run on the thread that asks for them, so that each costs what SQLite does for it. A thread of its own, as the
//! readers' connections have, would cost two changes of threads a statement and one more for each row: 25 to 70 µs,
//! where the work for a row takes 3.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{CachedStatement, Connection, ToSql};
use sqlx::error::{DatabaseError, ErrorKind};

/// A row that was found.
#[derive(Clone, Debug)]
pub(in crate::store) struct FileRow {
    names: Arc<[Box<str>]>,
    values: Box<[Value]>,
}

/// What a value of a row is read as.
pub(in crate::store) trait FileField<'r>: Sized {
    /// `None` when it is of another kind.
    fn of(value: &'r Value) -> Option<Self>;
}

/// Rows that one statement inserts at most.
const MOST_AT_ONCE: usize = 64;

/// What SQLite says of a statement.
#[derive(Debug)]
struct Refusal {
    /// Its extended result code.
    code: i32,
    message: String,
}

pub(in crate::store) fn fetch_all(
    connection: &Connection,
    sql: &'static str,
    bound: &[Value],
) -> Result<Vec<FileRow>, sqlx::Error> {
    all(connection, sql, bound).map_err(told)
}

pub(in crate::store) fn fetch_optional(
    connection: &Connection,
    sql: &'static str,
    bound: &[Value],
) -> Result<Option<FileRow>, sqlx::Error> {
    Ok(fetch_all(connection, sql, bound)?.into_iter().next())
}

pub(in crate::store) fn fetch_one(
    connection: &Connection,
    sql: &'static str,
    bound: &[Value],
) -> Result<FileRow, sqlx::Error> {
    fetch_optional(connection, sql, bound)?.ok_or(sqlx::Error::RowNotFound)
}

/// How many rows it changed.
pub(in crate::store) fn execute(
    connection: &Connection,
    sql: &'static str,
    bound: &[Value],
) -> Result<u64, sqlx::Error> {
    let done = prepare(connection, sql, bound).and_then(|mut statement| statement.raw_execute());
    done.map(|rows| rows as u64).map_err(told)
}

/// Runs it once for each row of values.
pub(in crate::store) fn execute_each<'v>(
    connection: &Connection,
    sql: &'static str,
    rows: impl Iterator<Item = Vec<&'v dyn ToSql>>,
) -> Result<(), sqlx::Error> {
    each(connection, sql, rows).map_err(told)
}

fn each<'v>(
    connection: &Connection,
    sql: &str,
    rows: impl Iterator<Item = Vec<&'v dyn ToSql>>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(sql)?;
    for row in rows {
        bind(&mut statement, &row)?;
        statement.raw_execute()?;
    }
    Ok(())
}

/// Inserts rows, for which the statement has `VALUES` as its last word: 64 at once, then 32, and so on, so that few
/// statements have to be kept. What SQLite does once a statement, to number rows and to be able to undo it, is as much
/// as it does for one row.
pub(in crate::store) fn insert(
    connection: &Connection,
    sql: &'static str,
    rows: &[Vec<&dyn ToSql>],
) -> Result<(), sqlx::Error> {
    let mut left = rows;
    while !left.is_empty() {
        let count = MOST_AT_ONCE.min(1 << left.len().ilog2());
        let (now, later) = left.split_at(count);
        insert_at_once(connection, sql, now).map_err(told)?;
        left = later;
    }
    Ok(())
}

fn insert_at_once(connection: &Connection, sql: &str, rows: &[Vec<&dyn ToSql>]) -> rusqlite::Result<()> {
    let columns = rows.first().map_or(0, Vec::len);
    let row = format!("({})", vec!["?"; columns].join(", "));
    let mut statement =
        connection.prepare_cached(&format!("{sql} {}", vec![&*row; rows.len()].join(", ")))?;
    for (place, value) in rows.iter().flatten().enumerate() {
        statement.raw_bind_parameter(place + 1, value)?;
    }
    statement.raw_execute().map(drop)
}

fn all(connection: &Connection, sql: &str, bound: &[Value]) -> rusqlite::Result<Vec<FileRow>> {
    let mut statement = prepare(connection, sql, bound)?;
    let mut names: Arc<[Box<str>]> = Arc::default();
    let mut found = Vec::new();
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        // Most look-ups find nothing.
        if found.is_empty() {
            names = row.as_ref().column_names().into_iter().map(Box::from).collect();
        }
        let values = (0..names.len()).map(|place| owned(place, row.get_ref(place)?));
        found.push(FileRow { values: values.collect::<Result<_, _>>()?, names: Arc::clone(&names) });
    }
    Ok(found)
}

fn owned(place: usize, value: ValueRef<'_>) -> rusqlite::Result<Value> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Real(number),
        ValueRef::Text(text) => {
            let text = std::str::from_utf8(text).map_err(|error| rusqlite::Error::Utf8Error(place, error))?;
            Value::Text(text.to_owned())
        }
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_owned()),
    })
}

/// The statement with what is bound to it.
fn prepare<'c>(
    connection: &'c Connection,
    sql: &str,
    bound: &[Value],
) -> rusqlite::Result<CachedStatement<'c>> {
    let mut statement = connection.prepare_cached(sql)?;
    bind(&mut statement, bound)?;
    Ok(statement)
}

/// `$2` is the second value, wherever it stands.
fn bind(statement: &mut CachedStatement<'_>, values: &[impl ToSql]) -> rusqlite::Result<()> {
    for place in 1..=statement.parameter_count() {
        let number = statement.parameter_name(place).and_then(|name| name.get(1..)?.parse::<usize>().ok());
        let value = number.and_then(|number| values.get(number.checked_sub(1)?));
        let value = value.ok_or(rusqlite::Error::InvalidParameterCount(values.len(), place))?;
        statement.raw_bind_parameter(place, value)?;
    }
    Ok(())
}

/// A value to bind.
pub(in crate::store) fn value(of: &impl ToSql) -> Result<Value, sqlx::Error> {
    match of.to_sql().map_err(|error| sqlx::Error::Encode(Box::new(error)))? {
        ToSqlOutput::Owned(value) => Ok(value),
        ToSqlOutput::Borrowed(value) => owned(0, value).map_err(told),
        _ => Err(sqlx::Error::Encode("it is no text, number or bytes".into())),
    }
}

/// The same error as from a reader's connection.
pub(super) fn told(error: rusqlite::Error) -> sqlx::Error {
    let (failure, message) = match error {
        rusqlite::Error::SqliteFailure(failure, message) => (failure, message),
        error => return sqlx::Error::Protocol(error.to_string()),
    };
    let message = message.unwrap_or_else(|| failure.to_string());
    sqlx::Error::Database(Box::new(Refusal { code: failure.extended_code, message }))
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(code: {}) {}", self.code, self.message)
    }
}

impl Error for Refusal {}

impl DatabaseError for Refusal {
    fn message(&self) -> &str {
        &self.message
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(self.code.to_string().into())
    }

    fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

impl FileRow {
    pub(in crate::store) fn named<'r, T: FileField<'r>>(&'r self, name: &str) -> Result<T, sqlx::Error> {
        let place = self.names.iter().position(|found| **found == *name);
        self.at(place.ok_or_else(|| sqlx::Error::ColumnNotFound(name.to_owned()))?)
    }

    pub(in crate::store) fn at<'r, T: FileField<'r>>(&'r self, place: usize) -> Result<T, sqlx::Error> {
        let out_of_bounds = sqlx::Error::ColumnIndexOutOfBounds { index: place, len: self.values.len() };
        let value = self.values.get(place).ok_or(out_of_bounds)?;
        T::of(value).ok_or_else(|| sqlx::Error::ColumnDecode {
            index: self.names.get(place).map_or_else(String::new, ToString::to_string),
            source: format!("it is of the type {}", value.data_type()).into(),
        })
    }
}

impl FileField<'_> for i64 {
    fn of(value: &Value) -> Option<Self> {
        if let Value::Integer(number) = value { Some(*number) } else { None }
    }
}

impl FileField<'_> for bool {
    fn of(value: &Value) -> Option<Self> {
        i64::of(value).map(|number| number != 0)
    }
}

impl<'r> FileField<'r> for &'r str {
    fn of(value: &'r Value) -> Option<Self> {
        if let Value::Text(text) = value { Some(text) } else { None }
    }
}

impl FileField<'_> for String {
    fn of(value: &Value) -> Option<Self> {
        <&str>::of(value).map(str::to_owned)
    }
}

impl FileField<'_> for Vec<u8> {
    fn of(value: &Value) -> Option<Self> {
        if let Value::Blob(bytes) = value { Some(bytes.clone()) } else { None }
    }
}

impl<'r, T: FileField<'r>> FileField<'r> for Option<T> {
    fn of(value: &'r Value) -> Option<Self> {
        if matches!(value, Value::Null) { Some(None) } else { T::of(value).map(Some) }
    }
}
