//! `/metrics`: figures for Prometheus, of this process since its start unless their help says otherwise.

mod table;
mod text;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use tokio::time::timeout;

pub(crate) use self::table::{in_markdown, names};
pub(super) use self::text::Format;
use self::text::Page;
use super::AppState;
use super::auth::{Caller, Read};
use crate::account::{Account, Call, Registration};
use crate::ingest::WriterTally;
use crate::model::{CaptchaType, Script, Status, Timestamp};
use crate::store::{Backlog, Credit, Spent, StoreError};

/// How long the database may take. Without it there are all other figures, and what is wrong with it is one of them.
const READ_DEADLINE: Duration = Duration::from_secs(2);

/// `GET /metrics`.
pub(super) async fn metrics(
    _: Caller<Read>,
    State(app): State<Arc<AppState>>,
    headers: HeaderMap,
) -> Response {
    let format = Format::asked_for(&headers);
    let stored = timeout(READ_DEADLINE, app.stored()).await.ok().and_then(Result::ok);
    let mut page = Page::new(format);
    app.write_process(&mut page);
    write_writer(&mut page, app.ingest.tally());
    app.write_storage(&mut page);
    app.write_callers(&mut page);
    write_account(&mut page, &app.account, Timestamp::now());
    app.write_stored(&mut page, stored.as_ref());
    ([(CONTENT_TYPE, format.media_type())], page.end()).into_response()
}

/// What is read from the database for a page.
struct Stored {
    backlog: Backlog,
    credit: Credit,
    spent: Vec<Spent>,
}

impl AppState {
    async fn stored(&self) -> Result<Stored, StoreError> {
        Ok(Stored {
            backlog: self.store.backlog().await?,
            credit: self.store.credit(&self.account.id()).await?,
            spent: self.store.spent(Timestamp::now()).await?,
        })
    }

    /// What runs, and how it stands among others.
    fn write_process(&self, page: &mut Page) {
        page.begin(&table::BUILD).is(&[env!("CARGO_PKG_VERSION")], 1);
        page.one(&table::START_TIME, self.started_at.as_secs());
        page.one(&table::LEADS, u8::from(self.lead.is_held()));
        let mut hears = page.begin(&table::HEARS_OTHERS);
        if let Some(news) = &self.news {
            hears.is(&[], u8::from(news.is_heard()));
        }
    }

    /// What came for no task, what waits to be stored, and what keeps it from that.
    fn write_storage(&self, page: &mut Page) {
        page.one(&table::UNMATCHED_RECEIVED, self.sink.received());
        page.one(&table::UNMATCHED_DROPPED, self.sink.dropped());
        let (waiting, most) = self.ingest.queue();
        page.one(&table::WRITE_QUEUE, waiting);
        page.one(&table::WRITE_QUEUE_LIMIT, most);
        let mut faults = page.begin(&table::STORAGE_FAULT);
        let health = self.store.health();
        for (access, fault) in [("read", health.why_not_read()), ("write", health.why_not_written())] {
            if let Some(fault) = fault {
                faults.is(&[access, fault.as_str()], 1);
            }
        }
    }

    /// Who is there, and who was.
    fn write_callers(&self, page: &mut Page) {
        let mut waiters = page.begin(&table::WAITERS);
        waiters.is(&["task"], self.waiters.count());
        waiters.is(&["sending"], self.sent.count());
        waiters.is(&["answer"], self.answers.count());
        waiters.is(&["events"], self.feed.readers());
        let mut connections = page.begin(&table::CONNECTIONS);
        connections.is(&["public"], self.connections.public.open.len());
        connections.is(&["api"], self.connections.api.open.len());
        let mut limits = page.begin(&table::CONNECTIONS_LIMIT);
        limits.is(&["public"], self.connections.public.limit());
        limits.is(&["api"], self.connections.api.limit());
        let mut requests = page.begin(&table::REQUESTS);
        for (route, statuses) in self.requests.all() {
            for (status, count) in statuses {
                requests.is(&[route, status], count);
            }
        }
        page.one(&table::WRONG_TOKENS, self.access.wrong_tokens());
    }

    /// What the database knows; without it only what these figures are.
    fn write_stored(&self, page: &mut Page, stored: Option<&Stored>) {
        let mut open = page.begin(&table::TASKS_OPEN);
        if let Some(Stored { backlog, .. }) = stored {
            for status in Status::ALL.into_iter().filter(|status| !status.is_final()) {
                let tasks = backlog.tasks.iter().find(|(of, _)| *of == status);
                open.is(&[status.as_str()], tasks.map_or(0, |(_, tasks)| *tasks));
            }
        }
        let mut waiting = page.begin(&table::DELIVERIES_WAITING);
        if let Some(Stored { backlog, .. }) = stored {
            waiting.is(&[], backlog.deliveries);
        }
        for (metric, level) in [
            (&table::CALL_CREDIT, stored.map(|stored| stored.credit.calls.level())),
            (&table::REFUSAL_CREDIT, stored.map(|stored| stored.credit.refusals.level())),
        ] {
            let mut credit = page.begin(metric);
            if let Some(level) = level {
                credit.is(&[], level);
            }
        }
        let mut spent = page.begin(&table::SPENT_TODAY);
        for of_type in stored.iter().flat_map(|stored| &stored.spent) {
            spent.is(&[of_type.kind.as_str()], of_type.price().as_str());
        }
        let mut limit = page.begin(&table::SPEND_LIMIT);
        if let Some(price) = &self.daily_limit {
            limit.is(&[], price.as_str());
        }
    }
}

/// What was stored.
fn write_writer(page: &mut Page, tally: &WriterTally) {
    let mut pingbacks = page.begin(&table::PINGBACKS);
    for (outcome, count) in tally.pingbacks.all() {
        pingbacks.is(&[outcome], count);
    }
    page.begin(&table::PINGBACK_COMMIT).spans(&[], &tally.pingback_commit.spans());
    let mut created = page.begin(&table::TASKS_CREATED);
    for (kind, count) in tally.created.all() {
        created.is(&[kind], count);
    }
    let mut ended = page.begin(&table::TASKS_ENDED);
    for (kind, ends) in CaptchaType::ALL.iter().zip(&tally.ended) {
        for (outcome, count) in ends.all() {
            ended.is(&[kind.as_str(), outcome], count);
        }
    }
    let mut outcomes = page.begin(&table::OUTCOMES);
    for (via, count) in tally.fetched.all() {
        outcomes.is(&[via], count);
    }
    let mut solve = page.begin(&table::SOLVE);
    for ((kind, submitted), times) in tally.created.all().zip(&tally.solve) {
        let spans = times.spans();
        // From the first task on, so that the first answer is seen as an increase.
        if submitted + spans.count > 0 {
            solve.spans(&[kind], &spans);
        }
    }
    let mut commits = page.begin(&table::COMMITS);
    for (outcome, count) in tally.commits.all() {
        commits.is(&[outcome], count);
    }
    page.begin(&table::COMMIT).spans(&[], &tally.commit.spans());
    page.one(&table::WRITES, tally.writes());
    let mut deliveries = page.begin(&table::DELIVERIES);
    for (outcome, count) in tally.deliveries.all() {
        deliveries.is(&[outcome], count);
    }
    let mut retired = page.begin(&table::RETIRED);
    for (what, count) in tally.retired.all() {
        retired.is(&[what], count);
    }
}

/// How it stands with the provider.
fn write_account(page: &mut Page, account: &Account, now: Timestamp) {
    let mut requests = page.begin(&table::PROVIDER_REQUESTS);
    for (Call { script, action, outcome }, count) in account.tally().calls() {
        requests.is(&[script, &action, &outcome], count);
    }
    let mut holds = page.begin(&table::BACKOFF);
    let backoff = account.backoff();
    for script in Script::ALL {
        let Some(hold) = backoff.hold(script) else { continue };
        let labels = [script.as_str(), hold.cause.as_str()];
        match hold.until {
            Some(until) => holds.is(&labels, until.since(now).as_secs()),
            // Until an operator has acted.
            None => holds.is(&labels, -1),
        }
    }
    let mut registration = page.begin(&table::REGISTRATION);
    let state = account.registration().borrow().as_str();
    for known in Registration::WORDS {
        registration.is(&[known], u8::from(known == state));
    }
    page.one(&table::POLLING, u8::from(account.why_polling().is_some()));
    let known = account.known_balance();
    let mut balance = page.begin(&table::BALANCE);
    if let Some(known) = &known {
        balance.is(&[], &known.amount);
    }
    let mut time = page.begin(&table::BALANCE_TIME);
    if let Some(known) = &known {
        time.is(&[], known.at.as_secs());
    }
}
