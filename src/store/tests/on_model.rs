//! Operations on the model. What each returns is compared with what the stores return.

use std::collections::BTreeMap;

use super::model::Model;
use super::operation::Operation;
use super::words::text;
use crate::model::{
    Backoff, Cause, Delivery, ErrorCode, Hold, Purse, Script, SigningKeys, Status, Task, TaskId, Terms,
    Timestamp, Via, Webhook,
};
use crate::store::{Credit, ParkedPingback};

/// The `at`th of the newest `most`.
fn nth<V>(map: &BTreeMap<i64, V>, at: usize, most: usize) -> Option<i64> {
    let newest: Vec<i64> = map.keys().rev().take(most).copied().collect();
    newest.get(at.checked_rem(newest.len())?).copied()
}

/// Whether a task may be claimed.
fn is_sendable(task: &Task, now: Timestamp) -> bool {
    task.status == Status::Queued && task.due_at.is_none_or(|due| due <= now) && now < task.expires_at
}

/// Times of this many milliseconds before.
pub(super) fn ago(now: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_micros(now.as_micros() - millis * 1000)
}

pub(super) fn keys(keys: &SigningKeys) -> String {
    let old = keys.old.as_ref().map(|(secret, until)| (secret.expose(), until));
    format!("{} {old:?}", keys.current.expose())
}

pub(super) fn webhook(webhook: &Webhook) -> String {
    let Webhook { id, owner, url, kinds, created_at, disabled, .. } = webhook;
    let keys = keys(&webhook.keys);
    format!("{id} {owner:?} {} {kinds:?} {keys} {created_at:?} {disabled:?}", url.text())
}

/// What came early for a task is its own.
pub(super) fn join(task: &mut Task, parked: &mut [ParkedPingback]) -> Vec<(i64, TaskId)> {
    let mut joined = Vec::new();
    for parked in parked {
        let is_of_task = task.captcha_id.as_ref() == Some(&parked.pingback.captcha_id);
        if is_of_task && parked.task_id.is_none() && parked.pingback.received_at >= task.created_at {
            task.settle(&parked.pingback, Via::Pingback);
            parked.task_id = Some(task.id);
            joined.push((parked.id, task.id));
        }
    }
    joined
}

pub(super) fn backoff(holds: [Option<(usize, i64)>; 2], now: Timestamp) -> Backoff {
    let hold = |(what, until): (usize, i64)| Hold {
        cause: if what == 0 { Cause::NoConnection } else { Cause::Code(ErrorCode::known(text(what))) },
        since: now,
        until: (until >= 0).then(|| ago(now, -until)),
        repeats: u32::try_from(what).unwrap(),
    };
    let holds = Script::ALL.into_iter().zip(holds);
    Backoff::restored(holds.filter_map(|(script, at)| Some((script, hold(at?)))))
}

pub(super) fn credit(calls: u32, refusals: u32) -> Credit {
    Credit { calls: Purse::with(calls, Terms::CALLS), refusals: Purse::with(refusals, Terms::REFUSALS) }
}

impl Model {
    pub(super) fn task_at(&self, at: usize) -> Option<i64> {
        nth(&self.tasks, at, 40)
    }

    pub(super) fn delivery_at(&self, at: usize) -> Option<&Delivery> {
        Some(&self.deliveries[&nth(&self.deliveries, at, 60)?].delivery)
    }

    /// Mostly one that waits.
    pub(super) fn tried_at(&self, at: usize) -> Option<&Delivery> {
        let all = self.deliveries.values().rev().map(|row| &row.delivery);
        let waiting: Vec<_> = all.filter(|delivery| delivery.ended_at.is_none()).take(12).collect();
        if at.is_multiple_of(4) || waiting.is_empty() {
            self.delivery_at(at)
        } else {
            Some(waiting[at % waiting.len()])
        }
    }

    pub(super) fn webhook_at(&self, at: usize) -> Option<&Webhook> {
        Some(&self.webhooks[&nth(&self.webhooks, at, 9)?].webhook)
    }

    /// The tasks that are meant, each once, in order.
    pub(super) fn tasks_at(&self, ats: &[usize]) -> Vec<i64> {
        let mut ids: Vec<i64> = ats.iter().filter_map(|at| self.task_at(*at)).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    pub(super) fn deliveries_at(&self, ats: &[usize]) -> Vec<i64> {
        let mut ids: Vec<i64> = ats.iter().filter_map(|at| Some(self.delivery_at(*at)?.id)).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Whether each of these is a task, as it stands.
    pub(super) fn knows(&self, tasks: &[Task]) -> bool {
        tasks.iter().all(|task| self.tasks.get(&task.id.number()).is_some_and(|row| row.task == *task))
    }

    pub(super) fn sendable(&self, limit: u32, now: Timestamp) -> Vec<Task> {
        let tasks = self.tasks.values().map(|row| &row.task).filter(|task| is_sendable(task, now));
        let mut tasks: Vec<_> = tasks.cloned().collect();
        tasks.sort_by_key(|task| (-task.priority, task.id));
        tasks.truncate(limit as usize);
        tasks
    }

    /// The tasks that a sweep may have to do with. One whose answer is asked for soon is not swept before.
    pub(super) fn swept(&self, resubmit: bool, now: Timestamp) -> Vec<Task> {
        let is_asked_first = |task: &Task| {
            task.status == Status::Submitted
                && now < task.expires_at
                && task.due_at.is_some_and(|due| now < due)
        };
        let tasks = self.tasks.values().map(|row| row.task.clone()).filter(|task| !is_asked_first(task));
        tasks
            .filter_map(|mut task| {
                (task.expire(now) || task.leave_unconfirmed(resubmit, now)).then_some(task)
            })
            .collect()
    }

    /// Does it; what it returns.
    pub(super) fn perform(&mut self, operation: &Operation, now: Timestamp) -> String {
        self.serial += 1;
        match operation {
            Operation::Nothing => String::new(),
            Operation::Submit(new) => self.submit(new, now),
            Operation::Claim(limit) => self.claim(*limit, now),
            Operation::Change(task, change) => self.change(&self.tasks_at(&[*task]), change, now),
            Operation::ChangeAll(tasks, change) => self.change(&self.tasks_at(tasks), change, now),
            Operation::Receive(received, via) => self.receive(received, *via, now),
            Operation::Park(parked) => {
                let of = |task: &Option<usize>| task.and_then(|at| self.task_at(at)).and_then(TaskId::new);
                let parked: Vec<_> = parked.iter().map(|(received, task)| (received, of(task))).collect();
                for (received, task) in parked {
                    self.park(received, task, now);
                }
                String::new()
            }
            Operation::Sweep(resubmit) => {
                let swept = self.swept(*resubmit, now);
                self.update(swept.clone(), now);
                format!("{swept:?}")
            }
            Operation::Abandon => {
                let open = self.tasks.values().map(|row| &row.task).filter(|task| !task.is_final());
                let abandoned = open.map(|task| Task {
                    status: Status::Expired,
                    error: Some(ErrorCode::known(ErrorCode::EXPIRED)),
                    answered_at: Some(now),
                    reason: None,
                    ..task.clone()
                });
                let abandoned: Vec<_> = abandoned.collect();
                let count = abandoned.len();
                self.update(abandoned, now);
                count.to_string()
            }
            Operation::AskForAll => self.ask_for_all(now),
            Operation::Trim(most, limit) => self.trim(*most as usize, *limit as usize),
            Operation::Retire(ages, limit) => format!("{:?}", self.retire(&self.plan(*ages, *limit, now))),
            Operation::Look(look) => self.look(look, now),
            Operation::Attempt(..)
            | Operation::GiveUp(_)
            | Operation::WebhookGone(_)
            | Operation::Replay(..)
            | Operation::ReplayAll(_)
            | Operation::Replan(_)
            | Operation::DropDelivery(_) => self.deliver(operation, now),
            other => self.subscribe(other, now),
        }
    }
}
