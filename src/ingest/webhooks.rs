//! Writes about webhooks: subscriptions, secrets, and messages that are sent again.

use super::batch::Asked;
use super::chores::Chore;
use super::{Granted, Ingest, WriteError};
use crate::model::{NewWebhook, SigningKeys, SigningSecret, Timestamp, TokenId, Webhook};
use crate::store::{Replayed, StoreError, WriteTx};

/// Webhooks that one caller may have: each event is a row for each of them.
pub(crate) const MOST_WEBHOOKS: u32 = 20;
/// Deliveries that one write changes at most, so that many of them do not hold up pingbacks.
pub(crate) const MOST_DELIVERIES: u32 = 500;

/// Something of a caller's, by its number; with an owner, only of theirs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owned {
    pub(crate) id: i64,
    pub(crate) owner: Option<TokenId>,
}

/// A rare write about webhooks that somebody waits for.
#[derive(Debug)]
pub(super) enum WebhookChore {
    /// A subscription of a token.
    Add(Asked<NewWebhook, Granted<Webhook>>),
    Delete(Asked<Owned, Option<Webhook>>),
    /// Gives up on what waits for one that was deleted; how many.
    EndDeliveries(Asked<Webhook, u64>),
    Enable(Asked<Owned, Option<Webhook>>),
    Rotate(Asked<(Owned, SigningSecret), Option<Webhook>>),
    /// Another secret for the URLs that an owner's tasks carry.
    RotateKeys(Asked<(TokenId, SigningSecret), SigningKeys>),
    /// Has a message sent again.
    Replay(Asked<Owned, Replayed>),
    /// Has those of them sent again that can be; how many.
    ReplayAll(Asked<Vec<i64>, u64>),
}

impl WebhookChore {
    pub(super) async fn run(&mut self, tx: &mut WriteTx<'_>, now: Timestamp) -> Result<(), StoreError> {
        match self {
            Self::Add(asked) => {
                let new = &asked.question;
                // It may have been revoked while the request was on its way.
                asked.answer = Some(if tx.may(new.owner, new.sees_all).await? {
                    tx.insert_webhook(new, MOST_WEBHOOKS, now).await?.into()
                } else {
                    Granted::Withdrawn
                });
            }
            Self::Delete(asked) => {
                let Owned { id, owner } = asked.question;
                asked.answer = Some(tx.delete_webhook(id, owner).await?);
            }
            Self::EndDeliveries(asked) => {
                asked.answer = Some(tx.end_deliveries_of(&asked.question, MOST_DELIVERIES, now).await?);
            }
            Self::Enable(asked) => {
                let Owned { id, owner } = asked.question;
                asked.answer = Some(tx.enable_webhook(id, owner).await?);
            }
            Self::Rotate(asked) => {
                let (Owned { id, owner }, secret) = &asked.question;
                asked.answer = Some(tx.rotate_webhook(*id, *owner, secret, now).await?);
            }
            Self::RotateKeys(asked) => {
                let (owner, secret) = &asked.question;
                asked.answer = Some(tx.rotate_signing_keys(*owner, secret, now).await?);
            }
            Self::Replay(asked) => {
                let Owned { id, owner } = asked.question;
                asked.answer = Some(tx.replay_delivery(id, owner, now).await?);
            }
            Self::ReplayAll(asked) => {
                asked.answer = Some(tx.replay_deliveries(&asked.question, now).await?);
            }
        }
        Ok(())
    }

    pub(super) fn finish(self, failure: Option<WriteError>) {
        match self {
            Self::Add(asked) => asked.finish(failure),
            Self::Delete(asked) | Self::Enable(asked) => asked.finish(failure),
            Self::EndDeliveries(asked) => asked.finish(failure),
            Self::Rotate(asked) => asked.finish(failure),
            Self::RotateKeys(asked) => asked.finish(failure),
            Self::Replay(asked) => asked.finish(failure),
            Self::ReplayAll(asked) => asked.finish(failure),
        }
    }

    /// Whether it may change whether there are webhooks.
    pub(super) fn is_about_subscriptions(&self) -> bool {
        matches!(self, Self::Add(_) | Self::Delete(_))
    }

    /// Whether something may be due to be sent because of it.
    pub(super) fn is_replay(&self) -> bool {
        matches!(self, Self::Replay(_) | Self::ReplayAll(_))
    }
}

impl Ingest {
    /// Stores a subscription, unless its owner has [`MOST_WEBHOOKS`].
    pub(crate) async fn add_webhook(&self, new: NewWebhook) -> Result<Granted<Webhook>, WriteError> {
        self.ask_chore(|asked| Chore::Webhook(WebhookChore::Add(asked)), new).await
    }

    /// Deletes a webhook, and gives up on what waits for it.
    pub(crate) async fn delete_webhook(&self, named: Owned) -> Result<Option<Webhook>, WriteError> {
        let deleted = self.ask_chore(|asked| Chore::Webhook(WebhookChore::Delete(asked)), named).await?;
        let Some(webhook) = deleted else { return Ok(None) };
        // Should this fail or break off, what is left is given up on when it is due.
        let is_full = |ended| matches!(ended, Ok(count) if count >= u64::from(MOST_DELIVERIES));
        while is_full(self.end_deliveries_of(webhook.clone()).await) {}
        Ok(Some(webhook))
    }

    async fn end_deliveries_of(&self, deleted: Webhook) -> Result<u64, WriteError> {
        self.ask_chore(|asked| Chore::Webhook(WebhookChore::EndDeliveries(asked)), deleted).await
    }

    /// Has a webhook told of events again.
    pub(crate) async fn enable_webhook(&self, named: Owned) -> Result<Option<Webhook>, WriteError> {
        self.ask_chore(|asked| Chore::Webhook(WebhookChore::Enable(asked)), named).await
    }

    /// Gives a webhook another secret.
    pub(crate) async fn rotate_webhook(
        &self,
        named: Owned,
        secret: SigningSecret,
    ) -> Result<Option<Webhook>, WriteError> {
        self.ask_chore(|asked| Chore::Webhook(WebhookChore::Rotate(asked)), (named, secret)).await
    }

    /// Gives messages to URLs that this owner's tasks carry another secret.
    pub(crate) async fn rotate_signing_keys(
        &self,
        owner: TokenId,
        secret: SigningSecret,
    ) -> Result<SigningKeys, WriteError> {
        self.ask_chore(|asked| Chore::Webhook(WebhookChore::RotateKeys(asked)), (owner, secret)).await
    }

    /// Has a message sent again.
    pub(crate) async fn replay(&self, named: Owned) -> Result<Replayed, WriteError> {
        self.ask_chore(|asked| Chore::Webhook(WebhookChore::Replay(asked)), named).await
    }

    /// Has those of these messages sent again that have ended and can be sent, at most [`MOST_DELIVERIES`]; how many.
    pub(crate) async fn replay_all(&self, ids: Vec<i64>) -> Result<u64, WriteError> {
        self.ask_chore(|asked| Chore::Webhook(WebhookChore::ReplayAll(asked)), ids).await
    }
}
