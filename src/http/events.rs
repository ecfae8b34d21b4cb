//! `/v1/events`: what happens, by long-poll or as a stream of server-sent events.

mod stream;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use tokio::time::timeout;

use super::AppState;
use super::access::Identity;
use super::auth::{Caller, Read};
use super::error::ApiError;
use super::query::Query;
use crate::feed::{Feed, Item, Lost, Most, Reader};
use crate::model::{Cursor, EventKind};
use crate::store::{EventFilter, FeedEnds};

/// The most events of one reply.
const MAX_EVENTS: u32 = 1000;
/// How many one reply has when the caller does not say.
pub(super) const DEFAULT_EVENTS: u32 = 100;
/// How long a request that does not wait may look for events that pass its filter.
const LONGEST_LOOK: Duration = Duration::from_secs(5);

/// Where a reader begins.
#[derive(Clone, Debug, PartialEq)]
enum Start {
    /// With the oldest event that is kept.
    Earliest,
    /// With what happens from here on.
    Now,
    /// Behind an event.
    Behind(Cursor),
}

impl std::str::FromStr for Start {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "earliest" => Ok(Self::Earliest),
            "now" => Ok(Self::Now),
            cursor => cursor.parse().map(Self::Behind),
        }
    }
}

/// What is asked of the feed.
struct Request {
    start: Option<Start>,
    /// Where a stream broke off, as browsers tell by themselves.
    last_event_id: Option<Start>,
    wait: Duration,
    limit: u32,
    filter: EventFilter,
    caller: Identity,
}

/// `GET /v1/events?cursor=&wait=60&limit=100&types=`: the events behind the cursor, once there is one, and the
/// cursor behind them. With `Accept: text/event-stream`, a stream of them.
pub(super) async fn get_events(
    caller: Caller<Read>,
    State(app): State<Arc<AppState>>,
    headers: HeaderMap,
    query: Query,
) -> Result<Response, ApiError> {
    let request = Request::read(query, &headers, &caller, &app)?;
    if wants_stream(&headers) {
        return stream::reply(request, &app).await;
    }
    let start = request.start.as_ref().or(request.last_event_id.as_ref()).unwrap_or(&Start::Earliest);
    let ends = app.feed.ends().await?;
    let number = place(&app.feed, start, ends).map_err(|ends| expired(&app.feed, ends))?;
    let mut reader = app.feed.read_after(number, request.filter.clone());
    let events = match request.events(&mut reader, &app, ends.latest).await {
        // Retention was here between the look at the ends and the read.
        Err(Lost::Expired(ends)) if *start == Start::Earliest => {
            reader = app.feed.read_after(ends.earliest, request.filter.clone());
            request.events(&mut reader, &app, ends.latest).await
        }
        events => events,
    };
    let events = events.map_err(|lost| told(&app.feed, lost))?;
    Ok(page(&events, &reader))
}

impl Request {
    /// The events, once there is one, or none when the wait ends; what is stored up to `latest` is not waited for.
    async fn events(&self, reader: &mut Reader, app: &AppState, latest: i64) -> Result<Vec<Arc<Item>>, Lost> {
        let most = Most::events(self.limit);
        let events = if self.wait.is_zero() {
            timeout(LONGEST_LOOK, reader.now(most, latest)).await
        } else {
            let next = timeout(self.wait, reader.next(most));
            app.shutdown.run_until_cancelled(next).await.unwrap_or(Ok(Ok(Vec::new())))
        };
        events.unwrap_or(Ok(Vec::new()))
    }

    fn read(
        mut query: Query,
        headers: &HeaderMap,
        caller: &Caller<Read>,
        app: &AppState,
    ) -> Result<Self, ApiError> {
        const CURSOR: &str = "a cursor of this feed, earliest or now";
        let limit = query.parsed("limit", "a whole number").unwrap_or(DEFAULT_EVENTS);
        if !(1..=MAX_EVENTS).contains(&limit) {
            query.wrong("limit", format!("is not from 1 to {MAX_EVENTS}"));
        }
        let start = query.parsed("cursor", CURSOR);
        let mut last_event_id = query.parsed("last_event_id", CURSOR);
        if let Some(value) = headers.get("last-event-id").filter(|value| !value.is_empty()) {
            // What the browser saw last is later than what its page was opened with.
            last_event_id = value.to_str().ok().and_then(|text| text.parse().ok());
            if last_event_id.is_none() {
                query.wrong("last_event_id", format!("is not {CURSOR} (it is in the header Last-Event-ID)"));
            }
        }
        let wait = query.wait(app.max_wait);
        let kinds = kinds(&mut query);
        query.finish("cursor, last_event_id, wait, limit and types")?;
        let owner = caller.sees();
        if owner.is_some() && kinds.iter().any(|kind| kind.is_for_admins()) {
            return Err(ApiError::Forbidden(
                "pingback.unmatched is told to tokens with the scope admin alone",
            ));
        }
        Ok(Self {
            start,
            last_event_id,
            wait,
            limit,
            filter: EventFilter { owner, kinds },
            caller: caller.identity(),
        })
    }
}

/// `types=task.solved,task.failed`
fn kinds(query: &mut Query) -> Vec<EventKind> {
    let Some(types) = query.text("types") else { return Vec::new() };
    let (kinds, wrong): (Vec<_>, Vec<_>) =
        types.split(',').map(|name| name.trim().parse::<EventKind>()).partition(Result::is_ok);
    if !wrong.is_empty() {
        let known = EventKind::ALL.map(EventKind::as_str).join(", ");
        query.wrong("types", format!("is not a list of some of {known}"));
    }
    kinds.into_iter().flatten().collect()
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = accepted.flat_map(|value| value.split(','));
    types.any(|kind| {
        let mut parts = kind.split(';').map(str::trim);
        let is_stream = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("text/event-stream"));
        is_stream && !parts.any(|weight| weight == "q=0")
    })
}

/// The number of the event behind which a reader begins; an error if there is no such place in the feed.
fn place(feed: &Feed, start: &Start, ends: FeedEnds) -> Result<i64, FeedEnds> {
    match start {
        Start::Earliest => Ok(ends.earliest),
        Start::Now => Ok(ends.latest),
        Start::Behind(cursor) => {
            let number = cursor.number_in(feed.id());
            number.filter(|number| (ends.earliest..=ends.latest).contains(number)).ok_or(ends)
        }
    }
}

fn expired(feed: &Feed, ends: FeedEnds) -> ApiError {
    ApiError::CursorExpired { earliest: feed.id().cursor(ends.earliest).to_string() }
}

fn told(feed: &Feed, lost: Lost) -> ApiError {
    match lost {
        Lost::Expired(ends) => expired(feed, ends),
        Lost::Store(error) => ApiError::Store(error),
    }
}

fn page(events: &[Arc<Item>], reader: &Reader) -> Response {
    let size: usize = events.iter().map(|item| item.json().len() + 1).sum();
    let mut body = String::with_capacity(size + 64);
    body.push_str(r#"{"events":["#);
    for (index, item) in events.iter().enumerate() {
        if index > 0 {
            body.push(',');
        }
        body.push_str(item.json());
    }
    // A cursor is made of letters and digits.
    write!(body, r#"],"cursor":"{}"}}"#, reader.cursor()).expect("writing to a String never fails");
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}
