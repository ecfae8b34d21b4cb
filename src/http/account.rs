//! `/v1/account`: money, credit, pauses and registration at the provider.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::AppState;
use super::auth::{Admin, Caller, Read};
use super::error::ApiError;
use super::query::Query;
use super::tasks::{JsonReply, reply};
use crate::model::{CaptchaType, Hold, Price, Script, Terms, Timestamp};

/// The account at the provider.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Account")]
pub(super) struct AccountBody {
    /// What is on it, in its currency; `null` until the provider told.
    #[schemars(example = &"12.34")]
    balance: Option<String>,
    /// When the provider told.
    balance_at: Option<Timestamp>,
    /// What was spent today.
    spend: SpendBody,
    /// How many calls of `res.php` are left.
    credit: CreditBody,
    /// Pauses in force.
    backoff: BackoffBody,
    /// How our pingback URL stands at the provider.
    registration: RegistrationBody,
    /// How answers come.
    #[schemars(extend("enum" = ["pingback", "polling"]))]
    answers: &'static str,
    /// Why queued tasks wait; `null` when they need not.
    #[schemars(example = &"ERROR_ZERO_BALANCE: the account has no money left")]
    reason: Option<String>,
}

/// What was spent today (UTC).
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Spend")]
struct SpendBody {
    /// What the day's answers cost.
    today: Price,
    /// `spend.daily_limit`; `null`: there is none.
    daily_limit: Option<Price>,
    /// By type of captcha; types of which there were none are left out.
    #[schemars(with = "BTreeMap<String, TypeSpendBody>")]
    by_type: BTreeMap<CaptchaType, TypeSpendBody>,
}

/// What was spent on one type.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "TypeSpend")]
struct TypeSpendBody {
    /// How many were paid for.
    tasks: u64,
    /// What they cost.
    amount: Price,
    /// Tasks whose price is from the table of rates.
    estimated: u64,
}

/// How many calls of `res.php` are left.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Credit")]
struct CreditBody {
    /// So many may be made now.
    left: u32,
    /// So many can be saved up.
    most: u32,
    /// So many are won with each captcha that the provider takes.
    per_captcha: u32,
}

/// Pauses in force, by script.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Backoff")]
struct BackoffBody {
    /// `null`: captchas are sent.
    in_php: Option<HoldBody>,
    /// `null`: answers are asked for.
    res_php: Option<HoldBody>,
}

/// A pause that the provider asked for.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Pause")]
struct HoldBody {
    /// The provider's code, or `no_connection`, `no_reply`, `garbage`, `own_address` or `loop`.
    #[schemars(example = &"ERROR_ZERO_BALANCE")]
    code: String,
    /// What that means.
    #[schemars(example = &"the account has no money left")]
    reason: String,
    /// Since when.
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

/// How our pingback URL stands at the provider.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Registration")]
struct RegistrationBody {
    /// Whether the provider knows it; `off` when there is none, or pingbox is not to register it.
    #[schemars(extend("enum" = ["pending", "off", "registered", "refused", "unreachable"]))]
    state: &'static str,
    /// Our URL without its secret; `null`: there is none.
    #[schemars(example = &"https://pingbox.example.com/pingback/***")]
    url: Option<String>,
    /// `per_task`: each task is sent with a URL of its own below that one.
    #[schemars(extend("enum" = ["shared", "per_task"]))]
    url_mode: &'static str,
    /// What is wrong, and what to do about it.
    #[schemars(example = &"registered")]
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
                url_mode: if self.has_url_per_task { "per_task" } else { "shared" },
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
