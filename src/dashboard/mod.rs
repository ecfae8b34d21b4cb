//! The pages that people see in a browser: what is queued and solved, how the account stands, what was sent to
//! webhooks, and who may call. Made on the server; a script only renews what is marked as live.

mod assets;
mod chart;
mod deliveries;
mod figures;
mod live;
mod overview;
mod page;
mod session;
mod sign_in;
mod solve;
mod tasks;
mod tokens;
mod visitor;
mod when;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use self::figures::Figures;
use self::session::Sessions;
use crate::http::AppState;
use crate::model::Secret;
use crate::sandbox::Sandbox;

/// What the pages are made from.
pub(crate) struct Dashboard {
    app: Arc<AppState>,
    sessions: Sessions,
    figures: Figures,
    /// What the pages need to know of the configuration.
    about: About,
    /// The emulated provider, where it takes the place of the real one.
    sandbox: Option<Sandbox>,
}

/// What the pages need to know of the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About {
    /// Whether the emulated provider takes the place of the real one.
    pub(crate) is_sandbox: bool,
    /// Whether the listener has TLS of its own.
    pub(crate) has_tls: bool,
}

impl Dashboard {
    /// The pages of a service. Who has the `key` can make sessions.
    pub(crate) fn new(app: Arc<AppState>, key: Secret, about: About, sandbox: Option<Sandbox>) -> Self {
        Self { app, sessions: Sessions::new(key), figures: Figures::default(), about, sandbox }
    }
}

/// The routes of the pages. One more is added here, and in the navigation of `templates/base.html`.
pub(crate) fn router<S>(dashboard: Dashboard) -> Router<S> {
    Router::new()
        .route("/", get(overview::show))
        .route("/deliveries", get(deliveries::list))
        .route("/deliveries/{id}", get(deliveries::show))
        .route("/deliveries/{id}/replay", post(deliveries::replay))
        .route("/tokens", get(tokens::list).post(tokens::create))
        .route("/tokens/{id}/revoke", post(tokens::revoke))
        .merge(tasks::router())
        .merge(solve::router())
        .route("/sign-in", get(sign_in::show).post(sign_in::sign_in))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/live", get(live::stream))
        .route("/assets/{name}", get(assets::get_asset))
        .with_state(Arc::new(dashboard))
}
