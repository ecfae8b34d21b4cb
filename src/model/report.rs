//! What a caller thinks of an answer, for the provider.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::Serialize;

use super::{CaptchaId, FORGOTTEN, Status, Task, TaskId, Timestamp};

/// Whether an answer was right.
#[derive(Clone, Copy, Debug, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It was wrong: `reportbad`.
    Bad,
    /// It was right: `reportgood`.
    Good,
}

impl Verdict {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Good => "good",
        }
    }

    /// The action of `res.php`.
    #[must_use]
    pub const fn action(self) -> &'static str {
        match self {
            Self::Bad => "reportbad",
            Self::Good => "reportgood",
        }
    }
}

impl FromStr for Verdict {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "bad" => Ok(Self::Bad),
            "good" => Ok(Self::Good),
            _ => Err(()),
        }
    }
}

/// A report on the answer to a task; there is one at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The task.
    pub task: TaskId,
    /// What the provider knows it by.
    pub captcha_id: CaptchaId,
    /// What the caller says.
    pub verdict: Verdict,
    /// The provider's word, once it gave one.
    pub reply: Option<String>,
    /// Whether the provider has it.
    pub is_recorded: bool,
    /// When the caller said so.
    pub created_at: Timestamp,
    /// When it is too late for the provider.
    pub expires_at: Timestamp,
    /// When there was nothing left to do.
    pub ended_at: Option<Timestamp>,
}

/// Why there can be no report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// There is no answer.
    #[error("only a task with an answer can be reported on")]
    NoAnswer,
    /// The provider takes it no longer.
    #[error("the provider takes reports for 15 minutes after a captcha was submitted; they are over")]
    TooLate,
}

impl Report {
    /// The provider's word for a report that it has.
    pub const RECORDED: &str = "OK_REPORT_RECORDED";
    /// Our word for one that could not be sent in time.
    pub const EXPIRED: &str = "EXPIRED";

    /// A report on the answer to `task`.
    ///
    /// # Errors
    /// When the task has no answer, or the provider's 15 minutes are over.
    pub fn new(task: &Task, verdict: Verdict, now: Timestamp) -> Result<Self, ReportError> {
        let captcha_id = task.captcha_id.clone().filter(|_| task.status == Status::Solved);
        let captcha_id = captcha_id.ok_or(ReportError::NoAnswer)?;
        let expires_at = task.submitted_at.unwrap_or(task.created_at).after(FORGOTTEN);
        if now >= expires_at {
            return Err(ReportError::TooLate);
        }
        let (task, created_at) = (task.id, now);
        Ok(Self {
            task,
            captcha_id,
            verdict,
            reply: None,
            is_recorded: false,
            created_at,
            expires_at,
            ended_at: None,
        })
    }

    /// The provider has answered. `ERROR_DUPLICATE_REPORT` says that an earlier try arrived.
    pub fn answered(&mut self, reply: &str, now: Timestamp) {
        self.is_recorded = reply == Self::RECORDED || reply == "ERROR_DUPLICATE_REPORT";
        self.reply = Some(reply.to_owned());
        self.ended_at = Some(now);
    }
}
