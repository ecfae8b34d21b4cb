//! What may be done to a store, chosen at random. A number that says which row is meant counts among those that there
//! are at that time.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use super::words::{CODES, captcha_id, text, unique_digest, url};
use crate::model::{
    Attempt, Captcha, CaptchaFile, CaptchaId, CaptchaType, ErrorCode, Outcome, Pingback, Price, Sent, Task,
    Timestamp, TokenId, Via,
};
use crate::store::IdempotencyKey;

/// One transaction.
#[derive(Clone)]
pub(super) struct Step {
    /// How far the clock goes on before it, in milliseconds. It may be set back.
    pub(super) advance: i64,
    pub(super) operations: Vec<Operation>,
    /// Whether it is committed; else it is rolled back.
    pub(super) is_kept: bool,
}

/// On one line, also among many.
impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { advance, operations, is_kept } = self;
        write!(f, "{advance:+} ms, {}: {operations:?}", if *is_kept { "commit" } else { "roll back" })
    }
}

#[derive(Clone, Debug)]
pub(super) enum Operation {
    Nothing,
    Submit(Vec<New>),
    /// Takes tasks from the queue.
    Claim(u32),
    Change(usize, Change),
    /// A change of several tasks.
    ChangeAll(Vec<usize>, Change),
    Receive(Received, Via),
    /// Keeps pingbacks, some of them for a task.
    Park(Vec<(Received, Option<usize>)>),
    Sweep(bool),
    Abandon,
    AskForAll,
    Trim(u32, u32),
    /// What is older than so many seconds: answers, tasks, keys; and the limit.
    Retire([u32; 3], u32),
    /// Tries a delivery; with `true` it was begun anew meanwhile, or somebody else has tried it.
    Attempt(usize, Tried, bool),
    GiveUp(Vec<usize>),
    WebhookGone(usize),
    Replay(usize, Option<i64>),
    ReplayAll(Vec<usize>),
    /// The clock was set back by so many milliseconds.
    Replan(i64),
    DropDelivery(usize),
    AddWebhook {
        owner: i64,
        sees_all: bool,
        url: usize,
        kinds: u8,
        secret: usize,
    },
    /// And ends what waits for it, so many at a time.
    DeleteWebhook(usize, Option<i64>, u32),
    EnableWebhook(usize, Option<i64>),
    DisableWebhook(usize, usize),
    RotateWebhook(usize, Option<i64>, usize),
    SigningKeys(i64, usize),
    RotateKeys(i64, usize),
    Report(usize, bool, Option<usize>),
    StoreCredit(usize, u32, u32),
    StoreBackoff(usize, Option<(usize, i64)>, Option<(usize, i64)>),
    Remember(usize, usize),
    AddToken(usize),
    DeleteToken(i64),
    AddCallerUrl(i64, usize, u32),
    DeleteCallerUrl(i64, Option<usize>),
    AddUrl(usize),
    DeleteUrl(usize),
    /// Reads what only the writer reads.
    Look(Look),
}

#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) owner: i64,
    pub(super) key: usize,
    /// In milliseconds.
    pub(super) age: i64,
    pub(super) delivery: usize,
    pub(super) limit: u32,
}

/// A new task.
#[derive(Clone, Debug)]
pub(super) struct New {
    pub(super) owner: i64,
    pub(super) kind: usize,
    pub(super) tag: Option<usize>,
    pub(super) priority: i32,
    pub(super) params: Vec<(usize, usize)>,
    pub(super) files: Vec<Vec<u8>>,
    pub(super) key: Option<usize>,
    pub(super) callback: Option<usize>,
    pub(super) webhook: Option<usize>,
    pub(super) ttl: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    Accepted(usize, Option<u64>),
    Sent(usize, u64),
    Confirm(usize),
    Cancel,
    Expire,
    Leave(bool),
    AskAgain(Option<u64>),
}

#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) captcha: usize,
    pub(super) code: usize,
    pub(super) price: Option<String>,
    pub(super) extra: bool,
    /// How many milliseconds ago.
    pub(super) age: i64,
}

#[derive(Clone, Debug)]
pub(super) enum Tried {
    Replied(u16),
    Failed(usize),
    Hopeless(usize),
    Postponed,
}

impl New {
    pub(super) fn task(&self, id: crate::model::TaskId, now: Timestamp) -> Task {
        let submission = crate::model::Submission {
            captcha: self.captcha(),
            tag: self.tag.map(|at| text(at).to_owned()),
            priority: self.priority,
            ttl: Duration::from_secs(self.ttl),
            webhook_url: self.webhook.map(url),
        };
        let task = Task::new(id, TokenId::from_number(self.owner), &submission, now);
        Task { has_callback: self.callback.is_some(), ..task }
    }

    pub(super) fn captcha(&self) -> Captcha {
        let file = |content: &Vec<u8>| CaptchaFile {
            field: "file".to_owned(),
            content: Bytes::from(content.clone()),
        };
        Captcha {
            kind: CaptchaType::ALL[self.kind % CaptchaType::ALL.len()],
            params: self.params.iter().map(|(a, b)| (text(*a).to_owned(), text(*b).to_owned())).collect(),
            files: self.files.iter().map(file).collect(),
        }
    }

    pub(super) fn key(&self, serial: u64) -> Option<IdempotencyKey> {
        let key = |at| IdempotencyKey { key: text(at).to_owned(), digest: unique_digest(serial, at) };
        self.key.map(key)
    }
}

impl Received {
    pub(super) fn pingback(&self, now: Timestamp) -> Pingback {
        let code = CODES[self.code % CODES.len()];
        Pingback {
            captcha_id: captcha_id(self.captcha),
            code: code.to_owned(),
            outcome: Outcome::of(code),
            price: self.price.as_ref().map(|price| price.parse::<Price>().unwrap()),
            extra: self.extra.then(|| r#"{"rate":"\u00fc\"","n":1.50}"#.to_owned()),
            received_at: now.before(Duration::from_millis(self.age.unsigned_abs())),
        }
    }
}

impl Change {
    /// Changes a task, if that is how it may change.
    pub(super) fn apply(&self, task: &mut Task, now: Timestamp) {
        match self {
            Self::Accepted(captcha, ask) => {
                let ask_at = ask.map(|secs| now.after(Duration::from_secs(secs)));
                task.record_sent(Sent::Accepted { captcha_id: captcha_id(*captcha), at: now, ask_at }, now);
            }
            Self::Sent(what, secs) => {
                let reason = text(*what).to_owned();
                let wait = Duration::from_secs(*secs);
                let sent = match what % 5 {
                    0 => Sent::Unanswered { reason },
                    1 => Sent::Postponed { wait, reason },
                    2 => Sent::Refused(ErrorCode::known("ERROR_WRONG_CAPTCHA_ID")),
                    3 => Sent::Held(wait),
                    _ => Sent::Unsent,
                };
                task.record_sent(sent, now);
            }
            Self::Confirm(captcha) => task.confirm(&captcha_id(*captcha), now),
            Self::Cancel => drop(task.cancel(now)),
            Self::Expire => drop(task.expire(now)),
            Self::Leave(resubmit) => drop(task.leave_unconfirmed(*resubmit, now)),
            Self::AskAgain(secs) => {
                task.ask_again(secs.map(|secs| now.after(Duration::from_secs(secs))), now);
            }
        }
    }

    /// The captcha ID that becomes a task's.
    pub(super) fn accepted(&self) -> Option<CaptchaId> {
        if let Self::Accepted(captcha, _) = self { Some(captcha_id(*captcha)) } else { None }
    }
}

impl Tried {
    pub(super) fn attempt(&self) -> Attempt {
        match self {
            Self::Replied(status) => Attempt::Replied { status: *status, pause: None },
            Self::Failed(why) => Attempt::Failed(text(*why).to_owned()),
            Self::Hopeless(why) => Attempt::Hopeless(text(*why).to_owned()),
            Self::Postponed => Attempt::Postponed("too busy"),
        }
    }
}
