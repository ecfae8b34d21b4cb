//! `/v1/webhooks`: where callers are told of events, and what signs that.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use schemars::JsonSchema;
use serde::Serialize;
use tracing::info;

use super::AppState;
use super::auth::{Caller, Read, Submit};
use super::error::ApiError;
use super::query::{Query, RowId, named_in_path};
use super::tasks::{JsonReply, reply};
use crate::ingest::{Granted, MOST_WEBHOOKS, Owned, WriteError};
use crate::model::{
    CallerUrl, Disabled, EventKind, FieldError, NewWebhook, SigningKeys, SigningSecret, Timestamp, TokenId,
    Webhook,
};

/// A subscription to events.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Webhook")]
pub(super) struct WebhookBody<'a> {
    /// Names it.
    #[schemars(example = &"1")]
    id: String,
    /// Where messages go. Others than its owner see the host alone.
    #[schemars(example = &"https://example.com/hook")]
    url: String,
    /// What it is told of.
    types: &'a [EventKind],
    /// What signs its messages. Only in the reply that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
    /// Until when the secret before this one signs too.
    #[serde(skip_serializing_if = "Option::is_none")]
    old_secret_until: Option<Timestamp>,
    /// Nothing is sent to one that is disabled.
    #[schemars(extend("enum" = ["enabled", "disabled"]))]
    status: &'static str,
    /// When it came to be. What happened before is not told.
    created_at: Timestamp,
    /// Since when it is disabled.
    disabled_at: Option<Timestamp>,
    /// Why.
    disabled_reason: Option<&'a str>,
}

/// Webhooks.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Webhooks")]
pub(super) struct ListBody<'a> {
    /// All of them, because there are few.
    webhooks: Vec<WebhookBody<'a>>,
    /// Always `null`: it is the whole list.
    cursor: Option<String>,
}

/// What signs messages to the `webhook_url` of tasks.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "WebhookSecret")]
pub(super) struct SecretBody<'a> {
    /// `whsec_` and the key in base64.
    #[schemars(example = &"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: &'a str,
    /// Until when the secret before this one signs too.
    old_secret_until: Option<Timestamp>,
}

/// Whether a secret is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Show {
    Secret,
    NoSecret,
}

impl<'a> WebhookBody<'a> {
    /// The path and query of a URL may hold secrets of its owner: others see the host alone.
    fn new(webhook: &'a Webhook, show: Show, viewer: TokenId, now: Timestamp) -> Self {
        let Webhook { id, owner, url, kinds, keys, created_at, disabled, .. } = webhook;
        Self {
            id: id.to_string(),
            url: if *owner == viewer { url.text().to_owned() } else { url.to_string() },
            types: kinds,
            secret: (show == Show::Secret).then(|| keys.current.expose()),
            old_secret_until: old_until(keys, now),
            status: if disabled.is_some() { "disabled" } else { "enabled" },
            created_at: *created_at,
            disabled_at: disabled.as_ref().map(|Disabled { at, .. }| *at),
            disabled_reason: disabled.as_ref().map(|Disabled { reason, .. }| reason.as_str()),
        }
    }
}

fn old_until(keys: &SigningKeys, now: Timestamp) -> Option<Timestamp> {
    keys.old.as_ref().map(|(_, until)| *until).filter(|until| now < *until)
}

pub(super) fn router() -> Router<Arc<AppState>> {
    Router::new()
        .route("/v1/webhooks", get(list).post(subscribe))
        .route("/v1/webhooks/secret", get(secret))
        .route("/v1/webhooks/secret/rotate", post(rotate_secret))
        .route("/v1/webhooks/{id}", get(show).delete(unsubscribe))
        .route("/v1/webhooks/{id}/enable", post(enable))
        .route("/v1/webhooks/{id}/rotate", post(rotate))
}

/// The number of a webhook in the path.
struct NamedWebhook(i64);

impl<S: Send + Sync> FromRequestParts<S> for NamedWebhook {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        named_in_path(parts, state).await.map(|RowId(id)| Self(id)).ok_or(ApiError::WebhookNotFound)
    }
}

impl NamedWebhook {
    fn of(&self, owner: Option<TokenId>) -> Owned {
        Owned { id: self.0, owner }
    }
}

/// `POST /v1/webhooks` with `{"url":"https://…","types":["task.solved"]}`: 201, and the only time that the secret is
/// shown. It is told of what happens from here on.
async fn subscribe(
    caller: Caller<Submit>,
    State(app): State<Arc<AppState>>,
    query: Query,
    body: Body,
) -> Result<impl IntoResponse, ApiError> {
    query.finish("no parameters")?;
    let mut fields = Query::of_body(body, "{\"url\":\"https://…\",\"types\":[\"task.solved\"]}").await?;
    let is_admin = caller.sees().is_none();
    let url = app.webhook_url(&mut fields);
    let kinds = kinds(&mut fields, is_admin);
    let secret = given_secret(&mut fields);
    fields.finish("url, types and secret")?;
    // Without one, there was an error.
    let url = url.ok_or_else(|| ApiError::field("url", "is missing"))?;
    let secret = or_random(secret)?;
    let new = NewWebhook { owner: caller.token(), sees_all: is_admin, url, kinds, secret };
    app.access.check(caller.identity())?;
    let webhook = match app.ingest.add_webhook(new).await? {
        Granted::Done(webhook) => webhook,
        Granted::Full => return Err(ApiError::TooManyWebhooks(MOST_WEBHOOKS)),
        Granted::Withdrawn => return Err(ApiError::Unauthorized),
    };
    info!(webhook.id, "A webhook was added");
    let location = format!("/v1/webhooks/{}", webhook.id);
    let body = reply(WebhookBody::new(&webhook, Show::Secret, caller.token(), Timestamp::now()));
    Ok((StatusCode::CREATED, [(LOCATION, location)], body))
}

/// `GET /v1/webhooks`: all of them, because there are few.
async fn list(
    caller: Caller<Read>,
    State(app): State<Arc<AppState>>,
    query: Query,
) -> Result<JsonReply, ApiError> {
    query.finish("no parameters")?;
    let (webhooks, now) = (app.store.webhooks(caller.sees()).await?, Timestamp::now());
    let bodies =
        webhooks.iter().map(|webhook| WebhookBody::new(webhook, Show::NoSecret, caller.token(), now));
    Ok(reply(ListBody { webhooks: bodies.collect(), cursor: None }))
}

/// `GET /v1/webhooks/{id}`.
async fn show(
    caller: Caller<Read>,
    State(app): State<Arc<AppState>>,
    NamedWebhook(id): NamedWebhook,
    query: Query,
) -> Result<JsonReply, ApiError> {
    query.finish("no parameters")?;
    let webhook = app.store.webhook(id, caller.sees()).await?.ok_or(ApiError::WebhookNotFound)?;
    Ok(reply(WebhookBody::new(&webhook, Show::NoSecret, caller.token(), Timestamp::now())))
}

/// `DELETE /v1/webhooks/{id}`: nothing is sent to it any more, also not what waits.
async fn unsubscribe(
    caller: Caller<Submit>,
    State(app): State<Arc<AppState>>,
    named: NamedWebhook,
    query: Query,
) -> Result<StatusCode, ApiError> {
    query.finish("no parameters")?;
    let deleted = app.ingest.delete_webhook(named.of(caller.sees())).await?;
    let webhook = deleted.ok_or(ApiError::WebhookNotFound)?;
    info!(webhook.id, "A webhook was deleted");
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/webhooks/{id}/enable`: has it told again of what happens from here on.
async fn enable(
    caller: Caller<Submit>,
    State(app): State<Arc<AppState>>,
    named: NamedWebhook,
    query: Query,
) -> Result<JsonReply, ApiError> {
    query.finish("no parameters")?;
    let enabled = app.ingest.enable_webhook(named.of(caller.sees())).await?;
    let webhook = enabled.ok_or(ApiError::WebhookNotFound)?;
    Ok(reply(WebhookBody::new(&webhook, Show::NoSecret, caller.token(), Timestamp::now())))
}

/// `POST /v1/webhooks/{id}/rotate` with `{"secret":"whsec_…"}` or nothing: another secret, shown here alone.
async fn rotate(
    caller: Caller<Submit>,
    State(app): State<Arc<AppState>>,
    named: NamedWebhook,
    query: Query,
    body: Body,
) -> Result<JsonReply, ApiError> {
    query.finish("no parameters")?;
    let secret = wanted_secret(body).await?;
    let rotated = app.ingest.rotate_webhook(named.of(caller.sees()), secret).await?;
    let webhook = rotated.ok_or(ApiError::WebhookNotFound)?;
    info!(webhook.id, "A webhook has a new secret");
    Ok(reply(WebhookBody::new(&webhook, Show::Secret, caller.token(), Timestamp::now())))
}

/// `GET /v1/webhooks/secret`: what signs messages to the `webhook_url` of the caller's tasks.
async fn secret(
    caller: Caller<Submit>,
    State(app): State<Arc<AppState>>,
    query: Query,
) -> Result<JsonReply, ApiError> {
    query.finish("no parameters")?;
    Ok(secret_reply(&app.ingest.signing_keys(caller.token()).await?))
}

/// `POST /v1/webhooks/secret/rotate` with `{"secret":"whsec_…"}` or nothing: another one.
async fn rotate_secret(
    caller: Caller<Submit>,
    State(app): State<Arc<AppState>>,
    query: Query,
    body: Body,
) -> Result<JsonReply, ApiError> {
    query.finish("no parameters")?;
    let secret = wanted_secret(body).await?;
    let keys = app.ingest.rotate_signing_keys(caller.token(), secret).await?;
    info!(token.id = caller.token().number(), "The webhooks of tasks have a new secret");
    Ok(secret_reply(&keys))
}

fn secret_reply(keys: &SigningKeys) -> JsonReply {
    let old_secret_until = old_until(keys, Timestamp::now());
    reply(SecretBody { secret: keys.current.expose(), old_secret_until })
}

/// The events that a webhook is told of: all that the caller may hear of, if none are named.
fn kinds(fields: &mut Query, is_admin: bool) -> Vec<EventKind> {
    let may_hear = |kind: &EventKind| is_admin || !kind.is_for_admins();
    let Some(names) = fields.given("types") else {
        return EventKind::ALL.into_iter().filter(may_hear).collect();
    };
    let mut kinds = Vec::new();
    if names.trim().is_empty() {
        fields.wrong("types", "is empty: name some, or leave it out to be told of everything");
    }
    for name in names.split(',').map(str::trim).filter(|_| !names.trim().is_empty()) {
        match name.parse::<EventKind>() {
            Ok(kind) if !may_hear(&kind) => {
                fields.wrong(
                    "types",
                    format!("names {kind}, which only tokens with the scope admin are told of"),
                );
            }
            Ok(kind) if kinds.contains(&kind) => {}
            Ok(kind) => kinds.push(kind),
            Err(()) => {
                let known = EventKind::ALL.map(EventKind::as_str).join(", ");
                fields.wrong("types", format!("has a part that is none of {known}"));
                break;
            }
        }
    }
    kinds
}

/// The secret that a caller gave.
fn given_secret(fields: &mut Query) -> Option<SigningSecret> {
    match SigningSecret::parse(&fields.given("secret")?) {
        Ok(secret) => Some(secret),
        Err(error) => {
            fields.wrong("secret", error.to_string());
            None
        }
    }
}

/// The secret that a caller wants, who may leave it to us.
async fn wanted_secret(body: Body) -> Result<SigningSecret, ApiError> {
    let mut fields = Query::of_body(body, "{\"secret\":\"whsec_…\"}").await?;
    let secret = given_secret(&mut fields);
    fields.finish("secret")?;
    or_random(secret)
}

fn or_random(secret: Option<SigningSecret>) -> Result<SigningSecret, ApiError> {
    secret.map_or_else(SigningSecret::random, Ok).map_err(|_| WriteError::Failed.into())
}

impl AppState {
    /// Whether a caller may have a URL called, as far as that can be told without asking for the addresses behind
    /// its name.
    pub(super) fn judge_address(&self, field: &str, url: &CallerUrl) -> Result<(), FieldError> {
        self.address_rules.judge_url(url).map_err(|error| FieldError::new(field, format!("has {error}")))
    }

    /// The URL of a new webhook.
    fn webhook_url(&self, fields: &mut Query) -> Option<CallerUrl> {
        let Some(text) = fields.text("url") else {
            fields.missing("url", "is missing: give an http or https URL that takes POST requests");
            return None;
        };
        let judged = CallerUrl::parse(&text)
            .map_err(|error| FieldError::new("url", error.to_string()))
            .and_then(|url| self.judge_address("url", &url).map(|()| url));
        judged.map_err(|error| fields.wrong("url", error.detail)).ok()
    }
}
