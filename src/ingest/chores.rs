//! Writes that are rare: credit, pauses, reports, and what is remembered. They are done one by one,
//! within the batch that they came in.

use super::batch::Asked;
use super::tokens::TokenChore;
use super::webhooks::WebhookChore;
use super::{Paid, Reported, UrlAdded, WriteError};
use crate::model::{
    Backoff, CallerUrl, Delivery, Report, SigningKeys, SigningSecret, TaskId, Timestamp, TokenId, Verdict,
};
use crate::store::{AccountId, StoreError, WebhookState, WriteTx};

/// Deliveries that one write ends at most beside its own, so that many of them do not hold up pingbacks.
pub(crate) const MOST_ENDED: u32 = 500;
/// URLs that one caller may have registered.
const MOST_CALLER_URLS: u32 = 100;

/// A wish to report on a task; with an owner, only on one of theirs.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewReport {
    pub(super) task: TaskId,
    pub(super) owner: Option<TokenId>,
    pub(super) verdict: Verdict,
}

/// A rare write that somebody waits for.
#[derive(Debug)]
pub(super) enum Chore {
    /// Pays for a request to `res.php`, with so much left in reserve.
    Pay(Asked<u32, Paid>),
    /// Gives that back.
    Refund(Asked<(), ()>),
    /// The provider had no slot; how many more such replies the account can afford.
    Refuse(Asked<(), u32>),
    /// The pauses have changed from this to that; what they are by it.
    Backoff(Asked<(Backoff, Backoff), Backoff>),
    Report(Asked<NewReport, Reported>),
    ReportEnded(Asked<Report, ()>),
    /// The secrets of an owner of tasks; if there are none, this one.
    SigningKeys(Asked<(TokenId, SigningSecret), SigningKeys>),
    /// A delivery was tried.
    Delivery(Asked<Delivery, ()>),
    /// A delivery was tried, and its webhook wants no more; how many others were ended with it.
    WebhookGone(Asked<Delivery, u64>),
    /// Gives up on deliveries, for this reason; how many.
    GiveUp(Asked<(Vec<i64>, &'static str), u64>),
    /// Has deliveries whose wait begins in the future begin it now; how many.
    ReplanDeliveries(Asked<(), u64>),
    /// The caller of a task knows already how it ended.
    DropCallback(Asked<TaskId, ()>),
    /// Has every submitted task asked for soon; how many.
    AskForAll(Asked<(), u64>),
    Remember(Asked<(&'static str, String), ()>),
    /// Remembers one value in place of another; whether it was that one.
    Replace(Asked<(&'static str, [String; 2]), bool>),
    /// A pingback URL was added for others, or deleted.
    AddedUrl(Asked<(String, bool), ()>),
    /// A caller registers a URL of its own.
    AddCallerUrl(Asked<(TokenId, CallerUrl), UrlAdded>),
    /// It deletes one, or all; whether there was one.
    DeleteCallerUrl(Asked<(TokenId, Option<CallerUrl>), bool>),
    Token(TokenChore),
    Webhook(WebhookChore),
}

impl Chore {
    pub(super) async fn run(
        &mut self,
        tx: &mut WriteTx<'_>,
        account: &AccountId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        match self {
            Self::Pay(asked) => asked.answer = Some(pay(tx, account, asked.question).await?),
            Self::Refund(asked) => {
                let mut credit = tx.credit(account).await?;
                credit.calls.refund();
                tx.store_credit(account, &credit).await?;
                asked.answer = Some(());
            }
            Self::Refuse(asked) => {
                let mut credit = tx.credit(account).await?;
                if credit.refusals.pay(0) {
                    tx.store_credit(account, &credit).await?;
                }
                asked.answer = Some(credit.refusals.level());
            }
            Self::Backoff(asked) => {
                let (before, after) = &asked.question;
                let changed = tx.backoff(account).await?.changed(before, after);
                tx.store_backoff(account, &changed).await?;
                asked.answer = Some(changed);
            }
            Self::Report(asked) => asked.answer = Some(report(tx, asked.question, now).await?),
            Self::ReportEnded(asked) => asked.answer = Some(tx.store_report(&asked.question).await?),
            Self::SigningKeys(asked) => {
                let (owner, fresh) = &asked.question;
                asked.answer = Some(tx.signing_keys(*owner, fresh).await?);
            }
            Self::Delivery(asked) => asked.answer = Some(tx.store_delivery(&asked.question).await?),
            Self::WebhookGone(asked) => asked.answer = Some(webhook_gone(tx, &asked.question, now).await?),
            Self::GiveUp(asked) => {
                let (ids, why) = &asked.question;
                asked.answer = Some(tx.give_up_deliveries(ids, why, now).await?);
            }
            Self::ReplanDeliveries(asked) => asked.answer = Some(tx.replan_deliveries(now).await?),
            Self::DropCallback(asked) => asked.answer = Some(tx.drop_delivery(asked.question).await?),
            Self::AskForAll(asked) => asked.answer = Some(tx.ask_for_all(now).await?),
            Self::Remember(asked) => {
                let (name, value) = &asked.question;
                asked.answer = Some(tx.remember(name, value).await?);
            }
            Self::Replace(asked) => {
                let (name, [before, after]) = &asked.question;
                let is_known = tx.recall(name).await?.is_some_and(|known| known == *before);
                if is_known {
                    tx.remember(name, after).await?;
                }
                asked.answer = Some(is_known);
            }
            Self::AddedUrl(asked) => {
                let (url, is_added) = &asked.question;
                let done = if *is_added {
                    tx.insert_added_url(url, now).await
                } else {
                    tx.delete_added_url(url).await
                };
                asked.answer = Some(done?);
            }
            Self::AddCallerUrl(asked) => {
                let (owner, url) = &asked.question;
                let is_added = tx.insert_caller_url(*owner, url, MOST_CALLER_URLS, now).await?;
                asked.answer = Some(if is_added { UrlAdded::Added } else { UrlAdded::Full });
            }
            Self::DeleteCallerUrl(asked) => {
                let (owner, url) = &asked.question;
                asked.answer = Some(tx.delete_caller_url(*owner, url.as_ref()).await?);
            }
            Self::Token(chore) => chore.run(tx, now).await?,
            Self::Webhook(chore) => chore.run(tx, now).await?,
        }
        Ok(())
    }

    pub(super) fn finish(self, failure: Option<WriteError>) {
        match self {
            Self::Pay(asked) => asked.finish(failure),
            Self::Refund(asked) => asked.finish(failure),
            Self::Refuse(asked) => asked.finish(failure),
            Self::Backoff(asked) => asked.finish(failure),
            Self::Report(asked) => asked.finish(failure),
            Self::ReportEnded(asked) => asked.finish(failure),
            Self::SigningKeys(asked) => asked.finish(failure),
            Self::Delivery(asked) => asked.finish(failure),
            Self::DropCallback(asked) => asked.finish(failure),
            Self::WebhookGone(asked) => asked.finish(failure),
            Self::AskForAll(asked) | Self::ReplanDeliveries(asked) => asked.finish(failure),
            Self::GiveUp(asked) => asked.finish(failure),
            Self::Remember(asked) => asked.finish(failure),
            Self::Replace(asked) => asked.finish(failure),
            Self::AddedUrl(asked) => asked.finish(failure),
            Self::AddCallerUrl(asked) => asked.finish(failure),
            Self::DeleteCallerUrl(asked) => asked.finish(failure),
            Self::Token(chore) => chore.finish(failure),
            Self::Webhook(chore) => chore.finish(failure),
        }
    }
}

async fn pay(tx: &mut WriteTx<'_>, account: &AccountId, reserve: u32) -> Result<Paid, StoreError> {
    let backoff = tx.backoff(account).await?;
    let mut credit = tx.credit(account).await?;
    if !credit.calls.pay(reserve) {
        return Ok(Paid { left: None, backoff });
    }
    tx.store_credit(account, &credit).await?;
    Ok(Paid { left: Some(credit.calls.level()), backoff })
}

/// Stores the delivery, disables its webhook, and ends others that wait for it.
async fn webhook_gone(tx: &mut WriteTx<'_>, delivery: &Delivery, now: Timestamp) -> Result<u64, StoreError> {
    tx.store_delivery(delivery).await?;
    let why = delivery.last_error.as_deref().unwrap_or_default();
    if let Some(webhook) = delivery.webhook {
        tx.disable_webhook(webhook, why, now).await?;
    }
    let waiting = tx.waiting_beside(delivery, MOST_ENDED).await?;
    tx.give_up_deliveries(&waiting, &WebhookState::disabled(why), now).await
}

async fn report(tx: &mut WriteTx<'_>, new: NewReport, now: Timestamp) -> Result<Reported, StoreError> {
    let task = tx.tasks_by_ids(&[new.task]).await?.pop();
    let Some(task) = task.filter(|task| new.owner.is_none_or(|owner| owner == task.owner)) else {
        return Ok(Reported::NotFound);
    };
    if let Some(earlier) = tx.report(task.id).await? {
        return Ok(Reported::Earlier(earlier));
    }
    match Report::new(&task, new.verdict, now) {
        Ok(report) => {
            tx.store_report(&report).await?;
            Ok(Reported::New(report))
        }
        Err(error) => Ok(Reported::Refused(error)),
    }
}
