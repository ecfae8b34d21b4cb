//! `/livez` and `/readyz`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::timeout;

use super::AppState;
use crate::ingest::WriteError;

/// How long the probe may take. What asks is not patient: a replica that stores nothing for so long is of no use to who
/// waits for it.
const PROBE_DEADLINE: Duration = Duration::from_secs(2);

impl AppState {
    /// What keeps the database from taking a write right now.
    async fn why_not_written(&self) -> Option<String> {
        match timeout(PROBE_DEADLINE, self.ingest.probe()).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            // That a write waits says less than what the last one failed from.
            Err(_) => Some(match self.store.health().why_not_written() {
                Some(fault) => WriteError::Store(fault).to_string(),
                None => format!("the database did not take a write within {} s", PROBE_DEADLINE.as_secs()),
            }),
        }
    }

    /// How this replica stands among those that share its database.
    fn replicas(&self) -> &'static str {
        match (&self.news, self.lead.is_held()) {
            (None, _) => "this process has the database to itself",
            (Some(news), true) if news.is_heard() => "this one leads",
            (Some(news), false) if news.is_heard() => "another one leads, or none at the moment",
            (Some(_), true) => "this one leads; what others do is seen within a second",
            (Some(_), false) => {
                "another one leads, or none at the moment; what others do is seen within a second"
            }
        }
    }
}

/// How the service stands.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Ready")]
pub(super) struct ReadyBody {
    /// Whether work can be taken.
    ready: bool,
    /// Whether the server is ending.
    draining: bool,
    /// `ok`, or what is wrong with the database.
    #[schemars(example = &"ok")]
    database: String,
    /// Whether the provider knows our pingback URL, and what to do if it does not.
    #[schemars(example = &"registered")]
    registration: String,
    /// `ok`, or why queued tasks wait.
    #[schemars(example = &"ok")]
    sending: String,
    /// Whether answers come by pingback, or are asked for and why.
    #[schemars(example = &"come by pingback")]
    answers: String,
    /// How this replica stands among those that share its database.
    replicas: &'static str,
}

/// The process answers. Does no I/O.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Whether work can be taken: a write goes through the writer and the disk. What only slows the
/// way to the provider is told with 200.
pub(super) async fn readyz(State(app): State<Arc<AppState>>) -> (StatusCode, Json<ReadyBody>) {
    let draining = app.shutdown.is_cancelled();
    let trouble = if draining { Some("not asked".to_owned()) } else { app.why_not_written().await };
    let ready = trouble.is_none();
    let database = trouble.unwrap_or_else(|| "ok".to_owned());
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let registration = app.account.registration().borrow().to_string();
    let sending = app.account.why_tasks_wait().unwrap_or_else(|| "ok".to_owned());
    let answers = app.account.why_polling().map_or_else(
        || "come by pingback".to_owned(),
        |why| format!("polling mode: they are asked for, because {why}"),
    );
    (
        status,
        Json(ReadyBody {
            ready,
            draining,
            database,
            registration,
            sending,
            answers,
            replicas: app.replicas(),
        }),
    )
}
