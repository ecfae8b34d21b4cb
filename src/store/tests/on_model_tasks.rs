//! Operations on tasks and pingbacks of the model.

use std::time::Duration;

use super::model::{EventRow, Model, TaskRow};
use super::on_model::{ago, join};
use super::operation::{Change, Look, New, Received};
use super::words::{text, unique_digest};
use crate::model::{EventKind, Outcome, Status, TaskId, Timestamp, Via};
use crate::store::ParkedPingback;

impl Model {
    pub(super) fn submit(&mut self, new: &[New], now: Timestamp) -> String {
        let serial = self.serial;
        let rows = new.iter().zip(self.next_task..).map(|(new, id)| {
            let row = TaskRow {
                task: new.task(TaskId::new(id).unwrap(), now),
                captcha: new.captcha(),
                callback: new.callback.map(super::words::url),
                webhook: new.webhook.map(super::words::url),
                is_erased: false,
            };
            (row, new.key(serial))
        });
        let rows: Vec<_> = rows.collect();
        let tasks: Vec<_> = rows.iter().map(|(row, _)| row.task.clone()).collect();
        self.insert(rows, now);
        format!("{tasks:?}")
    }

    pub(super) fn claim(&mut self, limit: u32, now: Timestamp) -> String {
        let mut tasks = self.sendable(limit, now);
        for task in &mut tasks {
            task.start_sending(now);
        }
        self.update(tasks.clone(), now);
        for (place, task) in tasks.iter().enumerate() {
            self.task_tokens.insert(unique_digest(self.serial, place), task.id.number());
        }
        format!("{tasks:?}")
    }

    pub(super) fn change(&mut self, ids: &[i64], change: &Change, now: Timestamp) -> String {
        let mut tasks: Vec<_> = ids.iter().map(|id| self.tasks[id].task.clone()).collect();
        let mut parked: Vec<_> = self.pingbacks.values().cloned().collect();
        parked.retain(|parked| Some(&parked.pingback.captcha_id) == change.accepted().as_ref());
        let mut joined = Vec::new();
        for task in &mut tasks {
            change.apply(task, now);
            joined.extend(join(task, &mut parked));
        }
        self.update(tasks.clone(), now);
        for (id, task) in &joined {
            self.pingbacks.get_mut(id).unwrap().task_id = Some(*task);
        }
        format!("{tasks:?} {joined:?}")
    }

    /// A pingback settles the open tasks with its captcha ID, or is kept for the newest task, or for nobody.
    pub(super) fn receive(&mut self, received: &Received, via: Via, now: Timestamp) -> String {
        let pingback = received.pingback(now);
        let tasks = self.tasks.values().map(|row| row.task.clone());
        let found: Vec<_> =
            tasks.filter(|task| task.captcha_id.as_ref() == Some(&pingback.captcha_id)).collect();
        let mut settled = found.clone();
        settled.retain_mut(|task| task.settle(&pingback, via));
        self.update(settled.clone(), now);
        if settled.is_empty() {
            self.park(received, found.last().map(|task| task.id), now);
        }
        format!("{found:?} {settled:?}")
    }

    pub(super) fn park(&mut self, received: &Received, task_id: Option<TaskId>, now: Timestamp) {
        let (id, pingback) = (self.next_pingback, received.pingback(now));
        self.next_pingback += 1;
        if task_id.is_none() && pingback.outcome != Outcome::Notice {
            self.tell(EventRow {
                kind: EventKind::Unmatched,
                time: now,
                owner: None,
                task: None,
                pingback: Some(id),
                captcha_id: Some(pingback.captcha_id.clone()),
                attempts: 0,
                submitted_at: None,
                serial: self.serial,
            });
        }
        self.pingbacks.insert(id, ParkedPingback { id, task_id, pingback });
    }

    /// Every submitted task is asked for in 5 s, or 20 s after it was taken, unless that is later than planned; one that
    /// is due is left alone, and so is one that is nearly too old.
    pub(super) fn ask_for_all(&mut self, now: Timestamp) -> String {
        let oldest = now.before(Duration::from_secs(810));
        let mut count = 0;
        for task in self.tasks.values_mut().map(|row| &mut row.task) {
            let (Some(due_at), Some(submitted_at)) = (task.due_at, task.submitted_at) else { continue };
            if task.status == Status::Submitted && due_at > now && submitted_at > oldest {
                let soon = now.after(Duration::from_secs(5)).max(submitted_at.after(Duration::from_secs(20)));
                task.due_at = Some(due_at.min(soon));
                count += 1;
            }
        }
        count.to_string()
    }

    /// Unmatched pingbacks are dropped, oldest first, until `most` are left, but at most `limit`.
    pub(super) fn trim(&mut self, most: usize, limit: usize) -> String {
        let unmatched: Vec<i64> = self
            .pingbacks
            .values()
            .filter(|parked| parked.task_id.is_none())
            .map(|parked| parked.id)
            .collect();
        let dropped = unmatched.len().saturating_sub(most).min(limit);
        for id in &unmatched[..dropped] {
            self.pingbacks.remove(id);
        }
        format!("{dropped} {}", unmatched.len() - dropped)
    }

    /// What was spent today, and what the tasks may still cost that the provider has, or may have.
    fn committed(&self, now: Timestamp) -> i64 {
        let today = self.spent.iter().filter(|((day, _), _)| *day == now.as_micros() / super::model::DAY);
        let spent = today.fold(0_i64, |sum, (_, spent)| sum.saturating_add(spent.nanos));
        let is_under_way = |status| matches!(status, Status::Submitted | Status::Unconfirmed);
        let open = self.tasks.values().map(|row| &row.task).filter(|task| is_under_way(task.status));
        open.fold(spent, |sum, task| sum.saturating_add(task.kind.rate_nanos()))
    }

    /// What the tasks may cost that are being sent.
    pub(super) fn cost_of_sending(&self) -> i64 {
        let sending =
            self.tasks.values().map(|row| &row.task).filter(|task| task.status == Status::Submitting);
        sending.map(|task| task.kind.rate_nanos()).sum()
    }

    pub(super) fn look(&mut self, look: &Look, now: Timestamp) -> String {
        let since = ago(now, look.age);
        let by_key = self.keys.get(&(look.owner, text(look.key).to_owned()));
        let by_key = by_key.filter(|row| row.created_at >= since);
        let by_key = by_key.map(|row| (self.tasks[&row.task].task.clone(), row.digest.to_vec()));
        let sending =
            self.tasks.values().map(|row| &row.task).filter(|task| task.status == Status::Submitting);
        let mut sending: Vec<_> = sending.filter_map(|task| task.sent_at).filter(|at| *at <= since).collect();
        sending.sort();
        sending.truncate(look.limit as usize);
        let beside = self.beside(look.delivery).len().min(look.limit as usize);
        format!("{by_key:?} {sending:?} true {beside} true {}", self.committed(now))
    }

    /// What waits for the same webhook as this delivery.
    pub(super) fn beside(&self, at: usize) -> Vec<i64> {
        let Some(delivery) = self.delivery_at(at) else { return Vec::new() };
        let Some(webhook) = delivery.webhook else { return Vec::new() };
        let waiting =
            self.deliveries.values().map(|row| &row.delivery).filter(|other| other.ended_at.is_none());
        waiting.filter(|other| other.webhook == Some(webhook)).map(|other| other.id).collect()
    }
}
