//! Operations on what is told to callers, and on the rest of a store.

use super::on_model::{ago, backoff, credit, keys, webhook};
use super::on_model_rest::{MOST_WEBHOOKS, attempt, gone, next_report};
use super::on_store::Turn;
use super::operation::Operation;
use super::words::{NAMES, kinds, secret, text, unique_digest, url};
use crate::model::{NewToken, NewWebhook, Report, Scopes, TokenId, Verdict, Webhook};
use crate::store::{AccountId, Replayed, StoreError, WebhookState};

pub(super) fn account(at: usize) -> AccountId {
    AccountId::new([u8::try_from(at).unwrap(); 32])
}

impl Turn<'_, '_> {
    pub(super) async fn deliver(&mut self, operation: &Operation) -> Result<String, StoreError> {
        let now = self.now;
        match operation {
            Operation::Attempt(at, tried, is_stale) => {
                let Some(mut delivery) = self.model.tried_at(*at).cloned() else {
                    return Ok(String::new());
                };
                attempt(&mut delivery, (tried, *is_stale), now);
                self.tx.store_delivery(&self.ids.of_store(&delivery)).await?;
                Ok(String::new())
            }
            Operation::GiveUp(ats) => {
                let ids = self.model.deliveries_at(ats);
                let ids: Vec<i64> = ids.iter().map(|id| self.ids.deliveries.store(*id)).collect();
                Ok(self.tx.give_up_deliveries(&ids, "\"over\"", now).await?.to_string())
            }
            Operation::WebhookGone(at) => {
                let Some(delivery) = self.model.delivery_at(*at) else { return Ok(String::new()) };
                if delivery.webhook.is_none() {
                    return Ok(String::new());
                }
                let delivery = self.ids.of_store(&gone(delivery.clone(), now));
                self.tx.store_delivery(&delivery).await?;
                self.tx.disable_webhook(delivery.webhook.unwrap(), "gone", now).await?;
                let waiting = self.tx.waiting_beside(&delivery, u32::MAX).await?;
                let why = WebhookState::disabled("gone");
                Ok(self.tx.give_up_deliveries(&waiting, &why, now).await?.to_string())
            }
            Operation::Replay(at, owner) => {
                let Some(delivery) = self.model.delivery_at(*at) else { return Ok(String::new()) };
                let id = self.ids.deliveries.store(delivery.id);
                let replayed = self.tx.replay_delivery(id, owner.map(TokenId::from_number), now).await?;
                Ok(match replayed {
                    Replayed::Done(delivery) => format!("Done({:?})", self.ids.delivery(&delivery)),
                    other => format!("{other:?}"),
                })
            }
            Operation::ReplayAll(ats) => {
                let ids = self.model.deliveries_at(ats);
                let ids: Vec<i64> = ids.iter().map(|id| self.ids.deliveries.store(*id)).collect();
                Ok(self.tx.replay_deliveries(&ids, now).await?.to_string())
            }
            Operation::Replan(back) => Ok(self.tx.replan_deliveries(ago(now, *back)).await?.to_string()),
            Operation::DropDelivery(at) => {
                if let Some(task) = self.model.task_at(*at) {
                    self.tx.drop_delivery(self.ids.task_id(task)).await?;
                }
                Ok(String::new())
            }
            other => unreachable!("{other:?} is no operation on deliveries"),
        }
    }

    /// The store's number of a webhook; 0 if there is none.
    fn webhook_at(&self, at: usize) -> i64 {
        self.model.webhook_at(at).map_or(0, |webhook| self.ids.webhooks.store(webhook.id))
    }

    fn shown(&self, found: Option<Webhook>) -> String {
        found.map_or("None".to_owned(), |found| webhook(&self.ids.webhook(found)))
    }

    pub(super) async fn subscribe(&mut self, operation: &Operation) -> Result<String, StoreError> {
        let now = self.now;
        match operation {
            Operation::AddWebhook { owner, sees_all, url: at, kinds: mask, secret: key } => {
                let (owner, kinds) = (TokenId::from_number(*owner), kinds(*mask));
                let (url, secret) = (url(*at), secret(*key));
                let new = NewWebhook { owner, sees_all: *sees_all, url, kinds, secret };
                let added = self.tx.insert_webhook(&new, MOST_WEBHOOKS, now).await?;
                // Its number is not known yet.
                Ok(added.map_or("None".to_owned(), |added| {
                    webhook(&Webhook { id: self.model.next_webhook, ..added })
                }))
            }
            Operation::DeleteWebhook(at, owner, limit) => {
                let (id, owner) = (self.webhook_at(*at), owner.map(TokenId::from_number));
                let Some(deleted) = self.tx.delete_webhook(id, owner).await? else {
                    return Ok("None".to_owned());
                };
                let mut ended = 0;
                loop {
                    let count = self.tx.end_deliveries_of(&deleted, *limit, now).await?;
                    ended += count;
                    if count < u64::from(*limit) {
                        return Ok(format!("{} {ended}", self.shown(Some(deleted))));
                    }
                    assert!(count == u64::from(*limit), "{count} were ended at once, of at most {limit}");
                }
            }
            Operation::EnableWebhook(at, owner) => {
                let (id, owner) = (self.webhook_at(*at), owner.map(TokenId::from_number));
                let enabled = self.tx.enable_webhook(id, owner).await?;
                Ok(self.shown(enabled))
            }
            Operation::DisableWebhook(at, why) => {
                self.tx.disable_webhook(self.webhook_at(*at), text(*why), now).await?;
                Ok(String::new())
            }
            Operation::RotateWebhook(at, owner, key) => {
                let (id, owner) = (self.webhook_at(*at), owner.map(TokenId::from_number));
                let rotated = self.tx.rotate_webhook(id, owner, &secret(*key), now).await?;
                Ok(self.shown(rotated))
            }
            Operation::SigningKeys(owner, key) => {
                let found = self.tx.signing_keys(TokenId::from_number(*owner), &secret(*key)).await?;
                Ok(keys(&found))
            }
            Operation::RotateKeys(owner, key) => {
                let owner = TokenId::from_number(*owner);
                Ok(keys(&self.tx.rotate_signing_keys(owner, &secret(*key), now).await?))
            }
            Operation::Report(at, is_good, reply) => self.report(*at, *is_good, *reply).await,
            other => self.remember(other).await,
        }
    }

    async fn report(&mut self, at: usize, is_good: bool, reply: Option<usize>) -> Result<String, StoreError> {
        let Some(id) = self.model.task_at(at) else { return Ok(String::new()) };
        let id = self.ids.task_id(id);
        let verdict = if is_good { Verdict::Good } else { Verdict::Bad };
        let known = self.tx.report(id).await?;
        let task = self.tx.tasks_by_ids(&[id]).await?.pop().expect("the model has it");
        let report = next_report(known.as_ref(), reply, self.now);
        if let Some(report) = report.or_else(|| Report::new(&task, verdict, self.now).ok()) {
            self.tx.store_report(&report).await?;
        }
        let stored = self.tx.report(id).await?;
        let stored = stored.map(|report| Report { task: self.ids.model_id(report.task), ..report });
        Ok(format!("{stored:?}"))
    }

    async fn remember(&mut self, operation: &Operation) -> Result<String, StoreError> {
        let now = self.now;
        match operation {
            Operation::StoreCredit(at, calls, refusals) => {
                self.tx.store_credit(&account(*at), &credit(*calls, *refusals)).await?;
                Ok(format!("{:?}", self.tx.credit(&account(*at)).await?))
            }
            Operation::StoreBackoff(at, first, second) => {
                self.tx.store_backoff(&account(*at), &backoff([*first, *second], now)).await?;
                Ok(format!("{:?}", self.tx.backoff(&account(*at)).await?))
            }
            Operation::Remember(name, value) => {
                self.tx.remember(NAMES[*name], text(*value)).await?;
                Ok(format!("{:?}", self.tx.recall(NAMES[*name]).await?))
            }
            Operation::AddToken(name) => {
                let digest = unique_digest(self.serial(), *name);
                let new = NewToken { name: text(*name).to_owned(), digest, scopes: Scopes::ADMIN };
                let token = self.tx.insert_token(&new, u32::MAX, now).await?.expect("there is room");
                self.ids.tokens.learn(token.id.number());
                let tokens = self.tx.tokens().await?.into_iter();
                let tokens =
                    tokens.map(|row| (self.ids.tokens.model(row.id.number()), (row.digest, row.name)));
                Ok(format!("{:?}", tokens.collect::<Vec<_>>()))
            }
            Operation::DeleteToken(id) => {
                // The first ones have the same numbers everywhere, and they are owners.
                let query = self.tx.query("DELETE FROM token WHERE id = $1").bind(self.ids.tokens.store(*id));
                query.execute().await?;
                Ok(String::new())
            }
            Operation::AddCallerUrl(owner, at, most) => {
                let owner = TokenId::from_number(*owner);
                Ok(self.tx.insert_caller_url(owner, &url(*at), *most, now).await?.to_string())
            }
            Operation::DeleteCallerUrl(owner, at) => {
                let (owner, url) = (TokenId::from_number(*owner), at.map(url));
                Ok(self.tx.delete_caller_url(owner, url.as_ref()).await?.to_string())
            }
            Operation::AddUrl(at) => {
                self.tx.insert_added_url(text(*at), now).await?;
                Ok(String::new())
            }
            Operation::DeleteUrl(at) => {
                self.tx.delete_added_url(if *at < 12 { text(*at) } else { "all" }).await?;
                Ok(String::new())
            }
            other => unreachable!("{other:?} is done elsewhere"),
        }
    }
}
