//! `/`: how things stand.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::Dashboard;
use super::figures::Counts;
use super::page::{Frame, PageError, sentence};
use super::visitor::Visitor;
use super::when::{When, span};
use crate::account::Registration;
use crate::http::{ApiError, AppState, Read};
use crate::model::{Hold, Price, Script, Status, Task, TaskId, Terms, Timestamp};
use crate::store::TaskFilter;

/// What `live.js` adds to its requests.
const LIVE: &str = "x-pingbox-live";
/// Tasks that are shown.
const RECENT: u32 = 10;

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    alerts: Vec<Alert>,
    figures: Arc<Counts>,
    account: AccountFacts,
    recent: Vec<TaskRow>,
}

/// Something that somebody should know of.
struct Alert {
    tone: &'static str,
    title: &'static str,
    text: String,
}

struct AccountFacts {
    balance: Option<(String, When)>,
    spent: String,
    limit: Option<Limit>,
    sending: Calls,
    fetching: Calls,
    credit_left: u32,
    credit_most: u32,
    registration: &'static str,
    registration_tone: &'static str,
    url: Option<String>,
}

/// Whether a script of the provider is called.
struct Calls {
    /// Why not; `None` when it is.
    cause: Option<String>,
    /// When it is called again; `None` until an operator has acted.
    until: Option<When>,
}

impl Calls {
    fn new(hold: Option<&Hold>, now: Timestamp) -> Self {
        Self {
            cause: hold.map(|hold| hold.cause.as_str().to_owned()),
            until: hold.and_then(|hold| hold.until).map(|until| When::new(until, now)),
        }
    }
}

/// The most that a day's captchas may cost, and how far that is reached.
struct Limit {
    amount: String,
    percent: i64,
}

/// A task in a table.
struct TaskRow {
    id: TaskId,
    status: &'static str,
    kind: &'static str,
    tag: String,
    created: When,
    took: String,
}

impl TaskRow {
    fn new(task: &Task, now: Timestamp) -> Self {
        let took = || Some(task.answered_at?.since(task.submitted_at?).as_millis());
        let took = took().filter(|_| task.status == Status::Solved);
        Self {
            id: task.id,
            status: task.status.as_str(),
            kind: task.kind.as_str(),
            tag: task.tag.clone().unwrap_or_default(),
            created: When::new(task.created_at, now),
            took: took.map_or_else(String::new, |millis| span(u64::try_from(millis).unwrap_or(u64::MAX))),
        }
    }
}

/// `GET /`.
pub(super) async fn show(
    visitor: Visitor<Read>,
    State(dashboard): State<Arc<Dashboard>>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let (app, now, owner) = (&dashboard.app, Timestamp::now(), visitor.identity.sees());
    // A page that renews itself is no reason to ask the provider again.
    let may_ask = !headers.contains_key(LIVE);
    let tasks = app.store.list_tasks(&TaskFilter { owner, limit: RECENT, ..TaskFilter::default() }).await?;
    let page = OverviewPage {
        frame: visitor.frame("Overview", "/"),
        alerts: alerts(app),
        figures: dashboard.figures.of(&app.store, owner).await?,
        account: AccountFacts::read(app, may_ask, now).await?,
        recent: tasks.tasks.iter().map(|task| TaskRow::new(task, now)).collect(),
    };
    Ok(visitor.browser().show(&page))
}

/// What keeps pingbox from its work, and what to do about it.
fn alerts(app: &AppState) -> Vec<Alert> {
    let mut alerts = Vec::new();
    if let Some(why) = app.account.why_tasks_wait() {
        let is_stopped = app.account.backoff().hold(Script::In).is_some_and(|hold| hold.until.is_none());
        let tone = if is_stopped { "bad" } else { "warn" };
        alerts.push(Alert { tone, title: "Queued tasks wait.", text: sentence(&why) });
    }
    let registration = app.account.registration().borrow().clone();
    match registration {
        Registration::Refused(_) => alerts.push(Alert {
            tone: "bad",
            title: "The provider does not take our pingback URL.",
            text: format!("{} Until then answers are fetched.", sentence(&registration.to_string())),
        }),
        Registration::Unreachable(_) => alerts.push(Alert {
            tone: "warn",
            title: "The provider cannot be asked about our pingback URL.",
            text: sentence(&registration.to_string()),
        }),
        Registration::Pending | Registration::Off | Registration::Done => {
            if let Some(why) = app.account.why_polling() {
                alerts.push(Alert { tone: "warn", title: "Answers are fetched.", text: sentence(&why) });
            }
        }
    }
    alerts
}

impl AccountFacts {
    async fn read(app: &AppState, may_ask: bool, now: Timestamp) -> Result<Self, ApiError> {
        let account = &app.account;
        let balance = if may_ask { account.balance().await } else { account.known_balance() };
        let spent = app.store.spent(now).await?;
        let spent = spent.iter().fold(0_i64, |sum, spent| sum.saturating_add(spent.nanos));
        let limit = app
            .daily_limit
            .as_ref()
            .map(|limit| Limit { amount: limit.as_str().to_owned(), percent: percent(spent, limit.nanos()) });
        let backoff = account.backoff();
        let registration = account.registration().borrow().clone();
        Ok(Self {
            balance: balance.map(|balance| (balance.amount, When::new(balance.at, now))),
            spent: Price::from_nanos(spent).as_str().to_owned(),
            limit,
            sending: Calls::new(backoff.hold(Script::In), now),
            fetching: Calls::new(backoff.hold(Script::Res), now),
            credit_left: app.store.credit(&account.id()).await?.calls.level(),
            credit_most: Terms::CALLS.capacity,
            registration: registration.as_str(),
            registration_tone: match registration {
                Registration::Done => "good",
                Registration::Refused(_) => "bad",
                Registration::Unreachable(_) => "warn",
                Registration::Pending | Registration::Off => "",
            },
            url: account.urls().current().map(|url| url.to_string()),
        })
    }
}

fn percent(part: i64, whole: i64) -> i64 {
    if whole <= 0 {
        100
    } else {
        (i128::from(part) * 100 / i128::from(whole)).clamp(0, 100).try_into().unwrap_or(100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_reached_by_as_many_percent() {
        assert_eq!((percent(0, 10), percent(5, 10), percent(20, 10), percent(1, 0)), (0, 50, 100, 100));
        assert_eq!(percent(i64::MAX, i64::MAX), 100);
    }
}
