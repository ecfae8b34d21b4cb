//! Requests to the api listener: each has a name, by which its lines in the log are found, and is counted.
//!
//! Pingbacks pay for none of it: what is logged of them names their captcha, and the name that a proxy gave them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use tokio::time::Instant;
use tracing::field::{Empty, display};
use tracing::{Span, debug, error_span};

use crate::counters::Counters;
use crate::model::TaskId;

/// What carries the name, there and back.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest name that is taken over.
const MAX_ID: usize = 128;

/// A part of the API, as far as it is counted by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Tasks,
    Events,
    Answers,
    Webhooks,
    /// The rest below `/v1/`.
    Account,
    /// `in.php` and `res.php`.
    DropIn,
    /// Health, metrics, and the description of the API.
    Service,
    /// Pages, and what is not there.
    Other,
}

impl Route {
    const WORDS: [&'static str; 8] =
        ["tasks", "events", "answers", "webhooks", "account", "drop_in", "service", "other"];

    fn of(path: &str) -> Self {
        let mut segments = path.split('/').filter(|segment| !segment.is_empty());
        match (segments.next(), segments.next()) {
            (Some("v1"), Some("tasks")) => Self::Tasks,
            (Some("v1"), Some("events")) => Self::Events,
            (Some("v1"), Some("answers")) => Self::Answers,
            (Some("v1"), Some("webhooks")) => Self::Webhooks,
            (Some("v1"), _) => Self::Account,
            (Some("in.php" | "res.php"), None) => Self::DropIn,
            (Some("livez" | "readyz" | "metrics" | "openapi.json"), None) | (Some("docs"), _) => {
                Self::Service
            }
            _ => Self::Other,
        }
    }
}

/// The requests that were replied to, counted.
#[derive(Debug)]
pub(crate) struct Requests {
    /// By route, and class of status.
    counts: [Counters<5>; Route::WORDS.len()],
    /// What the names that are made begin with: different for each process.
    process: u32,
    /// How many were made.
    made: AtomicU64,
}

impl Requests {
    pub(crate) fn new() -> Self {
        Self {
            counts: std::array::from_fn(|_| Counters::new(["1xx", "2xx", "3xx", "4xx", "5xx"])),
            // Without randomness names are only unique within this process.
            process: getrandom::u32().unwrap_or_default(),
            made: AtomicU64::new(0),
        }
    }

    /// Every part of the API with its figures by class of status.
    pub(super) fn all(
        &self,
    ) -> impl Iterator<Item = (&'static str, impl Iterator<Item = (&'static str, u64)>)> {
        Route::WORDS.into_iter().zip(self.counts.iter().map(Counters::all))
    }

    /// Names a request. What is logged within the span has that name, and its task where one is known.
    pub(super) fn begin<B>(self: &Arc<Self>, request: &Request<B>) -> Begun {
        let path = request.uri().path();
        let id = given_id(request.headers()).cloned().unwrap_or_else(|| self.make_id());
        let name = id.to_str().unwrap_or_default();
        // Of the highest level, so that no filter that lets a line pass hides the name.
        let span = error_span!("request", request.id = name, task.id = Empty);
        let task =
            path.strip_prefix("/v1/tasks/").and_then(|rest| rest.split('/').next()?.parse::<TaskId>().ok());
        if let Some(task) = task {
            span.record("task.id", display(task));
        }
        let method = request.method().clone();
        Begun { requests: Arc::clone(self), id, span, route: Route::of(path), method, at: Instant::now() }
    }

    fn make_id(&self) -> HeaderValue {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:08x}{number:08x}", self.process);
        HeaderValue::try_from(id).expect("hexadecimal digits are a header's value")
    }
}

/// The name that a request came with, if it is one: it stands in logs, so its length and letters are bounded.
pub(super) fn given_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    let is_letter = |&byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=".contains(&byte);
    headers
        .get(REQUEST_ID)
        .filter(|id| (1..=MAX_ID).contains(&id.len()) && id.as_bytes().iter().all(is_letter))
}

/// Notes in the request's span which task it is about.
pub(super) fn is_about(task: TaskId) {
    Span::current().record("task.id", display(task));
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Begun {
    requests: Arc<Requests>,
    id: HeaderValue,
    pub(super) span: Span,
    route: Route,
    method: Method,
    at: Instant,
}

impl Begun {
    /// Counts it, and names it in its reply.
    pub(super) fn end<B>(self, reply: &mut Response<B>) {
        let Self { requests, id, span, route, method, at } = self;
        let status = reply.status().as_u16();
        let class = usize::from(status / 100).saturating_sub(1).min(4);
        requests.counts[route as usize].add(class, 1);
        // Paths and queries may hold secrets that somebody sent here by mistake: the part of the API will do.
        span.in_scope(|| {
            let duration_ms = u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
            let route = Route::WORDS[route as usize];
            debug!(%method, route, status, duration_ms, "Replied with {status} to a request for {route}");
        });
        reply.headers_mut().insert(REQUEST_ID, id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_over_if_it_is_short_and_harmless() {
        let long = "a".repeat(MAX_ID + 1);
        for (given, is_taken) in [
            ("4bf92f35-77b3-4da6-a3ce-929d0e0e4736", true),
            ("Root=1-67891233-abcdef012345678912345678", true),
            ("", false),
            ("a b", false),
            ("a\"b", false),
            ("{a}", false),
            ("a,b", false),
            (&long, false),
            (&long[1..], true),
        ] {
            let headers = [(REQUEST_ID, HeaderValue::from_str(given).unwrap())].into_iter().collect();
            assert_eq!(given_id(&headers).is_some(), is_taken, "{given:?}");
        }
    }

    #[test]
    fn names_that_are_made_differ() {
        let requests = Requests::new();
        assert_ne!(requests.make_id(), requests.make_id());
    }

    #[test]
    fn every_request_belongs_to_a_part_of_the_api() {
        for (path, route) in [
            ("/v1/tasks", Route::Tasks),
            ("/v1/tasks/7/report", Route::Tasks),
            ("/v1/webhooks/deliveries", Route::Webhooks),
            ("/v1/account/resume", Route::Account),
            ("//in.php", Route::DropIn),
            ("/res.php/", Route::DropIn),
            ("/docs/tasks", Route::Service),
            ("/", Route::Other),
            ("/v1tasks", Route::Other),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }
}
