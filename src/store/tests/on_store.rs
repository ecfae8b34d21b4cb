//! Operations on a store, as the writer does them: what it needs it reads in the same transaction. What each returns
//! is told in the model's numbers.

use super::ids::{Ids, failed};
use super::model::Model;
use super::on_model::{ago, join};
use super::operation::{Change, Look, New, Operation, Received};
use super::words::{text, unique_digest, url};
use crate::model::{Status, Task, TaskId, Timestamp, TokenId, Via};
use crate::store::{NewTask, Parked, StoreError, WriteTx};

/// An operation on a store.
pub(super) struct Turn<'a, 'c> {
    pub(super) tx: &'a mut WriteTx<'c>,
    pub(super) ids: &'a mut Ids,
    /// As it was before the operation.
    pub(super) model: &'a Model,
    pub(super) now: Timestamp,
}

impl Turn<'_, '_> {
    /// Does it; what it returns.
    pub(super) async fn perform(&mut self, operation: &Operation) -> Result<String, String> {
        self.try_perform(operation).await.map_err(failed)
    }

    /// The number that the operation has in the model.
    pub(super) fn serial(&self) -> u64 {
        self.model.serial + 1
    }

    async fn try_perform(&mut self, operation: &Operation) -> Result<String, StoreError> {
        let now = self.now;
        match operation {
            Operation::Nothing => Ok(String::new()),
            Operation::Submit(new) => self.submit(new).await,
            Operation::Claim(limit) => self.claim(*limit).await,
            Operation::Change(task, change) => self.change(&self.model.tasks_at(&[*task]), change).await,
            Operation::ChangeAll(tasks, change) => self.change(&self.model.tasks_at(tasks), change).await,
            Operation::Receive(received, via) => self.receive(received, *via).await,
            Operation::Park(parked) => {
                let task = |at: &Option<usize>| Some(self.ids.task_id(self.model.task_at((*at)?)?));
                let pingbacks: Vec<_> =
                    parked.iter().map(|(received, at)| (received.pingback(now), task(at))).collect();
                let parked =
                    pingbacks.iter().map(|(pingback, task_id)| Parked { pingback, task_id: *task_id });
                self.tx.insert_pingbacks(&parked.collect::<Vec<_>>()).await?;
                Ok(String::new())
            }
            Operation::Sweep(resubmit) => {
                let mut tasks = self.tx.overdue_tasks(u32::MAX, now).await?;
                tasks.retain_mut(|task| task.expire(now) || task.leave_unconfirmed(*resubmit, now));
                self.store(tasks).await
            }
            Operation::Abandon => Ok(self.tx.abandon_open_tasks(now).await?.to_string()),
            Operation::AskForAll => Ok(self.tx.ask_for_all(now).await?.to_string()),
            Operation::Trim(most, limit) => {
                let trimmed = self.tx.trim_unmatched(*most, *limit).await?;
                Ok(format!("{} {}", trimmed.dropped, trimmed.left))
            }
            Operation::Retire(ages, limit) => {
                let plan = self.model.plan(*ages, *limit, now);
                Ok(format!("{:?}", self.tx.retire(&plan).await?))
            }
            Operation::Look(look) => self.look(look).await,
            Operation::Attempt(..)
            | Operation::GiveUp(_)
            | Operation::WebhookGone(_)
            | Operation::Replay(..)
            | Operation::ReplayAll(_)
            | Operation::Replan(_)
            | Operation::DropDelivery(_) => self.deliver(operation).await,
            other => self.subscribe(other).await,
        }
    }

    async fn submit(&mut self, new: &[New]) -> Result<String, StoreError> {
        let first = self.tx.task_numbers(u32::try_from(new.len()).unwrap()).await?;
        let rows = new.iter().zip(first..).map(|(new, id)| NewTask {
            task: new.task(TaskId::new(id).unwrap(), self.now),
            captcha: new.captcha(),
            idempotency: new.key(self.serial()),
            callback: new.callback.map(url),
            webhook_url: new.webhook.map(url),
        });
        let rows: Vec<_> = rows.collect();
        self.tx.insert_tasks(&rows).await?;
        let ids: Vec<_> = rows.iter().map(|row| row.task.id).collect();
        for id in &ids {
            self.ids.tasks.learn(id.number());
        }
        let mut tasks = self.tx.tasks_by_ids(&ids).await?;
        tasks.sort_by_key(|task| task.id);
        Ok(format!("{:?}", self.ids.tasks(tasks)))
    }

    async fn claim(&mut self, limit: u32) -> Result<String, StoreError> {
        let mut tasks = self.tx.sendable_tasks(limit, self.now).await?;
        for task in &mut tasks {
            task.start_sending(self.now);
        }
        if !tasks.is_empty() {
            self.tx.update_tasks(tasks.iter()).await?;
            let digest = |place| unique_digest(self.serial(), place);
            let tokens: Vec<_> =
                tasks.iter().enumerate().map(|(place, task)| (task.id, digest(place))).collect();
            self.tx.insert_task_tokens(&tokens).await?;
        }
        Ok(format!("{:?}", self.ids.tasks(tasks)))
    }

    /// Stores changed tasks; these in the order of their numbers.
    async fn store(&mut self, mut tasks: Vec<Task>) -> Result<String, StoreError> {
        if !tasks.is_empty() {
            self.tx.update_tasks(tasks.iter()).await?;
        }
        tasks.sort_by_key(|task| task.id);
        Ok(format!("{:?}", self.ids.tasks(tasks)))
    }

    async fn change(&mut self, ids: &[i64], change: &Change) -> Result<String, StoreError> {
        let mut tasks = self.tx.tasks_by_ids(&self.ids.task_ids(ids)).await?;
        tasks.sort_by_key(|task| task.id);
        let mut parked = match change.accepted() {
            Some(captcha_id) => self.tx.parked_pingbacks(&[&captcha_id]).await?,
            None => Vec::new(),
        };
        let mut joined = Vec::new();
        for task in &mut tasks {
            change.apply(task, self.now);
            joined.extend(join(task, &mut parked));
        }
        if !joined.is_empty() {
            self.tx.join_pingbacks(&joined).await?;
        }
        let of_model = |(id, task): &(i64, TaskId)| (self.ids.pingbacks.model(*id), self.ids.model_id(*task));
        let joined: Vec<_> = joined.iter().map(of_model).collect();
        Ok(format!("{} {joined:?}", self.store(tasks).await?))
    }

    async fn receive(&mut self, received: &Received, via: Via) -> Result<String, StoreError> {
        let pingback = received.pingback(self.now);
        let found = self.tx.tasks_by_captcha_ids(&[&pingback.captcha_id]).await?;
        let mut settled = found.clone();
        settled.retain_mut(|task| task.settle(&pingback, via));
        if settled.is_empty() {
            let task_id = found.last().map(|task| task.id);
            self.tx.insert_pingbacks(&[Parked { pingback: &pingback, task_id }]).await?;
        }
        let found = self.ids.tasks(found);
        Ok(format!("{found:?} {}", self.store(settled).await?))
    }

    async fn look(&mut self, look: &Look) -> Result<String, StoreError> {
        let since = ago(self.now, look.age);
        let owner = TokenId::from_number(look.owner);
        let by_key = self.tx.task_by_idempotency_key(owner, text(look.key), since).await?;
        let by_key = by_key.map(|(task, digest)| (self.ids.task(task), digest));
        let sending = self.tx.tasks_in_sending(look.limit, since).await?;
        let sending = self.ids.tasks(sending);
        let times: Vec<_> = sending.iter().filter_map(|task| task.sent_at).collect();
        let all_sending = sending.iter().all(|task| task.status == Status::Submitting);
        let beside = match self.model.delivery_at(look.delivery) {
            Some(delivery) => self.tx.waiting_beside(&self.ids.of_store(delivery), look.limit).await?,
            None => Vec::new(),
        };
        let waiting = self.model.beside(look.delivery);
        let all_beside = beside.iter().all(|id| waiting.contains(&self.ids.deliveries.model(*id)));
        let overdue = self.tx.overdue_tasks(look.limit, self.now).await?;
        let overdue = self.ids.tasks(overdue);
        let is_few = overdue.len() <= 3 * look.limit as usize && self.model.knows(&overdue);
        let all_known = self.model.knows(&sending) && all_sending && all_beside;
        let mut committed = self.tx.committed(self.now).await?;
        if self.tx.is_shared() {
            // What is being sent counts too, where the process that commits cannot know whether it is its own.
            committed -= self.model.cost_of_sending();
        }
        Ok(format!("{by_key:?} {times:?} {all_known} {} {is_few} {committed}", beside.len()))
    }
}
