//! `/live`: tells a page that something has changed. What has, it reads from the page itself, made anew.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream::unfold;
use tokio::time::{sleep, timeout};

use super::Dashboard;
use super::page::PageError;
use super::visitor::Visitor;
use crate::feed::{Most, Reader};
use crate::http::{AppState, Identity, Read};
use crate::store::EventFilter;

/// The least time between two hints: a page is made anew for each.
const PACE: Duration = Duration::from_secs(1);
/// How long the stream is silent at most: proxies close connections on which nothing moves.
const SILENCE: Duration = Duration::from_secs(15);
/// Events that are passed over by one hint.
const CHUNK: u32 = 1000;
/// What is said at the beginning: that a browser comes back after 2 s.
const PREFACE: &str = "retry: 2000\n\n";
/// Something has changed.
const HINT: &str = "event: change\ndata: \n\n";

struct Hints {
    app: Arc<AppState>,
    who: Identity,
    reader: Reader,
    stage: Stage,
}

enum Stage {
    Preface,
    Waiting,
    /// A hint has just been given.
    Resting,
}

/// `GET /live`: a stream of server-sent events without content, until the visitor's token is withdrawn.
pub(super) async fn stream(
    visitor: Visitor<Read>,
    State(dashboard): State<Arc<Dashboard>>,
) -> Result<Response, PageError> {
    let app = Arc::clone(&dashboard.app);
    let who = visitor.identity;
    let latest = app.feed.ends().await?.latest;
    let reader = app.feed.read_after(latest, EventFilter { owner: who.sees(), kinds: Vec::new() });
    let body = Body::from_stream(unfold(Hints { app, who, reader, stage: Stage::Preface }, Hints::next));
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // nginx would hold back what it has not enough of.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, body).into_response())
}

impl Hints {
    /// What is written next; `None` at the end. The browser comes back, and is let in or not.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        if matches!(self.stage, Stage::Preface) {
            self.stage = Stage::Waiting;
            return Some((Ok(PREFACE.into()), self));
        }
        let app = Arc::clone(&self.app);
        let text = tokio::select! {
            biased;
            () = app.shutdown.cancelled() => None,
            () = app.access.withdrawn(self.who) => None,
            text = self.wait() => text,
        };
        Some((Ok(text?.into()), self))
    }

    async fn wait(&mut self) -> Option<&'static str> {
        if matches!(self.stage, Stage::Resting) {
            sleep(PACE).await;
            self.stage = Stage::Waiting;
        }
        match timeout(SILENCE, self.reader.next(Most::events(CHUNK))).await {
            Err(_) => Some(": still here\n\n"),
            Ok(Ok(items)) => {
                self.stage = Stage::Resting;
                if items.len() >= usize::try_from(CHUNK).unwrap_or(usize::MAX) {
                    self.skip().await?;
                }
                Some(HINT)
            }
            // The browser comes back, and is behind what cannot be read.
            Ok(Err(_)) => None,
        }
    }

    /// Goes on behind all there is: a hint speaks of everything before it.
    async fn skip(&mut self) -> Option<()> {
        let latest = self.app.feed.ends().await.ok()?.latest;
        let filter = EventFilter { owner: self.who.sees(), kinds: Vec::new() };
        self.reader = self.app.feed.read_after(latest, filter);
        Some(())
    }
}
