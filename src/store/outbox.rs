//! Deliveries as their owners see them: listed, and sent again.

use super::db::{Pool, Query, Sql, sql};
use super::delivery::{delivery, delivery_columns};
use super::write::json;
use super::{MAX_SCAN, Store, StoreError, WriteTx};
use crate::model::{Delivery, DeliveryStatus, EventKind, TaskId, Timestamp, TokenId};

/// Which deliveries are meant.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeliveryFilter {
    /// Only those of this owner; `None`: everybody's.
    pub(crate) owner: Option<TokenId>,
    /// Only those with this status.
    pub(crate) status: Option<DeliveryStatus>,
    /// Only those to this webhook.
    pub(crate) webhook: Option<i64>,
    /// Only those that tell of this task.
    pub(crate) task: Option<TaskId>,
    /// Only those that tell this.
    pub(crate) kind: Option<EventKind>,
    /// Only those that came to be at this time or later.
    pub(crate) since: Option<Timestamp>,
    /// Only those that came to be before this time.
    pub(crate) until: Option<Timestamp>,
}

/// A page of deliveries, newest first.
#[derive(Clone, Debug)]
pub(crate) struct DeliveryPage {
    /// The deliveries.
    pub(crate) deliveries: Vec<Delivery>,
    /// Where the next page goes on; `None` on the last. A page with a next one may be short, or empty.
    pub(crate) next: Option<i64>,
}

/// Deliveries that have ended, oldest first.
#[derive(Clone, Debug)]
pub(crate) struct EndedPage {
    /// Their numbers.
    pub(crate) ids: Vec<i64>,
    /// The number that was looked at last.
    pub(crate) through: i64,
}

/// What became of a wish to send a message again.
#[derive(Clone, Debug)]
pub(crate) enum Replayed {
    /// It waits to be sent.
    Done(Box<Delivery>),
    /// It cannot be sent any more, for this reason.
    Refused(String),
    /// There is no such delivery, or it is not the caller's.
    NotFound,
}

/// The deliveries from number $8 on and before $9 that pass a filter. The task is a statement of its own because only
/// so its index is used.
macro_rules! filtered {
    ($columns:expr, $task:literal, $rest:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM delivery WHERE ($1 IS NULL OR owner = $1) AND ($2 IS NULL OR status = $2)
                AND ($3 IS NULL OR webhook_id = $3) AND ($4 IS NULL OR type = $4)
                AND ($5 IS NULL OR created_at >= $5) AND ($6 IS NULL OR created_at < $6)
                AND ",
            $task,
            " AND id >= $8 AND id < $9 ",
            $rest,
            " LIMIT $10"
        )
    };
}

macro_rules! page_of_task {
    () => {
        filtered!(delivery_columns!(), "task_id = $7", "ORDER BY id DESC")
    };
}

/// Why a delivery cannot be sent any more; NULL if it can.
macro_rules! obstacle {
    () => {
        "CASE
            WHEN webhook_id IS NULL AND url IS NULL THEN 'the URL was erased'
            WHEN webhook_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM webhook WHERE webhook.id = webhook_id)
                THEN 'the webhook was deleted'
            WHEN EXISTS (SELECT 1 FROM webhook WHERE webhook.id = webhook_id AND disabled_at IS NOT NULL)
                THEN 'the webhook is disabled: enable it first'
            WHEN event_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM event WHERE event.id = event_id)
                THEN 'the event was deleted'
            WHEN delivery.type = 'task.solved'
                AND NOT EXISTS (SELECT 1 FROM task WHERE task.id = delivery.task_id AND answer IS NOT NULL)
                THEN 'the answer was erased'
            WHEN delivery.type = 'pingback.unmatched' AND NOT EXISTS (
                SELECT 1 FROM event JOIN pingback ON pingback.id = event.pingback_id WHERE event.id = event_id)
                THEN 'the pingback was erased'
        END"
    };
}

impl DeliveryFilter {
    /// The statement with this filter, for deliveries of this range.
    fn bind<'p>(&self, pool: &'p Pool, sql: impl Into<Sql>, from: i64, before: i64) -> Query<'p> {
        pool.query(sql)
            .bind(self.owner.map(TokenId::number))
            .bind(self.status.map(DeliveryStatus::as_str))
            .bind(self.webhook)
            .bind(self.kind.map(EventKind::as_str))
            .bind(self.since.map(Timestamp::as_micros))
            .bind(self.until.map(Timestamp::as_micros))
            .bind(self.task.map(TaskId::number))
            .bind(from)
            .bind(before)
    }
}

impl Store {
    /// A page of the deliveries that pass the filter, of those before `before`.
    pub(crate) async fn list_deliveries(
        &self,
        filter: &DeliveryFilter,
        before: Option<i64>,
        limit: u32,
    ) -> Result<DeliveryPage, StoreError> {
        const OF_TASK: &str = page_of_task!();
        const ALL: &str = filtered!(delivery_columns!(), "$7 IS NULL", "ORDER BY id DESC");
        let before = match before {
            Some(id) => id,
            None => self.newest_delivery().await?.saturating_add(1),
        };
        // Tasks have an index.
        let (sql, oldest) = match filter.task {
            Some(_) => (OF_TASK, 0),
            None => (ALL, before.saturating_sub(MAX_SCAN).max(0)),
        };
        // One more tells whether there is a next page.
        let query = filter.bind(&self.reader, sql, oldest, before).bind(i64::from(limit) + 1);
        let rows = query.fetch_all().await?;
        let mut deliveries = rows.iter().map(delivery).collect::<Result<Vec<_>, _>>()?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = deliveries.len() > limit;
        deliveries.truncate(limit);
        let next = match deliveries.last() {
            Some(last) if more => Some(last.id),
            // What is older was not looked at.
            _ => (oldest > 0).then_some(oldest),
        };
        Ok(DeliveryPage { deliveries, next })
    }

    /// The delivery with this number; with an owner only one of theirs.
    pub(crate) async fn delivery(
        &self,
        id: i64,
        owner: Option<TokenId>,
    ) -> Result<Option<Delivery>, StoreError> {
        const SQL: &str = concat!(
            "SELECT ",
            delivery_columns!(),
            " FROM delivery WHERE id = $1 AND ($2 IS NULL OR owner = $2)"
        );
        let query = self.reader.query(SQL).bind(id).bind(owner.map(TokenId::number));
        Ok(query.fetch_optional().await?.as_ref().map(delivery).transpose()?)
    }

    /// At most `limit` deliveries that have ended and pass the filter, of those behind `after`, up to `last`.
    pub(crate) async fn ended_deliveries(
        &self,
        filter: &DeliveryFilter,
        (after, last): (i64, i64),
        limit: u32,
    ) -> Result<EndedPage, StoreError> {
        const OF_TASK: &str = filtered!("id", "task_id = $7", "AND status <> 'waiting' ORDER BY id");
        const ALL: &str = filtered!("id", "$7 IS NULL", "AND status <> 'waiting' ORDER BY id");
        let (sql, through) = match filter.task {
            Some(_) => (OF_TASK, last),
            None => (ALL, last.min(after.saturating_add(MAX_SCAN))),
        };
        let query = filter
            .bind(&self.reader, sql, after.saturating_add(1), through.saturating_add(1))
            .bind(i64::from(limit));
        let rows = query.fetch_all().await?;
        let ids = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i64>, _>>()?;
        let is_full = ids.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
        let through = ids.last().copied().filter(|_| is_full).unwrap_or(through);
        Ok(EndedPage { ids, through })
    }

    /// The number of the newest delivery; 0 if there is none.
    pub(crate) async fn newest_delivery(&self) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT COALESCE(MAX(id), 0) FROM delivery";
        Ok(self.reader.query(SQL).fetch_one().await?.try_get(0)?)
    }
}

/// A delivery begins anew.
macro_rules! replay_sql {
    () => {
        "UPDATE delivery SET status = 'waiting', attempts = 0, started_at = $2, planned_at = $2, due_at = $2,
            ended_at = NULL, claimed_until = NULL "
    };
}

impl WriteTx<'_> {
    /// Has a message sent again, whatever became of it; with an owner only one of theirs.
    pub(crate) async fn replay_delivery(
        &mut self,
        id: i64,
        owner: Option<TokenId>,
        now: Timestamp,
    ) -> Result<Replayed, StoreError> {
        const OBSTACLE: &str =
            concat!("SELECT ", obstacle!(), " FROM delivery WHERE id = $1 AND ($2 IS NULL OR owner = $2)");
        const SQL: &str = concat!(replay_sql!(), "WHERE id = $1 RETURNING ", delivery_columns!());
        let found = self.query(OBSTACLE).bind(id).bind(owner.map(TokenId::number));
        let Some(row) = found.fetch_optional().await? else {
            return Ok(Replayed::NotFound);
        };
        if let Some(reason) = row.try_get(0)? {
            return Ok(Replayed::Refused(reason));
        }
        let query = self.query(SQL).bind(id).bind(now.as_micros());
        Ok(Replayed::Done(Box::new(delivery(&query.fetch_one().await?)?)))
    }

    /// Has those of these messages sent again that have ended and can be sent; how many.
    pub(crate) async fn replay_deliveries(&mut self, ids: &[i64], now: Timestamp) -> Result<u64, StoreError> {
        const SQL: Sql = sql!(
            replay_sql!(),
            "WHERE status <> 'waiting' AND ",
            obstacle!(),
            " IS NULL AND id",
            among_numbers 1
        );
        let query = self.query(SQL).bind(json(ids.iter())).bind(now.as_micros());
        Ok(query.execute().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(2_000_000);

    async fn store(folder: &tempfile::TempDir) -> Store {
        with_one_delivery(Store::for_test(folder).await).await
    }

    async fn with_one_delivery(store: Store) -> Store {
        store
            .execute(
                "INSERT INTO delivery (id, type, owner, url, receiver, created_at, started_at, planned_at, due_at)
                 VALUES (1, 'task.failed', 0, 'http://example.com/', 'example.com:80', 1, 1, 1, 1)",
            )
            .await;
        store
    }

    #[tokio::test]
    async fn an_attempt_from_before_a_replay_does_not_end_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let mut under_way = store.delivery(1, None).await.unwrap().unwrap();
        let mut writing = store.writing().await;
        let mut tx = writing.begin().await.unwrap();
        tx.replay_delivery(1, None, NOW).await.unwrap();
        (under_way.status, under_way.attempts) = (DeliveryStatus::Dead, 11);
        tx.store_delivery(&under_way).await.unwrap();
        tx.commit().await.unwrap();
        let after = store.delivery(1, None).await.unwrap().unwrap();
        assert_eq!((after.status, after.attempts), (DeliveryStatus::Waiting, 0));
        assert_eq!((after.started_at, after.due_at), (NOW, NOW));
    }

    #[tokio::test]
    async fn what_somebody_else_has_ended_is_not_begun_again_by_a_late_result() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let read = store.delivery(1, None).await.unwrap().unwrap();
        let mut writing = store.writing().await;
        let mut tx = writing.begin().await.unwrap();
        let delivered =
            Delivery { status: DeliveryStatus::Delivered, attempts: 1, ended_at: Some(NOW), ..read.clone() };
        tx.store_delivery(&delivered).await.unwrap();
        tx.store_delivery(&Delivery { attempts: 1, ..read }).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(store.delivery(1, None).await.unwrap().unwrap().status, DeliveryStatus::Delivered);
    }

    #[tokio::test]
    async fn of_many_only_those_that_have_ended_begin_anew() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let mut writing = store.writing().await;
        let mut tx = writing.begin().await.unwrap();
        assert_eq!(tx.replay_deliveries(&[1, 2], NOW).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn deliveries_of_a_task_are_found_by_the_index() {
        const OF_TASK: &str = concat!("EXPLAIN QUERY PLAN ", page_of_task!());
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("test.db"), NOW).await.unwrap();
        let store = with_one_delivery(store).await;
        let filter = DeliveryFilter { task: TaskId::new(1), ..DeliveryFilter::default() };
        let rows = filter.bind(&store.reader, OF_TASK, 0, 9).bind(1).fetch_all().await.unwrap();
        let steps: Vec<String> = rows.iter().map(|row| row.try_get("detail").unwrap()).collect();
        assert!(steps[0].contains("INDEX delivery_by_task (task_id=?"), "{steps:#?}");
    }
}
