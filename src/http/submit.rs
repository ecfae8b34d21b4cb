//! `POST /v1/tasks`: a captcha comes in, in JSON or as a form, and is on disk before the reply.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::time::Instant;
use tracing::warn;

use super::AppState;
use super::auth::{self, Caller};
use super::body::{self, Encoding};
use super::error::ApiError;
use super::query::{Query, preferred_wait};
use super::requests;
use crate::ingest::{Submit, Submitted};
use crate::model::{FieldValue, Fields, JsonFields, Price, Submission, TaskBody};
use crate::store::IdempotencyKey;

/// The largest submission: twenty images of 100 kB in base64 take 2.7 MiB.
pub(super) const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
/// The most fields of a submission; no type takes more.
const MAX_FIELDS: usize = 200;
/// The longest `Idempotency-Key`, in characters.
const MAX_KEY_CHARS: usize = 255;

/// `POST /v1/tasks?wait=60`: 201 with the new task, after the wait if one was asked for; 200 if
/// the `Idempotency-Key` names an earlier one.
pub(super) async fn submit_task(
    caller: Caller<auth::Submit>,
    State(app): State<Arc<AppState>>,
    mut query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let wait = match query.wait(app.max_wait) {
        wait if wait.is_zero() => preferred_wait(&headers).unwrap_or_default().min(app.max_wait),
        wait => wait,
    };
    query.finish("wait")?;
    let key = idempotency_key(&headers)?;
    // Bodies in the making are the largest thing that callers can have in memory, and the writer's
    // queue holds on to them.
    let slot = app.uploads.acquire().await.map_err(|_| ApiError::ShuttingDown)?;
    let bytes = body::read(body, MAX_BODY_BYTES).await?;
    let fields = fields(&Encoding::of(&headers), bytes).await?;
    let submission = Submission::parse(fields).map_err(ApiError::InvalidFields)?;
    if let Some(url) = &submission.webhook_url {
        app.judge_address("webhook_url", url).map_err(|error| ApiError::InvalidFields(vec![error]))?;
    }
    let idempotency = key.map(|key| IdempotencyKey { key, digest: submission.digest() });
    let daily_limit = app.daily_limit.as_ref().map(Price::nanos);
    let submit = Submit { owner: caller.token(), submission, idempotency, daily_limit, pingback: None };
    let submitted = app.ingest.submit(submit).await?;
    drop(slot);
    let (status, task) = match submitted {
        Submitted::New(task) => (StatusCode::CREATED, task),
        Submitted::Repeated(task) => (StatusCode::OK, task),
        Submitted::KeyReused => return Err(ApiError::IdempotencyKeyReused),
        Submitted::OverLimit => return Err(ApiError::DailyLimit(app.daily_limit.clone())),
    };
    requests::is_about(task.id);
    let waited = if wait.is_zero() {
        Ok(Arc::new(task.clone()))
    } else {
        app.wait_for_task(task.id, Instant::now() + wait, None).await
    };
    // It is stored, and will be paid for: its id must reach the caller, whatever else fails.
    let task = waited.unwrap_or_else(|error| {
        warn!(task.id = %task.id, %error, "Could not wait for a new task: {error}");
        Arc::new(task)
    });
    let location = format!("/v1/tasks/{}", task.id);
    let why = app.account.why_tasks_wait();
    Ok((status, [(LOCATION, location)], Json(TaskBody::new(&task, why.as_deref()))).into_response())
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().map(str::trim).unwrap_or_default();
    if (1..=MAX_KEY_CHARS).contains(&key.len()) {
        return Ok(Some(key.to_owned()));
    }
    let detail = format!("the Idempotency-Key has 1 to {MAX_KEY_CHARS} visible ASCII characters");
    Err(ApiError::BadRequest(detail))
}

/// The fields of a submission, whichever way they were encoded.
async fn fields(encoding: &Encoding, body: Bytes) -> Result<Fields, ApiError> {
    let fields = match encoding {
        // `curl -d` labels JSON as a form.
        Encoding::Form | Encoding::Unstated if is_json_object(&body) => json_fields(&body)?,
        Encoding::Json => json_fields(&body)?,
        Encoding::Form => form_fields(&body)?,
        Encoding::Multipart(boundary) => multipart_fields(body, boundary).await?,
        Encoding::Unstated => return Err(ApiError::UnsupportedMediaType("nothing".to_owned())),
        Encoding::Other(other) => return Err(ApiError::UnsupportedMediaType(other.clone())),
    };
    if fields.len() > MAX_FIELDS {
        return Err(ApiError::field("", format!("there are more than {MAX_FIELDS} fields")));
    }
    let mut named = Fields::default();
    for (name, value) in fields {
        named.push(name, value);
    }
    Ok(named)
}

fn json_fields(body: &[u8]) -> Result<Vec<(String, FieldValue)>, ApiError> {
    if !is_json_object(body) {
        return Err(ApiError::BadRequest(
            "the body is not a JSON object, such as {\"type\":\"image\",…}".to_owned(),
        ));
    }
    match serde_json::from_slice::<JsonFields<MAX_FIELDS>>(body) {
        Ok(JsonFields(fields)) => Ok(fields),
        Err(error) => Err(ApiError::BadRequest(format!("the body is not JSON that can be taken: {error}"))),
    }
}

fn is_json_object(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"{")
}

fn form_fields(body: &[u8]) -> Result<Vec<(String, FieldValue)>, ApiError> {
    // The parser would put replacement characters in place of what is not UTF-8.
    let pairs = form_urlencoded::parse(body).into_owned().take(MAX_FIELDS + 1);
    let fields: Vec<_> = pairs.map(|(name, text)| (name, FieldValue::Text(text))).collect();
    let replaced = |text: &str| text.contains(char::REPLACEMENT_CHARACTER);
    let bad = |(name, value): &&(String, FieldValue)| {
        replaced(name) || matches!(value, FieldValue::Text(text) if replaced(text))
    };
    match fields.iter().find(bad) {
        Some((name, _)) => Err(ApiError::field(name, "is not UTF-8")),
        None => Ok(fields),
    }
}

async fn multipart_fields(body: Bytes, boundary: &str) -> Result<Vec<(String, FieldValue)>, ApiError> {
    let parts = body::parts(body, boundary, MAX_FIELDS).await?;
    let field = |part: body::Part| {
        let is_image = part.name == "file" || part.name == "files" || part.name.starts_with("file_");
        if part.is_file || is_image {
            return Ok((part.name, FieldValue::File(part.content)));
        }
        match String::from_utf8(part.content.into()) {
            Ok(text) => Ok((part.name, FieldValue::Text(text))),
            Err(_) => Err(ApiError::field(&part.name, "is not UTF-8")),
        }
    };
    parts.into_iter().map(field).collect()
}
