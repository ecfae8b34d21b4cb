//! What is sent: to whom, and in which form.

use std::collections::HashMap;

use reqwest::RequestBuilder;
use reqwest::header::CONTENT_TYPE;

use crate::model::{CallerUrl, Event, FeedId, MessageBody, SigningKeys, Subject, Task, TaskId, Timestamp};
use crate::store::{Due, Store, StoreError, WebhookState};

/// A message to a receiver. It holds an answer, and is never printed.
pub(super) struct Message {
    pub(super) url: CallerUrl,
    pub(super) body: Body,
}

pub(super) enum Body {
    /// How a task ended, as the provider sends it.
    Form(String),
    /// An event.
    Signed(Box<Signed>),
}

/// An event as JSON, with what signs it.
pub(super) struct Signed {
    /// The same for every receiver and at every attempt.
    id: String,
    json: String,
    /// `None`: the owner of the task has no secret yet.
    pub(super) keys: Option<SigningKeys>,
}

impl Body {
    /// The request with this as its body, sent at this time.
    pub(super) fn put_into(self, request: RequestBuilder, now: Timestamp) -> RequestBuilder {
        match self {
            Self::Form(form) => request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form),
            Self::Signed(signed) => {
                let Signed { id, json, keys } = *signed;
                let signature = keys.map(|keys| keys.sign(&id, &json, now)).unwrap_or_default();
                request
                    .header(CONTENT_TYPE, "application/json")
                    .header("webhook-id", id)
                    .header("webhook-timestamp", now.as_secs())
                    .header("webhook-signature", signature)
                    .body(json)
            }
        }
    }
}

/// What deliveries tell of.
pub(super) struct Subjects {
    feed: FeedId,
    tasks: HashMap<TaskId, Task>,
    events: HashMap<i64, Event>,
}

impl Subjects {
    /// Reads what these tell of.
    pub(super) async fn load(store: &Store, feed: FeedId, due: &[Due]) -> Result<Self, StoreError> {
        let deliveries = || due.iter().map(|due| &due.delivery);
        let numbers: Vec<i64> = deliveries().filter_map(|delivery| delivery.event).collect();
        let ids: Vec<TaskId> = deliveries()
            .filter(|delivery| delivery.event.is_none())
            .filter_map(|delivery| delivery.task)
            .collect();
        let tasks = if ids.is_empty() { Vec::new() } else { store.tasks(&ids).await? };
        let events = if numbers.is_empty() { Vec::new() } else { store.events_by_number(&numbers).await? };
        Ok(Self {
            feed,
            tasks: tasks.into_iter().map(|task| (task.id, task)).collect(),
            events: events.into_iter().map(|event| (event.number, event)).collect(),
        })
    }

    /// The message of a delivery, or why there can be none.
    pub(super) fn message(&self, due: Due) -> Result<Message, String> {
        let Due { delivery, url, keys, webhook } = due;
        match (delivery.webhook, webhook) {
            (Some(_), None) => return Err("the webhook was deleted".to_owned()),
            (Some(_), Some(WebhookState::Disabled(why))) => return Err(WebhookState::disabled(&why)),
            (Some(_), Some(WebhookState::Enabled)) if keys.is_none() => {
                return Err("the secret of the webhook cannot be read".to_owned());
            }
            (_, _) => {}
        }
        let url = CallerUrl::parse(&url).map_err(|_| "its URL cannot be called")?;
        let body = match delivery.event {
            Some(number) => Body::Signed(Box::new(self.signed(number, keys)?)),
            None => Body::Form(self.form(delivery.task)?),
        };
        Ok(Message { url, body })
    }

    fn signed(&self, number: i64, keys: Option<SigningKeys>) -> Result<Signed, String> {
        let event = self.events.get(&number).ok_or("its event is gone")?;
        if event.subject.is_erased(event.kind) {
            return Err(erased(&event.subject).to_owned());
        }
        let json = serde_json::to_string(&MessageBody::new(event)).expect("text and numbers are JSON");
        Ok(Signed { id: self.feed.message_id(number), json, keys })
    }

    fn form(&self, task: Option<TaskId>) -> Result<String, &'static str> {
        let task = task.and_then(|id| self.tasks.get(&id)).ok_or("its task is gone")?;
        let code = task.callback_code().ok_or(ANSWER_ERASED)?;
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("id", &task.id.to_string()).append_pair("code", code);
        Ok(form.finish())
    }
}

const ANSWER_ERASED: &str = "the answer was erased before it could be delivered";

fn erased(subject: &Subject) -> &'static str {
    match subject {
        Subject::Task(_) => ANSWER_ERASED,
        Subject::Pingback { .. } => "the pingback was erased before it could be delivered",
    }
}
