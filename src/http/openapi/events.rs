//! Events, webhooks and their deliveries, described.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::operation::{Operation, Parameter, Shape};
use super::{NUMBER, limit, number, page_cursor, wait};
use crate::http::deliveries::{self, DeliveryBody, WholeBody};
use crate::http::error::ApiError;
use crate::http::query;
use crate::http::webhooks::{self, SecretBody, WebhookBody};
use crate::ingest::MOST_WEBHOOKS;
use crate::model::{DeliveryStatus, EventBody, EventKind, TaskId, Timestamp};

pub(super) fn operations() -> Vec<Operation> {
    let mut operations = vec![feed()];
    operations.extend(subscriptions());
    operations.extend(secrets());
    operations.extend(deliveries());
    operations
}

fn feed() -> Operation {
    let place = || {
        json!({
            "anyOf": [
                { "type": "string", "enum": ["earliest", "now"] },
                { "type": "string", "pattern": "^[0-9a-f]{8}-[0-9]{1,18}$" },
            ],
            "examples": ["earliest", "3f2a9c1b-1042"],
        })
    };
    Operation::get("/v1/events", "get_events")
        .does(
            "Follow what happens",
            "The events behind `cursor` as soon as there is one, in the order in which they were committed; none when the wait \
             is over. Pass the cursor of each reply on to the next request.\n\n\
             With `Accept: text/event-stream` the reply is a stream of server-sent events: `id` is the cursor, `event` the \
             type, `data` the event. It goes on behind `Last-Event-ID` or `last_event_id`, else behind `cursor`, else with \
             what happens from then on. After 15 s without an event there is a comment. An event `reset` with \
             `{\"earliest_cursor\":\"…\"}` says that events are gone.",
        )
        .for_scope("read")
        .takes([
            Parameter::query(
                "cursor",
                "Where to begin: behind this place; with the oldest event (`earliest`, which it is if none is given); or \
                 with what happens from here on (`now`).",
                Shape::Said(place()),
            ),
            wait("How long to wait for an event"),
            limit(crate::http::events::DEFAULT_EVENTS),
            Parameter::query("types", "Some types of event, separated by commas; all if it is not given.", types()),
            Parameter::query("last_event_id", "Where a stream broke off.", Shape::Said(place())),
            Parameter::header("Last-Event-ID", "The same, as browsers send it.", Shape::Said(place())),
        ])
        .replies_with(
            StatusCode::OK,
            "The events, and the cursor behind them.",
            vec![
                ("application/json", Shape::of::<EventsBody<'_>>()),
                ("text/event-stream", Shape::Said(json!({ "type": "string" }))),
            ],
        )
        .fails([ApiError::CursorExpired { earliest: "3f2a9c1b-20000".to_owned() }])
}

/// What `events.rs` puts together of the text of each event.
#[derive(schemars::JsonSchema)]
#[schemars(rename = "Events")]
#[expect(dead_code, reason = "it says what is put together elsewhere")]
struct EventsBody<'a> {
    /// What happened, in the order in which it was committed.
    events: Vec<EventBody<'a>>,
    /// The place behind them, for the next request. It moves on also past events that are not for you.
    cursor: String,
}

/// `task.solved,task.failed`
fn types() -> Shape {
    let names = EventKind::ALL.map(EventKind::as_str).join("|").replace('.', r"\.");
    Shape::Said(json!({
        "type": "string", "pattern": format!("^({names})(,({names}))*$"), "examples": ["task.solved,task.failed"],
    }))
}

fn subscriptions() -> [Operation; 5] {
    let types = json!({
        "description": "What to tell; everything that the token may hear of if it is not given.",
        "type": "array", "items": { "type": "string", "enum": EventKind::ALL.map(EventKind::as_str) }, "minItems": 1,
    });
    [
        Operation::post("/v1/webhooks", "add_webhook")
            .does(
                "Subscribe to events",
                "What happens from here on is told by a signed POST (Standard Webhooks), at least once, with retries for a day.",
            )
            .for_scope("submit")
            .reads(
                json!({
                    "type": "object",
                    "properties": {
                        "url": {
                            "description": "Where messages go: http or https, without a fragment. Private and loopback \
                                            addresses only where `webhooks.allow_private` names them.",
                            "type": "string", "format": "uri", "maxLength": 2048,
                        },
                        "types": types,
                        "secret": secret(),
                    },
                    "required": ["url"],
                    "additionalProperties": false,
                }),
                json!({ "url": "https://example.com/hook", "types": ["task.solved", "task.failed"] }),
                query::MAX_BODY_BYTES,
            )
            .replies::<WebhookBody<'_>>(StatusCode::CREATED, "The webhook, with its secret.")
            .with_header("Location", "The path of the webhook.")
            .fails([ApiError::TooManyWebhooks(MOST_WEBHOOKS)]),
        Operation::get("/v1/webhooks", "list_webhooks")
            .does("List webhooks", "All of them, without their secrets.")
            .for_scope("read")
            .replies::<webhooks::ListBody<'_>>(StatusCode::OK, "The webhooks."),
        Operation::get("/v1/webhooks/{id}", "get_webhook")
            .does("Read a webhook", "")
            .for_scope("read")
            .takes([webhook_id()])
            .replies::<WebhookBody<'_>>(StatusCode::OK, "The webhook, without its secret.")
            .fails([ApiError::WebhookNotFound]),
        Operation::delete("/v1/webhooks/{id}", "delete_webhook")
            .does("End a subscription", "Nothing is sent to it any more, also not what waits.")
            .for_scope("submit")
            .takes([webhook_id()])
            .replies_with(StatusCode::NO_CONTENT, "It is deleted.", Vec::new())
            .fails([ApiError::WebhookNotFound]),
        Operation::post("/v1/webhooks/{id}/enable", "enable_webhook")
            .does("Enable a webhook again", "One that replied 410 is disabled. It is told of what happens from here on.")
            .for_scope("submit")
            .takes([webhook_id()])
            .replies::<WebhookBody<'_>>(StatusCode::OK, "The webhook.")
            .fails([ApiError::WebhookNotFound]),
    ]
}

fn secrets() -> [Operation; 3] {
    let wish =
        || json!({ "type": "object", "properties": { "secret": secret() }, "additionalProperties": false });
    let example = || json!({ "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" });
    [
        Operation::post("/v1/webhooks/{id}/rotate", "rotate_webhook")
            .does("Change a webhook's secret", "The old one signs too for 24 hours.")
            .for_scope("submit")
            .takes([webhook_id()])
            .may_read(wish(), example(), query::MAX_BODY_BYTES)
            .replies::<WebhookBody<'_>>(StatusCode::OK, "The webhook, with its new secret.")
            .fails([ApiError::WebhookNotFound]),
        Operation::get("/v1/webhooks/secret", "get_webhook_secret")
            .does(
                "Read the secret for the `webhook_url` of your tasks",
                "It is made when it is first asked for.",
            )
            .for_scope("submit")
            .replies::<SecretBody<'_>>(StatusCode::OK, "The secret."),
        Operation::post("/v1/webhooks/secret/rotate", "rotate_webhook_secret")
            .does(
                "Change the secret for the `webhook_url` of your tasks",
                "The old one signs too for 24 hours.",
            )
            .for_scope("submit")
            .may_read(wish(), example(), query::MAX_BODY_BYTES)
            .replies::<SecretBody<'_>>(StatusCode::OK, "The new secret."),
    ]
}

fn deliveries() -> [Operation; 4] {
    let id = || Parameter::path("id", "The delivery.", number("57"));
    [
        Operation::get("/v1/webhooks/deliveries", "list_deliveries")
            .does("List what was and is to be sent", "Newest first.")
            .for_scope("read")
            .takes([
                Parameter::query("status", "Deliveries with this status alone.", Shape::Said(statuses(&DeliveryStatus::ALL))),
                Parameter::query("webhook_id", "Those to this webhook alone.", number("1")),
                Parameter::query("task_id", "Those of this task alone.", Shape::of::<TaskId>()),
                Parameter::query("type", "Those of this type of event alone.", Shape::of::<EventKind>()),
                Parameter::query("since", "Those made at this time or later.", Shape::of::<Timestamp>()),
                Parameter::query("until", "Those made before this time.", Shape::of::<Timestamp>()),
                limit(deliveries::DEFAULT_PAGE),
                page_cursor(number("57")),
            ])
            .replies::<deliveries::ListBody<'_>>(StatusCode::OK, "The deliveries."),
        Operation::get("/v1/webhooks/deliveries/{id}", "get_delivery")
            .does("Read a delivery and its message", "")
            .for_scope("read")
            .takes([id()])
            .replies::<WholeBody<'_>>(StatusCode::OK, "The delivery, with what it says.")
            .fails([ApiError::DeliveryNotFound]),
        Operation::post("/v1/webhooks/deliveries/{id}/replay", "replay_delivery")
            .does("Send a message again", "Also one that was delivered, with all its attempts anew.")
            .for_scope("submit")
            .takes([id()])
            .replies::<DeliveryBody<'_>>(StatusCode::ACCEPTED, "The delivery, which waits to be sent.")
            .fails([ApiError::DeliveryNotFound, ApiError::NoReplay("its message was erased".to_owned())]),
        Operation::post("/v1/webhooks/deliveries/replay", "replay_deliveries")
            .does(
                "Send all messages again that match",
                "Of those that have been delivered or given up on. At least one field is given.",
            )
            .for_scope("submit")
            .reads(
                json!({
                    "type": "object",
                    "properties": {
                        "status": statuses(&[DeliveryStatus::Delivered, DeliveryStatus::Dead]),
                        "webhook_id": { "type": "string", "pattern": NUMBER, "description": "Those to this webhook." },
                        "task_id": { "$ref": "#/components/schemas/TaskId", "description": "Those of this task." },
                        "type": { "$ref": "#/components/schemas/EventType" },
                        "since": { "$ref": "#/components/schemas/Timestamp", "description": "Made at this time or later." },
                        "until": { "$ref": "#/components/schemas/Timestamp", "description": "Made before this time." },
                    },
                    "minProperties": 1,
                    "additionalProperties": false,
                }),
                json!({ "status": "dead", "since": "2026-11-24T16:00:00Z" }),
                query::MAX_BODY_BYTES,
            )
            .replies::<deliveries::ReplayedBody>(StatusCode::ACCEPTED, "How many are sent again."),
    ]
}

fn webhook_id() -> Parameter {
    Parameter::path("id", "The webhook.", number("1"))
}

fn statuses(statuses: &[DeliveryStatus]) -> Value {
    let names: Vec<_> = statuses.iter().map(|status| status.as_str()).collect();
    json!({ "type": "string", "enum": names })
}

fn secret() -> Value {
    json!({
        "description": "What signs its messages: `whsec_` and 24 to 64 bytes in base64. One is made if it is not given.",
        "type": "string", "format": "webhook-secret",
    })
}
