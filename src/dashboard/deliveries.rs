//! `/deliveries`: what was sent to webhooks and other URLs of callers, and that it is sent again.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::Dashboard;
use super::page::{Frame, PageError, go_to};
use super::visitor::{Posted, Visitor};
use super::when::When;
use crate::http::{ApiError, Query, Read, RowId, Submit};
use crate::ingest::Owned;
use crate::model::{Delivery, DeliveryStatus, FeedId, TaskId, Timestamp};
use crate::store::{DeliveryFilter, Replayed};

/// The length of a page.
const PAGE: u32 = 50;

#[derive(Template)]
#[template(path = "deliveries.html")]
struct ListPage {
    frame: Frame,
    statuses: Vec<&'static str>,
    chosen: &'static str,
    /// Whether it is not the first page.
    is_later: bool,
    rows: Vec<Row>,
    next: Option<i64>,
}

#[derive(Template)]
#[template(path = "delivery.html")]
struct DeliveryPage {
    frame: Frame,
    row: Row,
    message: Option<String>,
}

/// A delivery, as it is shown.
struct Row {
    id: i64,
    status: &'static str,
    what: &'static str,
    task: Option<TaskId>,
    webhook: Option<i64>,
    message_id: Option<String>,
    host: String,
    attempts: u32,
    /// What came of the last try.
    last: String,
    created: When,
    due: Option<When>,
    ended: Option<When>,
}

impl Row {
    fn new(delivery: &Delivery, feed: &FeedId, now: Timestamp) -> Self {
        let is_waiting = delivery.status == DeliveryStatus::Waiting;
        let last = match (&delivery.last_error, delivery.last_status) {
            (Some(error), _) => error.clone(),
            (None, Some(status)) => format!("HTTP {status}"),
            (None, None) => String::new(),
        };
        Self {
            id: delivery.id,
            status: delivery.status.as_str(),
            what: if delivery.event.is_some() { delivery.kind.as_str() } else { "pingback" },
            task: delivery.task,
            webhook: delivery.webhook,
            message_id: delivery.event.map(|number| feed.message_id(number)),
            host: delivery.host().to_owned(),
            attempts: delivery.attempts,
            last,
            created: When::new(delivery.created_at, now),
            due: is_waiting.then(|| When::new(delivery.due_at, now)),
            ended: delivery.ended_at.map(|at| When::new(at, now)),
        }
    }
}

/// `GET /deliveries?status=&cursor=`, newest first.
pub(super) async fn list(
    visitor: Visitor<Read>,
    State(dashboard): State<Arc<Dashboard>>,
    mut query: Query,
) -> Result<Response, PageError> {
    let app = &dashboard.app;
    let status = query.parsed("status", "waiting, delivered or dead");
    let before = query.parsed("cursor", "a cursor that an earlier page gave").map(|RowId(id)| id);
    query.finish("status and cursor").map_err(|error| visitor.told(error))?;
    let filter = DeliveryFilter { owner: visitor.identity.sees(), status, ..DeliveryFilter::default() };
    let page = app.store.list_deliveries(&filter, before, PAGE).await?;
    let now = Timestamp::now();
    let page = ListPage {
        frame: visitor.frame("Deliveries", "/deliveries"),
        statuses: DeliveryStatus::ALL.map(DeliveryStatus::as_str).to_vec(),
        chosen: status.map_or("", DeliveryStatus::as_str),
        is_later: before.is_some(),
        rows: page.deliveries.iter().map(|delivery| Row::new(delivery, app.feed.id(), now)).collect(),
        next: page.next,
    };
    Ok(visitor.browser().show(&page))
}

/// `GET /deliveries/{id}`: with what it says.
pub(super) async fn show(
    visitor: Visitor<Read>,
    State(dashboard): State<Arc<Dashboard>>,
    Path(id): Path<String>,
) -> Result<Response, PageError> {
    let app = &dashboard.app;
    let told = |error| visitor.told(error);
    let id = number(&id).map_err(told)?;
    let delivery = app.store.delivery(id, visitor.identity.sees()).await?;
    let delivery = delivery.ok_or_else(|| told(ApiError::DeliveryNotFound))?;
    let message = app.message_of(&delivery).await?;
    let page = DeliveryPage {
        frame: visitor.frame(format!("Delivery {id}"), "/deliveries"),
        row: Row::new(&delivery, app.feed.id(), Timestamp::now()),
        message: message.map(|message| format!("{message:#}")),
    };
    Ok(visitor.browser().show(&page))
}

/// `POST /deliveries/{id}/replay`: it is sent again.
pub(super) async fn replay(
    State(dashboard): State<Arc<Dashboard>>,
    Path(id): Path<String>,
    posted: Posted<Submit>,
) -> Result<Response, PageError> {
    posted.fields.finish("no fields")?;
    let owned = Owned { id: number(&id)?, owner: posted.visitor.identity.sees() };
    match dashboard.app.ingest.replay(owned).await? {
        Replayed::Done(delivery) => Ok(go_to(format!("/deliveries/{}", delivery.id))),
        Replayed::Refused(reason) => Err(posted.visitor.told(ApiError::NoReplay(reason))),
        Replayed::NotFound => Err(posted.visitor.told(ApiError::DeliveryNotFound)),
    }
}

fn number(id: &str) -> Result<i64, ApiError> {
    id.parse().map(|RowId(id)| id).map_err(|()| ApiError::DeliveryNotFound)
}
