//! An event feed that stores nothing: what it takes at least to tell every reader of every pingback.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use futures_util::stream::unfold;
use serde_json::json;
use tokio::sync::broadcast::{self, Receiver};

use crate::peer::{Peer, decode};

/// Events that a reader may fall behind: some seconds.
const MOST_BEHIND: usize = 64 * 1024;
/// Bytes that are written at a time.
const CHUNK_BYTES: usize = 32 * 1024;

/// What has been told.
struct Feed {
    /// The number of the last event; held while it is told, so that they come in order.
    last: Mutex<u64>,
    events: broadcast::Sender<Bytes>,
}

pub(crate) fn start(workers: usize) -> anyhow::Result<Peer> {
    let feed = Arc::new(Feed { last: Mutex::default(), events: broadcast::Sender::new(MOST_BEHIND) });
    let router = Router::new().route("/pingback/{secret}", post(take)).route("/v1/events", get(stream));
    Peer::start(router.with_state(feed), workers)
}

async fn take(State(feed): State<Arc<Feed>>, body: Bytes) -> StatusCode {
    let Some((captcha_id, answer)) = decode(&body) else { return StatusCode::BAD_REQUEST };
    let data =
        json!({ "captcha_id": captcha_id, "answer": { "text": answer }, "error": null, "price": null });
    let event = json!({ "type": "pingback.unmatched", "time": "2026-01-01T00:00:00.000Z", "data": data });
    let mut last = feed.last.lock().unwrap_or_else(PoisonError::into_inner);
    *last += 1;
    let text = format!("id: 0a1b2c3d-{last}\nevent: pingback.unmatched\ndata: {event}\n\n");
    // Without readers nobody is told.
    feed.events.send(text.into()).ok();
    StatusCode::OK
}

async fn stream(State(feed): State<Arc<Feed>>) -> Response {
    let body = Body::from_stream(unfold(feed.events.subscribe(), next));
    ([(CONTENT_TYPE, "text/event-stream")], body).into_response()
}

/// All that there is, once there is something; the end for a reader that is too far behind.
async fn next(mut events: Receiver<Bytes>) -> Option<(Result<Bytes, Infallible>, Receiver<Bytes>)> {
    let first = events.recv().await.ok()?;
    let Ok(second) = events.try_recv() else { return Some((Ok(first), events)) };
    let mut text = [first, second].concat();
    while text.len() < CHUNK_BYTES
        && let Ok(event) = events.try_recv()
    {
        text.extend_from_slice(&event);
    }
    Some((Ok(text.into()), events))
}
