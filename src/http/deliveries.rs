//! `/v1/webhooks/deliveries`: what was sent to callers' URLs, what could not be, and that it is sent again.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::{get, post};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use tracing::info;

use super::AppState;
use super::auth::{Caller, Read, Submit};
use super::error::ApiError;
use super::query::{Query, RowId, named_in_path};
use super::tasks::{JsonReply, reply};
use crate::ingest::{MOST_DELIVERIES, Owned};
use crate::model::{Delivery, DeliveryStatus, EventKind, FeedId, MessageBody, TaskId, Timestamp, TokenId};
use crate::store::{DeliveryFilter, Replayed};

/// The longest page.
const MAX_PAGE: u32 = 1000;
/// The length of a page when the caller does not say.
pub(super) const DEFAULT_PAGE: u32 = 100;
/// What a time should have been.
const A_TIME: &str = "a time such as 2026-11-24T16:00:00Z (RFC 3339)";

/// A message to a receiver.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Delivery")]
pub(super) struct DeliveryBody<'a> {
    /// Names it.
    #[schemars(example = &"57")]
    id: String,
    /// What the receiver gets as `webhook-id`; `null` in the form `pingback`.
    #[schemars(example = &"msg_1f2e3d4c-57")]
    message_id: Option<String>,
    /// `webhook`, or `pingback`: id and code, as the provider sends them.
    #[schemars(extend("enum" = ["webhook", "pingback"]))]
    form: &'static str,
    /// What it tells.
    r#type: EventKind,
    /// The task that it tells of, if it is one.
    task_id: Option<TaskId>,
    /// The webhook that it goes to; `null`: it goes to a URL that the task carries.
    #[schemars(example = &"1")]
    webhook_id: Option<String>,
    /// Host and port of the receiver.
    #[schemars(example = &"example.com:443")]
    url_host: &'a str,
    /// `waiting` to be sent or sent again, `delivered`, or `dead`: given up on.
    #[schemars(extend("enum" = DeliveryStatus::ALL.map(DeliveryStatus::as_str)))]
    status: &'static str,
    /// How often it was tried.
    attempts: u32,
    /// The HTTP status of the last attempt, if there was a reply.
    last_status: Option<u16>,
    /// What came of the last attempt, if it failed.
    last_error: Option<&'a str>,
    /// When it came to be.
    created_at: Timestamp,
    /// Not tried before this time; `null` when it has ended.
    next_attempt_at: Option<Timestamp>,
    /// When it was delivered or given up on.
    ended_at: Option<Timestamp>,
}

impl<'a> DeliveryBody<'a> {
    fn new(delivery: &'a Delivery, feed: &FeedId) -> Self {
        let is_waiting = delivery.status == DeliveryStatus::Waiting;
        Self {
            id: delivery.id.to_string(),
            message_id: delivery.event.map(|number| feed.message_id(number)),
            form: if delivery.event.is_some() { "webhook" } else { "pingback" },
            r#type: delivery.kind,
            task_id: delivery.task,
            webhook_id: delivery.webhook.map(|id| id.to_string()),
            url_host: delivery.host(),
            status: delivery.status.as_str(),
            attempts: delivery.attempts,
            last_status: delivery.last_status,
            last_error: delivery.last_error.as_deref(),
            created_at: delivery.created_at,
            next_attempt_at: is_waiting.then_some(delivery.due_at),
            ended_at: delivery.ended_at,
        }
    }
}

/// A delivery with what it says.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "DeliveryWithMessage")]
pub(super) struct WholeBody<'a> {
    #[serde(flatten)]
    delivery: DeliveryBody<'a>,
    /// What is sent: `type`, `timestamp` and `data`, or `id` and `code`; `null` once it was erased.
    #[schemars(with = "Option<serde_json::Map<String, Value>>")]
    message: Option<Value>,
}

/// Deliveries, and where the next page begins.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Deliveries")]
pub(super) struct ListBody<'a> {
    /// Newest first.
    deliveries: Vec<DeliveryBody<'a>>,
    /// For the next page; `null` when there is none.
    cursor: Option<String>,
}

/// How many messages are sent again.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Replayed")]
pub(super) struct ReplayedBody {
    /// So many.
    replayed: u64,
}

pub(super) fn router() -> Router<Arc<AppState>> {
    Router::new()
        .route("/v1/webhooks/deliveries", get(list))
        .route("/v1/webhooks/deliveries/replay", post(replay_matching))
        .route("/v1/webhooks/deliveries/{id}", get(show))
        .route("/v1/webhooks/deliveries/{id}/replay", post(replay))
}

/// The number of a delivery in the path.
struct NamedDelivery(i64);

impl<S: Send + Sync> FromRequestParts<S> for NamedDelivery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        named_in_path(parts, state).await.map(|RowId(id)| Self(id)).ok_or(ApiError::DeliveryNotFound)
    }
}

/// `GET /v1/webhooks/deliveries?status=&webhook_id=&task_id=&type=&since=&until=&limit=&cursor=`, newest first.
async fn list(
    caller: Caller<Read>,
    State(app): State<Arc<AppState>>,
    mut query: Query,
) -> Result<JsonReply, ApiError> {
    let filter = filter(&mut query, caller.sees(), &DeliveryStatus::ALL);
    let limit = query.parsed("limit", "a whole number").unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        query.wrong("limit", format!("is not from 1 to {MAX_PAGE}"));
    }
    let before = query.parsed("cursor", "a cursor that an earlier page gave").map(|RowId(id)| id);
    query.finish("status, webhook_id, task_id, type, since, until, limit and cursor")?;
    let page = app.store.list_deliveries(&filter, before, limit).await?;
    let feed = app.feed.id();
    let bodies = page.deliveries.iter().map(|delivery| DeliveryBody::new(delivery, feed));
    let cursor = page.next.map(|id| id.to_string());
    Ok(reply(ListBody { deliveries: bodies.collect(), cursor }))
}

/// `GET /v1/webhooks/deliveries/{id}`: with what it says.
async fn show(
    caller: Caller<Read>,
    State(app): State<Arc<AppState>>,
    NamedDelivery(id): NamedDelivery,
    query: Query,
) -> Result<JsonReply, ApiError> {
    query.finish("no parameters")?;
    let delivery = app.store.delivery(id, caller.sees()).await?.ok_or(ApiError::DeliveryNotFound)?;
    let message = app.message_of(&delivery).await?;
    let feed = app.feed.id();
    Ok(reply(WholeBody { delivery: DeliveryBody::new(&delivery, feed), message }))
}

/// `POST /v1/webhooks/deliveries/{id}/replay`: 202 with the delivery, which is sent again, also if it was delivered;
/// 409 if it cannot be.
async fn replay(
    caller: Caller<Submit>,
    State(app): State<Arc<AppState>>,
    NamedDelivery(id): NamedDelivery,
    query: Query,
) -> Result<(StatusCode, JsonReply), ApiError> {
    query.finish("no parameters")?;
    match app.ingest.replay(Owned { id, owner: caller.sees() }).await? {
        Replayed::Done(delivery) => {
            let feed = app.feed.id();
            Ok((StatusCode::ACCEPTED, reply(DeliveryBody::new(&delivery, feed))))
        }
        Replayed::Refused(reason) => Err(ApiError::NoReplay(reason)),
        Replayed::NotFound => Err(ApiError::DeliveryNotFound),
    }
}

/// `POST /v1/webhooks/deliveries/replay` with `{"status":"dead","since":"…"}`: 202 with how many messages are sent
/// again, of those that have ended, pass the filter, and can be sent.
async fn replay_matching(
    caller: Caller<Submit>,
    State(app): State<Arc<AppState>>,
    query: Query,
    body: Body,
) -> Result<(StatusCode, JsonReply), ApiError> {
    query.finish("no parameters")?;
    let mut fields = Query::of_body(body, "{\"status\":\"dead\"}").await?;
    let filter = filter(&mut fields, caller.sees(), &[DeliveryStatus::Delivered, DeliveryStatus::Dead]);
    let DeliveryFilter { status, webhook, task, kind, since, until, .. } = filter;
    let is_any = status.is_some() || webhook.is_some() || task.is_some() || kind.is_some();
    fields.finish("status, webhook_id, task_id, type, since and until")?;
    if !is_any && since.is_none() && until.is_none() {
        let detail = "say which: give at least one of status, webhook_id, task_id, type, since and until";
        return Err(ApiError::field("", detail));
    }
    let replayed = app.replay(&filter).await?;
    info!(replayed, "Messages to callers are sent again");
    Ok((StatusCode::ACCEPTED, reply(ReplayedBody { replayed })))
}

/// Reads which deliveries are meant.
fn filter(query: &mut Query, owner: Option<TokenId>, statuses: &[DeliveryStatus]) -> DeliveryFilter {
    let names = statuses.iter().map(|status| status.as_str()).collect::<Vec<_>>().join(", ");
    let status = query.parsed("status", &format!("one of {names}"));
    if status.is_some_and(|status| !statuses.contains(&status)) {
        query.wrong("status", format!("is not one of {names}"));
    }
    let kinds = EventKind::ALL.map(EventKind::as_str).join(", ");
    DeliveryFilter {
        owner,
        status,
        webhook: query.parsed("webhook_id", "the id of a webhook").map(|RowId(id)| id),
        task: query.parsed("task_id", "the id of a task"),
        kind: query.parsed("type", &format!("one of {kinds}")),
        since: query.parsed("since", A_TIME),
        until: query.parsed("until", A_TIME),
    }
}

impl AppState {
    /// What is or was sent; `None` once it was erased.
    pub(crate) async fn message_of(&self, delivery: &Delivery) -> Result<Option<Value>, ApiError> {
        if let Some(number) = delivery.event {
            let event = self.store.events_by_number(&[number]).await?.pop();
            let event = event.filter(|event| !event.subject.is_erased(event.kind));
            return Ok(event.map(|event| json!(MessageBody::new(&event))));
        }
        let task = match delivery.task {
            Some(id) => self.store.tasks(&[id]).await?.pop(),
            None => None,
        };
        Ok(task.and_then(|task| Some(json!({ "id": task.id, "code": task.callback_code()? }))))
    }

    /// Has all messages sent again that have ended by now, pass the filter, and can be sent; how many. What ends
    /// while this is under way, is left alone: what is sent again and fails must not come by here a second time.
    async fn replay(&self, filter: &DeliveryFilter) -> Result<u64, ApiError> {
        let last = self.store.newest_delivery().await?;
        let (mut after, mut replayed) = (0, 0);
        while after < last {
            let page = self.store.ended_deliveries(filter, (after, last), MOST_DELIVERIES).await?;
            after = page.through;
            if !page.ids.is_empty() {
                replayed += self.ingest.replay_all(page.ids).await?;
            }
        }
        Ok(replayed)
    }
}
