//! Tasks, unmatched pingbacks and events as callers see them, whichever way they are told.

use serde::Serialize;

use super::{
    Answer, AnswerForm, CaptchaId, CaptchaType, ErrorCode, Event, EventKind, FeedId, Outcome, Pingback,
    Price, Status, Subject, Task, TaskId, Timestamp, Via,
};

/// A task as callers see it.
#[derive(Debug, Serialize)]
pub(crate) struct TaskBody<'a> {
    id: TaskId,
    r#type: CaptchaType,
    status: Status,
    captcha_id: Option<&'a CaptchaId>,
    tag: Option<&'a str>,
    priority: i32,
    answer: Option<Answer>,
    error: Option<ErrorBody<'a>>,
    via: Option<Via>,
    price: Option<&'a Price>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    price_estimated: bool,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    created_at: Timestamp,
    submitted_at: Option<Timestamp>,
    answered_at: Option<Timestamp>,
    expires_at: Timestamp,
    solve_ms: Option<u128>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ErrorBody<'a> {
    code: &'a str,
    message: &'a str,
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
#[derive(Debug, Serialize)]
pub(crate) struct AnswerBody<'a> {
    captcha_id: &'a str,
    answer: Option<Answer>,
    error: Option<ErrorBody<'a>>,
    price: Option<&'a Price>,
    received_at: Option<Timestamp>,
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
#[derive(Debug, Serialize)]
#[serde(untagged)]
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

/// An event as the feed shows it. Its id is the cursor behind it.
#[derive(Debug, Serialize)]
pub(crate) struct EventBody<'a> {
    id: String,
    r#type: EventKind,
    time: Timestamp,
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
