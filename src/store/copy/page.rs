//! Some rows of a table, column by column, as they travel.

use sqlx::{ColumnIndex, Decode, Row, Type};

use super::CopyError;
use super::tables::{Kind, Table};

/// What a row is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyPart {
    Number(i64),
    Text(String),
}

pub(super) type Key = Vec<KeyPart>;

/// One column of several rows.
#[derive(Debug)]
pub(super) enum Column {
    Numbers(Vec<Option<i64>>),
    Texts(Vec<Option<String>>),
    Bytes(Vec<Option<Vec<u8>>>),
}

/// Rows of one table, in the order of their keys.
#[derive(Debug)]
pub(super) struct Page {
    table: &'static Table,
    pub(super) columns: Vec<Column>,
    pub(super) rows: u32,
    /// About how many bytes of text and content are in it.
    pub(super) size: usize,
    /// Texts that held NUL, which PostgreSQL's cannot: each has U+FFFD in its place.
    pub(super) replaced: u64,
}

impl Page {
    pub(super) fn new(table: &'static Table) -> Self {
        let empty = |(_, kind): &(&str, Kind)| match kind {
            Kind::Number => Column::Numbers(Vec::new()),
            Kind::Text => Column::Texts(Vec::new()),
            Kind::Bytes => Column::Bytes(Vec::new()),
        };
        Self { table, columns: table.columns.iter().map(empty).collect(), rows: 0, size: 0, replaced: 0 }
    }

    /// Adds a row that has every column of the table, in its order.
    pub(super) fn push<R: Row>(&mut self, row: &R) -> Result<(), CopyError>
    where
        usize: ColumnIndex<R>,
        i64: for<'r> Decode<'r, R::Database> + Type<R::Database>,
        String: for<'r> Decode<'r, R::Database> + Type<R::Database>,
        Vec<u8>: for<'r> Decode<'r, R::Database> + Type<R::Database>,
    {
        for (at, column) in self.columns.iter_mut().enumerate() {
            match column {
                Column::Numbers(numbers) => numbers.push(row.try_get(at)?),
                Column::Texts(texts) => {
                    let mut text: Option<String> = row.try_get(at)?;
                    if let Some(found) = &mut text {
                        self.size += found.len();
                        if found.contains('\0') {
                            if at < self.table.key {
                                return Err(CopyError::NulInKey(self.table.name));
                            }
                            *found = found.replace('\0', "\u{fffd}");
                            self.replaced += 1;
                        }
                    }
                    texts.push(text);
                }
                Column::Bytes(contents) => {
                    let content: Option<Vec<u8>> = row.try_get(at)?;
                    self.size += content.as_ref().map_or(0, Vec::len);
                    contents.push(content);
                }
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// The key of the last row; `None` without any.
    pub(super) fn last_key(&self) -> Option<Key> {
        let parts = self.columns[..self.table.key].iter().map(|column| match column {
            Column::Numbers(numbers) => numbers.last().copied().flatten().map(KeyPart::Number),
            Column::Texts(texts) => texts.last().cloned().flatten().map(KeyPart::Text),
            Column::Bytes(_) => None,
        });
        parts.collect()
    }

    /// All of it as bytes, row by row: two pages are the same when these are.
    pub(super) fn encode(&self) -> Vec<u8> {
        const NONE: u8 = 0;
        const SOME: u8 = 1;
        let rows = self.rows as usize;
        let mut bytes = Vec::with_capacity(self.size + rows * self.columns.len() * 9);
        let mut put = |value: Option<&[u8]>| match value {
            Some(value) => {
                bytes.push(SOME);
                bytes.extend_from_slice(&(value.len() as u64).to_be_bytes());
                bytes.extend_from_slice(value);
            }
            None => bytes.push(NONE),
        };
        for row in 0..rows {
            for column in &self.columns {
                match column {
                    Column::Numbers(numbers) => {
                        put(numbers[row].map(i64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice));
                    }
                    Column::Texts(texts) => put(texts[row].as_deref().map(str::as_bytes)),
                    Column::Bytes(contents) => put(contents[row].as_deref()),
                }
            }
        }
        bytes
    }
}
