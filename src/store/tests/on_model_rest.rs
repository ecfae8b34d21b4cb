//! Operations on what is told to callers, and on the rest of the model.

use std::time::Duration;

use super::model::{Model, WebhookRow};
use super::on_model::{ago, backoff, credit, keys, webhook};
use super::operation::{Operation, Tried};
use super::words::{NAMES, secret, text, unique_digest, url};
use crate::model::{
    CallerUrl, Delivery, DeliveryStatus, Disabled, EventKind, Report, Retries, SigningKeys, SigningSecret,
    Timestamp, TokenId, Verdict, Webhook,
};
use crate::store::WebhookState;

pub(super) const MOST_WEBHOOKS: u32 = 3;
/// How long the secret before the current one signs too.
const OVERLAP: Duration = Duration::from_secs(86_400);
pub(super) const REPLIES: [&str; 3] = ["OK_REPORT_RECORDED", "ERROR_DUPLICATE_REPORT", "REPORT_NOT_RECORDED"];

fn rotate(keys: &mut SigningKeys, new: SigningSecret, now: Timestamp) {
    if keys.current.expose() != new.expose() {
        let old = std::mem::replace(&mut keys.current, new);
        keys.old = Some((old, now.after(OVERLAP)));
    }
}

impl Model {
    /// Why a message cannot be sent any more.
    fn obstacle(&self, delivery: &Delivery) -> Option<&'static str> {
        let row = &self.deliveries[&delivery.id];
        let task = delivery.task.and_then(|task| self.tasks.get(&task.number()));
        let event = delivery.event.map(|number| self.events.get(&number));
        match delivery.webhook.map(|id| self.webhooks.get(&id)) {
            None if row.url.is_none() => return Some("the URL was erased"),
            Some(None) => return Some("the webhook was deleted"),
            Some(Some(row)) if row.webhook.disabled.is_some() => {
                return Some("the webhook is disabled: enable it first");
            }
            _ => {}
        }
        match event {
            Some(None) => Some("the event was deleted"),
            _ if delivery.kind == EventKind::Solved && task.is_none_or(|row| row.task.answer.is_none()) => {
                Some("the answer was erased")
            }
            Some(Some(event)) if event.pingback.is_some_and(|id| !self.pingbacks.contains_key(&id)) => {
                Some("the pingback was erased")
            }
            _ => None,
        }
    }

    fn begin_anew(&mut self, id: i64, now: Timestamp) {
        let delivery = &mut self.deliveries.get_mut(&id).unwrap().delivery;
        (delivery.status, delivery.attempts, delivery.ended_at) = (DeliveryStatus::Waiting, 0, None);
        (delivery.started_at, delivery.planned_at, delivery.due_at) = (now, now, now);
    }

    pub(super) fn deliver(&mut self, operation: &Operation, now: Timestamp) -> String {
        match operation {
            Operation::Attempt(at, tried, is_stale) => {
                let Some(mut delivery) = self.tried_at(*at).cloned() else { return String::new() };
                attempt(&mut delivery, (tried, *is_stale), now);
                self.store_delivery(delivery);
                String::new()
            }
            Operation::GiveUp(ats) => {
                let ids = self.deliveries_at(ats);
                ids.into_iter().filter(|id| self.end_delivery(*id, "\"over\"", now)).count().to_string()
            }
            Operation::WebhookGone(at) => {
                let Some(delivery) = self.delivery_at(*at).cloned() else { return String::new() };
                let Some(id) = delivery.webhook else { return String::new() };
                self.store_delivery(gone(delivery, now));
                let row = self.webhooks.get_mut(&id).filter(|row| row.webhook.disabled.is_none());
                if let Some(row) = row {
                    row.webhook.disabled = Some(Disabled { at: now, reason: "gone".to_owned() });
                }
                let waiting = self.beside(*at);
                let why = WebhookState::disabled("gone");
                waiting.into_iter().filter(|id| self.end_delivery(*id, &why, now)).count().to_string()
            }
            Operation::Replay(at, owner) => {
                let Some(delivery) = self.delivery_at(*at).cloned() else { return String::new() };
                if owner.is_some_and(|owner| owner != delivery.owner.number()) {
                    return "NotFound".to_owned();
                }
                if let Some(reason) = self.obstacle(&delivery) {
                    return format!("Refused({reason:?})");
                }
                self.begin_anew(delivery.id, now);
                format!("Done({:?})", self.deliveries[&delivery.id].delivery)
            }
            Operation::ReplayAll(ats) => {
                let mut ids = self.deliveries_at(ats);
                ids.retain(|id| {
                    let delivery = &self.deliveries[id].delivery;
                    delivery.status != DeliveryStatus::Waiting && self.obstacle(delivery).is_none()
                });
                for id in &ids {
                    self.begin_anew(*id, now);
                }
                ids.len().to_string()
            }
            Operation::Replan(back) => {
                let now = ago(now, *back);
                let mut count = 0;
                for delivery in self.deliveries.values_mut().map(|row| &mut row.delivery) {
                    if delivery.status == DeliveryStatus::Waiting && delivery.planned_at > now {
                        let wait = delivery.due_at.as_micros() - delivery.planned_at.as_micros();
                        delivery.due_at = Timestamp::from_micros(now.as_micros() + wait);
                        delivery.planned_at = now;
                        count += 1;
                    }
                }
                count.to_string()
            }
            Operation::DropDelivery(at) => {
                let task = self.task_at(*at).and_then(crate::model::TaskId::new);
                self.deliveries.retain(|_, row| {
                    let delivery = &row.delivery;
                    let is_callback =
                        delivery.task == task && delivery.task.is_some() && delivery.event.is_none();
                    !is_callback || delivery.status != DeliveryStatus::Waiting
                });
                String::new()
            }
            other => unreachable!("{other:?} is no operation on deliveries"),
        }
    }

    pub(super) fn subscribe(&mut self, operation: &Operation, now: Timestamp) -> String {
        match operation {
            Operation::AddWebhook { owner, sees_all, url: at, kinds, secret: key } => {
                let owner = TokenId::from_number(*owner);
                let others = self.webhooks.values().filter(|row| row.webhook.owner == owner).count();
                if others >= MOST_WEBHOOKS as usize {
                    return "None".to_owned();
                }
                let keys = SigningKeys { current: secret(*key), old: None };
                let (id, kinds) = (self.next_webhook, super::words::kinds(*kinds));
                let new = Webhook { id, owner, url: url(*at), kinds, keys, created_at: now, disabled: None };
                self.next_webhook += 1;
                let shown = webhook(&new);
                self.webhooks.insert(id, WebhookRow { webhook: new, sees_all: *sees_all });
                shown
            }
            Operation::DeleteWebhook(at, owner, _) => {
                let Some(id) = self.owned_webhook(*at, *owner) else { return "None".to_owned() };
                let deleted = self.webhooks.remove(&id).unwrap().webhook;
                let waiting: Vec<i64> = self.deliveries.keys().copied().collect();
                let is_of_it = |id: &i64| self.deliveries[id].delivery.webhook == Some(deleted.id);
                let waiting: Vec<i64> = waiting.into_iter().filter(is_of_it).collect();
                let why = "the webhook was deleted";
                let ended = waiting.into_iter().filter(|id| self.end_delivery(*id, why, now)).count();
                format!("{} {ended}", webhook(&deleted))
            }
            Operation::EnableWebhook(at, owner) => {
                self.change_webhook(*at, *owner, |hook| hook.disabled = None)
            }
            Operation::DisableWebhook(at, why) => {
                let reason = text(*why).to_owned();
                self.change_webhook(*at, None, |webhook| {
                    webhook.disabled.get_or_insert(Disabled { at: now, reason });
                });
                String::new()
            }
            Operation::RotateWebhook(at, owner, key) => {
                self.change_webhook(*at, *owner, |webhook| rotate(&mut webhook.keys, secret(*key), now))
            }
            Operation::SigningKeys(owner, key) => {
                let fresh = SigningKeys { current: secret(*key), old: None };
                keys(self.signing.entry(*owner).or_insert(fresh))
            }
            Operation::RotateKeys(owner, key) => {
                let fresh = SigningKeys { current: secret(*key), old: None };
                let known = self.signing.entry(*owner).or_insert(fresh);
                rotate(known, secret(*key), now);
                keys(known)
            }
            Operation::Report(at, is_good, reply) => {
                let Some(id) = self.task_at(*at) else { return String::new() };
                let verdict = if *is_good { Verdict::Good } else { Verdict::Bad };
                let report = next_report(self.reports.get(&id), *reply, now)
                    .or_else(|| Report::new(&self.tasks[&id].task, verdict, now).ok());
                if let Some(report) = report {
                    self.reports.insert(id, report);
                }
                format!("{:?}", self.reports.get(&id))
            }
            other => self.remember(other, now),
        }
    }

    fn owned_webhook(&self, at: usize, owner: Option<i64>) -> Option<i64> {
        let webhook = self.webhook_at(at)?;
        owner.is_none_or(|owner| owner == webhook.owner.number()).then_some(webhook.id)
    }

    fn change_webhook(&mut self, at: usize, owner: Option<i64>, change: impl FnOnce(&mut Webhook)) -> String {
        let Some(id) = self.owned_webhook(at, owner) else { return "None".to_owned() };
        let changed = &mut self.webhooks.get_mut(&id).unwrap().webhook;
        change(changed);
        webhook(changed)
    }

    fn remember(&mut self, operation: &Operation, now: Timestamp) -> String {
        match operation {
            Operation::StoreCredit(at, calls, refusals) => {
                self.credit.insert(*at, credit(*calls, *refusals));
                format!("{:?}", self.credit[at])
            }
            Operation::StoreBackoff(at, first, second) => {
                self.backoff.insert(*at, backoff([*first, *second], now));
                format!("{:?}", self.backoff[at])
            }
            Operation::Remember(name, value) => {
                self.memory.insert(NAMES[*name], text(*value).to_owned());
                format!("{:?}", self.memory.get(NAMES[*name]))
            }
            Operation::AddToken(name) => {
                let digest = unique_digest(self.serial, *name);
                self.tokens.insert(self.next_token, (digest, text(*name).to_owned()));
                self.next_token += 1;
                format!("{:?}", self.tokens.iter().collect::<Vec<_>>())
            }
            Operation::DeleteToken(id) => {
                if self.tokens.remove(id).is_some() {
                    self.webhooks.retain(|_, row| row.webhook.owner.number() != *id);
                    self.caller_urls.remove(id);
                }
                String::new()
            }
            Operation::AddCallerUrl(owner, at, most) => {
                let (known, new) = (self.caller_urls.entry(*owner).or_default(), url(*at));
                let is_known = |known: &[CallerUrl]| known.iter().any(|known| known.expose() == new.expose());
                if !is_known(known) && known.len() < *most as usize {
                    known.push(new.clone());
                }
                is_known(known).to_string()
            }
            Operation::DeleteCallerUrl(owner, at) => {
                let target = at.map(url);
                let known = self.caller_urls.entry(*owner).or_default();
                let before = known.len();
                known.retain(|known| target.as_ref().is_some_and(|target| known.expose() != target.expose()));
                (known.len() < before).to_string()
            }
            Operation::AddUrl(at) => {
                self.added_urls.insert(text(*at).to_owned());
                String::new()
            }
            Operation::DeleteUrl(at) => {
                self.added_urls.retain(|known| *at < 12 && known != text(*at));
                String::new()
            }
            other => unreachable!("{other:?} is done elsewhere"),
        }
    }
}

/// What a known report becomes by a reply; a report that is repeated stays as it is.
pub(super) fn next_report(known: Option<&Report>, reply: Option<usize>, now: Timestamp) -> Option<Report> {
    let mut report = known?.clone();
    if let Some(reply) = reply {
        report.answered(REPLIES[reply], now);
    }
    Some(report)
}

/// What somebody has to say of a delivery who tried it, or who did so with what it was before.
pub(super) fn attempt(delivery: &mut Delivery, (tried, is_stale): (&Tried, bool), now: Timestamp) {
    let tried_since = is_stale && delivery.attempts > 0;
    if is_stale && !tried_since {
        delivery.started_at = ago(delivery.started_at, 1);
    }
    delivery.status = DeliveryStatus::Waiting;
    delivery.ended_at = None;
    delivery.attempted(&tried.attempt(), &Retries::STANDARD, 0, now);
    if tried_since {
        delivery.attempts = delivery.attempts.saturating_sub(2);
    }
}

/// A delivery whose receiver wants no more.
pub(super) fn gone(mut delivery: Delivery, now: Timestamp) -> Delivery {
    (delivery.status, delivery.last_status) = (DeliveryStatus::Dead, Some(410));
    (delivery.last_error, delivery.ended_at) = (Some("gone".to_owned()), Some(now));
    delivery
}
