//! What is asked of the writer, and what it answers.

use crate::model::{
    Backoff, CallerUrl, Pingback, Report, ReportError, Submission, Task, TaskId, Timestamp, TokenId,
};
use crate::store::{Fault, IdempotencyKey};

/// Why a write did not happen. Nothing of it is stored, or at least nobody was told so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WriteError {
    /// Too many writes wait already, and that was said.
    #[error("too many writes are waiting: more comes in than the disk takes, see what else uses it")]
    Busy,
    /// The database failed, and has said so.
    #[error("the database cannot be written: {0}")]
    Store(Fault),
    /// It was not stored in the time that its caller has.
    #[error("the write took too long")]
    TooSlow,
    /// Something else failed.
    #[error("the write broke off")]
    Failed,
}

impl WriteError {
    /// Whether it was said already, once, why nothing can be written: nobody else needs to.
    pub(crate) fn is_told(self) -> bool {
        matches!(self, Self::Store(_) | Self::Busy)
    }
}

/// A captcha to store as a task.
#[derive(Debug)]
pub(crate) struct Submit {
    pub(crate) owner: TokenId,
    pub(crate) submission: Submission,
    pub(crate) idempotency: Option<IdempotencyKey>,
    /// The most that the day's captchas may cost, in billionths.
    pub(crate) daily_limit: Option<i64>,
    /// Where the caller wants to be told how it ended.
    pub(crate) pingback: Option<CallerUrl>,
}

/// What became of a submission.
#[derive(Debug)]
pub(crate) enum Submitted {
    /// It is a new task.
    New(Task),
    /// It is this earlier task, submitted under the same idempotency key.
    Repeated(Task),
    /// Its idempotency key belongs to a task with another content.
    KeyReused,
    /// With the tasks under way, less is left of the day's money than it may cost.
    OverLimit,
}

/// A pingback, and the task whose own URL it came to.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) pingback: Pingback,
    pub(crate) task: Option<TaskId>,
}

/// What `res.php` said of a captcha.
#[derive(Clone, Debug)]
pub(crate) enum Fetched {
    /// How it ended.
    Word(Pingback),
    /// Nothing yet: it is asked again then, or never.
    NotYet(Option<Timestamp>),
}

impl Fetched {
    pub(super) fn word(&self) -> Option<&Pingback> {
        match self {
            Self::Word(word) => Some(word),
            Self::NotYet(_) => None,
        }
    }
}

/// A wish for tasks to send.
#[derive(Debug)]
pub(crate) struct Claim {
    /// At most this many.
    pub(crate) limit: u32,
    /// Digests of the tokens in their pingback URLs: as many as the limit, or none.
    pub(crate) tokens: Vec<[u8; 32]>,
    /// What the day's captchas may cost, less what is being sent, in billionths; `None`: anything.
    pub(crate) budget: Option<i64>,
}

/// Tasks to send, which are marked as being sent.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) tasks: Vec<Task>,
    /// The pauses as others know them; `None` where there are no others.
    pub(crate) backoff: Option<Backoff>,
    /// Whether there are more, but the day's money is not enough for them; `None` when there are none.
    pub(crate) is_short_of_money: Option<bool>,
}

/// What became of a wish to call `res.php`.
#[derive(Debug)]
pub(crate) struct Paid {
    /// What is left of the credit; `None`: it is not enough, and nothing was paid.
    pub(crate) left: Option<u32>,
    /// The pauses as all who use the account know them.
    pub(crate) backoff: Backoff,
}

/// What became of a wish to report.
#[derive(Debug)]
pub(crate) enum Reported {
    /// It is on disk, and will be sent.
    New(Report),
    /// There is one already.
    Earlier(Report),
    /// There can be none.
    Refused(ReportError),
    /// There is no such task, or it is not the caller's.
    NotFound,
}

/// What became of a pingback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receipt {
    /// It settled a task.
    Settled(TaskId),
    /// It says again what is known.
    Repeated,
    /// It settles nothing, and is kept: unmatched, differing, or about the account.
    Kept {
        /// Whether a task has its captcha ID.
        is_matched: bool,
    },
}

/// What became of a wish to cancel.
#[derive(Debug)]
pub(crate) enum Cancelled {
    /// It is cancelled.
    Done(Task),
    /// It was sent, or has ended.
    TooLate(Task),
    /// There is no such task, or it is not the caller's.
    NotFound,
}

/// What became of a URL that a caller wants to register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UrlAdded {
    /// It is registered; perhaps it was before.
    Added,
    /// The caller has as many as one may have.
    Full,
}

/// What became of something that is granted by a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Granted<T> {
    Done(T),
    /// There are as many as there may be.
    Full,
    /// The token was revoked meanwhile, or may less.
    Withdrawn,
}

#[cfg(test)]
impl<T> Granted<T> {
    /// What was granted, where there is room and the token is there.
    pub(crate) fn unwrap(self) -> T {
        match self {
            Self::Done(granted) => granted,
            Self::Full | Self::Withdrawn => panic!("it was not granted"),
        }
    }
}

impl<T> From<Option<T>> for Granted<T> {
    /// Of what is stored unless there are too many.
    fn from(stored: Option<T>) -> Self {
        stored.map_or(Self::Full, Self::Done)
    }
}
