//! Moves a deployment from a SQLite file to a PostgreSQL server: copies all rows, in batches that each count by
//! themselves, and then reads both and compares them. What was broken off goes on where it was.

mod marker;
mod page;
mod source;
mod tables;
mod target;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use self::marker::Identity;
use self::source::Source;
use self::tables::{TABLES, Table};
use self::target::Target;
use super::StoreError;
use super::file::FileError;
use super::server::{Server, ServerError};
use crate::model::{Timestamp, hex};

/// A deployment on its way.
pub(crate) struct Copy {
    source: Source,
    target: Target,
    identity: Identity,
    limits: Limits,
}

/// How much travels at once: what comes first.
#[derive(Clone, Copy, Debug)]
struct Limits {
    rows: u32,
    bytes: usize,
}

impl Limits {
    const STANDARD: Self = Self { rows: 2000, bytes: 4 * 1024 * 1024 };
}

/// What a copy is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// All rows are copied: so many, of which so many are there from before.
    Copying { rows: u64, done: u64 },
    /// All rows are compared: so many.
    Comparing { rows: u64 },
    /// So many rows of this table were copied or compared.
    Rows { table: &'static str, rows: u64 },
    /// This table is done. It has so many rows.
    Table { table: &'static str, rows: u64 },
}

/// A table that is the same in both databases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct CopiedTable {
    pub(crate) table: &'static str,
    pub(crate) rows: u64,
    /// Of all rows, in the order of their keys.
    pub(crate) sha256: String,
}

/// What was copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Copied {
    pub(crate) tables: Vec<CopiedTable>,
    pub(crate) rows: u64,
    /// Texts in which NUL characters, which PostgreSQL does not take, are replaced.
    pub(crate) texts_with_nul: u64,
    /// Whether it went on with a copy that was begun before.
    pub(crate) resumed: bool,
}

/// Why there is no finished copy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    #[error("there is no database {}: name the file of the deployment with --from", .0.display())]
    Missing(PathBuf),
    #[error("{} is no database of pingbox: name the file of the deployment with --from", .0.display())]
    Foreign(PathBuf),
    #[error("a pingbox uses the database {}: stop it first, so that nothing changes while it is copied", .0.display())]
    InUse(PathBuf),
    #[error(transparent)]
    File(FileError),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the database at {0} is used already: name one that is empty, and that no pingbox has served")]
    Used(String),
    #[error(
        "the database at {0} holds an unfinished copy of another file: finish that, or drop the database and create it anew"
    )]
    OtherCopy(String),
    #[error("the table {0} has a key with a NUL character, which PostgreSQL does not take")]
    NulInKey(&'static str),
    #[error(
        "rows {first} to {last} of the table {table} are not the same in both databases, so something else has \
         written to one of them: find out what, then run the same command again, which copies all of it anew"
    )]
    Differs { table: &'static str, first: u64, last: u64 },
    #[error("another `pingbox copy` to the same database has taken over")]
    Overtaken,
    #[error("stopped: what is copied so far stays, and the same command goes on from there")]
    Stopped,
}

impl From<FileError> for CopyError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::InUse(path) => Self::InUse(path),
            error => Self::File(error),
        }
    }
}

impl From<sqlx::Error> for CopyError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Copy {
    /// Opens the file, which nobody may be using, and the database, which is to be empty or an unfinished copy of the
    /// file. The file is brought up to date as at a start of the server.
    pub(crate) async fn open(from: &Path, to: &Server, now: Timestamp) -> Result<Self, CopyError> {
        let source = Source::open(from, now).await?;
        let identity = source.identity().await?;
        let target = Target::open(to).await?;
        Ok(Self { source, target, identity, limits: Limits::STANDARD })
    }

    /// Copies what is not there yet, and compares everything. Then servers may use the database; until then they
    /// refuse it. It ends early between two batches when it is told to `stop`.
    pub(crate) async fn run(
        &self,
        stop: &CancellationToken,
        told: &mut (dyn FnMut(Step) + Send),
    ) -> Result<Copied, CopyError> {
        let resumed = self.target.begin(&self.identity).await?;
        let (mut rows, mut done) = (0, 0);
        for table in TABLES {
            rows += self.source.count(table).await?;
            done += if resumed { self.target.count(table).await? } else { 0 };
        }
        told(Step::Copying { rows, done });
        for table in TABLES {
            self.copy_table(table, stop, told).await?;
        }
        self.target.number(&self.identity).await?;
        told(Step::Comparing { rows });
        let mut copied = Copied { tables: Vec::new(), rows: 0, texts_with_nul: 0, resumed };
        for table in TABLES {
            let compared = self.compare_table(table, stop, told).await;
            if matches!(compared, Err(CopyError::Differs { .. })) {
                self.target.condemn(&self.identity).await?;
            }
            let (table, texts_with_nul) = compared?;
            copied.rows += table.rows;
            copied.texts_with_nul += texts_with_nul;
            copied.tables.push(table);
        }
        self.target.finish().await?;
        Ok(copied)
    }

    /// Closes both databases.
    pub(crate) async fn close(self) {
        self.target.close().await;
        self.source.close().await;
    }

    async fn copy_table(
        &self,
        table: &'static Table,
        stop: &CancellationToken,
        told: &mut (dyn FnMut(Step) + Send),
    ) -> Result<(), CopyError> {
        let after = self.target.last_key(table).await?;
        let mut page = self.source.page(table, after.as_ref(), self.limits).await?;
        while let Some(last) = page.last_key() {
            check(stop)?;
            let rows = u64::from(page.rows);
            let writing = self.target.write(table, page);
            let reading = self.source.page(table, Some(&last), self.limits);
            let (written, next) = tokio::join!(writing, reading);
            written?;
            told(Step::Rows { table: table.name, rows });
            page = next?;
        }
        told(Step::Table { table: table.name, rows: self.target.count(table).await? });
        Ok(())
    }

    /// The table as it is in both databases, and how many texts with NUL there are in the file.
    async fn compare_table(
        &self,
        table: &'static Table,
        stop: &CancellationToken,
        told: &mut (dyn FnMut(Step) + Send),
    ) -> Result<(CopiedTable, u64), CopyError> {
        let (mut digest, mut compared, mut texts_with_nul) = (Sha256::new(), 0, 0);
        let mut after = None;
        let mut page = self.source.page(table, None, self.limits).await?;
        while let Some(through) = page.last_key() {
            check(stop)?;
            let rows = u64::from(page.rows);
            // One more shows that there are too many.
            let copy = self.target.range(table, after.as_ref(), &through, page.rows + 1);
            let reading = self.source.page(table, Some(&through), self.limits);
            let (copy, next) = tokio::join!(copy, reading);
            let bytes = page.encode();
            if copy?.encode() != bytes {
                let (first, last) = (compared + 1, compared + rows);
                return Err(CopyError::Differs { table: table.name, first, last });
            }
            digest.update(&bytes);
            compared += rows;
            texts_with_nul += page.replaced;
            told(Step::Rows { table: table.name, rows });
            after = Some(through);
            page = next?;
        }
        if self.target.has_more(table, after.as_ref()).await? {
            let first = compared + 1;
            return Err(CopyError::Differs { table: table.name, first, last: first });
        }
        told(Step::Table { table: table.name, rows: compared });
        let sha256 = hex(&digest.finalize());
        Ok((CopiedTable { table: table.name, rows: compared, sha256 }, texts_with_nul))
    }
}

fn check(stop: &CancellationToken) -> Result<(), CopyError> {
    if stop.is_cancelled() { Err(CopyError::Stopped) } else { Ok(()) }
}
