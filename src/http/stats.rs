//! `/v1/stats`: how many tasks there are, and how answers came.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use super::AppState;
use super::auth::{Caller, Read};
use super::error::ApiError;
use super::query::Query;
use super::tasks::{JsonReply, reply};
use crate::model::{CaptchaType, Status, Via};
use crate::store::{Counted, MAX_SCAN};

/// Figures of the newest tasks: the caller's own or, for `admin`, everybody's.
#[derive(Default, JsonSchema, Serialize)]
#[schemars(rename = "Stats")]
pub(super) struct StatsBody {
    /// The most tasks that are looked at: older ones are not counted.
    newest: i64,
    /// How many were counted.
    total: u64,
    /// By status; those of which there are none are left out.
    #[schemars(with = "BTreeMap<String, u64>")]
    by_status: BTreeMap<Status, u64>,
    /// By type of captcha and status.
    #[schemars(with = "BTreeMap<String, BTreeMap<String, u64>>")]
    by_type: BTreeMap<CaptchaType, BTreeMap<Status, u64>>,
    /// How outcomes came.
    answers: AnswersBody,
    /// Milliseconds from submitted to answered, by type of captcha, of the newest 10,000 solved tasks.
    #[schemars(with = "BTreeMap<String, PercentilesBody>")]
    solve_ms: BTreeMap<CaptchaType, PercentilesBody>,
    /// Pingbacks that no task waited for.
    unmatched: UnmatchedBody,
}

/// Pingbacks for no task, since the start.
#[derive(Default, JsonSchema, Serialize)]
#[schemars(rename = "UnmatchedStats")]
struct UnmatchedBody {
    /// How many came.
    received: u64,
    /// How many of them had to go because there were too many.
    dropped: u64,
}

/// How the outcomes that the provider gave came.
#[derive(Default, JsonSchema, Serialize)]
#[schemars(rename = "AnswerStats")]
struct AnswersBody {
    /// By pingback.
    pingback: u64,
    /// Because they were asked for.
    reconcile: u64,
    /// From 0 to 1; `null` when there are none.
    #[schemars(range(min = 0.0, max = 1.0))]
    pingback_share: Option<f64>,
}

/// From submitted to answered, in milliseconds, of the newest solved tasks.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Percentiles")]
pub(crate) struct PercentilesBody {
    /// How many tasks they are of.
    pub(crate) count: usize,
    /// Half of them took so long at most.
    pub(crate) p50: u64,
    /// 90 % of them.
    p90: u64,
    /// 95 % of them.
    pub(crate) p95: u64,
}

impl PercentilesBody {
    /// Of these times.
    pub(crate) fn new(mut millis: Vec<u64>) -> Self {
        millis.sort_unstable();
        let at = |percent: usize| {
            let index = (millis.len() * percent).div_ceil(100).saturating_sub(1);
            millis.get(index).copied().unwrap_or_default()
        };
        Self { count: millis.len(), p50: at(50), p90: at(90), p95: at(95) }
    }
}

/// `GET /v1/stats`.
pub(super) async fn get_stats(
    caller: Caller<Read>,
    State(app): State<Arc<AppState>>,
    query: Query,
) -> Result<JsonReply, ApiError> {
    query.finish("no parameters")?;
    let mut body = StatsBody { newest: MAX_SCAN, ..StatsBody::default() };
    for Counted { kind, status, via, tasks } in app.store.count_tasks(caller.sees()).await? {
        body.total += tasks;
        *body.by_status.entry(status).or_default() += tasks;
        *body.by_type.entry(kind).or_default().entry(status).or_default() += tasks;
        match via {
            Some(Via::Pingback) => body.answers.pingback += tasks,
            Some(Via::Reconcile) => body.answers.reconcile += tasks,
            None => {}
        }
    }
    body.answers.pingback_share = share(body.answers.pingback, body.answers.reconcile);
    let times = app.store.newest_solve_times(caller.sees()).await?;
    body.solve_ms = times.into_iter().map(|(kind, millis)| (kind, PercentilesBody::new(millis))).collect();
    body.unmatched = UnmatchedBody { received: app.sink.received(), dropped: app.sink.dropped() };
    Ok(reply(body))
}

/// How much of both is `one`.
#[expect(clippy::cast_precision_loss, reason = "there are at most 100,000 of both")]
fn share(one: u64, other: u64) -> Option<f64> {
    let both = one + other;
    (both > 0).then(|| one as f64 / both as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_seen() {
        let PercentilesBody { count, p50, p90, p95 } = PercentilesBody::new((1..=100).rev().collect());
        assert_eq!((count, p50, p90, p95), (100, 50, 90, 95));
        let PercentilesBody { p50, p95, .. } = PercentilesBody::new(vec![7]);
        assert_eq!((p50, p95), (7, 7));
    }
}
