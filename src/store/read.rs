//! The read side: what callers ask for, from the pool of readers.

use std::collections::HashMap;

use super::db::{Pool, Sql, sql};
use super::rows::{self, task_columns};
use super::write::json;
use super::{Store, StoreError};
use crate::model::{Captcha, CaptchaFile, CaptchaType, Status, Task, TaskId, Timestamp, TokenId, Via};
use bytes::Bytes;

/// How many tasks one page looks at: a filter that few tasks pass must not hold a reader for long.
pub(crate) const MAX_SCAN: i64 = 100_000;
/// Solved tasks that percentiles are taken from.
const MAX_TIMES: i64 = 10_000;

/// Which tasks to list.
#[derive(Clone, Debug, Default)]
pub(crate) struct TaskFilter {
    /// Only those of this owner; `None` lists everybody's.
    pub(crate) owner: Option<TokenId>,
    /// Only those with this status.
    pub(crate) status: Option<Status>,
    /// Only those of this type.
    pub(crate) kind: Option<CaptchaType>,
    /// Only those with exactly this tag.
    pub(crate) tag: Option<String>,
    /// Only those older than this one: where the previous page ended.
    pub(crate) before: Option<TaskId>,
    /// At most this many.
    pub(crate) limit: u32,
}

impl TaskFilter {
    /// Whether more is asked for than to be of a tag.
    fn is_narrow(&self) -> bool {
        self.owner.is_some() || self.status.is_some() || self.kind.is_some()
    }
}

/// How many tasks have these in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) kind: CaptchaType,
    pub(crate) status: Status,
    pub(crate) via: Option<Via>,
    pub(crate) tasks: u64,
}

/// A page of tasks, newest first.
#[derive(Clone, Debug)]
pub(crate) struct TaskPage {
    /// The tasks.
    pub(crate) tasks: Vec<Task>,
    /// Where the next page goes on; `None` on the last. A page with a next one may be short, or empty.
    pub(crate) next: Option<TaskId>,
}

async fn tasks(pool: &Pool, ids: &[TaskId]) -> Result<Vec<Task>, StoreError> {
    const SQL: Sql = sql!("SELECT ", task_columns!(), " FROM task WHERE id", among_numbers 1);
    let keys = json(ids.iter().map(|id| id.number()));
    let found = pool.query(SQL).bind(keys).fetch_all().await?;
    Ok(found.iter().map(rows::task).collect::<Result<_, _>>()?)
}

async fn captcha(pool: &Pool, id: TaskId) -> Result<Option<Captcha>, StoreError> {
    const TASK: &str = "SELECT type, params FROM task WHERE id = $1";
    const FILES: &str = "SELECT field, content FROM task_file WHERE task_id = $1 ORDER BY position";
    let Some(row) = pool.query(TASK).bind(id.number()).fetch_optional().await? else {
        return Ok(None);
    };
    let kind = rows::parsed(&row, "type")?;
    let params = serde_json::from_str(row.try_get("params")?)
        .map_err(|error| sqlx::Error::ColumnDecode { index: "params".to_owned(), source: error.into() })?;
    let files = pool.query(FILES).bind(id.number()).fetch_all().await?;
    let files = files.iter().map(|row| {
        let content = Bytes::from(row.try_get::<Vec<u8>, _>("content")?);
        Ok::<_, sqlx::Error>(CaptchaFile { field: row.try_get("field")?, content })
    });
    Ok(Some(Captcha { kind, params, files: files.collect::<Result<_, _>>()? }))
}

impl Store {
    /// The tasks with these ids, in no order; ids that name none are left out.
    pub(crate) async fn tasks(&self, ids: &[TaskId]) -> Result<Vec<Task>, StoreError> {
        tasks(&self.reader, ids).await
    }

    /// The same for pingbox itself.
    pub(crate) async fn own_tasks(&self, ids: &[TaskId]) -> Result<Vec<Task>, StoreError> {
        tasks(&self.own_reader, ids).await
    }

    /// A page of the tasks that pass the filter.
    pub(crate) async fn list_tasks(&self, filter: &TaskFilter) -> Result<TaskPage, StoreError> {
        /// `$tag` is a statement of its own because only so its index is used.
        macro_rules! page {
            ($tag:literal) => {
                concat!(
                    "SELECT ",
                    task_columns!(),
                    " FROM task
                      WHERE ($1 IS NULL OR owner = $1) AND ($2 IS NULL OR status = $2)
                        AND ($3 IS NULL OR type = $3) AND ",
                    $tag,
                    " AND id < $5 AND id >= $6 ORDER BY id DESC LIMIT $7"
                )
            };
        }
        let sql = if filter.tag.is_some() { page!("tag = $4") } else { page!("$4 IS NULL") };
        let before = match filter.before {
            Some(id) => id.number(),
            None => self.next_number().await?,
        };
        let oldest = match &filter.tag {
            // Tags have an index.
            Some(tag) if filter.is_narrow() => self.tags_scanned(tag, before).await?,
            Some(_) => 0,
            None => before.saturating_sub(MAX_SCAN),
        };
        let found = self
            .reader
            .query(sql)
            .bind(filter.owner.map(TokenId::number))
            .bind(filter.status.map(Status::as_str))
            .bind(filter.kind.map(CaptchaType::as_str))
            .bind(filter.tag.as_deref())
            .bind(before)
            .bind(oldest)
            // One more tells whether there is a next page.
            .bind(i64::from(filter.limit) + 1)
            .fetch_all()
            .await?;
        let mut tasks = found.iter().map(rows::task).collect::<Result<Vec<_>, _>>()?;
        let limit = usize::try_from(filter.limit).unwrap_or(usize::MAX);
        let more = tasks.len() > limit;
        tasks.truncate(limit);
        let next = match tasks.last() {
            Some(task) if more => Some(task.id),
            // What is older was not looked at.
            _ => TaskId::new(oldest),
        };
        Ok(TaskPage { tasks, next })
    }

    /// The oldest task with this tag that one page looks at: what stands in the index is counted, not read.
    async fn tags_scanned(&self, tag: &str, before: i64) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT id FROM task WHERE tag = $1 AND id < $2 ORDER BY id DESC LIMIT 1 OFFSET $3";
        let row = self.reader.query(SQL).bind(tag).bind(before).bind(MAX_SCAN - 1).fetch_optional().await?;
        Ok(row.map_or(Ok(0), |row| row.try_get(0))?)
    }

    /// Counts the newest tasks; with an owner, only theirs.
    pub(crate) async fn count_tasks(&self, owner: Option<TokenId>) -> Result<Vec<Counted>, StoreError> {
        const SQL: &str = "SELECT type, status, via, COUNT(*) AS tasks FROM task
            WHERE id >= $1 AND ($2 IS NULL OR owner = $2) GROUP BY type, status, via";
        let oldest = self.next_number().await? - MAX_SCAN;
        let found = self.reader.query(SQL).bind(oldest).bind(owner.map(TokenId::number));
        let found = found.fetch_all().await?;
        let counted = found.iter().map(|row| {
            Ok::<_, sqlx::Error>(Counted {
                kind: rows::parsed(row, "type")?,
                status: rows::parsed(row, "status")?,
                via: rows::via(row)?,
                tasks: row.try_get::<i64, _>("tasks")?.unsigned_abs(),
            })
        });
        Ok(counted.collect::<Result<_, _>>()?)
    }

    /// How many of the newest tasks were solved in each minute since a time, by the number of the minute since 1970;
    /// with an owner, only theirs.
    pub(crate) async fn solved_per_minute(
        &self,
        owner: Option<TokenId>,
        since: Timestamp,
    ) -> Result<Vec<(i64, u64)>, StoreError> {
        const SQL: &str = "SELECT answered_at / 60000000 AS minute, COUNT(*) AS tasks FROM task
            WHERE id >= $1 AND ($2 IS NULL OR owner = $2) AND status = 'solved' AND answered_at >= $3
            GROUP BY answered_at / 60000000";
        let oldest = self.next_number().await? - MAX_SCAN;
        let query = self.reader.query(SQL).bind(oldest).bind(owner.map(TokenId::number));
        let found = query.bind(since.as_micros()).fetch_all().await?;
        let counted = found
            .iter()
            .map(|row| Ok((row.try_get("minute")?, row.try_get::<i64, _>("tasks")?.unsigned_abs())));
        Ok(counted.collect::<Result<_, sqlx::Error>>()?)
    }

    /// How long the newest solved tasks took, in milliseconds, by type; with an owner, only theirs.
    pub(crate) async fn newest_solve_times(
        &self,
        owner: Option<TokenId>,
    ) -> Result<HashMap<CaptchaType, Vec<u64>>, StoreError> {
        const SQL: &str = "SELECT type, (answered_at - submitted_at) / 1000 AS millis FROM task
            WHERE id >= $1 AND ($2 IS NULL OR owner = $2) AND status = 'solved' AND submitted_at IS NOT NULL
            ORDER BY id DESC LIMIT $3";
        let oldest = self.next_number().await? - MAX_SCAN;
        let query = self.reader.query(SQL).bind(oldest).bind(owner.map(TokenId::number)).bind(MAX_TIMES);
        let mut times: HashMap<CaptchaType, Vec<u64>> = HashMap::new();
        for row in query.fetch_all().await? {
            let millis: i64 = row.try_get("millis")?;
            times.entry(rows::parsed(&row, "type")?).or_default().push(millis.max(0).unsigned_abs());
        }
        Ok(times)
    }

    /// The number after the newest task.
    async fn next_number(&self) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT COALESCE(MAX(id), 0) + 1 FROM task";
        Ok(self.reader.query(SQL).fetch_one().await?.try_get(0)?)
    }

    /// What `in.php` is to be sent for a task; `None` if there is no such task.
    pub(crate) async fn captcha(&self, id: TaskId) -> Result<Option<Captcha>, StoreError> {
        captcha(&self.own_reader, id).await
    }

    /// The same for who looks at it: nothing is in it once it was erased (`retention.answers`).
    pub(crate) async fn submitted_captcha(&self, task: &Task) -> Result<Option<Captcha>, StoreError> {
        captcha(&self.reader, task.id).await
    }

    /// One of its files, counted from 0, under the same terms.
    pub(crate) async fn submitted_file(&self, task: &Task, number: u32) -> Result<Option<Bytes>, StoreError> {
        const SQL: &str =
            "SELECT content FROM task_file WHERE task_id = $1 ORDER BY position LIMIT 1 OFFSET $2";
        let query = self.reader.query(SQL).bind(task.id.number()).bind(i64::from(number));
        let found = query.fetch_optional().await?;
        Ok(found.map(|row| row.try_get::<Vec<u8>, _>("content").map(Bytes::from)).transpose()?)
    }

    /// Whether any task is stored.
    pub(crate) async fn has_tasks(&self) -> Result<bool, StoreError> {
        Ok(self.reader.query("SELECT EXISTS (SELECT 1 FROM task)").fetch_one().await?.try_get(0)?)
    }
}
