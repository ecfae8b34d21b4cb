//! `/v1/checks`: what the server finds when it looks at itself from outside.

use std::sync::Arc;

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use super::AppState;
use super::auth::{Caller, Read};
use super::error::ApiError;
use super::query::Query;
use super::tasks::{JsonReply, reply};
use crate::model::Timestamp;
use crate::selfcheck::Finding;

/// What the server finds of itself.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Checks")]
pub(super) struct ChecksBody {
    /// Where `public.url` leads.
    public_url: PublicUrlBody,
    /// How far the machine's clock is from the provider's.
    clock: ClockBody,
    /// Room on the disk with the file of the database; `null`: it is on PostgreSQL, or the system does
    /// not tell.
    disk: Option<DiskBody>,
}

/// Where `public.url` leads, as found by a call of it within the last 5 s.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "PublicUrlCheck")]
struct PublicUrlBody {
    /// `reached`: to this service; `elsewhere`: to something else; `not_passed`: to something that does not pass
    /// the request on; `unreachable`: nobody replies to this machine; `faulty`: nobody can be replied to, for its
    /// name, certificate or encryption; `not_set`: there is none.
    #[schemars(extend("enum" = ["not_set", "reached", "elsewhere", "not_passed", "unreachable", "faulty"]))]
    state: &'static str,
    /// What was called, without its secret; `null`: nothing was.
    #[schemars(example = &"https://pingbox.example.com/pingback/***")]
    url: Option<String>,
    /// What came of it.
    #[schemars(example = &"it leads to this service")]
    detail: String,
    /// How many pingbacks this replica has taken since its start. When there are some, others reach it.
    pingbacks: u64,
}

/// How far the machine's clock is from the provider's.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "ClockCheck")]
struct ClockBody {
    /// In seconds, above zero when the machine's is ahead; 0 when they are less than 2 s apart; `null`: the provider
    /// has not replied yet.
    offset: Option<i64>,
    /// When that was measured.
    at: Option<Timestamp>,
}

/// Room on a disk, in bytes.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "DiskCheck")]
struct DiskBody {
    /// What pingbox may still take up.
    free: u64,
    /// All there is.
    total: u64,
}

/// `POST /v1/checks`: looks now, and changes nothing.
pub(super) async fn run_checks(
    _: Caller<Read>,
    State(app): State<Arc<AppState>>,
    query: Query,
) -> Result<JsonReply, ApiError> {
    query.finish("no parameters")?;
    let looked = app.shutdown.run_until_cancelled(app.checks_body()).await;
    looked.map(reply).ok_or(ApiError::ShuttingDown)
}

impl AppState {
    async fn checks_body(&self) -> ChecksBody {
        let clock = self.account.clock();
        ChecksBody {
            public_url: self.public_url_body().await,
            clock: ClockBody { offset: clock.map(|clock| clock.seconds), at: clock.map(|clock| clock.at) },
            disk: self.selfcheck.room().await.map(|room| DiskBody { free: room.free, total: room.total }),
        }
    }

    async fn public_url_body(&self) -> PublicUrlBody {
        let (url, found) = match self.account.urls().current() {
            Some(url) => (Some(url.to_string()), Some(self.selfcheck.visit(&url).await)),
            None => (None, None),
        };
        let (state, detail) = match found {
            Some(Finding { place, detail }) => (place.as_str(), detail),
            None => ("not_set", "public.url is not set".to_owned()),
        };
        PublicUrlBody { state, url, detail, pingbacks: self.ingest.tally().taken_pingbacks() }
    }
}
