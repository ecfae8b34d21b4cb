//! Tasks, unmatched pingbacks and events as callers see them, whichever way they are told.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Answer, AnswerForm, CaptchaId, CaptchaType, ErrorCode, Event, EventKind, FeedId, Outcome, Pingback,
    Price, Status, Subject, Task, TaskId, Timestamp, Via,
};

/// A captcha, from its submission to its end.
#[derive(Debug, JsonSchema, Serialize)]
#[schemars(rename = "Task")]
pub(crate) struct TaskBody<'a> {
    /// Names it.
    id: TaskId,
    /// The type of captcha.
    r#type: CaptchaType,
    /// Where it stands.
    status: Status,
    /// What the provider calls it; `null` until it has it.
    captcha_id: Option<&'a CaptchaId>,
    /// The caller's own word for it.
    #[schemars(example = &"login-page")]
    tag: Option<&'a str>,
    /// Of queued tasks those with a higher one are sent first.
    priority: i32,
    /// The answer; `null` until there is one, and once it was erased (`retention.answers`).
    answer: Option<Answer>,
    /// Why there is none.
    error: Option<ErrorBody<'a>>,
    /// How the end became known; `null` when nothing was fetched.
    via: Option<Via>,
    /// What it cost.
    price: Option<&'a Price>,
    /// Set when the price is from the table of rates: the provider did not tell.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    price_estimated: bool,
    /// How often it was sent to the provider.
    attempts: u32,
    /// Why it waits. Only while it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"ERROR_NO_SLOT_AVAILABLE: no worker is free at this price")]
    reason: Option<&'a str>,
    /// When it was submitted to pingbox.
    created_at: Timestamp,
    /// When the provider took it.
    submitted_at: Option<Timestamp>,
    /// When its end became known.
    answered_at: Option<Timestamp>,
    /// When it is given up on.
    expires_at: Timestamp,
    /// Milliseconds from submitted to answered, once it is solved.
    #[schemars(with = "Option<u64>", example = 3120)]
    solve_ms: Option<u128>,
}

/// Why a task has no answer.
#[derive(Debug, JsonSchema, Serialize)]
#[schemars(rename = "TaskError")]
pub(crate) struct ErrorBody<'a> {
    /// The provider's code, or `EXPIRED` or `UNCONFIRMED`.
    #[schemars(example = &"ERROR_CAPTCHA_UNSOLVABLE")]
    code: &'a str,
    /// What it means.
    #[schemars(example = &"the workers could not solve it")]
    message: &'a str,
    /// Whether the same captcha may succeed when it is submitted again.
    retryable: bool,
}

impl<'a> ErrorBody<'a> {
    fn new(code: &'a ErrorCode) -> Self {
        Self { code: code.as_str(), message: code.message(), retryable: code.is_retryable() }
    }
}

impl<'a> TaskBody<'a> {
    /// The task as it stands; `why_wait` is what holds up every queued task.
    pub(crate) fn new(task: &'a Task, why_wait: Option<&'a str>) -> Self {
        let solved_in = |submitted: Timestamp| Some(task.answered_at?.since(submitted).as_millis());
        Self {
            id: task.id,
            r#type: task.kind,
            status: task.status,
            captcha_id: task.captcha_id.as_ref(),
            tag: task.tag.as_deref(),
            priority: task.priority,
            answer: task.answer.clone().map(|text| Answer::parse(task.kind, text)),
            error: task.error.as_ref().map(ErrorBody::new),
            via: task.via,
            price: task.price.as_ref(),
            price_estimated: task.price_estimated,
            attempts: task.attempts,
            reason: why_wait.filter(|_| task.status == Status::Queued).or(task.reason.as_deref()),
            created_at: task.created_at,
            submitted_at: task.submitted_at,
            answered_at: task.answered_at,
            expires_at: task.expires_at,
            solve_ms: task.submitted_at.filter(|_| task.status == Status::Solved).and_then(solved_in),
        }
    }
}

/// What is known of a captcha by its own id. It need not be of a task.
#[derive(Debug, JsonSchema, Serialize)]
#[schemars(rename = "CaptchaAnswer")]
pub(crate) struct AnswerBody<'a> {
    /// What the provider calls it.
    #[schemars(with = "CaptchaId")]
    captcha_id: &'a str,
    /// The answer; `null` when there is none, or it was erased.
    answer: Option<Answer>,
    /// Why there is none.
    error: Option<ErrorBody<'a>>,
    /// What it cost, if the provider told.
    price: Option<&'a Price>,
    /// When pingbox got it; `null` once it was erased.
    received_at: Option<Timestamp>,
    /// The task that it is of, if there is one.
    task_id: Option<TaskId>,
}

impl<'a> AnswerBody<'a> {
    /// What a pingback says.
    pub(crate) fn of_pingback(pingback: &'a Pingback) -> Self {
        let mut body = Self::erased(pingback.captcha_id.as_str());
        match &pingback.outcome {
            Outcome::Answer(text) => {
                body.answer = Some(Answer { text: text.clone(), form: AnswerForm::Text {} });
            }
            Outcome::Failed(code) => body.error = Some(ErrorBody::new(code)),
            Outcome::Notice => {}
        }
        body.price = pingback.price.as_ref();
        body.received_at = Some(pingback.received_at);
        body
    }

    /// How a task ended.
    pub(crate) fn of_task(task: &'a Task) -> Self {
        let TaskBody { id, answer, error, price, answered_at, .. } = TaskBody::new(task, None);
        let captcha_id = task.captcha_id.as_ref().map_or("", CaptchaId::as_str);
        Self { captcha_id, answer, error, price, received_at: answered_at, task_id: Some(id) }
    }

    fn erased(captcha_id: &'a str) -> Self {
        Self { captcha_id, answer: None, error: None, price: None, received_at: None, task_id: None }
    }
}

/// What an event is about.
#[derive(Debug, JsonSchema, Serialize)]
#[serde(untagged)]
#[schemars(rename = "EventData")]
pub(crate) enum SubjectBody<'a> {
    Task(Box<TaskBody<'a>>),
    Pingback(AnswerBody<'a>),
}

impl<'a> SubjectBody<'a> {
    pub(crate) fn new(subject: &'a Subject) -> Self {
        match subject {
            Subject::Task(task) => Self::Task(Box::new(TaskBody::new(task, None))),
            Subject::Pingback { captcha_id, pingback } => Self::Pingback(
                pingback
                    .as_ref()
                    .map_or_else(|| AnswerBody::erased(captcha_id), |it| AnswerBody::of_pingback(it)),
            ),
        }
    }
}

/// An event as the feed shows it.
#[derive(Debug, JsonSchema, Serialize)]
#[schemars(rename = "Event")]
pub(crate) struct EventBody<'a> {
    /// Names it: the cursor behind it.
    #[schemars(example = &"3f2a9c1b-1042")]
    id: String,
    /// What happened.
    r#type: EventKind,
    /// When it was stored.
    time: Timestamp,
    /// The task as it was then, or what an unmatched pingback said.
    data: SubjectBody<'a>,
}

impl<'a> EventBody<'a> {
    pub(crate) fn new(event: &'a Event, feed: &FeedId) -> Self {
        let Event { number, kind, time, subject, .. } = event;
        Self {
            id: feed.cursor(*number).to_string(),
            r#type: *kind,
            time: *time,
            data: SubjectBody::new(subject),
        }
    }
}

/// An event as a webhook tells it. Its id is a header.
#[derive(Debug, Serialize)]
pub(crate) struct MessageBody<'a> {
    r#type: EventKind,
    timestamp: Timestamp,
    data: SubjectBody<'a>,
}

impl<'a> MessageBody<'a> {
    pub(crate) fn new(event: &'a Event) -> Self {
        Self { r#type: event.kind, timestamp: event.time, data: SubjectBody::new(&event.subject) }
    }
}
