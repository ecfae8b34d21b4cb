//! The two listeners: the public one for the provider, the api one for local callers.

mod addresses;
mod auth;
mod body;
mod error;
mod health;
mod pingback;
mod query;
mod server;
mod submit;
mod tasks;
mod wait;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Method;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

pub(crate) use addresses::Addresses;
pub(crate) use auth::{Access, Identity, Scopes};
pub(crate) use pingback::{PublicState, router as public_router};
pub(crate) use server::Server;

use self::error::ApiError;
use crate::ingest::Ingest;
use crate::provider::Registration;
use crate::store::Store;
use crate::waiters::Waiters;

/// Submissions that are read and stored at a time; the rest wait. With the largest bodies, held once
/// as they came and once decoded, this many take 256 MiB.
pub(crate) const UPLOADS: usize = 32;

/// What the api listener works with.
pub(crate) struct AppState {
    pub(crate) ingest: Ingest,
    pub(crate) store: Store,
    pub(crate) waiters: Arc<Waiters>,
    pub(crate) access: Access,
    pub(crate) max_wait: Duration,
    /// Whether answers can come in: a task that is sent without that is paid for nothing.
    pub(crate) has_public_url: bool,
    pub(crate) uploads: Semaphore,
    pub(crate) registration: watch::Receiver<Registration>,
    /// Why nothing is sent until somebody acts.
    pub(crate) held: watch::Receiver<Option<String>>,
    /// Ends every wait.
    pub(crate) shutdown: CancellationToken,
}

/// The routes of the api listener.
pub(crate) fn api_router(state: AppState) -> Router {
    Router::new()
        .route("/v1/tasks", get(tasks::list_tasks).post(submit::submit_task))
        .route("/v1/tasks/{id}", get(tasks::get_task).delete(tasks::cancel_task))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .fallback(async || ApiError::PathNotFound)
        .method_not_allowed_fallback(async |method: Method| ApiError::MethodNotAllowed(method.to_string()))
        .layer(CatchPanicLayer::custom(|_| -> Response { ApiError::Panicked.into_response() }))
        .with_state(Arc::new(state))
}
