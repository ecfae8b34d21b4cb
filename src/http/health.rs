//! `/livez` and `/readyz`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::AppState;

impl AppState {
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

/// The process answers. Does no I/O.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Whether work can be taken: a write goes through the writer and the disk. What only slows the
/// way to the provider is told with 200.
pub(super) async fn readyz(State(app): State<Arc<AppState>>) -> (StatusCode, Json<Value>) {
    let draining = app.shutdown.is_cancelled();
    let database = if draining { None } else { Some(app.ingest.probe().await) };
    let ready = matches!(database, Some(Ok(())));
    let database = match database {
        Some(Ok(())) => "ok".to_owned(),
        Some(Err(error)) => error.to_string(),
        None => "not asked".to_owned(),
    };
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let registration = app.account.registration().borrow().to_string();
    let sending = app.account.why_tasks_wait().unwrap_or_else(|| "ok".to_owned());
    let answers = app.account.why_polling().map_or_else(
        || "come by pingback".to_owned(),
        |why| format!("polling mode: they are asked for, because {why}"),
    );
    (
        status,
        Json(json!({
            "ready": ready,
            "draining": draining,
            "database": database,
            "registration": registration,
            "sending": sending,
            "answers": answers,
            "replicas": app.replicas(),
        })),
    )
}
