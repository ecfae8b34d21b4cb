//! The public listener: the pingback URL, the ownership files, `/livez`. Everything else is 404.

mod decode;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CONNECTION, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use tracing::{debug, warn};

pub(super) use self::decode::decode;
use super::addresses::Addresses;
use super::health::livez;
use super::loops;
use super::requests::given_id;
use super::server::Site;
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

/// Whom a request to the public listener is for, with the segments of its path as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target<'p> {
    /// `/pingback/{secret}`
    Service(&'p str),
    /// `/pingback/{secret}/{token}`
    Task(&'p str, &'p str),
    /// `/{name}`
    File(&'p str),
    Nobody,
}

impl<'p> Target<'p> {
    fn of(path: &'p str) -> Self {
        let Some(segments) = path.strip_prefix("/pingback/") else {
            let name = path.strip_prefix('/').filter(|name| !name.is_empty() && !name.contains('/'));
            return name.map_or(Self::Nobody, Self::File);
        };
        let segments = segments.strip_suffix('/').unwrap_or(segments);
        match segments.split_once('/') {
            None if !segments.is_empty() => Self::Service(segments),
            Some((secret, token)) if !secret.is_empty() && !token.is_empty() && !token.contains('/') => {
                Self::Task(secret, token)
            }
            _ => Self::Nobody,
        }
    }
}

/// A segment of a path; `None` when it is no text.
fn decoded(segment: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(segment).decode_utf8().ok()
}

/// There are few routes, and one of them is what the service is for: it is found without a router.
impl Site for Arc<PublicState> {
    async fn reply(self, peer: SocketAddr, request: Request<Incoming>) -> Response {
        let path = request.uri().path();
        match Target::of(path) {
            Target::Service(secret) => {
                // What is no text is no secret.
                let has_secret = decoded(secret).is_some_and(|secret| self.account.urls().accept(&secret));
                receive(&self, has_secret, Letter { peer, request }).await
            }
            Target::Task(secret, token) => {
                // The token is looked up by its digest, which tells nothing by the time that takes.
                let token = decoded(secret).zip(decoded(token)).and_then(|(secret, token)| {
                    self.account.urls().accept(&secret).then(|| Secret::new(token.into_owned()))
                });
                Box::pin(receive_for_task(&self, token, Letter { peer, request })).await
            }
            Target::File("livez") if is_reading(request.method()) => livez().await.into_response(),
            Target::File(name) if is_reading(request.method()) => {
                let file = decoded(name).and_then(|name| self.ownership_files.get(&*name));
                match file {
                    Some(file) => ([(X_CONTENT_TYPE_OPTIONS, "nosniff")], file.clone()).into_response(),
                    None => Box::pin(not_found(&self, peer, request)).await,
                }
            }
            Target::File(_) | Target::Nobody => Box::pin(not_found(&self, peer, request)).await,
        }
    }
}

fn is_reading(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// The same for a wrong secret, a sender that is not allowed, and a path that does not exist.
async fn not_found(state: &PublicState, peer: SocketAddr, request: Request<Incoming>) -> Response {
    match loops::pass(&state.account, request.map(Body::new)).await {
        Ok(request) => refuse(state, peer, request.headers()),
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

/// `POST /pingback/{secret}`: 200 once the answer is on disk, 503 if it cannot be. Our own call is only replied to.
async fn receive(state: &PublicState, has_secret: bool, letter: Letter) -> Response {
    if has_secret && let Some(answer) = letter.answer_to_ourselves(state) {
        return answer.into_response();
    }
    if !letter.may_come(state) {
        return refuse(state, letter.peer, letter.request.headers());
    }
    if !has_secret {
        return refuse_unknown(state, letter.peer, letter.request.headers());
    }
    letter.take(state, None).await
}

/// `POST /pingback/{secret}/{token}`: the same for a task whose URL is its own. The token came with a secret of ours.
async fn receive_for_task(state: &PublicState, token: Option<Secret>, letter: Letter) -> Response {
    if !letter.may_come(state) {
        return refuse(state, letter.peer, letter.request.headers());
    }
    let Some(token) = token else {
        return refuse_unknown(state, letter.peer, letter.request.headers());
    };
    if state.ingest.admit_pingback().is_err() {
        return turn_away(letter.request.into_body()).await;
    }
    match state.store.task_of_token(&token.digest()).await {
        Ok(Some(task)) => letter.take(state, Some(task)).await,
        Ok(None) => refuse(state, letter.peer, letter.request.headers()),
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
    request: Request<Incoming>,
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
        is_get.then(|| self.request.uri().query()).flatten().and_then(|query| state.check_key.answer(query))
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
        match decode(&parts.headers, parts.uri.query(), body).await {
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
async fn turn_away(body: Incoming) -> Response {
    decode::discard(body).await;
    try_again()
}

fn try_again() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, HeaderValue::from_static("1"))], "try again\n")
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_whom_it_is_for() {
        for (path, target) in [
            ("/pingback/s", Target::Service("s")),
            ("/pingback/s/", Target::Service("s")),
            ("/pingback/s/t", Target::Task("s", "t")),
            ("/pingback/s/t/", Target::Task("s", "t")),
            ("/pingback/s/t/u", Target::Nobody),
            ("/pingback/s//", Target::Nobody),
            ("/pingback//t", Target::Nobody),
            ("/pingback//", Target::Nobody),
            ("/pingback/", Target::Nobody),
            ("/pingback", Target::File("pingback")),
            ("/livez", Target::File("livez")),
            ("/livez/", Target::Nobody),
            ("/a%2Fb", Target::File("a%2Fb")),
            ("//a", Target::Nobody),
            ("/", Target::Nobody),
            ("*", Target::Nobody),
            ("", Target::Nobody),
        ] {
            assert_eq!(Target::of(path), target, "{path}");
        }
    }
}
