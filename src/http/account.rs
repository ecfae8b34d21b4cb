//! `/v1/account`: money, credit, pauses and registration at the provider.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use super::AppState;
use super::auth::{Admin, Caller, Read};
use super::error::ApiError;
use super::query::Query;
use super::tasks::{JsonReply, reply};
use crate::model::{CaptchaType, Hold, Price, Script, Terms, Timestamp};

/// The account as callers see it.
#[derive(Serialize)]
struct AccountBody {
    /// What is on it, in its currency; `null` until the provider told.
    balance: Option<String>,
    balance_at: Option<Timestamp>,
    spend: SpendBody,
    credit: CreditBody,
    backoff: BackoffBody,
    registration: RegistrationBody,
    /// `pingback` or `polling`: how answers come.
    answers: &'static str,
    /// Why queued tasks wait; `null` when they need not.
    reason: Option<String>,
}

/// What was spent today (UTC).
#[derive(Serialize)]
struct SpendBody {
    today: Price,
    daily_limit: Option<Price>,
    by_type: BTreeMap<CaptchaType, TypeSpendBody>,
}

#[derive(Serialize)]
struct TypeSpendBody {
    tasks: u64,
    amount: Price,
    /// Tasks whose price is from the table of rates.
    estimated: u64,
}

/// How many calls of `res.php` are left.
#[derive(Serialize)]
struct CreditBody {
    left: u32,
    most: u32,
    per_captcha: u32,
}

#[derive(Serialize)]
struct BackoffBody {
    in_php: Option<HoldBody>,
    res_php: Option<HoldBody>,
}

/// A pause that the provider asked for.
#[derive(Serialize)]
struct HoldBody {
    code: String,
    reason: String,
    since: Timestamp,
    /// `null` until an operator has acted.
    until: Option<Timestamp>,
    /// Nothing is sent until the key changes or an operator has acted.
    stopped: bool,
}

impl From<&Hold> for HoldBody {
    fn from(hold: &Hold) -> Self {
        Self {
            code: hold.cause.as_str().to_owned(),
            reason: hold.cause.message().to_owned(),
            since: hold.since,
            until: hold.until,
            stopped: hold.until.is_none(),
        }
    }
}

#[derive(Serialize)]
struct RegistrationBody {
    state: &'static str,
    /// Our URL without its secret.
    url: Option<String>,
    /// What is wrong, and what to do about it.
    detail: String,
}

/// `GET /v1/account`.
pub(super) async fn get_account(
    _: Caller<Read>,
    State(app): State<Arc<AppState>>,
    query: Query,
) -> Result<JsonReply, ApiError> {
    query.finish("no parameters")?;
    app.account_reply().await
}

/// `POST /v1/account/resume`: an operator has acted, so sending is tried again.
pub(super) async fn resume(
    _: Caller<Admin>,
    State(app): State<Arc<AppState>>,
    query: Query,
) -> Result<(StatusCode, JsonReply), ApiError> {
    query.finish("no parameters")?;
    app.account.resume().await;
    Ok((StatusCode::OK, app.account_reply().await?))
}

impl AppState {
    async fn account_reply(&self) -> Result<JsonReply, ApiError> {
        let account = &self.account;
        let balance = account.balance().await;
        let registration = account.registration().borrow().clone();
        let backoff = account.backoff();
        let hold = |script| backoff.hold(script).map(HoldBody::from);
        let credit = self.store.credit(&account.id()).await?;
        Ok(reply(AccountBody {
            balance_at: balance.as_ref().map(|balance| balance.at),
            balance: balance.map(|balance| balance.amount),
            spend: self.spend_body().await?,
            credit: CreditBody {
                left: credit.calls.level(),
                most: Terms::CALLS.capacity,
                per_captcha: Terms::CALLS.per_captcha,
            },
            backoff: BackoffBody { in_php: hold(Script::In), res_php: hold(Script::Res) },
            registration: RegistrationBody {
                state: registration.as_str(),
                url: account.urls().current().map(|url| url.to_string()),
                detail: registration.to_string(),
            },
            answers: if account.why_polling().is_some() { "polling" } else { "pingback" },
            reason: account.why_tasks_wait(),
        }))
    }

    async fn spend_body(&self) -> Result<SpendBody, ApiError> {
        let spent = self.store.spent(Timestamp::now()).await?;
        let today = spent.iter().fold(0_i64, |sum, spent| sum.saturating_add(spent.nanos));
        let by_type = spent.iter().map(|spent| {
            let body =
                TypeSpendBody { tasks: spent.tasks, amount: spent.price(), estimated: spent.estimated };
            (spent.kind, body)
        });
        Ok(SpendBody {
            today: Price::from_nanos(today),
            daily_limit: self.daily_limit.clone(),
            by_type: by_type.collect(),
        })
    }
}
