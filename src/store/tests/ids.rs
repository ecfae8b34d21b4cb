//! What the numbers of a store are in the model. The model has no gaps; PostgreSQL leaves some where a transaction was
//! rolled back, and within one operation the two databases need not number events and deliveries in the same order.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::hash::Hash;

use super::model::{DeliveryRow, EventRow, Model};
use crate::model::{Delivery, Event, EventKind, Subject, Task, TaskId, Timestamp, Webhook};
use crate::store::db::Row;
use crate::store::{StoreError, WriteTx};

/// The numbers of one kind of rows.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// By the model's numbers, which begin with 1.
    of_store: Vec<i64>,
    of_model: HashMap<i64, i64>,
    sorted: Vec<i64>,
}

impl Numbers {
    pub(super) fn learn(&mut self, store: i64) {
        self.of_store.push(store);
        self.of_model.insert(store, self.count());
        let at = self.sorted.partition_point(|known| *known < store);
        self.sorted.insert(at, store);
    }

    pub(super) fn count(&self) -> i64 {
        i64::try_from(self.of_store.len()).unwrap()
    }

    fn forget_beyond(&mut self, count: usize) {
        for store in self.of_store.drain(count..) {
            self.of_model.remove(&store);
            self.sorted.retain(|known| *known != store);
        }
    }

    /// The store's number; 0 names nothing.
    pub(super) fn store(&self, model: i64) -> i64 {
        usize::try_from(model - 1).ok().and_then(|at| self.of_store.get(at)).copied().unwrap_or(0)
    }

    /// The model's number; negative if the store has made one up.
    pub(super) fn model(&self, store: i64) -> i64 {
        self.of_model.get(&store).copied().unwrap_or(-store)
    }

    /// The greatest that there ever was.
    pub(super) fn last(&self) -> i64 {
        self.sorted.last().copied().unwrap_or(0)
    }

    /// How many there ever were up to this one.
    pub(super) fn rank(&self, store: i64) -> i64 {
        i64::try_from(self.sorted.partition_point(|known| *known <= store)).unwrap()
    }

    /// The last of the first so many.
    pub(super) fn at_rank(&self, rank: i64) -> i64 {
        usize::try_from(rank - 1).ok().and_then(|at| self.sorted.get(at)).copied().unwrap_or(0)
    }
}

/// The numbers of one store.
#[derive(Debug, Default)]
pub(super) struct Ids {
    pub(super) tasks: Numbers,
    pub(super) pingbacks: Numbers,
    pub(super) events: Numbers,
    pub(super) deliveries: Numbers,
    pub(super) webhooks: Numbers,
    pub(super) tokens: Numbers,
    /// Whether no number may be left out.
    pub(super) is_dense: bool,
}

impl Ids {
    fn all(&mut self) -> [&mut Numbers; 6] {
        let Self { tasks, pingbacks, events, deliveries, webhooks, tokens, .. } = self;
        [tasks, pingbacks, events, deliveries, webhooks, tokens]
    }

    /// How much is known.
    pub(super) fn mark(&mut self) -> [usize; 6] {
        self.all().map(|numbers| numbers.of_store.len())
    }

    /// A transaction was rolled back that began with this.
    pub(super) fn roll_back(&mut self, mark: [usize; 6]) {
        for (numbers, count) in self.all().into_iter().zip(mark) {
            numbers.forget_beyond(count);
        }
    }

    pub(super) fn task_id(&self, model: i64) -> TaskId {
        TaskId::new(self.tasks.store(model)).unwrap_or(TaskId::MAX)
    }

    pub(super) fn task_ids(&self, model: &[i64]) -> Vec<TaskId> {
        model.iter().map(|id| self.task_id(*id)).collect()
    }

    pub(super) fn model_id(&self, store: TaskId) -> TaskId {
        TaskId::new(self.tasks.model(store.number())).unwrap_or(TaskId::MAX)
    }

    /// A task of the store as the model has it.
    pub(super) fn task(&self, task: Task) -> Task {
        Task { id: self.model_id(task.id), ..task }
    }

    pub(super) fn tasks(&self, tasks: Vec<Task>) -> Vec<Task> {
        tasks.into_iter().map(|task| self.task(task)).collect()
    }

    pub(super) fn event(&self, event: Event) -> Event {
        let subject = match event.subject {
            Subject::Task(task) => Subject::Task(Box::new(self.task(*task))),
            pingback @ Subject::Pingback { .. } => pingback,
        };
        Event { number: self.events.model(event.number), subject, ..event }
    }

    /// A delivery of the store as the model has it.
    pub(super) fn delivery(&self, delivery: &Delivery) -> Delivery {
        Delivery {
            id: self.deliveries.model(delivery.id),
            task: delivery.task.map(|task| self.model_id(task)),
            event: delivery.event.map(|event| self.events.model(event)),
            webhook: delivery.webhook.map(|webhook| self.webhooks.model(webhook)),
            receiver: renamed(&delivery.receiver, |webhook| self.webhooks.model(webhook)),
            ..delivery.clone()
        }
    }

    /// A delivery of the model as the store has it.
    pub(super) fn of_store(&self, delivery: &Delivery) -> Delivery {
        Delivery {
            id: self.deliveries.store(delivery.id),
            task: delivery.task.map(|task| self.task_id(task.number())),
            event: delivery.event.map(|event| self.events.store(event)),
            webhook: delivery.webhook.map(|webhook| self.webhooks.store(webhook)),
            receiver: self.receiver(&delivery.receiver),
            ..delivery.clone()
        }
    }

    /// The store's word for a receiver.
    pub(super) fn receiver(&self, receiver: &str) -> String {
        renamed(receiver, |webhook| self.webhooks.store(webhook))
    }

    pub(super) fn webhook(&self, webhook: Webhook) -> Webhook {
        Webhook { id: self.webhooks.model(webhook.id), ..webhook }
    }

    /// Finds out what an operation has numbered how, and sets the database's clock where it shows: events happened
    /// `now`, and so did what is to be told of them.
    pub(super) async fn learn(
        &mut self,
        tx: &mut WriteTx<'_>,
        model: &Model,
        now: Timestamp,
    ) -> Result<(), String> {
        if model.next_pingback > self.pingbacks.count() + 1 {
            let new =
                numbers(tx, "SELECT id FROM pingback WHERE id > $1 ORDER BY id", &self.pingbacks).await?;
            let expected = (self.pingbacks.count() + 1..model.next_pingback).collect();
            self.accept(new, expected, true, |ids| &mut ids.pingbacks)?;
        }
        if model.next_webhook > self.webhooks.count() + 1 {
            let new = numbers(tx, "SELECT id FROM webhook WHERE id > $1 ORDER BY id", &self.webhooks).await?;
            let expected = (self.webhooks.count() + 1..model.next_webhook).collect();
            self.accept(new, expected, true, |ids| &mut ids.webhooks)?;
        }
        // Before the times of events are set, so that both can be compared.
        let deliveries = if model.next_delivery > self.deliveries.count() + 1 {
            new_deliveries(tx, self.deliveries.last(), now).await.map_err(failed)?
        } else {
            Vec::new()
        };
        if model.next_event > self.events.count() + 1 {
            self.learn_events(tx, model, now).await?;
        }
        if model.next_delivery > self.deliveries.count() + 1 {
            self.learn_deliveries(&deliveries, model)?;
        }
        Ok(())
    }

    async fn learn_events(
        &mut self,
        tx: &mut WriteTx<'_>,
        model: &Model,
        now: Timestamp,
    ) -> Result<(), String> {
        const SQL: &str = "UPDATE event SET time = $2 WHERE id > $1 RETURNING id, type, task_id, pingback_id";
        let query = tx.query(SQL).bind(self.events.last()).bind(now.as_micros());
        let rows = query.fetch_all().await.map_err(failed)?;
        let mut found = Vec::new();
        for row in &rows {
            let kind: EventKind = row.try_get::<&str, _>("type").unwrap().parse().unwrap();
            let task = optional(row, "task_id").map(|task| self.tasks.model(task));
            let pingback = optional(row, "pingback_id").map(|pingback| self.pingbacks.model(pingback));
            found.push((row.try_get::<i64, _>("id").unwrap(), (kind, task, pingback)));
        }
        let key = |row: &EventRow| (row.kind, row.task, row.pingback);
        let expected =
            (self.events.count() + 1..model.next_event).map(|id| key(&model.events[&id])).collect();
        self.accept(found, expected, true, |ids| &mut ids.events)
    }

    fn learn_deliveries(&mut self, rows: &[Row], model: &Model) -> Result<(), String> {
        let mut found = Vec::new();
        for row in rows {
            let task = optional(row, "task_id").map(|task| self.tasks.model(task));
            let event = optional(row, "event_id").map(|event| self.events.model(event));
            let webhook = optional(row, "webhook_id").map(|webhook| self.webhooks.model(webhook));
            let of_now = optional(row, "late").is_none_or(|late| late == 0);
            found.push((row.try_get::<i64, _>("id").unwrap(), (task, event, webhook, of_now)));
        }
        let key = |DeliveryRow { delivery, .. }: &DeliveryRow| {
            (delivery.task.map(TaskId::number), delivery.event, delivery.webhook, true)
        };
        let new = self.deliveries.count() + 1..model.next_delivery;
        let expected = new.map(|id| key(&model.deliveries[&id])).collect();
        self.accept(found, expected, !self.is_dense, |ids| &mut ids.deliveries)
    }

    /// New rows, each known by what it is about.
    fn accept<K: Clone + Eq + Hash + Debug>(
        &mut self,
        mut found: Vec<(i64, K)>,
        expected: Vec<K>,
        is_ordered: bool,
        of: fn(&mut Self) -> &mut Numbers,
    ) -> Result<(), String> {
        found.sort_by_key(|(id, _)| *id);
        let keys: Vec<_> = found.iter().map(|(_, key)| key.clone()).collect();
        let (is_dense, last) = (self.is_dense, of(self).last());
        let distinct: HashSet<_> = keys.iter().collect();
        let is_same = if is_ordered { keys == expected } else { distinct == expected.iter().collect() };
        if !is_same || keys.len() != expected.len() {
            return Err(format!("new rows:\n   found {keys:?}\nexpected {expected:?}"));
        }
        if is_dense && found.iter().zip(last + 1..).any(|((id, _), next)| *id != next) {
            return Err(format!("numbers with gaps after {last}: {found:?}"));
        }
        let by_key: HashMap<_, _> = found.into_iter().map(|(id, key)| (key, id)).collect();
        for key in expected {
            of(self).learn(by_key[&key]);
        }
        Ok(())
    }
}

/// The receiver of a delivery to a webhook ends with its number.
fn renamed(receiver: &str, number: impl Fn(i64) -> i64) -> String {
    match receiver.split_once('#') {
        Some((host, webhook)) => format!("{host}#{}", number(webhook.parse().unwrap())),
        None => receiver.to_owned(),
    }
}

pub(super) fn failed(error: impl Into<StoreError>) -> String {
    format!("{:?}", error.into())
}

fn optional(row: &Row, column: &'static str) -> Option<i64> {
    row.try_get(column).unwrap()
}

/// The new rows, each with the number that follows in the model.
async fn numbers(
    tx: &mut WriteTx<'_>,
    sql: &'static str,
    known: &Numbers,
) -> Result<Vec<(i64, i64)>, String> {
    let rows = tx.query(sql).bind(known.last()).fetch_all().await.map_err(failed)?;
    Ok(rows.iter().map(|row| row.try_get(0).unwrap()).zip(known.count() + 1..).collect())
}

async fn new_deliveries(tx: &mut WriteTx<'_>, after: i64, now: Timestamp) -> Result<Vec<Row>, sqlx::Error> {
    const SQL: &str = "SELECT id, task_id, event_id, webhook_id,
            CASE WHEN webhook_id IS NULL THEN 0 ELSE
                ABS(created_at - (SELECT time FROM event WHERE event.id = event_id)) + ABS(due_at - created_at)
                + ABS(planned_at - created_at) + ABS(started_at - created_at) END AS late
        FROM delivery WHERE id > $1 ORDER BY id";
    const SET: &str = "UPDATE delivery SET created_at = $2, started_at = $2, planned_at = $2, due_at = $2
        WHERE id > $1 AND webhook_id IS NOT NULL";
    let rows = tx.query(SQL).bind(after).fetch_all().await?;
    if rows.iter().any(|row| optional(row, "webhook_id").is_some()) {
        tx.query(SET).bind(after).bind(now.as_micros()).execute().await?;
    }
    Ok(rows)
}
