//! Messages to receivers of callers, until they are delivered or given up on.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::rows::{parsed, time, time_if_any};
use super::write::json;
use super::{Store, StoreError, WriteTx};
use crate::model::{Delivery, TaskId, Timestamp, TokenId};

/// A delivery, and the URL as it is stored; empty once it is erased.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    pub(crate) delivery: Delivery,
    pub(crate) url: String,
}

/// The columns that [`due`] reads.
macro_rules! delivery_columns {
    () => {
        "id, type, task_id, event_id, webhook_id, owner, url, receiver, status, attempts, last_status, last_error, \
         created_at, started_at, planned_at, due_at, ended_at"
    };
}

/// Goes through the receivers, and who has deliveries for each, by the index, and reads only a few rows of each.
macro_rules! due_sql {
    () => {
        concat!(
            "WITH RECURSIVE target (host, caller) AS (
                SELECT * FROM (
                    SELECT receiver, owner FROM delivery WHERE status = 'waiting'
                    ORDER BY receiver, owner LIMIT 1)
                UNION ALL
                SELECT next.receiver, next.owner FROM target JOIN delivery AS next ON next.id = COALESCE((
                    SELECT id FROM delivery WHERE status = 'waiting' AND receiver = host AND owner > caller
                    ORDER BY owner LIMIT 1), (
                    SELECT id FROM delivery WHERE status = 'waiting' AND receiver > host
                    ORDER BY receiver, owner LIMIT 1))),
            found AS (
                SELECT delivery.*, ROW_NUMBER() OVER (PARTITION BY receiver ORDER BY due_at) AS place
                FROM target JOIN delivery ON delivery.id IN (
                    SELECT id FROM delivery
                    WHERE status = 'waiting' AND receiver = host AND owner = caller AND due_at <= $1
                    ORDER BY due_at LIMIT $2)
                WHERE caller IS NOT $4)
            SELECT ",
            delivery_columns!(),
            " FROM found WHERE place <= $2 ORDER BY due_at LIMIT $3"
        )
    };
}

macro_rules! any_due_sql {
    () => {
        "SELECT EXISTS (SELECT 1 FROM delivery
            WHERE status = 'waiting' AND due_at <= $1 AND id NOT IN (SELECT value FROM json_each($2)))"
    };
}

/// What a look is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// At most this many deliveries.
    pub(crate) limit: u32,
    /// At most this many for one receiver, so that one for which many wait does not hide the others.
    pub(crate) per_receiver: u32,
    /// None of theirs.
    pub(crate) but: Option<TokenId>,
}

fn due(row: &SqliteRow) -> Result<Due, sqlx::Error> {
    let delivery = Delivery {
        id: row.try_get("id")?,
        kind: parsed(row, "type")?,
        task: row.try_get::<Option<i64>, _>("task_id")?.and_then(TaskId::new),
        event: row.try_get("event_id")?,
        webhook: row.try_get("webhook_id")?,
        owner: TokenId::from_number(row.try_get("owner")?),
        receiver: row.try_get("receiver")?,
        status: parsed(row, "status")?,
        attempts: row.try_get("attempts")?,
        last_status: row.try_get("last_status")?,
        last_error: row.try_get("last_error")?,
        created_at: time(row, "created_at")?,
        started_at: time(row, "started_at")?,
        planned_at: time(row, "planned_at")?,
        due_at: time(row, "due_at")?,
        ended_at: time_if_any(row, "ended_at")?,
    };
    Ok(Due { delivery, url: row.try_get::<Option<_>, _>("url")?.unwrap_or_default() })
}

impl Store {
    /// Whether a delivery is due besides these.
    pub(crate) async fn is_any_due(
        &self,
        besides: impl Iterator<Item = i64>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        const SQL: &str = any_due_sql!();
        let row = sqlx::query(SQL).bind(now.as_micros()).bind(json(besides)).fetch_one(&self.reader).await?;
        Ok(row.try_get(0)?)
    }

    /// Deliveries that are due, those due longest first. It takes the longer the more receivers wait.
    pub(crate) async fn due_deliveries(&self, look: Look, now: Timestamp) -> Result<Vec<Due>, StoreError> {
        const SQL: &str = due_sql!();
        let rows = sqlx::query(SQL)
            .bind(now.as_micros())
            .bind(look.per_receiver)
            .bind(look.limit)
            .bind(look.but.map(TokenId::number))
            .fetch_all(&self.reader)
            .await?;
        Ok(rows.iter().map(due).collect::<Result<_, _>>()?)
    }
}

impl WriteTx<'_> {
    /// Stores what became of a delivery. Ended, it keeps its URL only for as long as its task keeps its answer.
    pub(crate) async fn store_delivery(&mut self, delivery: &Delivery) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE delivery SET status = $2, attempts = $3, last_status = $4, last_error = $5,
                planned_at = $6, due_at = $7, ended_at = $8,
                url = CASE WHEN $8 IS NOT NULL AND (SELECT erased FROM task WHERE id = task_id) = 1
                           THEN NULL ELSE url END
            WHERE id = $1";
        sqlx::query(SQL)
            .bind(delivery.id)
            .bind(delivery.status.as_str())
            .bind(delivery.attempts)
            .bind(delivery.last_status)
            .bind(delivery.last_error.as_deref())
            .bind(delivery.planned_at.as_micros())
            .bind(delivery.due_at.as_micros())
            .bind(delivery.ended_at.map(Timestamp::as_micros))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Has waits that begin ahead of `now` begin now: the clock was set back, and they would last too long.
    /// How many there were. It reads all that waits.
    pub(crate) async fn replan_deliveries(&mut self, now: Timestamp) -> Result<u64, StoreError> {
        const SQL: &str = "UPDATE delivery SET due_at = due_at - (planned_at - $1), planned_at = $1
            WHERE status = 'waiting' AND planned_at > $1";
        let done = sqlx::query(SQL).bind(now.as_micros()).execute(self.connection()).await?;
        Ok(done.rows_affected())
    }

    /// Deletes what waits to be told of a task in the provider's own form.
    pub(crate) async fn drop_delivery(&mut self, task: TaskId) -> Result<(), StoreError> {
        const SQL: &str =
            "DELETE FROM delivery WHERE task_id = $1 AND event_id IS NULL AND status = 'waiting'";
        sqlx::query(SQL).bind(task.number()).execute(self.connection()).await?;
        Ok(())
    }
}

#[cfg(test)]
impl Store {
    /// Every delivery, oldest first.
    pub(crate) async fn deliveries(&self) -> Vec<Delivery> {
        const SQL: &str = concat!("SELECT ", delivery_columns!(), " FROM delivery ORDER BY id");
        let rows = sqlx::query(SQL).fetch_all(&self.reader).await.unwrap();
        rows.iter().map(|row| due(row).unwrap().delivery).collect()
    }

    /// How many tasks and how many deliveries hold a URL.
    pub(crate) async fn callback_urls(&self) -> (i64, i64) {
        const SQL: &str = "SELECT (SELECT COUNT(callback_url) FROM task), (SELECT COUNT(url) FROM delivery)";
        let row = sqlx::query(SQL).fetch_one(&self.reader).await.unwrap();
        (row.get(0), row.get(1))
    }

    /// Changes the database as time would.
    pub(crate) async fn execute(&self, sql: &'static str) {
        let mut writing = self.writing().await;
        sqlx::query(sql).execute(writing.each_alone().unwrap().connection()).await.unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn plan(sql: &'static str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("test.db"), Timestamp::now()).await.unwrap();
        let rows = sqlx::query(sql).bind(0).bind(4).bind(64).bind(1).fetch_all(&store.reader).await;
        rows.unwrap().iter().map(|row| row.get("detail")).collect()
    }

    #[tokio::test]
    async fn what_is_due_is_found_by_the_index() {
        let steps = plan(concat!("EXPLAIN QUERY PLAN ", due_sql!())).await;
        let by_index = |terms: &str| {
            let wanted = format!("SEARCH delivery USING COVERING INDEX delivery_due ({terms})");
            steps.iter().any(|step| step.contains(&wanted))
        };
        assert!(by_index("receiver=? AND owner>?") && by_index("receiver>?"), "{steps:#?}");
        assert!(by_index("receiver=? AND owner=? AND due_at<?"), "{steps:#?}");
        // The first receiver is the beginning of the index.
        let scans: Vec<_> = steps.iter().filter(|step| step.contains("SCAN delivery")).collect();
        assert_eq!(scans, ["SCAN delivery USING COVERING INDEX delivery_due"]);
    }

    #[tokio::test]
    async fn whether_anything_is_due_is_found_by_the_index() {
        let steps = plan(concat!("EXPLAIN QUERY PLAN ", any_due_sql!(), " OR $3 = $4")).await;
        assert!(steps.iter().any(|step| step.contains("INDEX delivery_soonest (due_at<?)")), "{steps:#?}");
    }
}
