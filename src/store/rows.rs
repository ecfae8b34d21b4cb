//! Tasks and pingbacks as rows: read from a row, written as JSON for the bulk statements.

use std::str::FromStr;

use rusqlite::ToSql;
use serde::Serialize;

use super::db::{Row, WriteRow};
use crate::model::{CaptchaId, ErrorCode, Outcome, Pingback, Price, Task, TaskId, Timestamp, TokenId, Via};

/// The columns that [`task`] reads.
macro_rules! task_columns {
    () => {
        "id, owner, type, status, tag, priority, captcha_id, answer, error, via, price, price_estimated, attempts, doubtful, reason, \
         extra, created_at, sent_at, submitted_at, answered_at, expires_at, due_at, \
         callback_url IS NOT NULL AS has_callback, webhook_url IS NOT NULL AS has_webhook"
    };
}
pub(super) use task_columns;

/// The tasks that the provider has or may have. In exactly these words: only so SQLite uses the index
/// `task_due`.
macro_rules! under_way {
    () => {
        "status IN ('submitted', 'unconfirmed')"
    };
}
pub(super) use under_way;

/// The columns that [`pingback`] reads.
macro_rules! pingback_columns {
    () => {
        "id, captcha_id, task_id, code, outcome, price, extra, received_at"
    };
}
pub(super) use pingback_columns;

pub(super) fn task(row: &Row) -> Result<Task, sqlx::Error> {
    Ok(Task {
        id: task_id(row, "id")?,
        owner: TokenId::from_number(row.try_get("owner")?),
        kind: parsed(row, "type")?,
        status: parsed(row, "status")?,
        tag: row.try_get("tag")?,
        priority: number(row, "priority")?,
        captcha_id: parsed_if_any(row, "captcha_id")?,
        answer: row.try_get("answer")?,
        error: row.try_get::<Option<String>, _>("error")?.map(ErrorCode::known),
        via: via(row)?,
        price: parsed_if_any(row, "price")?,
        price_estimated: flag(row, "price_estimated")?,
        attempts: number(row, "attempts")?,
        doubtful: flag(row, "doubtful")?,
        reason: row.try_get("reason")?,
        extra: row.try_get("extra")?,
        created_at: time(row, "created_at")?,
        sent_at: time_if_any(row, "sent_at")?,
        submitted_at: time_if_any(row, "submitted_at")?,
        answered_at: time_if_any(row, "answered_at")?,
        expires_at: time(row, "expires_at")?,
        due_at: time_if_any(row, "due_at")?,
        has_callback: row.try_get("has_callback")?,
        has_webhook: row.try_get("has_webhook")?,
    })
}

pub(super) fn via(row: &Row) -> Result<Option<Via>, sqlx::Error> {
    Ok(match row.try_get("via")? {
        Some("pingback") => Some(Via::Pingback),
        Some("reconcile") => Some(Via::Reconcile),
        _ => None,
    })
}

pub(super) fn pingback(row: &Row) -> Result<Pingback, sqlx::Error> {
    let code: String = row.try_get("code")?;
    Ok(Pingback {
        captcha_id: parsed(row, "captcha_id")?,
        outcome: match row.try_get("outcome")? {
            "answer" => Outcome::Answer(code.clone()),
            "failed" => Outcome::Failed(ErrorCode::known(code.as_str())),
            _ => Outcome::Notice,
        },
        code,
        price: parsed_if_any(row, "price")?,
        extra: row.try_get("extra")?,
        received_at: time(row, "received_at")?,
    })
}

pub(super) fn task_id(row: &Row, column: &'static str) -> Result<TaskId, sqlx::Error> {
    TaskId::new(row.try_get(column)?).ok_or_else(|| corrupt(column))
}

pub(super) fn time(row: &Row, column: &'static str) -> Result<Timestamp, sqlx::Error> {
    row.try_get(column).map(Timestamp::from_micros)
}

pub(super) fn time_if_any(row: &Row, column: &'static str) -> Result<Option<Timestamp>, sqlx::Error> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_micros))
}

pub(super) fn parsed<T: FromStr>(row: &Row, column: &'static str) -> Result<T, sqlx::Error> {
    parsed_if_any(row, column)?.ok_or_else(|| corrupt(column))
}

fn parsed_if_any<T: FromStr>(row: &Row, column: &'static str) -> Result<Option<T>, sqlx::Error> {
    match row.try_get::<Option<&str>, _>(column)? {
        Some(text) => text.parse().map(Some).map_err(|_| corrupt(column)),
        None => Ok(None),
    }
}

/// A whole number of a smaller kind than the database has.
pub(super) fn number<T: TryFrom<i64>>(row: &Row, column: &'static str) -> Result<T, sqlx::Error> {
    T::try_from(row.try_get(column)?).map_err(|_| corrupt(column))
}

pub(super) fn number_if_any<T: TryFrom<i64>>(
    row: &Row,
    column: &'static str,
) -> Result<Option<T>, sqlx::Error> {
    let number: Option<i64> = row.try_get(column)?;
    number.map(|number| T::try_from(number).map_err(|_| corrupt(column))).transpose()
}

/// A number that says yes or no.
pub(super) fn flag(row: &Row, column: &'static str) -> Result<bool, sqlx::Error> {
    Ok(row.try_get::<i64, _>(column)? != 0)
}

pub(super) fn corrupt(column: &'static str) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: "not a value that pingbox writes".into() }
}

/// The columns of a task that change during its life, as the bulk `UPDATE` reads them.
#[derive(Serialize)]
pub(super) struct TaskChange<'a> {
    pub(super) id: i64,
    status: &'static str,
    captcha_id: Option<&'a str>,
    answer: Option<&'a str>,
    error: Option<&'a str>,
    via: Option<&'static str>,
    price: Option<&'a str>,
    price_estimated: u8,
    attempts: u32,
    doubtful: u8,
    reason: Option<&'a str>,
    extra: Option<&'a str>,
    sent_at: Option<i64>,
    submitted_at: Option<i64>,
    answered_at: Option<i64>,
    due_at: Option<i64>,
}

impl<'a> From<&'a Task> for TaskChange<'a> {
    fn from(task: &'a Task) -> Self {
        Self {
            id: task.id.number(),
            status: task.status.as_str(),
            captcha_id: task.captcha_id.as_ref().map(CaptchaId::as_str),
            answer: task.answer.as_deref(),
            error: task.error.as_ref().map(ErrorCode::as_str),
            via: task.via.map(Via::as_str),
            price: task.price.as_ref().map(Price::as_str),
            price_estimated: u8::from(task.price_estimated),
            attempts: task.attempts,
            doubtful: u8::from(task.doubtful),
            reason: task.reason.as_deref(),
            extra: task.extra.as_deref(),
            sent_at: task.sent_at.map(Timestamp::as_micros),
            submitted_at: task.submitted_at.map(Timestamp::as_micros),
            answered_at: task.answered_at.map(Timestamp::as_micros),
            due_at: task.due_at.map(Timestamp::as_micros),
        }
    }
}

impl WriteRow for TaskChange<'_> {
    fn values(&self) -> Vec<&dyn ToSql> {
        vec![
            &self.id,
            &self.status,
            &self.captcha_id,
            &self.answer,
            &self.error,
            &self.via,
            &self.price,
            &self.price_estimated,
            &self.attempts,
            &self.doubtful,
            &self.reason,
            &self.extra,
            &self.sent_at,
            &self.submitted_at,
            &self.answered_at,
            &self.due_at,
        ]
    }
}

/// What a pingback changes about a task: few of its indexes, and none of its triggers but those of its end, look at
/// these.
#[derive(Serialize)]
pub(super) struct TaskEnd<'a> {
    id: i64,
    status: &'static str,
    answer: Option<&'a str>,
    error: Option<&'a str>,
    via: Option<&'static str>,
    price: Option<&'a str>,
    price_estimated: u8,
    reason: Option<&'a str>,
    extra: Option<&'a str>,
    answered_at: Option<i64>,
}

impl<'a> From<&'a Task> for TaskEnd<'a> {
    fn from(task: &'a Task) -> Self {
        let change = TaskChange::from(task);
        Self {
            id: change.id,
            status: change.status,
            answer: change.answer,
            error: change.error,
            via: change.via,
            price: change.price,
            price_estimated: change.price_estimated,
            reason: change.reason,
            extra: change.extra,
            answered_at: change.answered_at,
        }
    }
}

impl WriteRow for TaskEnd<'_> {
    fn values(&self) -> Vec<&dyn ToSql> {
        vec![
            &self.id,
            &self.status,
            &self.answer,
            &self.error,
            &self.via,
            &self.price,
            &self.price_estimated,
            &self.reason,
            &self.extra,
            &self.answered_at,
        ]
    }
}

/// A new task, as the bulk `INSERT` reads it.
#[derive(Serialize)]
pub(super) struct TaskInsert<'a> {
    pub(super) id: i64,
    pub(super) owner: i64,
    pub(super) r#type: &'static str,
    pub(super) status: &'static str,
    pub(super) tag: Option<&'a str>,
    pub(super) priority: i32,
    /// JSON within JSON: the parameters are stored as text.
    pub(super) params: String,
    pub(super) created_at: i64,
    pub(super) expires_at: i64,
    pub(super) callback_url: Option<&'a str>,
    pub(super) callback_receiver: Option<String>,
    pub(super) webhook_url: Option<&'a str>,
    pub(super) webhook_receiver: Option<String>,
}

impl WriteRow for TaskInsert<'_> {
    fn values(&self) -> Vec<&dyn ToSql> {
        vec![
            &self.id,
            &self.owner,
            &self.r#type,
            &self.status,
            &self.tag,
            &self.priority,
            &self.params,
            &self.created_at,
            &self.expires_at,
            &self.callback_url,
            &self.callback_receiver,
            &self.webhook_url,
            &self.webhook_receiver,
        ]
    }
}

/// A pingback to keep, as the bulk `INSERT` reads it.
#[derive(Serialize)]
pub(super) struct PingbackInsert<'a> {
    captcha_id: &'a str,
    task_id: Option<i64>,
    code: &'a str,
    outcome: &'static str,
    price: Option<&'a str>,
    extra: Option<&'a str>,
    received_at: i64,
}

impl WriteRow for PingbackInsert<'_> {
    fn values(&self) -> Vec<&dyn ToSql> {
        vec![
            &self.captcha_id,
            &self.task_id,
            &self.code,
            &self.outcome,
            &self.price,
            &self.extra,
            &self.received_at,
        ]
    }
}

impl<'a> PingbackInsert<'a> {
    pub(super) fn new(pingback: &'a Pingback, task_id: Option<TaskId>) -> Self {
        Self {
            captcha_id: pingback.captcha_id.as_str(),
            task_id: task_id.map(TaskId::number),
            code: &pingback.code,
            outcome: match pingback.outcome {
                Outcome::Answer(_) => "answer",
                Outcome::Failed(_) => "failed",
                Outcome::Notice => "notice",
            },
            price: pingback.price.as_ref().map(Price::as_str),
            extra: pingback.extra.as_deref(),
            received_at: pingback.received_at.as_micros(),
        }
    }
}
