//! `/tasks/{id}`: one task, its images, and what can be done with it.

use std::sync::Arc;

use askama::Template;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};

use super::Shape;
use super::shown::{Known, Shown};
use super::timeline::Step;
use crate::dashboard::Dashboard;
use crate::dashboard::page::{Frame, PageError, go_to};
use crate::dashboard::visitor::{Posted, Visitor};
use crate::dashboard::when::When;
use crate::http::{ApiError, Read, Submit};
use crate::ingest::{Cancelled, Reported};
use crate::model::{Captcha, Task, TaskId, Timestamp, TokenId, Verdict, media_type};
use crate::store::DeliveryFilter;

/// The most deliveries that the time line tells of.
const MAX_DELIVERIES: u32 = 20;

#[derive(Template)]
#[template(path = "task.html")]
struct TaskPage {
    frame: Frame,
    task: Shown,
    /// What happened, and when.
    steps: Vec<(When, Step)>,
}

/// The task in the path. What is no id names none.
pub(super) struct NamedTask(TaskId);

impl<S: Send + Sync> FromRequestParts<S> for NamedTask {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, PageError> {
        let path = Path::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let first = path.ok().and_then(|Path(names)| names.into_iter().next());
        let id = first.and_then(|(_, id)| id.parse().ok());
        Ok(Self(id.ok_or(ApiError::TaskNotFound)?))
    }
}

impl Dashboard {
    async fn task(&self, id: TaskId, sees: Option<TokenId>) -> Result<Task, ApiError> {
        self.app.store.task_of(id, sees).await?.ok_or(ApiError::TaskNotFound)
    }

    async fn submitted(&self, task: &Task) -> Result<Captcha, ApiError> {
        self.app.store.submitted_captcha(task).await?.ok_or(ApiError::TaskNotFound)
    }
}

/// `GET /tasks/{id}`
pub(super) async fn show(
    visitor: Visitor<Read>,
    State(dashboard): State<Arc<Dashboard>>,
    NamedTask(id): NamedTask,
) -> Result<Response, PageError> {
    let frame = visitor.frame(format!("Task {id}"), "/tasks");
    let task = match dashboard.task(id, visitor.identity.sees()).await {
        Ok(task) => task,
        Err(error) => return Err(visitor.told(error)),
    };
    let store = &dashboard.app.store;
    let filter =
        DeliveryFilter { owner: visitor.identity.sees(), task: Some(id), ..DeliveryFilter::default() };
    let now = Timestamp::now();
    let known = Known {
        captcha: dashboard.submitted(&task).await?,
        report: store.report(id).await?,
        pingbacks: store.other_pingbacks(&task).await?,
        deliveries: store.list_deliveries(&filter, None, MAX_DELIVERIES).await?.deliveries,
        why_wait: dashboard.app.account.why_tasks_wait(),
        may_submit: visitor.identity.scopes.submit,
        now,
        task,
    };
    let steps = known.steps().into_iter().map(|step| (When::new(step.at, now), step)).collect();
    let page = TaskPage { frame, task: known.shown(), steps };
    Ok(visitor.browser().show(&page))
}

/// `GET /tasks/{id}/images/{number}`: an image as it was submitted. What is none by its content is not shown.
pub(super) async fn image(
    visitor: Visitor<Read>,
    State(dashboard): State<Arc<Dashboard>>,
    NamedTask(id): NamedTask,
    Path((_, number)): Path<(String, String)>,
) -> Result<Response, PageError> {
    let task = dashboard.task(id, visitor.identity.sees()).await?;
    let number: u32 = number.parse().map_err(|_| ApiError::PathNotFound)?;
    let content = dashboard.app.store.submitted_file(&task, number).await?.ok_or(ApiError::PathNotFound)?;
    let media_type = media_type(&content).ok_or(ApiError::PathNotFound)?;
    Ok(([(CONTENT_TYPE, media_type)], content).into_response())
}

/// `POST /tasks/{id}/cancel`
pub(super) async fn cancel(
    NamedTask(id): NamedTask,
    State(dashboard): State<Arc<Dashboard>>,
    posted: Posted<Submit>,
) -> Result<Response, PageError> {
    let Posted { visitor, fields } = posted;
    fields.finish("no fields").map_err(|error| visitor.told(error))?;
    let error = match dashboard.app.ingest.cancel(id, visitor.identity.sees()).await {
        Ok(Cancelled::Done(_)) => return Ok(go_to(format!("/tasks/{id}"))),
        Ok(Cancelled::TooLate(task)) => ApiError::TooLateToCancel(task.status.as_str()),
        Ok(Cancelled::NotFound) => ApiError::TaskNotFound,
        Err(error) => error.into(),
    };
    Err(PageError::Inside(Box::new(visitor.frame("Not cancelled", "/tasks")), error))
}

/// `POST /tasks/{id}/report` with `verdict`: it is on disk when the page comes back, and sent as soon as possible.
pub(super) async fn report(
    NamedTask(id): NamedTask,
    State(dashboard): State<Arc<Dashboard>>,
    posted: Posted<Submit>,
) -> Result<Response, PageError> {
    let Posted { visitor, mut fields } = posted;
    // It cannot be taken back: what is neither is refused.
    let Some(verdict) = fields.parsed::<Verdict>("verdict", "good or bad") else {
        fields.missing("verdict", "give good or bad");
        let error = fields.finish("verdict").expect_err("what is missing is an error");
        return Err(visitor.told(error));
    };
    fields.finish("verdict").map_err(|error| visitor.told(error))?;
    let error = match dashboard.app.ingest.report(id, visitor.identity.sees(), verdict).await {
        Ok(Reported::New(_)) => {
            dashboard.app.desk.arrived.notify_one();
            return Ok(go_to(format!("/tasks/{id}")));
        }
        Ok(Reported::Earlier(earlier)) => ApiError::AlreadyReported(earlier.verdict.as_str()),
        Ok(Reported::Refused(error)) => error.into(),
        Ok(Reported::NotFound) => ApiError::TaskNotFound,
        Err(error) => error.into(),
    };
    Err(PageError::Inside(Box::new(visitor.frame("Not reported", "/tasks")), error))
}
