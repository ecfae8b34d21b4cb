//! What a database holds, counted: by this a copy is known to be whole.

use sqlx::{Connection as _, Row as _, SqliteConnection};

use super::schema;

/// The tables that are counted, tasks first. Their numbers are never used again.
const TABLES: [&str; 4] = ["task", "pingback", "event", "delivery"];

/// A database at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tally {
    /// The last migration.
    pub(super) schema: i64,
    feed: String,
    tables: [Counted; 4],
}

/// One table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    rows: i64,
    /// The last number that was given to a row.
    last: i64,
    /// How many rows have a number that was given already at an earlier moment. Of these there can only get fewer.
    earlier: i64,
}

impl Tally {
    /// Counts within one moment; `earlier` is one before it.
    pub(super) async fn of(
        database: &mut SqliteConnection,
        earlier: Option<&Self>,
    ) -> Result<Self, sqlx::Error> {
        const COUNTS: [&str; 4] = [
            "SELECT COUNT(*), COUNT(*) FILTER (WHERE id <= $1) FROM task",
            "SELECT COUNT(*), COUNT(*) FILTER (WHERE id <= $1) FROM pingback",
            "SELECT COUNT(*), COUNT(*) FILTER (WHERE id <= $1) FROM event",
            "SELECT COUNT(*), COUNT(*) FILTER (WHERE id <= $1) FROM delivery",
        ];
        const LAST: &str = "SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = $1";
        const FEED: &str = "SELECT value FROM memory WHERE name = 'feed'";
        let mut moment = database.begin().await?;
        let schema = schema(&mut moment).await?;
        let feed = sqlx::query(FEED).fetch_optional(&mut *moment).await?;
        let feed = feed.map(|row| row.try_get(0)).transpose()?.unwrap_or_default();
        let mut tables = [Counted::default(); 4];
        for (index, table) in TABLES.into_iter().enumerate() {
            let last = sqlx::query(LAST).bind(table).fetch_one(&mut *moment).await?.try_get(0)?;
            let before = earlier.map_or(i64::MAX, |earlier| earlier.tables[index].last);
            let row = sqlx::query(COUNTS[index]).bind(before).fetch_one(&mut *moment).await?;
            tables[index] = Counted { rows: row.try_get(0)?, last, earlier: row.try_get(1)? };
        }
        moment.rollback().await?;
        Ok(Self { schema, feed, tables })
    }

    /// The same as before the next task was given a number so far ahead.
    pub(super) fn take_back_numbers(&mut self, ahead: i64) {
        self.tables[0].last -= ahead;
    }

    pub(super) fn rows(&self) -> [u64; 4] {
        self.tables.map(|table| table.rows.unsigned_abs())
    }

    /// In what a copy that was made between two moments differs from all that it may be; `None` if it is whole. While
    /// nothing is deleted meanwhile, it has exactly the rows of the first moment, and some of those that came later.
    pub(super) fn difference(&self, before: &Self, after: &Self) -> Option<String> {
        if self.schema < before.schema || self.schema > after.schema {
            return Some(format!("its schema is {}, not {}", self.schema, before.schema));
        }
        if !self.feed.is_empty() && (self.feed == before.feed || self.feed == after.feed) {
            return Some("its feed has the name of the original's".to_owned());
        }
        (0..TABLES.len()).find_map(|index| {
            let (copy, before, after) = (self.tables[index], before.tables[index], after.tables[index]);
            let is_whole = (after.earlier..=before.rows).contains(&copy.earlier)
                && (before.last..=after.last).contains(&copy.last)
                && copy.rows - copy.earlier <= copy.last - before.last;
            (!is_whole).then(|| {
                format!(
                    "of {} rows of the table {} it has {}, and the last has number {}, not {} to {}",
                    before.rows, TABLES[index], copy.earlier, copy.last, before.last, after.last
                )
            })
        })
    }
}

#[cfg(test)]
impl Tally {
    pub(super) fn set_feed(&mut self, feed: &str) {
        feed.clone_into(&mut self.feed);
    }
}
