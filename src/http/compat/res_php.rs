//! `res.php`: answers, reports, the balance, pingback URLs. Nothing here asks the provider for an answer.

use std::sync::Arc;

use futures_util::TryFutureExt as _;
use tokio::time::{Instant, timeout_at};

use super::reply::{Refusal, Reply};
use super::{Call, Stop, task_error, urls};
use crate::http::AppState;
use crate::http::access::Identity;
use crate::http::error::ApiError;
use crate::http::wait::Until;
use crate::ingest::Reported;
use crate::model::{ErrorCode, Report, Script, Status, Task, TaskId, Verdict};

/// The most ids in one request.
const MAX_IDS: usize = 1000;
const WRONG_CAPTCHA_ID: &str = "ERROR_WRONG_CAPTCHA_ID";
const RECORDED: &str = "OK_REPORT_RECORDED";

/// What is asked for.
enum Asked {
    /// The answer to one task; with `is_priced` its price, too.
    Task { id: TaskId, caller: Identity, hold: Instant, is_priced: bool },
    /// Something that few wait for.
    Other(Box<Call>),
    /// The answer to no task: the id is none.
    NoTask(Refusal),
}

impl Asked {
    fn of(app: &AppState, call: Call) -> Self {
        let is_priced = match (call.params.text("action"), call.params.text("ids")) {
            (Some("get"), None) => false,
            (Some("get2"), _) => true,
            _ => return Self::Other(Box::new(call)),
        };
        match parse(call.params.text("id").unwrap_or_default()) {
            Ok(id) => Self::Task { id, caller: call.identity, hold: call.arrived + app.hold, is_priced },
            Err(refusal) => Self::NoTask(refusal),
        }
    }
}

pub(super) fn answer(app: &AppState, call: Call) -> impl Future<Output = Result<Reply, Stop>> {
    // Of the parameters nothing is left while an answer is waited for.
    let asked = Asked::of(app, call);
    async move {
        match asked {
            Asked::Task { id, caller, hold, is_priced } => {
                let task = task(app, id, caller, hold).await?;
                let answer = task_answer(&task)?;
                Ok(match task.price.clone().filter(|_| is_priced) {
                    Some(price) => Reply::Priced(answer, price),
                    None => Reply::Value(answer),
                })
            }
            Asked::Other(call) => Box::pin(carry_out(app, &call)).await,
            Asked::NoTask(refusal) => Err(refusal.into()),
        }
    }
}

async fn carry_out(app: &AppState, call: &Call) -> Result<Reply, Stop> {
    let deadline = call.deadline();
    let Call { identity, params, arrived, .. } = call;
    let id = || parse(params.text("id").unwrap_or_default());
    match (params.text("action").unwrap_or_default(), params.text("ids")) {
        ("add_pingback", _) => urls::add(app, call).await,
        ("get_pingback", _) => urls::list(app, call).await,
        ("del_pingback", _) => urls::delete(app, call).await,
        ("get", Some(ids)) => answers(app, *identity, ids, *arrived + app.hold).await,
        ("getbalance", _) => balance(app, deadline).await,
        ("reportbad", _) => report(app, *identity, id()?, Verdict::Bad, deadline).await,
        ("reportgood", _) => report(app, *identity, id()?, Verdict::Good, deadline).await,
        (action, _) => {
            let detail = format!("the action {action:?} is not known here");
            Err(Refusal::new("ERROR_EMPTY_ACTION", detail).into())
        }
    }
}

/// The task with this id once it has ended, or as it stands when it was held long enough.
fn task(
    app: &AppState,
    id: TaskId,
    caller: Identity,
    hold: Instant,
) -> impl Future<Output = Result<Arc<Task>, Stop>> {
    app.wait_for_task(id, hold, caller.sees()).map_err(|error| match error {
        ApiError::TaskNotFound => Refusal::from(ErrorCode::known(WRONG_CAPTCHA_ID)).into(),
        error => error.into(),
    })
}

fn parse(id: &str) -> Result<TaskId, Refusal> {
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ErrorCode::known("ERROR_WRONG_ID_FORMAT").into());
    }
    id.parse().map_err(|_| ErrorCode::known(WRONG_CAPTCHA_ID).into())
}

/// The answer, or the family's word for there being none.
fn task_answer(task: &Task) -> Result<String, Refusal> {
    match task.status {
        // An answer that was erased is forgotten, as the provider forgets.
        Status::Solved => task.answer.clone().ok_or_else(|| ErrorCode::known(WRONG_CAPTCHA_ID).into()),
        Status::Failed | Status::Expired | Status::Cancelled => Err(task_error(task).into()),
        Status::Queued | Status::Submitting | Status::Submitted | Status::Unconfirmed => {
            Err(ErrorCode::known(ErrorCode::NOT_READY).into())
        }
    }
}

/// `ids=1,2`: the answers in their order, a code where there is none.
async fn answers(app: &AppState, caller: Identity, ids: &str, hold: Instant) -> Result<Reply, Stop> {
    let ids: Vec<_> = ids.split(',').map(|id| parse(id.trim())).collect();
    if ids.len() > MAX_IDS {
        return Err(Refusal::parameter(format!("ids names more than {MAX_IDS} captchas")).into());
    }
    let mut known: Vec<TaskId> = ids.iter().filter_map(|id| id.as_ref().ok().copied()).collect();
    known.sort_unstable();
    known.dedup();
    let tasks = app.wait_for_tasks(&known, Until::All, hold, caller.sees()).await?;
    let piece = |id: Result<TaskId, Refusal>| {
        let task = tasks.iter().find(|task| Ok(task.id) == id.as_ref().copied());
        let not_found = || Refusal::from(ErrorCode::known(WRONG_CAPTCHA_ID));
        id.and_then(|_| task.ok_or_else(not_found)).and_then(|task| task_answer(task))
    };
    let pieces = ids.into_iter().map(|id| piece(id).unwrap_or_else(|refusal| refusal.as_str().to_owned()));
    Ok(Reply::Bare(pieces.collect::<Vec<_>>().join("|")))
}

/// What is on the account, as of the last minute.
async fn balance(app: &AppState, deadline: Instant) -> Result<Reply, Stop> {
    if let Ok(Some(balance)) = timeout_at(deadline, app.account.balance()).await {
        return Ok(Reply::Bare(balance.amount));
    }
    let backoff = app.account.backoff();
    let code = backoff.hold(Script::Res).and_then(|hold| hold.cause.code().cloned());
    let unknown = || Refusal::new(ErrorCode::NO_SLOT, "the balance is not known yet");
    Err(code.map_or_else(unknown, Refusal::from).into())
}

/// Leaves a report, and waits a moment for the provider's word. What is not sent by then is on disk,
/// and will be.
async fn report(
    app: &AppState,
    caller: Identity,
    id: TaskId,
    verdict: Verdict,
    deadline: Instant,
) -> Result<Reply, Stop> {
    let mut ended = app.desk.ended.subscribe();
    let report = match app.ingest.report(id, caller.sees(), verdict).await? {
        Reported::New(report) => report,
        Reported::Earlier(_) => {
            return Err(Refusal::from(ErrorCode::known("ERROR_DUPLICATE_REPORT")).into());
        }
        Reported::Refused(error) => return Err(Refusal::new("REPORT_NOT_RECORDED", error.to_string()).into()),
        Reported::NotFound => return Err(Refusal::from(ErrorCode::known(WRONG_CAPTCHA_ID)).into()),
    };
    app.desk.arrived.notify_one();
    let report = app.wait_for_report(report, deadline, &mut ended).await?;
    match report.reply {
        Some(reply) if !report.is_recorded && reply == Report::EXPIRED => {
            Err(Refusal::from(ErrorCode::known("REPORT_NOT_RECORDED")).into())
        }
        Some(reply) if !report.is_recorded => Err(Refusal::from(ErrorCode::known(reply)).into()),
        _ => Ok(Reply::Bare(RECORDED.to_owned())),
    }
}
