//! The public listener: the pingback URL, the ownership files, `/livez`. Everything else is 404.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Extension;
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::header::{CONNECTION, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use bytes::Bytes;
use serde_json::Value;
use serde_json::value::RawValue;
use tracing::{debug, info, warn};

use super::addresses::Addresses;
use super::body::{self, Encoding};
use super::error::ApiError;
use super::health::livez;
use super::loops;
use crate::account::Account;
use crate::ingest::{Ingest, Receipt, Received};
use crate::model::{ErrorCode, JsonFields, Outcome, Pingback, Secret, TaskId, Timestamp, without_nul};
use crate::store::Store;

/// The largest pingback. The longest answers that were seen have 4 kB.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// The most fields of a pingback.
const MAX_FIELDS: usize = 100;

/// What the public listener works with.
pub(crate) struct PublicState {
    pub(crate) ingest: Ingest,
    pub(crate) store: Store,
    pub(crate) account: Account,
    pub(crate) addresses: Arc<Addresses>,
    pub(crate) ownership_files: BTreeMap<String, String>,
}

/// The routes of the public listener.
pub(crate) fn router(state: PublicState) -> Router {
    Router::new()
        .route("/pingback/{secret}", any(receive))
        .route("/pingback/{secret}/", any(receive))
        .route("/pingback/{secret}/{token}", any(receive_for_task))
        .route("/pingback/{secret}/{token}/", any(receive_for_task))
        .route("/livez", get(livez))
        .route("/{name}", any(ownership_file))
        .fallback(not_found)
        .method_not_allowed_fallback(not_found)
        .with_state(Arc::new(state))
}

/// The same for a wrong secret, a sender that is not allowed, and a path that does not exist.
async fn not_found(
    State(state): State<Arc<PublicState>>,
    Extension(peer): Extension<SocketAddr>,
    request: Request,
) -> Response {
    match loops::pass(&state.account, request).await {
        Ok(request) => refuse(&state, peer, request.headers()),
        Err(refusal) => refusal,
    }
}

fn refuse(state: &PublicState, peer: SocketAddr, headers: &HeaderMap) -> Response {
    let caller = state.addresses.caller(peer.ip(), headers).unwrap_or(peer.ip());
    // Connections are for the provider: a stranger's does not rest here.
    let close = (CONNECTION, HeaderValue::from_static("close"));
    if state.addresses.may_ask(caller) {
        (StatusCode::NOT_FOUND, [close], "not found\n").into_response()
    } else {
        let retry = (RETRY_AFTER, HeaderValue::from_static("1"));
        (StatusCode::TOO_MANY_REQUESTS, [close, retry], "too many requests\n").into_response()
    }
}

/// It shows no secret that we know. While there may be others, which another replica made, the sender had better come
/// again.
fn refuse_unknown(state: &PublicState, peer: SocketAddr, headers: &HeaderMap) -> Response {
    let refused = refuse(state, peer, headers);
    if refused.status() == StatusCode::NOT_FOUND && state.account.may_miss_a_secret() {
        return try_again();
    }
    refused
}

async fn ownership_file(
    State(state): State<Arc<PublicState>>,
    Extension(peer): Extension<SocketAddr>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let body = name.ok().and_then(|Path(name)| state.ownership_files.get(&name));
    match body {
        Some(body) if matches!(*request.method(), Method::GET | Method::HEAD) => {
            ([(X_CONTENT_TYPE_OPTIONS, "nosniff")], body.clone()).into_response()
        }
        _ => not_found(State(state), Extension(peer), request).await,
    }
}

/// `POST /pingback/{secret}`: 200 once the answer is on disk, 503 if it cannot be.
async fn receive(
    State(state): State<Arc<PublicState>>,
    Extension(peer): Extension<SocketAddr>,
    secret: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    // What is no text is no secret.
    let has_secret = secret.is_ok_and(|Path(secret)| state.account.urls().accept(&secret));
    let letter = Letter { peer, query, request };
    if !letter.may_come(&state) {
        return refuse(&state, peer, letter.request.headers());
    }
    if !has_secret {
        return refuse_unknown(&state, peer, letter.request.headers());
    }
    letter.take(&state, None).await
}

/// `POST /pingback/{secret}/{token}`: the same for a task whose URL is its own.
async fn receive_for_task(
    State(state): State<Arc<PublicState>>,
    Extension(peer): Extension<SocketAddr>,
    segments: Result<Path<(String, String)>, PathRejection>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    let token = segments.ok().and_then(|Path((secret, token))| {
        // The token is looked up by its digest, which tells nothing by the time that takes.
        state.account.urls().accept(&secret).then(|| Secret::new(token))
    });
    let letter = Letter { peer, query, request };
    if !letter.may_come(&state) {
        return refuse(&state, peer, letter.request.headers());
    }
    let Some(token) = token else {
        return refuse_unknown(&state, peer, letter.request.headers());
    };
    match state.store.task_of_token(&token.digest()).await {
        Ok(Some(task)) => letter.take(&state, Some(task)).await,
        Ok(None) => refuse(&state, peer, letter.request.headers()),
        Err(error) => {
            if !error.is_told() {
                warn!(%error, "Could not look up the task of a pingback: {error}");
            }
            try_again()
        }
    }
}

/// A request to one of our pingback URLs.
struct Letter {
    peer: SocketAddr,
    query: Option<String>,
    request: Request,
}

impl Letter {
    /// Whether its sender is allowed.
    fn may_come(&self, state: &PublicState) -> bool {
        state.addresses.may_send(state.addresses.caller(self.peer.ip(), self.request.headers()))
    }

    /// Takes it from a sender that has shown all it must.
    async fn take(self, state: &PublicState, task: Option<TaskId>) -> Response {
        state.addresses.know_sender(self.peer.ip());
        let (parts, body) = self.request.into_parts();
        if !matches!(parts.method, Method::POST | Method::GET) {
            return (StatusCode::METHOD_NOT_ALLOWED, "send the pingback by POST\n").into_response();
        }
        match decode(&parts.headers, self.query.as_deref(), body).await {
            Ok(pingback) => record(&state.ingest, Received { pingback, task }).await,
            Err(error) => {
                warn!(%error, "Refused a malformed pingback: {error}");
                error.into_response()
            }
        }
    }
}

async fn record(ingest: &Ingest, received: Received) -> Response {
    let captcha_id = received.pingback.captcha_id.clone();
    match ingest.pingback(received).await {
        Ok(receipt) => {
            match receipt {
                Receipt::Settled(task) => {
                    debug!(captcha.id = %captcha_id, task.id = %task, "Pingback settled a task");
                }
                Receipt::Repeated => debug!(captcha.id = %captcha_id, "Pingback repeats what is known"),
                Receipt::Kept => info!(captcha.id = %captcha_id, "Pingback settles no task; it is kept"),
            }
            "OK".into_response()
        }
        Err(error) => {
            // A storm of them must not fill a log whose disk may be the one that is full.
            if error.is_told() {
                debug!(captcha.id = %captcha_id, %error, "Could not take a pingback: {error}");
            } else {
                warn!(captcha.id = %captcha_id, %error, "Could not take a pingback: {error}");
            }
            try_again()
        }
    }
}

fn try_again() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, HeaderValue::from_static("1"))], "try again\n")
        .into_response()
}

/// Reads a pingback in any of the family's variants: query, form, multipart, JSON.
pub(super) async fn decode(
    headers: &HeaderMap,
    query: Option<&str>,
    body: Body,
) -> Result<Pingback, ApiError> {
    let body = body::read(body, MAX_BODY_BYTES).await?;
    let mut fields = form(query.unwrap_or_default().as_bytes());
    fields.extend(match Encoding::of(headers) {
        Encoding::Multipart(boundary) => multipart(body, &boundary).await?,
        Encoding::Json => json(&body)?,
        // Some senders label JSON as text.
        _ if body.trim_ascii_start().starts_with(b"{") => json(&body)?,
        _ => form(&body),
    });
    if fields.len() > MAX_FIELDS {
        return Err(ApiError::BadRequest(format!("the pingback has more than {MAX_FIELDS} fields")));
    }
    pingback(fields, Timestamp::now())
}

/// What is not UTF-8 becomes U+FFFD: a damaged answer is better than a lost one.
fn form(text: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(text).into_owned().take(MAX_FIELDS + 1).collect()
}

async fn multipart(body: Bytes, boundary: &str) -> Result<Vec<(String, String)>, ApiError> {
    let parts = body::parts(body, boundary, MAX_FIELDS).await?;
    Ok(parts
        .into_iter()
        .map(|part| (part.name, String::from_utf8_lossy(&part.content).into_owned()))
        .collect())
}

fn json(body: &[u8]) -> Result<Vec<(String, String)>, ApiError> {
    // The parser's own words may quote the body, and with it the answer.
    let JsonFields(members) = serde_json::from_slice::<JsonFields<MAX_FIELDS, Box<RawValue>>>(body)
        .map_err(|_| ApiError::BadRequest("the body is not a JSON object".to_owned()))?;
    // A number is kept as it is written: 1.50 is not 1.5 when it is an answer.
    let text = |value: Box<RawValue>| {
        serde_json::from_str::<String>(value.get()).unwrap_or_else(|_| value.get().to_owned())
    };
    Ok(members.into_iter().map(|(name, value)| (name, text(value))).collect())
}

fn pingback(fields: Vec<(String, String)>, received_at: Timestamp) -> Result<Pingback, ApiError> {
    let (mut id, mut code, mut price, mut status) = (None, None, None, None);
    let mut extra = serde_json::Map::new();
    for (name, value) in fields {
        let known = match name.as_str() {
            "id" | "captcha_id" => &mut id,
            "code" => &mut code,
            "rate" | "price" => &mut price,
            "status" => &mut status,
            _ => {
                extra.insert(name, Value::String(value));
                continue;
            }
        };
        known.get_or_insert(value);
    }
    let malformed = |detail: &str| ApiError::BadRequest(detail.to_owned());
    let id = id.ok_or_else(|| malformed("id is missing"))?;
    let captcha_id = id.trim().parse().map_err(|_| malformed("id is not a captcha ID: digits only"))?;
    let code = code.filter(|code| !code.is_empty()).ok_or_else(|| malformed("code is missing"))?;
    let code = without_nul(code);
    let outcome = match Outcome::of(&code) {
        // Some services say in `status` whether `code` is an answer.
        Outcome::Answer(text) if status.as_deref() == Some("0") => Outcome::Failed(ErrorCode::foreign(&text)),
        outcome => outcome,
    };
    let parsed_price = price.as_deref().and_then(|price| price.parse().ok());
    if let (None, Some(price)) = (&parsed_price, price) {
        extra.insert("rate".to_owned(), Value::String(price));
    }
    let extra = (!extra.is_empty()).then(|| Value::Object(extra).to_string());
    Ok(Pingback { captcha_id, code, outcome, price: parsed_price, extra, received_at })
}

#[cfg(test)]
mod tests {
    use axum::http::header::CONTENT_TYPE;

    use super::*;

    async fn decoded(content_type: &str, query: &str, body: &str) -> Result<Pingback, ApiError> {
        let mut headers = HeaderMap::new();
        if !content_type.is_empty() {
            headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        }
        decode(&headers, Some(query), Body::from(body.to_owned())).await
    }

    #[tokio::test]
    async fn every_variant_of_the_family_is_read() {
        let form = "application/x-www-form-urlencoded";
        let multipart = "--b\r\nContent-Disposition: form-data; name=\"id\"\r\n\r\n77\r\n\
                         --b\r\nContent-Disposition: form-data; name=\"code\"\r\n\r\nabc\r\n--b--\r\n";
        for (content_type, query, body) in [
            (form, "", "id=77&code=abc"),
            ("", "", "id=77&code=abc"),
            ("text/plain", "", "id=77&code=abc"),
            ("", "id=77&code=abc", ""),
            ("", "captcha_id=77&status=1&code=abc", ""),
            ("application/json", "", "{\"id\": 77, \"code\": \"abc\"}"),
            ("application/json; charset=utf-8", "", "{\"id\":\"77\",\"code\":\"abc\",\"x\":null}"),
            ("text/plain", "", " {\"captcha_id\": \"77\", \"code\": \"abc\"}"),
            ("multipart/form-data; boundary=b", "", multipart),
        ] {
            let pingback = decoded(content_type, query, body).await.expect(body);
            assert_eq!((pingback.captcha_id.as_str(), pingback.code.as_str()), ("77", "abc"), "{body}");
            assert_eq!((pingback.outcome, pingback.extra), (Outcome::Answer("abc".to_owned()), None));
        }
    }

    #[tokio::test]
    async fn the_form_is_decoded_once() {
        let pingback =
            decoded("", "", "id=77&code=a%7Cb+c%2Bd%26e%3Df%2525&rate=0.00299&x=1&rate=9").await.unwrap();
        assert_eq!(pingback.code, "a|b c+d&e=f%25");
        assert_eq!(pingback.price, "0.00299".parse().ok());
        assert_eq!(pingback.extra.as_deref(), Some("{\"x\":\"1\"}"));
    }

    #[tokio::test]
    async fn a_number_in_json_stays_as_it_is_written() {
        for number in ["1.50", "12345678901234567890123", "1e2", "-0"] {
            let pingback =
                decoded("application/json", "", &format!("{{\"id\":77,\"code\":{number}}}")).await.unwrap();
            assert_eq!(pingback.code, number);
        }
    }

    #[tokio::test]
    async fn a_status_of_0_makes_any_code_a_failure() {
        let pingback = decoded("", "captcha_id=77&status=0&code=unsolvable", "").await.unwrap();
        assert_eq!(pingback.outcome, Outcome::Failed(ErrorCode::known("unsolvable")));
    }

    #[tokio::test]
    async fn a_pingback_without_an_id_of_digits_and_a_code_is_malformed() {
        for body in ["", "id=77", "code=abc", "id=77&code=", "id=abc&code=x", "id=-7&code=x", "{", "[1]"] {
            assert!(matches!(decoded("", "", body).await, Err(ApiError::BadRequest(_))), "{body:?}");
        }
        let many = format!("id=77&code=abc{}", "&x=1".repeat(200));
        assert!(decoded("", "", &many).await.is_err());
    }
}
