//! `/v1/tasks/{id}/report`: what a caller thinks of an answer, for the provider.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::AppState;
use super::auth::{Caller, Read, Submit};
use super::body;
use super::error::ApiError;
use super::query::Query;
use super::tasks::{JsonReply, NamedTask, reply};
use crate::ingest::Reported;
use crate::model::{Report, TaskId, Timestamp, Verdict};

/// The largest body: `{"verdict":"bad"}` and some blanks.
pub(super) const MAX_BODY_BYTES: usize = 1024;
/// How long a caller waits for the provider's word who does not say.
const USUAL_WAIT: Duration = Duration::from_secs(5);

/// What a caller thinks of an answer.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Report")]
pub(super) struct ReportBody<'a> {
    /// The task whose answer it is.
    task_id: TaskId,
    /// Whether the answer was right.
    verdict: Verdict,
    /// `queued` while it waits to be sent; `recorded`, `refused` or `expired` at the end.
    #[schemars(extend("enum" = ["queued", "recorded", "refused", "expired"]))]
    status: &'static str,
    /// The provider's word, once it gave one.
    #[schemars(example = &"OK_REPORT_RECORDED")]
    reply: Option<&'a str>,
    /// When the caller said so.
    created_at: Timestamp,
    /// When there was nothing left to do.
    ended_at: Option<Timestamp>,
}

impl<'a> From<&'a Report> for ReportBody<'a> {
    fn from(report: &'a Report) -> Self {
        let status = match (&report.reply, report.is_recorded) {
            (None, _) => "queued",
            (Some(_), true) => "recorded",
            (Some(reply), false) if reply == Report::EXPIRED => "expired",
            (Some(_), false) => "refused",
        };
        Self {
            task_id: report.task,
            verdict: report.verdict,
            status,
            reply: report.reply.as_deref(),
            created_at: report.created_at,
            ended_at: report.ended_at,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    verdict: String,
}

/// `POST /v1/tasks/{id}/report?wait=5` with `{"verdict":"bad"}` or `good`: 200 with the provider's word,
/// or 202 while the report waits to be sent.
pub(super) async fn report_task(
    caller: Caller<Submit>,
    State(app): State<Arc<AppState>>,
    NamedTask(id): NamedTask,
    mut query: Query,
    body: Body,
) -> Result<(StatusCode, JsonReply), ApiError> {
    let wait = query.given_wait(app.max_wait).unwrap_or(USUAL_WAIT);
    query.finish("wait")?;
    let verdict = verdict(&body::read(body, MAX_BODY_BYTES).await?)?;
    // Subscribe before the write: what ends between the two still counts.
    let mut ended = app.desk.ended.subscribe();
    let report = match app.ingest.report(id, caller.sees(), verdict).await? {
        Reported::New(report) => report,
        Reported::Earlier(earlier) if earlier.verdict == verdict => earlier,
        Reported::Earlier(earlier) => return Err(ApiError::AlreadyReported(earlier.verdict.as_str())),
        Reported::Refused(error) => return Err(error.into()),
        Reported::NotFound => return Err(ApiError::TaskNotFound),
    };
    app.desk.arrived.notify_one();
    let report = app.wait_for_report(report, Instant::now() + wait, &mut ended).await?;
    let status = if report.ended_at.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, reply(ReportBody::from(&report))))
}

/// `GET /v1/tasks/{id}/report`: how the report stands.
pub(super) async fn get_report(
    caller: Caller<Read>,
    State(app): State<Arc<AppState>>,
    NamedTask(id): NamedTask,
    query: Query,
) -> Result<JsonReply, ApiError> {
    query.finish("no parameters")?;
    // Whether the caller may see the task comes first.
    app.wait_for_task(id, Instant::now(), caller.sees()).await?;
    let report = app.store.report(id).await?.ok_or(ApiError::ReportNotFound)?;
    Ok(reply(ReportBody::from(&report)))
}

fn verdict(body: &[u8]) -> Result<Verdict, ApiError> {
    let expected = || ApiError::field("verdict", "is neither bad nor good");
    let wish: Wish = serde_json::from_slice(body)
        .map_err(|_| ApiError::BadRequest("the body is not {\"verdict\":\"bad\"} or good".to_owned()))?;
    wish.verdict.parse().map_err(|()| expected())
}

impl AppState {
    /// The report once it has ended, or as it stands at the deadline or at shutdown.
    pub(super) async fn wait_for_report(
        &self,
        mut report: Report,
        deadline: Instant,
        ended: &mut tokio::sync::watch::Receiver<u64>,
    ) -> Result<Report, ApiError> {
        while report.ended_at.is_none() {
            let woken = timeout_at(deadline, ended.changed());
            let Some(Ok(Ok(()))) = self.shutdown.run_until_cancelled(woken).await else { break };
            report = self.store.report(report.task).await?.ok_or(ApiError::ReportNotFound)?;
        }
        Ok(report)
    }
}
