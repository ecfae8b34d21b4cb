//! A task, and how its state changes. Every change is a pure function: whoever calls it stores the
//! result.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    CaptchaId, CaptchaType, ErrorCode, FORGOTTEN, Outcome, Pingback, Price, Submission, TaskId, Timestamp,
    TokenId,
};

/// The longest that a task waits before it is sent again, unless its code asks for more.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// How long a task whose turn it was not stays behind the others.
const STEP_BACK: Duration = Duration::from_secs(1);
/// How long the end of a task's time waits for the last question, when that cannot be asked at once.
const LAST_QUESTION: Duration = Duration::from_secs(60);

/// One request to solve a captcha, owned by pingbox.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Task {
    /// Its number.
    pub id: TaskId,
    /// Who submitted it, and so who may see it.
    pub owner: TokenId,
    /// The type of captcha.
    pub kind: CaptchaType,
    /// Where it stands.
    pub status: Status,
    /// The caller's own word for it.
    pub tag: Option<String>,
    /// Higher is sent first.
    pub priority: i32,
    /// The provider's id, once `in.php` gave one.
    pub captcha_id: Option<CaptchaId>,
    /// The answer's text, once solved.
    pub answer: Option<String>,
    /// Why it ended without an answer.
    pub error: Option<ErrorCode>,
    /// How the answer or the error came.
    pub via: Option<Via>,
    /// What the provider charged.
    pub price: Option<Price>,
    /// The provider did not say: the price is from the API document's table of rates.
    pub price_estimated: bool,
    /// How often it was sent to `in.php`.
    pub attempts: u32,
    /// An attempt was sent without a reply: it may exist at the provider, unknown to us.
    pub doubtful: bool,
    /// Why it waits; `None` when it need not say.
    pub reason: Option<String>,
    /// Fields of the settling pingback that we do not know, as a JSON object.
    pub extra: Option<String>,
    /// When the caller submitted it.
    pub created_at: Timestamp,
    /// When it was last sent to `in.php`.
    pub sent_at: Option<Timestamp>,
    /// When the provider took it.
    pub submitted_at: Option<Timestamp>,
    /// When the answer or the error came.
    pub answered_at: Option<Timestamp>,
    /// When pingbox gives up.
    pub expires_at: Timestamp,
    /// While it is queued: before this time it is not sent again. While it is unconfirmed: until then
    /// nothing is done about it. While it is submitted: its answer is asked for then; `None`: not any
    /// more.
    pub due_at: Option<Timestamp>,
    /// Whether a URL of its caller is told how it ended, in the provider's own form.
    pub has_callback: bool,
    /// Whether one is told by a signed webhook.
    pub has_webhook: bool,
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// On disk, waiting to be sent.
    Queued,
    /// On its way to `in.php`.
    Submitting,
    /// Taken by the provider.
    Submitted,
    /// Sent without a reply: it may exist at the provider, and be charged.
    Unconfirmed,
    /// Answered.
    Solved,
    /// Ended with an error.
    Failed,
    /// Given up on.
    Expired,
    /// Withdrawn before it was sent.
    Cancelled,
}

impl Status {
    /// Every status, in the order of a task's life.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Submitting,
        Self::Submitted,
        Self::Unconfirmed,
        Self::Solved,
        Self::Failed,
        Self::Expired,
        Self::Cancelled,
    ];

    /// The name, as callers and the database read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Submitting => "submitting",
            Self::Submitted => "submitted",
            Self::Unconfirmed => "unconfirmed",
            Self::Solved => "solved",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing changes any more.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Solved | Self::Failed | Self::Expired | Self::Cancelled)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Status {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(())
    }
}

/// How an answer came.
#[derive(Clone, Copy, Debug, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// The provider sent it.
    Pingback,
    /// We fetched it.
    Reconcile,
}

impl Via {
    /// The name, as callers and the database read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pingback => "pingback",
            Self::Reconcile => "reconcile",
        }
    }
}

/// What became of sending a task to `in.php`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The provider took it.
    Accepted {
        /// Its id there.
        captcha_id: CaptchaId,
        /// When it said so.
        at: Timestamp,
        /// When its answer is asked for, should it not come.
        ask_at: Option<Timestamp>,
    },
    /// The provider refused it for good.
    Refused(ErrorCode),
    /// It was turned away for now: it waits and is sent again.
    Postponed {
        /// How long it waits.
        wait: Duration,
        /// Why, for people.
        reason: String,
    },
    /// It was turned away, as everything is for so long: the account is at fault, not the task.
    Held(Duration),
    /// It certainly did not arrive.
    Unsent,
    /// It was sent, and no reply is known.
    Unanswered {
        /// What happened, for people.
        reason: String,
    },
}

impl Task {
    /// A new task, not yet sent.
    #[must_use]
    pub fn new(id: TaskId, owner: TokenId, submission: &Submission, now: Timestamp) -> Self {
        Self {
            id,
            owner,
            kind: submission.captcha.kind,
            status: Status::Queued,
            tag: submission.tag.clone(),
            priority: submission.priority,
            captcha_id: None,
            answer: None,
            error: None,
            via: None,
            price: None,
            price_estimated: false,
            attempts: 0,
            doubtful: false,
            reason: None,
            extra: None,
            created_at: now,
            sent_at: None,
            submitted_at: None,
            answered_at: None,
            expires_at: now.after(submission.ttl),
            due_at: None,
            has_callback: false,
            has_webhook: submission.webhook_url.is_some(),
        }
    }

    /// Whether nothing changes any more.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        self.status.is_final()
    }

    /// Takes the task out of the queue, to be sent. Stored before the request goes out, so that a
    /// crash in between is known to have been possible.
    pub fn start_sending(&mut self, now: Timestamp) {
        self.status = Status::Submitting;
        self.attempts += 1;
        self.sent_at = Some(now);
        self.due_at = None;
        self.reason = None;
    }

    /// Records what became of sending it. A captcha ID is kept whatever the status: it is paid for.
    pub fn record_sent(&mut self, sent: Sent, now: Timestamp) {
        if let Sent::Accepted { captcha_id, at, ask_at } = sent {
            // An answer that came by another attempt keeps the id that it came for.
            if !(self.is_final() && self.captcha_id.is_some()) {
                self.captcha_id = Some(captcha_id);
                self.submitted_at = Some(at);
            }
            // Also one that went back into the queue: the provider has it, and must not get it twice.
            if matches!(self.status, Status::Queued | Status::Submitting | Status::Unconfirmed) {
                self.status = Status::Submitted;
                self.due_at = ask_at;
                self.reason = None;
            }
            return;
        }
        if self.status != Status::Submitting {
            return;
        }
        match sent {
            Sent::Accepted { .. } => {}
            Sent::Held(wait) => {
                self.status = Status::Queued;
                // A little later than the others: should it be this one after all, they are not held up.
                self.due_at = Some(now.after(wait).after(STEP_BACK));
            }
            Sent::Unsent => {
                self.status = Status::Queued;
                // It was not sent, so it may not count as a repetition.
                self.attempts = self.attempts.saturating_sub(1);
            }
            Sent::Refused(code) => self.fail(code, now),
            Sent::Postponed { wait, reason } => {
                self.status = Status::Queued;
                self.due_at = Some(now.after(self.wait_after(wait)));
                self.reason = Some(reason);
            }
            Sent::Unanswered { reason } => {
                self.status = Status::Unconfirmed;
                self.doubtful = true;
                let sent_at = self.sent_at.unwrap_or(now);
                self.due_at = Some(sent_at.after(self.kind.give_up_time()));
                self.reason = Some(reason);
            }
        }
    }

    /// Whoever was sending it ended meanwhile: nobody knows whether it arrived.
    pub fn lose_sender(&mut self, now: Timestamp) {
        let reason = "pingbox ended while the task was being sent".to_owned();
        self.record_sent(Sent::Unanswered { reason }, now);
    }

    /// A pingback came to the URL of this task alone: whatever `in.php` replied, the provider has it, under
    /// this id.
    pub fn confirm(&mut self, captcha_id: &CaptchaId, now: Timestamp) {
        if self.is_final() || self.captcha_id.as_ref() == Some(captcha_id) {
            return;
        }
        self.captcha_id = Some(captcha_id.clone());
        self.submitted_at = self.submitted_at.or(self.sent_at);
        if self.status == Status::Unconfirmed {
            self.status = Status::Submitted;
            self.due_at = super::retry(self.submitted_at.unwrap_or(now), now);
            self.reason = None;
        }
    }

    /// Settles an open task with what a pingback, or a reply of `res.php`, says of it; `false` if nothing
    /// follows from it. The first final status wins for ever.
    pub fn settle(&mut self, pingback: &Pingback, via: Via) -> bool {
        if self.is_final() {
            return false;
        }
        match &pingback.outcome {
            Outcome::Notice => return false,
            Outcome::Answer(text) => {
                self.status = Status::Solved;
                self.answer = Some(text.clone());
                self.answered_at = Some(pingback.received_at);
            }
            Outcome::Failed(code) => self.fail(code.clone(), pingback.received_at),
        }
        self.via = Some(via);
        self.price.clone_from(&pingback.price);
        if self.status == Status::Solved && self.price.is_none() {
            self.price = Some(Price::from_nanos(self.kind.rate_nanos()));
            self.price_estimated = true;
        }
        self.extra.clone_from(&pingback.extra);
        self.reason = None;
        true
    }

    /// The answer was asked for and is not there. It is asked for again at `ask_at`; if never, and the
    /// task's time is over, that was the last question.
    pub fn ask_again(&mut self, ask_at: Option<Timestamp>, now: Timestamp) {
        if self.status == Status::Submitted {
            self.due_at = ask_at;
            self.expire(now);
        }
    }

    /// Whether the pingback repeats what settled the task.
    #[must_use]
    pub fn is_settled_as(&self, pingback: &Pingback) -> bool {
        match &pingback.outcome {
            Outcome::Answer(text) => self.answer.as_ref() == Some(text),
            Outcome::Failed(code) => self.error.as_ref() == Some(code),
            Outcome::Notice => false,
        }
    }

    /// What its caller's receiver is told as `code`: the answer, or an error code as the provider has them.
    /// `None` while there is none, or when the answer was erased.
    #[must_use]
    pub fn callback_code(&self) -> Option<&str> {
        match self.status {
            Status::Solved => self.answer.as_deref(),
            Status::Failed | Status::Expired => self.error.as_ref().map(ErrorCode::as_provider_code),
            _ => None,
        }
    }

    /// How long a task waits that was turned away: twice as long each time. What the provider asks
    /// of everybody ends earlier, so a task that is always turned away does not hold up the others.
    fn wait_after(&self, wait: Duration) -> Duration {
        let doublings = self.attempts.saturating_sub(1).min(16);
        wait.saturating_mul(1 << doublings).min(LONGEST_WAIT.max(wait))
    }

    /// Withdraws a task that the provider certainly does not have; `false` if it is too late.
    pub fn cancel(&mut self, now: Timestamp) -> bool {
        let withdrawn = self.status == Status::Queued && !self.doubtful;
        if withdrawn {
            self.status = Status::Cancelled;
            self.answered_at = Some(now);
            self.reason = None;
        }
        withdrawn
    }

    /// Gives up on a task whose time is over, or that the provider has forgotten; `false` while a request
    /// is on its way, whose outcome must be known first, and once it is final. A last question comes
    /// before that, unless it cannot be asked for a minute.
    pub fn expire(&mut self, now: Timestamp) -> bool {
        let is_over = match self.status {
            Status::Queued | Status::Unconfirmed => now >= self.expires_at,
            Status::Submitted => {
                let asked = self.due_at.is_none_or(|due_at| now >= due_at.after(LAST_QUESTION));
                let forgotten_at = self.submitted_at.unwrap_or(self.created_at).after(FORGOTTEN);
                now >= forgotten_at || (now >= self.expires_at && asked)
            }
            _ => false,
        };
        if is_over {
            self.status = Status::Expired;
            self.error = Some(ErrorCode::known(ErrorCode::EXPIRED));
            self.answered_at = Some(now);
            self.reason = None;
        }
        is_over
    }

    /// Ends the wait of an unconfirmed task: back to the queue, or failed, as the operator chose.
    /// `false` if its time has not come.
    pub fn leave_unconfirmed(&mut self, resubmit: bool, now: Timestamp) -> bool {
        if self.status != Status::Unconfirmed || self.due_at.is_some_and(|due_at| now < due_at) {
            return false;
        }
        if resubmit {
            self.status = Status::Queued;
            self.due_at = None;
            self.reason = None;
        } else {
            self.fail(ErrorCode::known(ErrorCode::UNCONFIRMED), now);
        }
        true
    }

    fn fail(&mut self, code: ErrorCode, now: Timestamp) {
        self.status = Status::Failed;
        self.error = Some(code);
        self.answered_at = Some(now);
        self.reason = None;
    }
}

#[cfg(test)]
mod tests;
