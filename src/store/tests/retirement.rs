//! What the model forgets.

use super::model::{DeliveryRow, EventRow, Model, TaskRow};
use super::on_model::ago;
use crate::model::{DeliveryStatus, TaskId, Timestamp};
use crate::store::{ParkedPingback, Retired, RetirementPlan};

impl Model {
    /// A plan by which all stores forget the same: no batch ends between rows that are equally old, or that may be
    /// numbered either way.
    pub(super) fn plan(&self, ages: [u32; 3], limit: u32, now: Timestamp) -> RetirementPlan {
        let [answers_before, tasks_before, keys_before] = ages.map(|secs| ago(now, i64::from(secs) * 1000));
        let plan = |limit| RetirementPlan { answers_before, tasks_before, keys_before, limit };
        let limit = (limit..=10_000).find(|limit| !self.is_ambiguous(&plan(*limit)));
        plan(limit.unwrap())
    }

    fn is_ambiguous(&self, plan: &RetirementPlan) -> bool {
        fn is_cut<K: PartialEq>(keys: impl Iterator<Item = K>, at: u32) -> bool {
            let around: Vec<K> = keys.skip(at as usize - 1).take(2).collect();
            around.len() == 2 && around[0] == around[1]
        }
        let ended_at = |id| self.tasks[&id].task.answered_at;
        let mut then = self.clone();
        then.retire_events(plan);
        is_cut(self.erasable(plan.answers_before).into_iter().map(ended_at), plan.limit)
            || is_cut(
                then.old_keys(plan.keys_before).into_iter().map(|key| then.keys[&key].created_at),
                plan.limit,
            )
            || is_cut(self.events.values().map(|event| event.serial), 4 * plan.limit)
            || is_cut(then.deliveries.values().map(|row| row.serial), 4 * plan.limit)
    }

    /// Forgets one batch of what is old.
    pub(super) fn retire(&mut self, plan: &RetirementPlan) -> Retired {
        let (limit, many) = (plan.limit as usize, 4 * plan.limit as usize);
        let mut retired = Retired::default();
        for id in self.erasable(plan.answers_before).into_iter().take(limit) {
            self.erase(id);
            retired.answers += 1;
        }
        (retired.events, retired.tasks) = self.retire_events(plan);
        let is_old =
            |row: &DeliveryRow| row.delivery.task.is_none() && row.delivery.created_at < plan.tasks_before;
        let oldest = self.deliveries.iter().take(many).filter(|(_, row)| is_old(row));
        let oldest: Vec<i64> = oldest.map(|(id, _)| *id).collect();
        retired.deliveries = oldest.len() as u64;
        for id in &oldest {
            self.deliveries.remove(id);
        }
        let is_old = |parked: &ParkedPingback| parked.pingback.received_at < plan.answers_before;
        let oldest = self.pingbacks.iter().take(limit).filter(|(_, parked)| is_old(parked));
        let oldest: Vec<i64> = oldest.map(|(id, _)| *id).collect();
        retired.pingbacks = oldest.len() as u64;
        for id in &oldest {
            self.pingbacks.remove(id);
        }
        let old = self.old_keys(plan.keys_before).into_iter().take(limit);
        retired.keys = old.map(|key| self.keys.remove(&key)).count() as u64;
        retired
    }

    /// Deletes what the feed begins with and is old, and the tasks whose end that told. How many of both.
    pub(super) fn retire_events(&mut self, plan: &RetirementPlan) -> (u64, u64) {
        let is_old = |(_, event): &(&i64, &EventRow)| event.time < plan.tasks_before;
        let oldest = self.events.iter().take(4 * plan.limit as usize).take_while(is_old);
        let oldest: Vec<i64> = oldest.map(|(number, _)| *number).collect();
        let ended = |event: EventRow| event.task.filter(|_| event.kind.is_end());
        let events: Vec<_> = oldest.iter().filter_map(|number| self.events.remove(number)).collect();
        let deleted = events.into_iter().filter_map(ended).filter(|task| self.delete_task(*task)).count();
        (oldest.len() as u64, deleted as u64)
    }

    /// Tasks whose answers are old, and still there; those that ended first come first.
    pub(super) fn erasable(&self, before: Timestamp) -> Vec<i64> {
        let is_old = |row: &&TaskRow| !row.is_erased && row.task.answered_at.is_some_and(|at| at < before);
        let mut old: Vec<_> =
            self.tasks.values().filter(is_old).map(|row| (row.task.answered_at, row.task.id)).collect();
        old.sort();
        old.into_iter().map(|(_, id)| id.number()).collect()
    }

    pub(super) fn old_keys(&self, before: Timestamp) -> Vec<(i64, String)> {
        let old = self.keys.iter().filter(|(_, row)| row.created_at < before);
        let mut old: Vec<_> = old.map(|(key, row)| (row.created_at, key.clone())).collect();
        old.sort();
        old.into_iter().map(|(_, key)| key).collect()
    }

    /// Erases an answer, images and callers' URLs.
    fn erase(&mut self, id: i64) {
        let row = self.tasks.get_mut(&id).unwrap();
        (row.task.answer, row.task.extra) = (None, None);
        (row.callback, row.task.has_callback) = (None, false);
        (row.webhook, row.task.has_webhook) = (None, false);
        (row.captcha.params, row.captcha.files) = (Vec::new(), Vec::new());
        row.is_erased = true;
        let of_task = self.deliveries.values_mut().filter(|row| row.delivery.task == TaskId::new(id));
        for row in of_task.filter(|row| row.delivery.status != DeliveryStatus::Waiting) {
            row.url = None;
        }
    }

    /// Deletes a task with all that belongs to it, but for its events.
    fn delete_task(&mut self, id: i64) -> bool {
        let task = TaskId::new(id);
        self.keys.retain(|_, row| row.task != id);
        self.task_tokens.retain(|_, task| *task != id);
        self.reports.remove(&id);
        self.pingbacks.retain(|_, parked| parked.task_id != task);
        self.deliveries.retain(|_, row| row.delivery.task != task);
        self.tasks.remove(&id).is_some()
    }
}
