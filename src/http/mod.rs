//! The two listeners: the public one for the provider, the api one for local callers.

mod access;
mod account;
mod addresses;
mod answers;
mod auth;
mod body;
mod checks;
mod compat;
mod deliveries;
mod docs;
mod error;
mod events;
#[cfg(test)]
pub(crate) mod fuzzing;
mod guessing;
mod handshake;
mod headers;
mod health;
mod loops;
mod metrics;
mod openapi;
mod pingback;
mod pingbacks;
mod places;
mod query;
mod reports;
mod requests;
mod server;
mod sites;
mod stalls;
mod stats;
mod strangers;
mod submit;
mod tasks;
mod tokens;
mod wait;
mod watched;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Method;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::util::MapResponseLayer;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::info;

pub(crate) use access::{Access, Door, Identity};
pub(crate) use addresses::Addresses;
pub(crate) use auth::{Admin, Read, Scope, Submit, peer};
pub(crate) use body::read as read_body;
pub(crate) use error::ApiError;
pub(crate) use handshake::Handshake;
pub(crate) use metrics::{in_markdown as metrics_in_markdown, names as metric_names};
pub(crate) use openapi::text as openapi_text;
pub(crate) use pingback::PublicState;
pub(crate) use pingbacks::Rotation;
pub(crate) use places::Places;
pub(crate) use query::{Query, RowId};
pub(crate) use requests::Requests;
pub(crate) use server::Server;
pub(crate) use sites::is_from_another_site;
pub(crate) use stats::PercentilesBody;

use crate::account::Account;
use crate::feed::Feed;
use crate::ingest::{Ingest, SinkTally};
use crate::model::{AddressRules, Price, Timestamp};
use crate::replicas::{Lead, News};
use crate::reporter::ReportDesk;
use crate::selfcheck::SelfCheck;
use crate::store::Store;
use crate::waiters::{AnswerWaiters, TaskWaiters};

/// Submissions that are read and stored at a time; the rest wait. With the largest bodies, held once
/// as they came and once decoded, this many take 256 MiB.
pub(crate) const UPLOADS: usize = 32;

/// The connections of both listeners.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    pub(crate) public: Room,
    pub(crate) api: Room,
}

impl Connections {
    /// Divides so many places between the listeners.
    pub(crate) fn new(places: usize) -> Self {
        let (public, api) = Places::divide(places);
        let (of_public, of_api) = (public.free(), api.free());
        info!(
            public = of_public,
            api = of_api,
            "Up to {of_api} connections of callers, and {of_public} at the public listener, while the other leaves them"
        );
        Self { public: Room::new(public), api: Room::new(api) }
    }
}

/// The open connections of a listener, and its places for more.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    pub(crate) open: TaskTracker,
    pub(crate) places: Places,
}

impl Room {
    pub(crate) fn new(places: Places) -> Self {
        Self { open: TaskTracker::new(), places }
    }

    /// How many connections it may have at the moment.
    pub(crate) fn limit(&self) -> usize {
        self.open.len() + self.places.free()
    }
}

/// What the api listener works with.
pub(crate) struct AppState {
    pub(crate) ingest: Ingest,
    pub(crate) store: Store,
    /// Told of tasks that have ended.
    pub(crate) waiters: Arc<TaskWaiters>,
    /// Told for which captchas there is an answer.
    pub(crate) answers: Arc<AnswerWaiters>,
    /// Unmatched pingbacks, counted.
    pub(crate) sink: Arc<SinkTally>,
    /// Told of tasks that were sent to the provider.
    pub(crate) sent: Arc<TaskWaiters>,
    /// What happened.
    pub(crate) feed: Arc<Feed>,
    pub(crate) account: Account,
    pub(crate) desk: Arc<ReportDesk>,
    pub(crate) access: Arc<Access>,
    pub(crate) selfcheck: SelfCheck,
    pub(crate) connections: Connections,
    /// Requests that were replied to, counted.
    pub(crate) requests: Arc<Requests>,
    /// When the process started, by the system's clock.
    pub(crate) started_at: Timestamp,
    /// Whether this replica leads.
    pub(crate) lead: Lead,
    /// What other replicas tell, where there may be some.
    pub(crate) news: Option<Arc<News>>,
    pub(crate) max_wait: Duration,
    /// How long `res.php` holds a request for an answer.
    pub(crate) hold: Duration,
    /// The most that a day's captchas may cost.
    pub(crate) daily_limit: Option<Price>,
    /// Which addresses callers may have called.
    pub(crate) address_rules: AddressRules,
    pub(crate) rotation: Rotation,
    /// Whether each task is sent with a pingback URL of its own.
    pub(crate) has_url_per_task: bool,
    pub(crate) uploads: Semaphore,
    /// The same for `in.php`.
    pub(crate) script_uploads: Arc<Semaphore>,
    /// Ends every wait.
    pub(crate) shutdown: CancellationToken,
}

/// The routes of the api listener, with the `pages` that people see there.
pub(crate) fn api_router(state: Arc<AppState>, pages: Router<Arc<AppState>>) -> Router {
    Router::new()
        .route("/v1/tasks", get(tasks::list_tasks).post(submit::submit_task))
        .route("/v1/tasks/{id}", get(tasks::get_task).delete(tasks::cancel_task))
        .route("/v1/tasks/{id}/report", get(reports::get_report).post(reports::report_task))
        .route("/v1/events", get(events::get_events))
        .route("/v1/answers", get(answers::list_answers))
        .route("/v1/answers/{captcha_id}", get(answers::get_answer))
        .route("/v1/account", get(account::get_account))
        .route("/v1/account/resume", post(account::resume))
        .route("/v1/stats", get(stats::get_stats))
        .route("/v1/checks", post(checks::run_checks))
        .route("/v1/pingbacks", get(pingbacks::list).post(pingbacks::add).delete(pingbacks::delete))
        .route("/v1/pingbacks/rotate", post(pingbacks::rotate))
        .merge(tokens::router())
        .merge(webhooks::router())
        .merge(deliveries::router())
        .route("/metrics", get(metrics::metrics))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/openapi.json", get(openapi::get_openapi))
        .merge(docs::router())
        .merge(compat::router())
        .merge(pages)
        .fallback(loops::unknown_path)
        .method_not_allowed_fallback(async |method: Method| ApiError::MethodNotAllowed(method.to_string()))
        // One layer, because each has a price in memory for every request that waits.
        .layer((
            MapResponseLayer::new(headers::guard),
            CatchPanicLayer::custom(|_| -> Response { ApiError::Panicked.into_response() }),
        ))
        .with_state(state)
}
