//! What the writer has stored since the start, counted for metrics.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::batch::{Batch, Committed, Job};
use super::chores::Chore;
use super::{Asked, Receipt, Submitted, WriteError};
use crate::counters::{Counters, Histogram};
use crate::model::{CaptchaType, Delivery, DeliveryStatus, Outcome, Status, Task, Timestamp, Via};
use crate::store::Retired;

const TYPES: usize = CaptchaType::ALL.len();

/// From 0.5 ms to 30 s: a commit takes a flush of the disk, at worst the time after which it is given up.
const WRITE_BOUNDS: [u64; 14] = [
    500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000,
    5_000_000, 30_000_000,
];
/// From 1 s to 10 min: texts take seconds, a reCAPTCHA may take minutes.
const SOLVE_BOUNDS: [u64; 14] = [
    1_000_000,
    2_000_000,
    3_000_000,
    5_000_000,
    8_000_000,
    12_000_000,
    20_000_000,
    30_000_000,
    45_000_000,
    60_000_000,
    90_000_000,
    120_000_000,
    300_000_000,
    600_000_000,
];

/// What came of a pingback with a valid secret.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// It solved a task.
    Answer,
    /// It failed a task.
    Failure,
    /// It is about the account, and was kept.
    Notice,
    /// It says again what is known.
    Repeated,
    /// It differs from how its task ended, and was kept.
    Late,
    /// No task has its captcha ID; it was kept.
    Unmatched,
    /// It makes no sense.
    Malformed,
    /// Too many writes waited.
    Overloaded,
    /// It could not be stored.
    NotStored,
}

impl Fate {
    const WORDS: [&'static str; 9] = [
        "answer",
        "failure",
        "notice",
        "repeated",
        "late",
        "unmatched",
        "malformed",
        "overloaded",
        "not_stored",
    ];
}

/// How a task ends.
const ENDS: [Status; 4] = [Status::Solved, Status::Failed, Status::Expired, Status::Cancelled];

/// The place of deliveries that were given up on.
const DEAD: usize = 2;

/// What the writer has stored since the start.
#[derive(Debug)]
pub(crate) struct WriterTally {
    /// Pingbacks with a valid secret, by what came of them.
    pub(crate) pingbacks: Counters<9>,
    /// From the moment at which a pingback had been read to its commit.
    pub(crate) pingback_commit: Histogram<14>,
    /// Transactions, by whether they were stored.
    pub(crate) commits: Counters<2>,
    /// How long those that were stored took.
    pub(crate) commit: Histogram<14>,
    /// Writes in them.
    writes: AtomicU64,
    /// New tasks, by type.
    pub(crate) created: Counters<TYPES>,
    /// Tasks that ended, by type in the order of [`CaptchaType::ALL`], and how.
    pub(crate) ended: [Counters<4>; TYPES],
    /// Outcomes that the provider gave, by how they came.
    pub(crate) fetched: Counters<2>,
    /// From submitted to answered, of tasks that a pingback solved, in the same order.
    pub(crate) solve: [Histogram<14>; TYPES],
    /// Attempts to deliver messages to callers' receivers, and messages that were given up on without one.
    pub(crate) deliveries: Counters<3>,
    /// Rows that retention erased or deleted.
    pub(crate) retired: Counters<6>,
}

impl Default for WriterTally {
    fn default() -> Self {
        Self {
            pingbacks: Counters::new(Fate::WORDS),
            pingback_commit: Histogram::new(&WRITE_BOUNDS),
            commits: Counters::new(["stored", "failed"]),
            commit: Histogram::new(&WRITE_BOUNDS),
            writes: AtomicU64::new(0),
            created: Counters::new(CaptchaType::ALL.map(CaptchaType::as_str)),
            ended: array::from_fn(|_| Counters::new(ENDS.map(Status::as_str))),
            fetched: Counters::new(["pingback", "reconcile"]),
            solve: array::from_fn(|_| Histogram::new(&SOLVE_BOUNDS)),
            deliveries: Counters::new(["delivered", "retried", "dead"]),
            retired: Counters::new(["answers", "tasks", "events", "deliveries", "pingbacks", "keys"]),
        }
    }
}

impl WriterTally {
    /// One more pingback, and what came of it.
    pub(crate) fn note_pingback(&self, fate: Fate) {
        self.pingbacks.add(fate as usize, 1);
    }

    /// How many pingbacks were taken, whatever came of them.
    pub(crate) fn taken_pingbacks(&self) -> u64 {
        let refused = [Fate::Malformed, Fate::Overloaded, Fate::NotStored].map(|fate| fate as usize);
        let all = self.pingbacks.all().enumerate();
        all.filter(|(place, _)| !refused.contains(place)).map(|(_, (_, count))| count).sum()
    }

    /// One more that was not stored.
    pub(super) fn note_refused(&self, error: WriteError) {
        self.note_pingback(match error {
            WriteError::Busy => Fate::Overloaded,
            WriteError::Store(_) | WriteError::TooSlow | WriteError::Failed => Fate::NotStored,
        });
    }

    /// How many writes were stored.
    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    pub(super) fn note_failed_commit(&self) {
        self.commits.add(1, 1);
    }

    /// A batch was stored, and took so long.
    pub(super) fn note_commit(&self, batch: &Batch, committed: &Committed, took: Duration) {
        self.commits.add(0, 1);
        self.commit.note(took);
        self.writes.fetch_add(batch.len() as u64, Ordering::Relaxed);
        let now = Timestamp::now();
        for job in batch.jobs() {
            self.note_job(job, now);
        }
        for task in committed.newly_ended() {
            self.note_ended(task);
        }
    }

    fn note_job(&self, job: &Job, now: Timestamp) {
        match job {
            Job::Pingback(Asked { question, answer: Some(receipt), .. }) => {
                let pingback = &question.pingback;
                self.pingback_commit.note(now.since(pingback.received_at));
                self.note_pingback(match (receipt, &pingback.outcome) {
                    (Receipt::Repeated, _) => Fate::Repeated,
                    (_, Outcome::Notice) => Fate::Notice,
                    (Receipt::Settled(_), Outcome::Answer(_)) => Fate::Answer,
                    (Receipt::Settled(_), Outcome::Failed(_)) => Fate::Failure,
                    (Receipt::Kept { is_matched: true }, _) => Fate::Late,
                    (Receipt::Kept { is_matched: false }, _) => Fate::Unmatched,
                });
            }
            Job::Submit(Asked { answer: Some(Submitted::New(task)), .. }) => {
                self.created.add(task.kind as usize, 1);
            }
            Job::Retire(Asked { answer: Some(retired), .. }) => self.note_retired(retired),
            Job::Chore(Chore::Delivery(asked)) => self.note_tried(&asked.question),
            Job::Chore(Chore::WebhookGone(asked)) => {
                self.note_tried(&asked.question);
                self.deliveries.add(DEAD, asked.answer.unwrap_or_default());
            }
            Job::Chore(Chore::GiveUp(asked)) => {
                self.deliveries.add(DEAD, asked.answer.unwrap_or_default());
            }
            _ => {}
        }
    }

    fn note_tried(&self, delivery: &Delivery) {
        let place = match delivery.status {
            DeliveryStatus::Delivered => 0,
            DeliveryStatus::Waiting => 1,
            DeliveryStatus::Dead => DEAD,
        };
        self.deliveries.add(place, 1);
    }

    fn note_retired(&self, retired: &Retired) {
        let Retired { answers, tasks, events, deliveries, pingbacks, keys } = *retired;
        for (place, rows) in [answers, tasks, events, deliveries, pingbacks, keys].into_iter().enumerate() {
            self.retired.add(place, rows);
        }
    }

    fn note_ended(&self, task: &Task) {
        let kind = task.kind as usize;
        if let Some(end) = ENDS.iter().position(|&end| end == task.status) {
            self.ended[kind].add(end, 1);
        }
        match task.via {
            Some(Via::Pingback) => self.fetched.add(0, 1),
            Some(Via::Reconcile) => self.fetched.add(1, 1),
            None => {}
        }
        if let (Status::Solved, Some(Via::Pingback), Some(submitted_at), Some(answered_at)) =
            (task.status, task.via, task.submitted_at, task.answered_at)
        {
            self.solve[kind].note(answered_at.since(submitted_at));
        }
    }
}
