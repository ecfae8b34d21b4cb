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
use crate::account::Registration;
use crate::ingest::WriteError;
use crate::model::Script;

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

    /// What somebody should look at, and what to do about it.
    fn attention(&self, draining: bool, trouble: Option<&str>, sending: Option<&str>) -> Vec<String> {
        let mut found = Vec::new();
        if draining {
            found.push(
                "pingbox is shutting down and takes no new work: if nobody stopped it, its log says why"
                    .to_owned(),
            );
        }
        if let Some(trouble) = trouble {
            found.push(format!("nothing can be stored, so pingbacks and submissions are refused: {trouble}"));
        } else if let Some(fault) = self.store.health().why_not_read() {
            found.push(format!("the database cannot be read: {fault}"));
        }
        if let Some(why) = sending {
            let until = self.account.backoff().hold(Script::In).and_then(|hold| hold.until);
            let end =
                until.map_or_else(String::new, |until| format!(". It is tried again by itself at {until}"));
            found.push(format!("queued tasks wait: {why}{end}"));
        }
        match &*self.account.registration().borrow() {
            refused @ Registration::Refused(_) => found.push(format!(
                "the provider does not take our pingback URL, so answers are asked for, which is slower. The registration is {refused}"
            )),
            Registration::Unreachable(why) => found.push(format!(
                "whether the provider knows our pingback URL could not be found out, and is tried again by itself: {why}"
            )),
            _ if self.account.urls().current().is_none() => found.push(
                "no pingbacks can come, so answers are asked for, which is slower: set public.url to the URL under \
                 which the provider reaches the public listener"
                    .to_owned(),
            ),
            _ => {}
        }
        if self.news.as_ref().is_some_and(|news| !news.is_heard()) {
            found.push(
                "what other replicas do is seen only within a second: LISTEN does not get through to the server. Behind \
                 a pooler, set database.listen_url to the server itself"
                    .to_owned(),
            );
        }
        found
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
    /// The same in words.
    #[schemars(example = &"ready")]
    summary: String,
    /// What somebody should look at, with what to do about it, the most urgent first; empty while all is well.
    attention: Vec<String>,
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
    let trouble = if draining { None } else { app.why_not_written().await };
    let ready = !draining && trouble.is_none();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let sending = app.account.why_tasks_wait();
    let attention = app.attention(draining, trouble.as_deref(), sending.as_deref());
    let summary = match (ready, attention.first()) {
        (true, None) => "ready".to_owned(),
        (true, Some(_)) => "ready, but `attention` says what to look at".to_owned(),
        (false, first) => format!("not ready: {}", first.map_or("", String::as_str)),
    };
    let database = match (draining, trouble) {
        (true, _) => "not asked".to_owned(),
        (false, trouble) => trouble.unwrap_or_else(|| "ok".to_owned()),
    };
    let answers = app.account.why_polling().map_or_else(
        || "come by pingback".to_owned(),
        |why| format!("polling mode: they are asked for, because {why}"),
    );
    let body = ReadyBody {
        ready,
        summary,
        attention,
        draining,
        database,
        registration: app.account.registration().borrow().to_string(),
        sending: sending.unwrap_or_else(|| "ok".to_owned()),
        answers,
        replicas: app.replicas(),
    };
    (status, Json(body))
}
