//! `in.php`: takes a captcha, and answers with its id once the provider has taken it.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::warn;

use super::reply::{Refusal, Reply};
use super::{Call, Stop, task_error};
use crate::http::AppState;
use crate::ingest::{Cancelled, Ingest, Submit, Submitted};
use crate::model::{ErrorCode, Gate, Price, Script, Status, Submission, Task, TaskId, Timestamp};

/// Stores the captcha as a task, and waits for what the provider says of it.
pub(super) async fn submit(app: &AppState, call: Call<'_>) -> Result<Reply, Stop> {
    let deadline = call.deadline();
    let pingback = call.params.text("pingback").map(|url| app.caller_url("pingback", url)).transpose()?;
    let submission = Submission::from_wire(call.params.into_fields()?).map_err(Refusal::from)?;
    // What every captcha meets at the moment, this one would meet too.
    if let Some(code) = app.account.refusal() {
        return Err(Refusal::from(code).into());
    }
    let daily_limit = app.daily_limit.as_ref().map(Price::nanos);
    let submit = Submit { owner: call.identity.token, submission, idempotency: None, daily_limit, pingback };
    let submitted = app.ingest.submit(submit).await?;
    drop(call.slot);
    let task = match submitted {
        Submitted::New(task) | Submitted::Repeated(task) => task,
        Submitted::OverLimit => {
            return Err(Refusal::new(ErrorCode::ZERO_BALANCE, DAILY_LIMIT).into());
        }
        Submitted::KeyReused => unreachable!("no idempotency key was given"),
    };
    let (id, has_callback) = (task.id, task.has_callback);
    let mut unheard = Unheard { ingest: Some(app.ingest.clone()), task: id };
    let result = word(app, task, deadline).await;
    unheard.ingest = None;
    match result? {
        Ok(id) => Ok(Reply::Value(id.to_string())),
        Err(code) => {
            if has_callback {
                forget_callback(app, id).await;
            }
            Err(Refusal::from(code).into())
        }
    }
}

/// The reply is a refusal, without an id: its caller must not be told of an id that it never heard.
async fn forget_callback(app: &AppState, id: TaskId) {
    if let Err(error) = app.ingest.drop_callback(id).await {
        warn!(task.id = %id, %error, "Could not drop the callback of a refused task: {error}");
    }
}

const DAILY_LIMIT: &str = "spend.daily_limit of this pingbox is spent, or promised to captchas under way: raise it, \
                           or wait for the next day (UTC)";

/// A task whose caller has not heard its id yet. When the caller goes away, it is withdrawn if it was
/// not sent: a caller who asks again would pay twice.
struct Unheard {
    ingest: Option<Ingest>,
    task: TaskId,
}

impl Drop for Unheard {
    fn drop(&mut self) {
        let Some(ingest) = self.ingest.take() else { return };
        let task = self.task;
        tokio::spawn(async move {
            match ingest.cancel(task, None).await {
                Ok(Cancelled::Done(_)) => {
                    warn!(task.id = %task, "A caller of in.php went away before it heard the id: the task is withdrawn");
                }
                Ok(_) => {
                    warn!(task.id = %task, "A caller of in.php went away before it heard the id of its task");
                }
                Err(error) => warn!(task.id = %task, %error, "Could not withdraw a task: {error}"),
            }
        });
    }
}

/// The task's id once the provider has it, or has turned it away for now, or when the time is over; the
/// code when it is refused. Then nothing is left that could be sent.
async fn word(app: &AppState, task: Task, deadline: Instant) -> Result<Result<TaskId, ErrorCode>, Stop> {
    let id = task.id;
    // Subscribe before the read: what is committed between the two still reaches us.
    let mut sent = app.sent.subscribe(&[id]);
    let mut changes = app.account.changes();
    let mut task = match app.store.tasks(&[id]).await {
        Ok(found) => found.into_iter().next().unwrap_or(task),
        // It is stored, and will be paid for: its id must reach the caller, whatever else fails.
        Err(error) => {
            warn!(task.id = %id, %error, "Could not read a new task: {error}");
            task
        }
    };
    loop {
        match app.prospect(&task, deadline) {
            Prospect::Taken => return Ok(Ok(id)),
            Prospect::Refused(code) => return Ok(Err(code)),
            Prospect::Stopped(code) => match app.ingest.cancel(id, None).await {
                Ok(Cancelled::Done(_)) => return Ok(Err(code)),
                // It is on its way after all.
                Ok(Cancelled::TooLate(current)) if current.status != task.status => {
                    task = current;
                    continue;
                }
                Ok(Cancelled::TooLate(_) | Cancelled::NotFound) | Err(_) => return Ok(Ok(id)),
            },
            Prospect::Open => {}
        }
        tokio::select! {
            () = app.shutdown.cancelled() => return Ok(Ok(id)),
            () = tokio::time::sleep_until(deadline) => return Ok(Ok(id)),
            news = sent.news() => {
                if let Some(latest) = news.into_iter().next_back() {
                    task = Arc::unwrap_or_clone(latest);
                }
            }
            Ok(()) = changes.changed() => {}
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
