//! `/v1/tasks`: read, wait, list, cancel.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::Instant;

use super::AppState;
use super::auth::{Caller, Read, Submit};
use super::error::ApiError;
use super::query::{Query, named_in_path};
use super::wait::{Patience, Reading, Until, wait_ended};
use crate::ingest::Cancelled;
use crate::model::{CaptchaType, Status, Task, TaskBody, TaskId, TokenId};
use crate::store::TaskFilter;

/// The most tasks that one request waits for, and the longest page.
const MAX_TASKS: usize = 1000;
/// The length of a page when the caller does not say.
pub(super) const DEFAULT_PAGE: u32 = 100;

/// Tasks, and where the next page begins.
#[derive(Debug, JsonSchema, Serialize)]
#[schemars(rename = "Tasks")]
pub(super) struct ListBody<'a> {
    /// In the order of `ids`, else newest first.
    tasks: Vec<TaskBody<'a>>,
    /// For the next page; `null` when there is none.
    cursor: Option<String>,
}

/// JSON that was made while its tasks were at hand.
pub(super) type JsonReply = Json<serde_json::Value>;

pub(super) fn reply(body: impl Serialize) -> JsonReply {
    Json(serde_json::to_value(body).expect("what callers see is JSON"))
}

/// The task id in the path.
pub(super) struct NamedTask(pub(super) TaskId);

impl<S: Send + Sync> FromRequestParts<S> for NamedTask {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        named_in_path(parts, state).await.map(Self).ok_or(ApiError::TaskNotFound)
    }
}

/// `GET /v1/tasks/{id}?wait=60`: the task once it has ended, else as it stands after `wait` seconds.
pub(super) async fn get_task(
    caller: Caller<Read>,
    State(app): State<Arc<AppState>>,
    NamedTask(id): NamedTask,
    mut query: Query,
) -> Result<JsonReply, ApiError> {
    let deadline = Instant::now() + query.wait(app.max_wait);
    query.finish("wait")?;
    let task = app.wait_for_task(id, deadline, caller.sees()).await?;
    Ok(app.task_reply(&task))
}

/// `GET /v1/tasks`: with `ids` the tasks named, waited for if asked; else a page of all of them.
pub(super) async fn list_tasks(
    caller: Caller<Read>,
    State(app): State<Arc<AppState>>,
    mut query: Query,
) -> Result<JsonReply, ApiError> {
    match query.given("ids") {
        Some(ids) => named_tasks(&caller, &app, &ids, query).await,
        None => task_page(&caller, &app, query).await,
    }
}

/// `?ids=1,2,3&wait=60&until=any|all`: in the order of `ids`; unknown ones are left out.
async fn named_tasks(
    caller: &Caller<Read>,
    app: &AppState,
    ids: &str,
    mut query: Query,
) -> Result<JsonReply, ApiError> {
    let deadline = Instant::now() + query.wait(app.max_wait);
    let until = query.parsed("until", "any or all").unwrap_or(Until::Any);
    // An empty list names no task; it does not ask for all of them.
    let given = ids.split(',').filter(|_| !ids.is_empty());
    let (ids, wrong): (Vec<_>, Vec<_>) = given.map(|id| id.trim().parse::<TaskId>()).partition(Result::is_ok);
    let mut ids: Vec<TaskId> = ids.into_iter().filter_map(Result::ok).collect();
    if !wrong.is_empty() {
        query.wrong("ids", "is not a list of task ids such as 1042,1043");
    }
    if ids.len() > MAX_TASKS {
        query.wrong("ids", format!("names {} tasks; up to {MAX_TASKS} are allowed", ids.len()));
    }
    query.finish("ids, wait and until")?;
    let mut seen = std::collections::HashSet::new();
    ids.retain(|id| seen.insert(*id));
    let tasks = app.wait_for_tasks(&ids, until, deadline, caller.sees()).await?;
    let why = app.account.why_tasks_wait();
    let tasks = tasks.iter().map(|task| TaskBody::new(task, why.as_deref())).collect();
    Ok(reply(ListBody { tasks, cursor: None }))
}

/// `?status=&type=&tag=&limit=&cursor=`, newest first.
async fn task_page(caller: &Caller<Read>, app: &AppState, mut query: Query) -> Result<JsonReply, ApiError> {
    let statuses = Status::ALL.map(Status::as_str).join(", ");
    let types = CaptchaType::ALL.map(CaptchaType::as_str).join(", ");
    let limit = query.parsed("limit", "a whole number").unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_TASKS).contains(&usize::try_from(limit).unwrap_or(usize::MAX)) {
        query.wrong("limit", format!("is not from 1 to {MAX_TASKS}"));
    }
    let tag = query.text("tag");
    if tag.as_ref().is_some_and(|tag| tag.contains('\0')) {
        query.wrong("tag", "holds a NUL character");
    }
    let filter = TaskFilter {
        owner: caller.sees(),
        status: query.parsed("status", &format!("one of {statuses}")),
        kind: query.parsed("type", &format!("one of {types}")),
        tag,
        before: query.parsed("cursor", "a cursor that an earlier page gave"),
        limit,
    };
    query.finish("ids with wait and until, or status, type, tag, limit and cursor")?;
    let page = app.store.list_tasks(&filter).await?;
    let cursor = page.next.map(|id| id.to_string());
    let why = app.account.why_tasks_wait();
    let tasks = page.tasks.iter().map(|task| TaskBody::new(task, why.as_deref())).collect();
    Ok(reply(ListBody { tasks, cursor }))
}

/// `DELETE /v1/tasks/{id}`: cancels a task that was never sent; else 409.
pub(super) async fn cancel_task(
    caller: Caller<Submit>,
    State(app): State<Arc<AppState>>,
    NamedTask(id): NamedTask,
    query: Query,
) -> Result<JsonReply, ApiError> {
    query.finish("no parameters")?;
    match app.ingest.cancel(id, caller.sees()).await? {
        Cancelled::Done(task) => Ok(app.task_reply(&task)),
        Cancelled::TooLate(task) => Err(ApiError::TooLateToCancel(task.status.as_str())),
        Cancelled::NotFound => Err(ApiError::TaskNotFound),
    }
}

impl AppState {
    fn task_reply(&self, task: &Task) -> JsonReply {
        reply(TaskBody::new(task, self.account.why_tasks_wait().as_deref()))
    }

    /// The task once it has ended, or as it stands at the deadline or at shutdown. With an owner,
    /// only a task of theirs.
    pub(super) async fn wait_for_task(
        &self,
        id: TaskId,
        deadline: Instant,
        owner: Option<TokenId>,
    ) -> Result<Arc<Task>, ApiError> {
        let tasks = self.wait_for_tasks(&[id], Until::All, deadline, owner).await?;
        tasks.into_iter().next().ok_or(ApiError::TaskNotFound)
    }

    /// These tasks, in this order; with an owner only theirs; once enough have ended,
    /// or as they stand at the deadline or at shutdown.
    pub(super) async fn wait_for_tasks(
        &self,
        ids: &[TaskId],
        until: Until,
        deadline: Instant,
        owner: Option<TokenId>,
    ) -> Result<Vec<Arc<Task>>, ApiError> {
        let read = || -> Reading<'_, _, ApiError> {
            Box::pin(async {
                let visible = |task: &Task| owner.is_none_or(|owner| owner == task.owner);
                let tasks = self.store.tasks(ids).await?.into_iter().filter(visible);
                let mut found: HashMap<TaskId, Task> = tasks.map(|task| (task.id, task)).collect();
                Ok(ids.iter().filter_map(|id| found.remove(id)).map(Arc::new).collect())
            })
        };
        let patience = Patience { deadline, shutdown: &self.shutdown };
        wait_ended(&self.waiters, ids, until, patience, read).await
    }
}
