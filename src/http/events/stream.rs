//! The feed as a stream of server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream::unfold;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span, error};

use super::{Request, Start, expired, place};
use crate::feed::{Feed, Item, Lost, Most, Reader};
use crate::http::AppState;
use crate::http::access::{Access, Identity};
use crate::http::error::ApiError;
use crate::model::Cursor;
use crate::store::{EventFilter, FeedEnds};

/// How long a stream is silent at most: proxies close connections on which nothing moves, often after 60 s.
const SILENCE: Duration = Duration::from_secs(15);
/// When a browser comes back after its stream has ended.
const RETRY: &str = "retry: 2000\n\n";
/// Pause after the database was too busy to be read.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// A stream that is being written. For a slow reader it holds one chunk, and what hyper takes before it asks for no more,
/// about 400 kB; with the longest answers 2.4 MiB in all, where the chunk comes from the store.
struct Stream {
    feed: Arc<Feed>,
    filter: EventFilter,
    reader: Reader,
    /// What stands before the next event.
    preface: String,
    /// The cursor that the other side knows, if it was told one.
    told: Option<Cursor>,
    caller: Identity,
    access: Arc<Access>,
    shutdown: CancellationToken,
}

/// Begins a stream. A cursor that the caller chose and that is gone is an error; one that a browser brings back by
/// itself is not, because a browser would give up for good: it is told by an event.
pub(super) async fn reply(request: Request, app: &AppState) -> Result<Response, ApiError> {
    let feed = &app.feed;
    let ends = feed.ends().await?;
    let (number, preface) = match (&request.last_event_id, &request.start) {
        (Some(start), _) => match place(feed, start, ends) {
            Ok(number) => (number, RETRY.to_owned()),
            Err(ends) => (ends.earliest, format!("{RETRY}{}", reset(feed, ends))),
        },
        (None, start) => {
            let start = start.as_ref().unwrap_or(&Start::Now);
            (place(feed, start, ends).map_err(|ends| expired(feed, ends))?, RETRY.to_owned())
        }
    };
    let reader = feed.read_after(number, request.filter.clone());
    let stream = Stream {
        feed: Arc::clone(feed),
        filter: request.filter,
        told: None,
        reader,
        preface,
        caller: request.caller,
        access: Arc::clone(&app.access),
        shutdown: app.shutdown.clone(),
    };
    let span = Span::current();
    let body = Body::from_stream(unfold(stream, move |stream| stream.next().instrument(span.clone())));
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // nginx would hold back what it has not enough of.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, body).into_response())
}

/// Says that events are missing, and where the stream goes on.
fn reset(feed: &Feed, ends: FeedEnds) -> String {
    let cursor = feed.id().cursor(ends.earliest);
    format!("id: {cursor}\nevent: reset\ndata: {{\"earliest_cursor\":\"{cursor}\"}}\n\n")
}

impl Stream {
    /// What is written next; `None` at its end, which is that of the service, of the caller's token, or a failure of the
    /// database. The other side comes back with its cursor.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        if !self.preface.is_empty() {
            let text = std::mem::take(&mut self.preface);
            return Some((Ok(text.into()), self));
        }
        let (shutdown, access) = (self.shutdown.clone(), Arc::clone(&self.access));
        let text = tokio::select! {
            biased;
            () = shutdown.cancelled() => None,
            () = access.withdrawn(self.caller) => None,
            text = self.wait() => text,
        };
        Some((Ok(text?.into()), self))
    }

    async fn wait(&mut self) -> Option<String> {
        match timeout(SILENCE, self.reader.next(Most::CHUNK)).await {
            Err(_) => Some(self.sign_of_life()),
            Ok(Ok(items)) => Some(self.write(&items)),
            Ok(Err(Lost::Expired(ends))) => {
                self.reader = self.feed.read_after(ends.earliest, self.filter.clone());
                Some(reset(&self.feed, ends))
            }
            Ok(Err(Lost::Store(error))) if error.is_busy() => {
                sleep(BUSY_PAUSE).await;
                Some(self.sign_of_life())
            }
            Ok(Err(Lost::Store(cause))) => {
                error!(%cause, "A stream of events has ended: {cause}");
                None
            }
        }
    }

    /// All of them as one text, which is written at once.
    fn write(&mut self, items: &[Arc<Item>]) -> String {
        self.told = items.last().map(|item| self.feed.id().cursor(item.number));
        let mut text = String::with_capacity(items.iter().map(|item| item.text().len()).sum());
        for item in items {
            text.push_str(item.text());
        }
        text
    }

    /// A comment, and the cursor if it has moved past events that were not for this reader: so it does not go
    /// through all of them again when it comes back.
    fn sign_of_life(&mut self) -> String {
        let cursor = self.reader.cursor();
        if self.told.as_ref() == Some(&cursor) {
            return ": still here\n\n".to_owned();
        }
        let text = format!(": still here\nid: {cursor}\n\n");
        self.told = Some(cursor);
        text
    }
}
