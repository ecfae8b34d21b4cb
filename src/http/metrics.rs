//! `/metrics`: Prometheus text about the way to the provider, and what came back for no task.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::AppState;
use super::auth::{Caller, Read};
use super::error::ApiError;
use crate::account::{Account, Call};
use crate::ingest::SinkTally;
use crate::model::{Script, Timestamp};
use crate::store::Credit;

/// The media type of what is sent.
pub(super) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    script: &'static str,
    action: String,
    outcome: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct HoldLabels {
    script: &'static str,
    code: String,
}

/// `GET /metrics`.
pub(super) async fn metrics(_: Caller<Read>, State(app): State<Arc<AppState>>) -> Result<Response, ApiError> {
    let credit = app.store.credit(&app.account.id()).await?;
    let mut registry = registry(&app.account, &app.sink, credit, Timestamp::now());
    register_replica(&mut registry, &app);
    let wrong_tokens = Counter::<u64, AtomicU64>::default();
    wrong_tokens.inc_by(app.access.wrong_tokens());
    registry.register("wrong_tokens", "Requests to the api listener with a token that is none", wrong_tokens);
    let mut text = String::new();
    encode(&mut text, &registry).expect("writing to a String never fails");
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}

/// How this replica stands among the others, where there may be some.
fn register_replica(registry: &mut Registry, app: &AppState) {
    let Some(news) = &app.news else { return };
    for (name, help, is_so) in [
        (
            "leads",
            "1 while this replica leads: calls the provider, and looks after what is old",
            app.lead.is_held(),
        ),
        (
            "hears_others",
            "1 while what other replicas do is heard at once; else it is seen within a second",
            news.is_heard(),
        ),
    ] {
        let gauge = Gauge::<i64>::default();
        gauge.set(is_so.into());
        registry.register(name, help, gauge);
    }
}

/// The figures as they stand.
fn registry(account: &Account, sink: &SinkTally, credit: Credit, now: Timestamp) -> Registry {
    let mut registry = Registry::with_prefix("pingbox");
    let calls = Family::<CallLabels, Counter<u64, AtomicU64>>::default();
    for (Call { script, action, outcome }, count) in account.tally().calls() {
        calls.get_or_create(&CallLabels { script, action, outcome }).inc_by(count);
    }
    registry.register("provider_requests", "Requests to the provider, by what came of them", calls);

    let holds = Family::<HoldLabels, Gauge>::default();
    let backoff = account.backoff();
    for script in Script::ALL {
        let Some(hold) = backoff.hold(script) else { continue };
        let labels = HoldLabels { script: script.as_str(), code: hold.cause.as_str().to_owned() };
        // -1: until an operator has acted.
        let seconds =
            hold.until.map_or(-1, |until| i64::try_from(until.since(now).as_secs()).unwrap_or(i64::MAX));
        holds.get_or_create(&labels).set(seconds);
    }
    registry.register(
        "backoff_seconds",
        "How long the provider is left alone, by script and cause; -1 until an operator has acted",
        holds,
    );

    let mut counter = |name: &str, help: &str, value: u64| {
        let counter = Counter::<u64, AtomicU64>::default();
        counter.inc_by(value);
        registry.register(name, help, counter);
    };
    counter(
        "unmatched_received",
        "Pingbacks that were kept because no task has their captcha ID",
        sink.received(),
    );
    counter("unmatched_dropped", "Those of them that went because there were too many", sink.dropped());

    let mut gauge = |name: &str, help: &str, value: u32| {
        let gauge = Gauge::<i64>::default();
        gauge.set(value.into());
        registry.register(name, help, gauge);
    };
    gauge("call_credit", "Calls of res.php that are left", credit.calls.level());
    gauge("refusal_credit", "Replies of ERROR_NO_SLOT_AVAILABLE that are left", credit.refusals.level());
    gauge(
        "polling",
        "1 while answers are asked for because no pingbacks come",
        account.why_polling().is_some().into(),
    );
    registry
}
