//! The public listener: the pingback URL, the ownership files, `/livez`. Everything else is 404.

mod decode;

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
use tracing::{debug, warn};

pub(super) use self::decode::decode;
use super::addresses::Addresses;
use super::health::livez;
use super::loops;
use super::requests::given_id;
use crate::account::Account;
use crate::ingest::{Fate, Ingest, Receipt, Received};
use crate::model::{Secret, TaskId};
use crate::selfcheck::CheckKey;
use crate::store::Store;

/// What the public listener works with.
pub(crate) struct PublicState {
    pub(crate) ingest: Ingest,
    pub(crate) store: Store,
    pub(crate) account: Account,
    pub(crate) addresses: Arc<Addresses>,
    pub(crate) ownership_files: BTreeMap<String, String>,
    /// By which calls of our own are known.
    pub(crate) check_key: CheckKey,
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

/// `POST /pingback/{secret}`: 200 once the answer is on disk, 503 if it cannot be. Our own call is only replied to.
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
    if has_secret && let Some(answer) = letter.answer_to_ourselves(&state) {
        return answer.into_response();
    }
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
    if state.ingest.admit_pingback().is_err() {
        return turn_away(letter.request.into_body()).await;
    }
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

    /// What it is to hear if we sent it ourselves, to see whether it arrives. Where it is from does not matter: nobody
    /// else can prove that, nothing is stored of it, and `public.allow_from` may name the provider alone.
    fn answer_to_ourselves(&self, state: &PublicState) -> Option<String> {
        let is_get = self.request.method() == Method::GET;
        is_get.then_some(self.query.as_deref()).flatten().and_then(|query| state.check_key.answer(query))
    }

    /// Takes it from a sender that has shown all it must.
    async fn take(self, state: &PublicState, task: Option<TaskId>) -> Response {
        state.addresses.know_sender(self.peer.ip());
        let (parts, body) = self.request.into_parts();
        if !matches!(parts.method, Method::POST | Method::GET) {
            return (StatusCode::METHOD_NOT_ALLOWED, "send the pingback by POST\n").into_response();
        }
        if state.ingest.admit_pingback().is_err() {
            return turn_away(body).await;
        }
        match decode(&parts.headers, self.query.as_deref(), body).await {
            Ok(pingback) => record(&state.ingest, Received { pingback, task }, &parts.headers).await,
            Err(error) => {
                state.ingest.tally().note_pingback(Fate::Malformed);
                warn!(request.id = request_id(&parts.headers), %error, "Refused a malformed pingback: {error}");
                error.into_response()
            }
        }
    }
}

async fn record(ingest: &Ingest, received: Received, headers: &HeaderMap) -> Response {
    let captcha_id = received.pingback.captcha_id.clone();
    match ingest.pingback(received).await {
        Ok(receipt) => {
            match receipt {
                Receipt::Settled(task) => {
                    debug!(captcha.id = %captcha_id, task.id = %task, "Pingback settled a task");
                }
                Receipt::Repeated => debug!(captcha.id = %captcha_id, "Pingback repeats what is known"),
                Receipt::Kept { .. } => {
                    let id = request_id(headers);
                    debug!(request.id = id, captcha.id = %captcha_id, "Pingback settles no task; it is kept");
                }
            }
            "OK".into_response()
        }
        Err(error) => {
            let id = request_id(headers);
            // A storm of them must not fill a log whose disk may be the one that is full.
            if error.is_told() {
                debug!(request.id = id, captcha.id = %captcha_id, %error, "Could not take a pingback: {error}");
            } else {
                warn!(request.id = id, captcha.id = %captcha_id, %error, "Could not take a pingback: {error}");
            }
            try_again()
        }
    }
}

/// The name that a proxy gave the request, for the log. None is made: the provider would not know what to do with it.
fn request_id(headers: &HeaderMap) -> Option<&str> {
    given_id(headers)?.to_str().ok()
}

/// Too much comes in.
async fn turn_away(body: Body) -> Response {
    decode::discard(body).await;
    try_again()
}

fn try_again() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, HeaderValue::from_static("1"))], "try again\n")
        .into_response()
}
