//! What a store promises, in plain collections: written from the documentation of its methods and from the comments
//! of the migrations, not from their SQL.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{
    Backoff, CallerUrl, Captcha, CaptchaId, Delivery, DeliveryStatus, EventKind, Report, SigningKeys, Status,
    Task, TaskId, Timestamp, TokenId, Webhook,
};
use crate::store::account::Spent;
use crate::store::{Credit, IdempotencyKey, ParkedPingback};

pub(super) const DAY: i64 = 86_400_000_000;
/// Whom the provider has refused may still be told so in the reply to its own request, for so long.
const REFUSAL: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub(super) struct TaskRow {
    pub(super) task: Task,
    pub(super) captcha: Captcha,
    pub(super) callback: Option<CallerUrl>,
    pub(super) webhook: Option<CallerUrl>,
    pub(super) is_erased: bool,
}

/// An event, and what its task was like then.
#[derive(Clone, Debug)]
pub(super) struct EventRow {
    pub(super) kind: EventKind,
    pub(super) time: Timestamp,
    pub(super) owner: Option<TokenId>,
    pub(super) task: Option<i64>,
    pub(super) pingback: Option<i64>,
    pub(super) captcha_id: Option<CaptchaId>,
    pub(super) attempts: u32,
    pub(super) submitted_at: Option<Timestamp>,
    /// The operation that wrote it: within one, stores may number as they like.
    pub(super) serial: u64,
}

#[derive(Clone, Debug)]
pub(super) struct DeliveryRow {
    pub(super) delivery: Delivery,
    pub(super) url: Option<String>,
    pub(super) serial: u64,
}

#[derive(Clone, Debug)]
pub(super) struct WebhookRow {
    pub(super) webhook: Webhook,
    pub(super) sees_all: bool,
}

#[derive(Clone, Debug)]
pub(super) struct KeyRow {
    pub(super) digest: [u8; 32],
    pub(super) task: i64,
    pub(super) created_at: Timestamp,
}

/// Everything that is stored. Each kind of row is numbered from 1, without gaps.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) tasks: BTreeMap<i64, TaskRow>,
    pub(super) keys: BTreeMap<(i64, String), KeyRow>,
    pub(super) pingbacks: BTreeMap<i64, ParkedPingback>,
    pub(super) events: BTreeMap<i64, EventRow>,
    pub(super) deliveries: BTreeMap<i64, DeliveryRow>,
    pub(super) webhooks: BTreeMap<i64, WebhookRow>,
    pub(super) signing: BTreeMap<i64, SigningKeys>,
    pub(super) tokens: BTreeMap<i64, ([u8; 32], String)>,
    pub(super) task_tokens: BTreeMap<[u8; 32], i64>,
    pub(super) reports: BTreeMap<i64, Report>,
    pub(super) spent: BTreeMap<(i64, &'static str), Spent>,
    pub(super) credit: BTreeMap<usize, Credit>,
    pub(super) backoff: BTreeMap<usize, Backoff>,
    pub(super) memory: BTreeMap<&'static str, String>,
    /// By owner, in the order in which they were added.
    pub(super) caller_urls: BTreeMap<i64, Vec<CallerUrl>>,
    pub(super) added_urls: BTreeSet<String>,
    pub(super) next_task: i64,
    pub(super) next_pingback: i64,
    pub(super) next_event: i64,
    pub(super) next_delivery: i64,
    pub(super) next_webhook: i64,
    pub(super) next_token: i64,
    /// How many operations there were.
    pub(super) serial: u64,
}

impl Model {
    pub(super) fn new() -> Self {
        let (next_task, next_pingback, next_event) = (1, 1, 1);
        let (next_delivery, next_webhook, next_token) = (1, 1, 1);
        Self {
            next_task,
            next_pingback,
            next_event,
            next_delivery,
            next_webhook,
            next_token,
            ..Self::default()
        }
    }

    /// Stores new tasks, of which one event each tells.
    pub(super) fn insert(&mut self, new: Vec<(TaskRow, Option<IdempotencyKey>)>, now: Timestamp) {
        for (row, key) in new {
            let task = row.task.clone();
            let id = task.id.number();
            self.tasks.insert(id, row);
            self.next_task = id + 1;
            if let Some(IdempotencyKey { key, digest }) = key {
                let row = KeyRow { digest, task: id, created_at: task.created_at };
                self.keys.insert((task.owner.number(), key), row);
            }
            self.tell_of_task(EventKind::Created, &Task { captcha_id: None, ..task }, now);
        }
    }

    /// Stores what changed about tasks, with everything that follows from it.
    pub(super) fn update(&mut self, mut changed: Vec<Task>, now: Timestamp) {
        changed.sort_by_key(|task| task.id);
        let mut pairs = Vec::new();
        for after in changed {
            let Some(row) = self.tasks.get_mut(&after.id.number()) else { continue };
            let before = row.task.clone();
            row.task = Task {
                has_callback: before.has_callback,
                has_webhook: before.has_webhook,
                expires_at: before.expires_at,
                ..after
            };
            pairs.push((before, row.task.clone()));
        }
        for (before, after) in &pairs {
            if before.answered_at.is_none() && after.status != Status::Cancelled {
                self.call_back(after);
            }
        }
        for (before, after) in &pairs {
            if before.answered_at.is_some() {
                continue;
            }
            // A captcha ID and an answer are two events, also when they became known at once.
            if after.captcha_id.is_some() && after.captcha_id != before.captcha_id {
                self.tell_of_task(EventKind::Submitted, after, now);
            }
            let told = match after.status {
                Status::Unconfirmed => Some(EventKind::Unconfirmed),
                Status::Solved => Some(EventKind::Solved),
                Status::Failed => Some(EventKind::Failed),
                Status::Expired => Some(EventKind::Expired),
                Status::Cancelled => Some(EventKind::Cancelled),
                Status::Queued | Status::Submitting | Status::Submitted => None,
            };
            if let Some(kind) = told.filter(|_| after.status != before.status) {
                self.tell_of_task(kind, after, now);
            }
            if after.status == Status::Solved {
                self.spend(after);
            }
        }
    }

    /// How a task ended is told to its caller, in the provider's own form.
    fn call_back(&mut self, task: &Task) {
        let Some(ended) = task.answered_at else { return };
        let Some(url) = self.tasks[&task.id.number()].callback.clone() else { return };
        let due_at = match task.captcha_id {
            Some(_) => ended,
            None => ended.max(task.created_at.min(ended).after(REFUSAL)),
        };
        let kind = format!("task.{}", task.status).parse().unwrap();
        let delivery =
            Delivery { task: Some(task.id), due_at, ..self.delivery(kind, task.owner, &url, ended) };
        self.insert_delivery(delivery, Some(url.text().to_owned()));
    }

    fn tell_of_task(&mut self, kind: EventKind, task: &Task, now: Timestamp) {
        self.tell(EventRow {
            kind,
            time: now,
            owner: Some(task.owner),
            task: Some(task.id.number()),
            pingback: None,
            captcha_id: task.captcha_id.clone(),
            attempts: task.attempts,
            submitted_at: task.submitted_at,
            serial: self.serial,
        });
    }

    /// An event, and what is to be delivered of it.
    pub(super) fn tell(&mut self, event: EventRow) {
        let number = self.next_event;
        self.next_event += 1;
        let row = event.task.and_then(|id| self.tasks.get(&id));
        let of_task = row.and_then(|row| Some((row.task.clone(), row.webhook.clone()?)));
        if let Some((task, url)) = of_task.filter(|_| event.kind.is_end()) {
            let ended = task.answered_at.unwrap();
            let delivery = self.delivery(event.kind, task.owner, &url, ended);
            let delivery = Delivery { task: Some(task.id), event: Some(number), ..delivery };
            self.insert_delivery(delivery, Some(url.text().to_owned()));
        }
        let is_told = |row: &&WebhookRow| {
            let is_theirs = row.sees_all || event.owner == Some(row.webhook.owner);
            row.webhook.disabled.is_none() && is_theirs && row.webhook.kinds.contains(&event.kind)
        };
        let subscribed: Vec<_> =
            self.webhooks.values().filter(is_told).map(|row| row.webhook.clone()).collect();
        for webhook in subscribed {
            let mut delivery = self.delivery(event.kind, webhook.owner, &webhook.url, event.time);
            delivery.receiver = format!("{}#{}", delivery.receiver, webhook.id);
            let task = event.task.and_then(TaskId::new);
            let (event, webhook) = (Some(number), Some(webhook.id));
            self.insert_delivery(Delivery { task, event, webhook, ..delivery }, None);
        }
        self.events.insert(number, event);
    }

    fn delivery(&self, kind: EventKind, owner: TokenId, url: &CallerUrl, at: Timestamp) -> Delivery {
        Delivery {
            id: self.next_delivery,
            kind,
            task: None,
            event: None,
            webhook: None,
            owner,
            receiver: url.receiver(),
            status: DeliveryStatus::Waiting,
            attempts: 0,
            last_status: None,
            last_error: None,
            created_at: at,
            started_at: at,
            planned_at: at,
            due_at: at,
            ended_at: None,
        }
    }

    fn insert_delivery(&mut self, delivery: Delivery, url: Option<String>) {
        let row = DeliveryRow { delivery, url, serial: self.serial };
        self.deliveries.insert(self.next_delivery, row);
        self.next_delivery += 1;
    }

    /// Adds the price of an answer to those of its day: to a billionth, and a million at most.
    fn spend(&mut self, task: &Task) {
        const MOST: u128 = 1_000_000_000_000_000;
        const MOST_A_DAY: i64 = 9_000_000_000_000_000_000;
        let text = task.price.as_ref().map_or("0", |price| price.as_str());
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits: String = fraction.chars().chain("0000000000".chars()).take(10).collect();
        let tenths: u128 = format!("{whole}{digits}").parse().unwrap();
        let nanos = i64::try_from(((tenths + 5) / 10).min(MOST)).unwrap();
        let key = (task.answered_at.unwrap().as_micros() / DAY, task.kind.as_str());
        let none = Spent { kind: task.kind, tasks: 0, nanos: 0, estimated: 0 };
        let spent = self.spent.entry(key).or_insert(none);
        spent.tasks += 1;
        spent.nanos = spent.nanos.saturating_add(nanos).min(MOST_A_DAY);
        spent.estimated += u64::from(task.price_estimated);
    }

    /// Ends a delivery, unless it has ended. It keeps its URL only for as long as its task keeps its answer.
    pub(super) fn end_delivery(&mut self, id: i64, why: &str, now: Timestamp) -> bool {
        let Some(DeliveryRow { delivery, .. }) = self.deliveries.get(&id) else { return false };
        let is_waiting = delivery.status == DeliveryStatus::Waiting;
        if is_waiting {
            let (status, last_error) = (DeliveryStatus::Dead, Some(why.to_owned()));
            self.store_delivery(Delivery { status, last_error, ended_at: Some(now), ..delivery.clone() });
        }
        is_waiting
    }

    /// Stores what became of a delivery, unless it was begun anew in the meantime, tried more often, or ended.
    pub(super) fn store_delivery(&mut self, delivery: Delivery) {
        let erased =
            delivery.task.and_then(|task| self.tasks.get(&task.number())).is_some_and(|row| row.is_erased);
        let Some(row) = self.deliveries.get_mut(&delivery.id) else { return };
        let is_newer = row.delivery.attempts <= delivery.attempts && row.delivery.ended_at.is_none();
        if row.delivery.started_at == delivery.started_at && is_newer {
            if delivery.ended_at.is_some() && erased {
                row.url = None;
            }
            row.delivery = delivery;
        }
    }
}
