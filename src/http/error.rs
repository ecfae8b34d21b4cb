//! What callers are told when a request cannot be served: one type, one `match`.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use tracing::error;

use crate::ingest::WriteError;
use crate::model::{FieldError, Price, ReportError};
use crate::store::StoreError;

/// Errors of fields that one reply names. A request with more has one cause.
const MAX_FIELD_ERRORS: usize = 50;

/// What every error looks like (RFC 9457).
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(super) struct Problem<'a> {
    /// Always `about:blank`: `code` says which error it is.
    r#type: &'static str,
    /// The words of HTTP for the status.
    title: &'static str,
    /// The status of the reply.
    status: u16,
    /// Which error it is. It does not change.
    code: &'static str,
    /// What is wrong, and what to do about it, for people.
    detail: String,
    /// With `invalid_fields`: what cannot be taken, at most 50 of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<&'a [FieldError]>,
    /// With `cursor_expired`: where the feed begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    earliest_cursor: Option<&'a str>,
}

/// What a caller can be told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("{0}")]
    BadRequest(String),
    #[error("a valid token is needed: send it as `Authorization: Bearer <token>`")]
    Unauthorized,
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("no such path: the API is under /v1/, and no path ends in a slash")]
    PathNotFound,
    #[error("no such task")]
    TaskNotFound,
    #[error(
        "the cursor is of no place in the feed any more: events behind it are gone, or the database is another one. Go on from earliest_cursor"
    )]
    CursorExpired { earliest: String },
    #[error("no answer to this captcha, or none that this token sees")]
    AnswerNotFound,
    #[error("this path does not take the method {0}")]
    MethodNotAllowed(String),
    #[error("the body did not arrive within {0} s")]
    BodyTooSlow(u64),
    #[error("the task is {0}: only a task that the provider certainly does not have can be cancelled")]
    TooLateToCancel(&'static str),
    #[error("the body has more than {0} bytes; an image may have 102400 (100 kB)")]
    TooLarge(usize),
    #[error(
        "Content-Type says {0}: send application/json, multipart/form-data or application/x-www-form-urlencoded"
    )]
    UnsupportedMediaType(String),
    #[error("{}", sum_up(.0))]
    InvalidFields(Vec<FieldError>),
    #[error("this Idempotency-Key was used for another submission: use a new key for each new captcha")]
    IdempotencyKeyReused,
    #[error(
        "spend.daily_limit is {} a day, and with the tasks under way less is left than this one may cost: raise it, or wait for the next day (UTC)",
        .0.as_ref().map_or("", Price::as_str)
    )]
    DailyLimit(Option<Price>),
    #[error("{0}")]
    NoReport(#[from] ReportError),
    #[error("the task was reported as {0} before: there is one report for each task")]
    AlreadyReported(&'static str),
    #[error("nobody has reported on this task")]
    ReportNotFound,
    #[error("the provider does not list this pingback URL")]
    PingbackNotFound,
    #[error("no such token")]
    TokenNotFound,
    #[error("there are {0} tokens, as many as there may be: revoke one that is not needed")]
    TooManyTokens(u32),
    #[error(
        "this is the last token with the scope admin, and without one nobody could make another: make that first, or set api.token"
    )]
    LastAdmin,
    #[error("no such webhook")]
    WebhookNotFound,
    #[error("there are {0} webhooks of this token, as many as one may have: delete one that is not needed")]
    TooManyWebhooks(u32),
    #[error("no such delivery")]
    DeliveryNotFound,
    #[error("this cannot be sent any more: {0}")]
    NoReplay(String),
    #[error("{0}")]
    PingbackInUse(&'static str),
    #[error("the provider refuses this with {0}")]
    ProviderRefused(String),
    #[error("the provider cannot be asked: {0}")]
    ProviderUnavailable(String),
    #[error("{0}")]
    NoRotation(&'static str),
    #[error("this request is from pingbox itself, and was meant for the provider")]
    CameBack,
    #[error("pingbox is shutting down: ask again in a few seconds")]
    ShuttingDown,
    #[error("the database cannot take this right now: try again")]
    Write(#[from] WriteError),
    #[error("{}", if .0.is_busy() { "the database cannot be read right now: try again" } else { "internal error" })]
    Store(#[from] StoreError),
    #[error("internal error")]
    Panicked,
}

impl ApiError {
    /// One field or query parameter that cannot be taken.
    pub(crate) fn field(name: &str, detail: impl Into<String>) -> Self {
        Self::InvalidFields(vec![FieldError::new(name, detail)])
    }

    /// Logs what somebody must look at; who was told of it cannot.
    pub(crate) fn log(&self) {
        if let Self::Store(cause) = self
            && !cause.is_told()
        {
            error!(%cause, "Request failed: {cause}");
        }
    }

    /// What is sent of it.
    pub(super) fn problem(&self) -> Problem<'_> {
        let (status, code) = self.status_and_code();
        Problem {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            code,
            detail: self.to_string(),
            errors: match self {
                Self::InvalidFields(errors) => Some(&errors[..errors.len().min(MAX_FIELD_ERRORS)]),
                _ => None,
            },
            earliest_cursor: match self {
                Self::CursorExpired { earliest } => Some(earliest),
                _ => None,
            },
        }
    }

    pub(crate) fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, "bad_request"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden"),
            Self::PathNotFound => (StatusCode::NOT_FOUND, "path_not_found"),
            Self::TaskNotFound => (StatusCode::NOT_FOUND, "task_not_found"),
            Self::CursorExpired { .. } => (StatusCode::GONE, "cursor_expired"),
            Self::AnswerNotFound => (StatusCode::NOT_FOUND, "answer_not_found"),
            Self::MethodNotAllowed(_) => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::BodyTooSlow(_) => (StatusCode::REQUEST_TIMEOUT, "body_too_slow"),
            Self::TooLateToCancel(_) => (StatusCode::CONFLICT, "too_late_to_cancel"),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::UnsupportedMediaType(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
            Self::InvalidFields(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_fields"),
            Self::IdempotencyKeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused"),
            Self::DailyLimit(_) => (StatusCode::PAYMENT_REQUIRED, "daily_limit_reached"),
            Self::NoReport(ReportError::NoAnswer) => (StatusCode::CONFLICT, "no_answer_to_report"),
            Self::NoReport(ReportError::TooLate) => (StatusCode::CONFLICT, "too_late_to_report"),
            Self::AlreadyReported(_) => (StatusCode::CONFLICT, "already_reported"),
            Self::ReportNotFound => (StatusCode::NOT_FOUND, "report_not_found"),
            Self::PingbackNotFound => (StatusCode::NOT_FOUND, "pingback_not_found"),
            Self::TokenNotFound => (StatusCode::NOT_FOUND, "token_not_found"),
            Self::TooManyTokens(_) => (StatusCode::CONFLICT, "too_many_tokens"),
            Self::LastAdmin => (StatusCode::CONFLICT, "last_admin"),
            Self::WebhookNotFound => (StatusCode::NOT_FOUND, "webhook_not_found"),
            Self::TooManyWebhooks(_) => (StatusCode::CONFLICT, "too_many_webhooks"),
            Self::DeliveryNotFound => (StatusCode::NOT_FOUND, "delivery_not_found"),
            Self::NoReplay(_) => (StatusCode::CONFLICT, "no_replay"),
            Self::PingbackInUse(_) => (StatusCode::CONFLICT, "force_needed"),
            Self::ProviderRefused(_) => (StatusCode::BAD_GATEWAY, "provider_refused"),
            Self::ProviderUnavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "provider_unavailable"),
            Self::NoRotation(_) => (StatusCode::CONFLICT, "no_rotation"),
            Self::CameBack => (StatusCode::LOOP_DETECTED, "loop_detected"),
            Self::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "shutting_down"),
            Self::Write(_) => (StatusCode::SERVICE_UNAVAILABLE, "database_unavailable"),
            Self::Store(cause) if cause.is_busy() => {
                (StatusCode::SERVICE_UNAVAILABLE, "database_unavailable")
            }
            Self::Store(_) | Self::Panicked => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }
}

/// The first of the bad fields, and how many more there are.
fn sum_up(errors: &[FieldError]) -> String {
    let first = errors.first().map_or_else(String::new, |first| {
        let name = first.pointer.trim_start_matches('/');
        if name.is_empty() { first.detail.clone() } else { format!("{name} {}", first.detail) }
    });
    match errors.len() {
        0 | 1 => first,
        count => format!("{first} (and {} more)", count - 1),
    }
}

impl IntoResponse for ApiError {
    /// RFC 9457
    fn into_response(self) -> Response {
        self.log();
        let (status, _) = self.status_and_code();
        let body = json!(self.problem());
        let problem = HeaderValue::from_static("application/problem+json");
        let mut response = (status, [(CONTENT_TYPE, problem)], body.to_string()).into_response();
        let headers = response.headers_mut();
        match status {
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}
