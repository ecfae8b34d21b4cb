//! `in.php`: takes a captcha, and answers with its id once the provider has taken it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use tracing::warn;

use super::reply::{Refusal, Reply};
use super::unheard::{Stored, Unheard};
use super::{Call, Stop, task_error};
use crate::http::{AppState, requests};
use crate::ingest::{Cancelled, Submit};
use crate::model::{ErrorCode, Gate, Price, Script, Status, Submission, Task, TaskId, Timestamp};

/// How often a task is read again where another replica may have changed it.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How long a refusal waits for its callback to be dropped.
const DROP_DEADLINE: Duration = Duration::from_secs(1);
const DAILY_LIMIT: &str = "spend.daily_limit of this pingbox: with the captchas under way less is left than this one \
                           may cost: raise it, or wait for the next day (UTC)";

/// Stores the captcha as a task, and waits for what the provider says of it.
pub(super) async fn submit(app: &AppState, call: Call) -> Result<Reply, Stop> {
    let deadline = call.deadline();
    let pingback = call.params.text("pingback").map(|url| app.caller_url("pingback", url)).transpose()?;
    let submission = Submission::from_wire(call.params.into_fields()?).map_err(Refusal::from)?;
    // What every captcha meets at the moment, this one would meet too.
    if let Some(code) = app.account.refusal() {
        return Err(Refusal::from(code).into());
    }
    let daily_limit = app.daily_limit.as_ref().map(Price::nanos);
    let submit = Submit { owner: call.identity.token, submission, idempotency: None, daily_limit, pingback };
    let unheard = match Unheard::store(app.ingest.clone(), submit, call.slot, deadline).await? {
        Stored::Task(unheard) => unheard,
        Stored::OverLimit => return Err(Refusal::new(ErrorCode::ZERO_BALANCE, DAILY_LIMIT).into()),
    };
    requests::is_about(unheard.task().id);
    let refusal = refusal(app, unheard.task().clone(), deadline).await;
    let (id, has_callback) = (unheard.task().id, unheard.task().has_callback);
    unheard.heard();
    let Some(code) = refusal else { return Ok(Reply::Value(id.to_string())) };
    if has_callback {
        forget_callback(app, id).await;
    }
    Err(Refusal::from(code).into())
}

/// The reply is a refusal, without an id: its caller must not be told of an id that it never heard.
async fn forget_callback(app: &AppState, id: TaskId) {
    let dropped = timeout(DROP_DEADLINE, app.ingest.drop_callback(id)).await;
    if !matches!(dropped, Ok(Ok(()))) {
        warn!(task.id = %id, "Could not drop the callback of a refused task");
    }
}

/// Why the caller gets no id: the provider has refused the task, or nothing can be submitted, and nothing is
/// left that could be sent. `None` once the provider has it, wants to be left alone for now, or the time is
/// over.
async fn refusal(app: &AppState, task: Task, deadline: Instant) -> Option<ErrorCode> {
    let id = task.id;
    // Subscribe before the read: what is committed between the two still reaches us.
    let mut sent = app.sent.subscribe(&[id]);
    let mut changes = app.account.changes();
    let mut task = match timeout_at(deadline, app.store.tasks(&[id])).await {
        Ok(Ok(found)) => found.into_iter().next().unwrap_or(task),
        // It is stored, and will be paid for: its id must reach the caller, whatever else fails.
        Ok(Err(error)) => {
            if !error.is_told() {
                warn!(task.id = %id, %error, "Could not read a new task: {error}");
            }
            task
        }
        Err(_) => return None,
    };
    loop {
        match app.prospect(&task, deadline) {
            Prospect::Taken => return None,
            Prospect::Refused(code) => return Some(code),
            Prospect::Stopped(code) => match timeout_at(deadline, app.ingest.cancel(id, None)).await {
                Ok(Ok(Cancelled::Done(_))) => return Some(code),
                // It is on its way after all.
                Ok(Ok(Cancelled::TooLate(current))) if current.status != task.status => {
                    task = current;
                    continue;
                }
                Ok(_) | Err(_) => return None,
            },
            Prospect::Open => {}
        }
        tokio::select! {
            () = app.shutdown.cancelled() => return None,
            () = tokio::time::sleep_until(deadline) => return None,
            news = sent.news() => {
                if let Some(latest) = news.into_iter().next_back() {
                    task = Arc::unwrap_or_clone(latest);
                }
            }
            Ok(()) = changes.changed() => {}
            // That another replica put it back into the queue is told by nothing.
            () = tokio::time::sleep(LOOK_INTERVAL), if app.news.is_some() => {
                if let Ok(Ok(found)) = timeout_at(deadline, app.store.tasks(&[id])).await {
                    task = found.into_iter().next().unwrap_or(task);
                }
            }
        }
    }
}

/// What is to be said of a task.
enum Prospect {
    /// The provider has it, may have it, or gets it when its turn comes.
    Taken,
    /// It has ended with this code.
    Refused(ErrorCode),
    /// Nothing is sent, for a reason that the caller has to hear; the task is still here.
    Stopped(ErrorCode),
    /// That will be known soon.
    Open,
}

impl AppState {
    fn prospect(&self, task: &Task, deadline: Instant) -> Prospect {
        match task.status {
            Status::Submitted | Status::Unconfirmed | Status::Solved => Prospect::Taken,
            Status::Submitting => Prospect::Open,
            Status::Queued => match self.account.refusal() {
                Some(code) => Prospect::Stopped(code),
                None if self.is_paused_beyond(deadline) => Prospect::Taken,
                None => Prospect::Open,
            },
            // It was taken, and has failed since.
            Status::Failed if task.captcha_id.is_some() => Prospect::Taken,
            Status::Failed | Status::Expired | Status::Cancelled => Prospect::Refused(task_error(task)),
        }
    }

    /// Whether the provider wants to be left alone for longer than that.
    fn is_paused_beyond(&self, deadline: Instant) -> bool {
        match self.account.gate(Script::In) {
            Gate::Until(until) => until.since(Timestamp::now()) > deadline - Instant::now(),
            Gate::Stopped => true,
            Gate::Open | Gate::Probe => false,
        }
    }
}
