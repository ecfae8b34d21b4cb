//! Messages to receivers of callers, until they are delivered or given up on.

use super::db::{Row, Sql, sql};
use super::rows::{number, number_if_any, parsed, time, time_if_any};
use super::write::json;
use super::{Store, StoreError, WriteTx, signing};
use crate::model::{Delivery, SigningKeys, TaskId, Timestamp, TokenId};

/// A delivery, and what is needed to try it.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    pub(crate) delivery: Delivery,
    /// As it is stored; empty once it is erased.
    pub(crate) url: String,
    /// What signs it, if there is anything yet that can.
    pub(crate) keys: Option<SigningKeys>,
    /// The webhook that it goes to, if that is still there.
    pub(crate) webhook: Option<WebhookState>,
}

/// Whether a webhook is told of anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WebhookState {
    Enabled,
    /// For this reason it is not.
    Disabled(String),
}

impl WebhookState {
    /// What is said of deliveries to a webhook that was disabled for this reason.
    pub(crate) fn disabled(why: &str) -> String {
        format!("the webhook is disabled: {why}")
    }
}

/// A receiver, and who has deliveries for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    /// Host and port.
    pub(crate) receiver: String,
    pub(crate) owner: TokenId,
}

impl Target {
    pub(crate) fn of(delivery: &Delivery) -> Self {
        Self { receiver: delivery.receiver.clone(), owner: delivery.owner }
    }

    /// As the statement that looks for what is due puts the two together.
    fn key(&self) -> String {
        format!("{} {}", self.owner.number(), self.receiver)
    }
}

/// The columns that [`delivery`] reads.
macro_rules! delivery_columns {
    () => {
        "id, type, task_id, event_id, webhook_id, owner, url, receiver, status, attempts, last_status, last_error, \
         created_at, started_at, planned_at, due_at, ended_at"
    };
}
pub(super) use delivery_columns;

/// Goes through the receivers, and who has deliveries for each, by the index, and reads only a few rows of each.
macro_rules! due_sql {
    ($($explain:literal)?) => {
        sql!(
            $($explain,)? "WITH RECURSIVE target (host, caller) AS (
                SELECT * FROM (
                    SELECT receiver, owner FROM delivery WHERE status = 'waiting'
                    ORDER BY receiver, owner LIMIT 1) AS first
                UNION ALL ",
            {"SELECT next.receiver, next.owner FROM target JOIN delivery AS next ON next.id = COALESCE((
                    SELECT id FROM delivery WHERE status = 'waiting' AND receiver = host AND owner > caller
                    ORDER BY owner LIMIT 1), (
                    SELECT id FROM delivery WHERE status = 'waiting' AND receiver > host
                    ORDER BY receiver, owner LIMIT 1))),
            found AS (
                SELECT delivery.*, ROW_NUMBER() OVER (PARTITION BY receiver ORDER BY due_at) AS place
                FROM target JOIN delivery ON delivery.id IN (
                    SELECT id FROM delivery
                    WHERE status = 'waiting' AND receiver = host AND owner = caller AND due_at <= $1
                    ORDER BY due_at LIMIT $2)"
            |"SELECT next.* FROM target CROSS JOIN LATERAL (
                    SELECT receiver, owner FROM delivery
                    WHERE status = 'waiting' AND (receiver, owner) > (host, caller)
                    ORDER BY receiver, owner LIMIT 1) AS next),
            found AS (
                SELECT own.*, ROW_NUMBER() OVER (PARTITION BY receiver ORDER BY due_at) AS place
                FROM target CROSS JOIN LATERAL (
                    SELECT * FROM delivery
                    WHERE status = 'waiting' AND receiver = host AND owner = caller AND due_at <= $1
                        AND (claimed_until IS NULL OR claimed_until <= clock_micros())
                    ORDER BY due_at LIMIT $2) AS own"},
            " WHERE caller IS DISTINCT FROM $4 AND caller || ' ' || host", not_among_texts 5, "),
            due AS (SELECT ",
            delivery_columns!(),
            " FROM found WHERE place <= $2 ORDER BY due_at LIMIT $3)
            SELECT due.*, webhook.id AS found_webhook, webhook.url AS webhook_url, disabled_at, disabled_why,
                CASE WHEN webhook_id IS NULL THEN signing_secret.secret ELSE webhook.secret END AS secret,
                CASE WHEN webhook_id IS NULL THEN signing_secret.old_secret ELSE webhook.old_secret END AS old_secret,
                CASE WHEN webhook_id IS NULL THEN signing_secret.old_until ELSE webhook.old_until END AS old_until
            FROM due
            LEFT JOIN webhook ON webhook.id = due.webhook_id
            LEFT JOIN signing_secret ON signing_secret.owner = due.owner
            ORDER BY due_at"
        )
    };
}

macro_rules! any_due_sql {
    ($($explain:literal)?) => {
        sql!(
            $($explain,)? "SELECT EXISTS (SELECT 1 FROM delivery
                WHERE status = 'waiting' AND due_at <= $1",
            {"" | " AND (claimed_until IS NULL OR claimed_until <= clock_micros())"},
            " AND id",
            not_among_numbers 2,
            ")"
        )
    };
}

/// What a look is for.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// At most this many deliveries.
    pub(crate) limit: u32,
    /// At most this many for one receiver, so that one for which many wait does not hide the others.
    pub(crate) per_receiver: u32,
    /// None of theirs.
    pub(crate) but: Option<TokenId>,
    /// None for these.
    pub(crate) held: Vec<Target>,
}

pub(super) fn delivery(row: &Row) -> Result<Delivery, sqlx::Error> {
    Ok(Delivery {
        id: row.try_get("id")?,
        kind: parsed(row, "type")?,
        task: row.try_get::<Option<i64>, _>("task_id")?.and_then(TaskId::new),
        event: row.try_get("event_id")?,
        webhook: row.try_get("webhook_id")?,
        owner: TokenId::from_number(row.try_get("owner")?),
        receiver: row.try_get("receiver")?,
        status: parsed(row, "status")?,
        attempts: number(row, "attempts")?,
        last_status: number_if_any(row, "last_status")?,
        last_error: row.try_get("last_error")?,
        created_at: time(row, "created_at")?,
        started_at: time(row, "started_at")?,
        planned_at: time(row, "planned_at")?,
        due_at: time(row, "due_at")?,
        ended_at: time_if_any(row, "ended_at")?,
    })
}

fn due(row: &Row) -> Result<Due, sqlx::Error> {
    let delivery = delivery(row)?;
    let of_task = || Ok::<_, sqlx::Error>(row.try_get::<Option<_>, _>("url")?.unwrap_or_default());
    let url = row.try_get::<Option<_>, _>("webhook_url")?.map_or_else(of_task, Ok)?;
    let keys = match row.try_get::<Option<String>, _>("secret")? {
        // One that cannot be read must not hold up the others.
        Some(_) => signing::keys(row).ok(),
        None => None,
    };
    let is_found = row.try_get::<Option<i64>, _>("found_webhook")?.is_some();
    let webhook = match row.try_get::<Option<i64>, _>("disabled_at")? {
        Some(_) => {
            Some(WebhookState::Disabled(row.try_get::<Option<_>, _>("disabled_why")?.unwrap_or_default()))
        }
        None => is_found.then_some(WebhookState::Enabled),
    };
    Ok(Due { delivery, url, keys, webhook })
}

impl Store {
    /// Whether a delivery is due besides these.
    pub(crate) async fn is_any_due(
        &self,
        besides: impl Iterator<Item = i64>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        const SQL: Sql = any_due_sql!();
        let row = self.own_reader.query(SQL).bind(now.as_micros()).bind(json(besides)).fetch_one().await?;
        Ok(row.try_get(0)?)
    }

    /// Deliveries that are due, those due longest first. It takes the longer the more receivers wait.
    pub(crate) async fn due_deliveries(&self, look: Look, now: Timestamp) -> Result<Vec<Due>, StoreError> {
        const SQL: Sql = due_sql!();
        let rows = self
            .own_reader
            .query(SQL)
            .bind(now.as_micros())
            .bind(i64::from(look.per_receiver))
            .bind(i64::from(look.limit))
            .bind(look.but.map(TokenId::number))
            .bind(json(look.held.iter().map(Target::key)))
            .fetch_all()
            .await?;
        Ok(rows.iter().map(due).collect::<Result<_, _>>()?)
    }

    /// At most `limit` deliveries for this target that are due, and whose attempts began before `before`. At worst
    /// it reads all that is due for it.
    pub(crate) async fn overdue_deliveries(
        &self,
        target: &Target,
        before: Timestamp,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<i64>, StoreError> {
        const SQL: &str = "SELECT id FROM delivery
            WHERE status = 'waiting' AND receiver = $1 AND owner = $2 AND due_at <= $3 AND started_at < $4
            ORDER BY due_at LIMIT $5";
        let rows = self
            .own_reader
            .query(SQL)
            .bind(&target.receiver)
            .bind(target.owner.number())
            .bind(now.as_micros())
            .bind(before.as_micros())
            .bind(i64::from(limit))
            .fetch_all()
            .await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }
}

impl WriteTx<'_> {
    /// Stores what became of a delivery, unless it was begun anew in the meantime, or somebody else has ended it. Ended, it keeps its URL only for as long as its task keeps its answer.
    pub(crate) async fn store_delivery(&mut self, delivery: &Delivery) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE delivery SET status = $2, attempts = $3, last_status = $4, last_error = $5,
                planned_at = $6, due_at = $7, ended_at = $8, claimed_until = NULL,
                url = CASE WHEN $8 IS NOT NULL AND (SELECT erased FROM task WHERE id = task_id) = 1
                           THEN NULL ELSE url END
            WHERE id = $1 AND started_at = $9 AND status = 'waiting' AND attempts <= $3";
        self.query(SQL)
            .bind(delivery.id)
            .bind(delivery.status.as_str())
            .bind(i64::from(delivery.attempts))
            .bind(delivery.last_status.map(i64::from))
            .bind(delivery.last_error.as_deref())
            .bind(delivery.planned_at.as_micros())
            .bind(delivery.due_at.as_micros())
            .bind(delivery.ended_at.map(Timestamp::as_micros))
            .bind(delivery.started_at.as_micros())
            .execute()
            .await?;
        Ok(())
    }

    /// Gives up on those of these that still wait, for this reason; how many.
    pub(crate) async fn give_up_deliveries(
        &mut self,
        ids: &[i64],
        why: &str,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        const SQL: Sql = sql!(
            "UPDATE delivery SET status = 'dead', last_error = $2, ended_at = $3,
                url = CASE WHEN (SELECT erased FROM task WHERE id = task_id) = 1 THEN NULL ELSE url END
            WHERE status = 'waiting' AND id",
            among_numbers 1
        );
        let query = self.query(SQL).bind(json(ids.iter())).bind(why).bind(now.as_micros());
        Ok(query.execute().await?)
    }

    /// Has nothing more sent to this webhook, for this reason.
    pub(crate) async fn disable_webhook(
        &mut self,
        webhook: i64,
        why: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        const SQL: &str =
            "UPDATE webhook SET disabled_at = $3, disabled_why = $2 WHERE id = $1 AND disabled_at IS NULL";
        let query = self.query(SQL).bind(webhook).bind(why).bind(now.as_micros());
        query.execute().await?;
        Ok(())
    }

    /// At most `limit` deliveries that wait for the same webhook as this one.
    pub(crate) async fn waiting_beside(
        &mut self,
        delivery: &Delivery,
        limit: u32,
    ) -> Result<Vec<i64>, StoreError> {
        const SQL: &str = "SELECT id FROM delivery
            WHERE status = 'waiting' AND receiver = $1 AND owner = $2 AND webhook_id = $3 LIMIT $4";
        let rows = self
            .query(SQL)
            .bind(&delivery.receiver)
            .bind(delivery.owner.number())
            .bind(delivery.webhook)
            .bind(i64::from(limit))
            .fetch_all()
            .await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }

    /// Has waits that begin ahead of `now` begin now: the clock was set back, and they would last too long.
    /// How many there were. It reads all that waits.
    pub(crate) async fn replan_deliveries(&mut self, now: Timestamp) -> Result<u64, StoreError> {
        const SQL: &str = "UPDATE delivery SET due_at = due_at - (planned_at - $1), planned_at = $1
            WHERE status = 'waiting' AND planned_at > $1";
        let done = self.query(SQL).bind(now.as_micros()).execute().await?;
        Ok(done)
    }

    /// Deletes what waits to be told of a task in the provider's own form.
    pub(crate) async fn drop_delivery(&mut self, task: TaskId) -> Result<(), StoreError> {
        const SQL: &str =
            "DELETE FROM delivery WHERE task_id = $1 AND event_id IS NULL AND status = 'waiting'";
        self.query(SQL).bind(task.number()).execute().await?;
        Ok(())
    }
}

#[cfg(test)]
impl Store {
    /// Every delivery, oldest first.
    pub(crate) async fn deliveries(&self) -> Vec<Delivery> {
        const SQL: &str = concat!("SELECT ", delivery_columns!(), " FROM delivery ORDER BY id");
        let rows = self.reader.query(SQL).fetch_all().await.unwrap();
        rows.iter().map(|row| delivery(row).unwrap()).collect()
    }

    /// How many tasks and how many deliveries hold a URL.
    pub(crate) async fn callback_urls(&self) -> (i64, i64) {
        const SQL: &str = "SELECT (SELECT COUNT(callback_url) FROM task), (SELECT COUNT(url) FROM delivery)";
        let row = self.reader.query(SQL).fetch_one().await.unwrap();
        (row.try_get(0).unwrap(), row.try_get(1).unwrap())
    }

    /// The number that a query finds.
    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        self.reader.query(sql).fetch_one().await.unwrap().try_get(0).unwrap()
    }

    /// The text that a query finds.
    pub(crate) async fn text(&self, sql: &'static str) -> String {
        self.reader.query(sql).fetch_one().await.unwrap().try_get(0).unwrap()
    }

    /// Changes the database as time would.
    pub(crate) async fn execute(&self, sql: &'static str) {
        let mut writing = self.writing().await;
        let mut tx = writing.begin().await.unwrap();
        tx.query(sql).execute().await.unwrap();
        tx.commit().await.unwrap();
    }

    /// The same where the databases have different words for it.
    pub(crate) async fn execute_either(&self, sqlite: &'static str, postgres: &'static str) {
        self.execute(if self.is_shared() { postgres } else { sqlite }).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn plan(sql: Sql) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("test.db"), Timestamp::now()).await.unwrap();
        let rows = store.reader.query(sql).bind(0).bind(4).bind(64).bind(1).bind("[]").fetch_all().await;
        rows.unwrap().iter().map(|row| row.try_get("detail").unwrap()).collect()
    }

    #[tokio::test]
    async fn what_is_due_is_found_by_the_index() {
        let steps = plan(due_sql!("EXPLAIN QUERY PLAN ")).await;
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

    /// SQLite is asked by the tests around.
    #[tokio::test]
    async fn each_target_is_looked_at_a_few_times_at_most() {
        const TARGETS: i64 = 200;
        const SQL: &str = due_sql!("EXPLAIN (ANALYZE) ").postgres;
        let folder = tempfile::tempdir().unwrap();
        let Some(store) = Store::on_postgres(&folder).await else { return };
        let deliveries = "INSERT INTO delivery (type, owner, receiver, created_at, started_at, planned_at, due_at)
            SELECT 'task.failed', number, 'example.com:443', 1, 1, 1, 1 FROM generate_series(1, 200) AS number";
        store.execute(deliveries).await;
        let query = store.reader.query(SQL).bind(2_i64).bind(4_i64).bind(64_i64).bind(None::<i64>).bind("[]");
        let rows = query.fetch_all().await.unwrap();
        let plan: Vec<String> = rows.iter().map(|row| row.try_get(0).unwrap()).collect();
        let loops =
            plan.iter().filter_map(|line| line.split_once("loops=")?.1.trim_end_matches(')').parse().ok());
        let most: i64 = loops.max().unwrap();
        assert!((TARGETS..4 * TARGETS).contains(&most), "{plan:#?}");
    }

    #[tokio::test]
    async fn whether_anything_is_due_is_found_by_the_index() {
        let steps = plan(any_due_sql!("EXPLAIN QUERY PLAN ")).await;
        assert!(steps.iter().any(|step| step.contains("INDEX delivery_soonest (due_at<?)")), "{steps:#?}");
    }
}
