//! Forgetting: answers first, then the records, in batches small enough not to hold up pingbacks.

use super::db::{Sql, sql};
use super::write::json;
use super::{StoreError, WriteTx};
use crate::model::Timestamp;

/// A task has about three events, and they go first.
const EVENTS_PER_TASK: u32 = 4;

/// What is old enough to go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetirementPlan {
    /// Answers, images and parked pingbacks from before this time are erased.
    pub(crate) answers_before: Timestamp,
    /// Events from before this time are deleted, and the tasks whose end they tell.
    pub(crate) tasks_before: Timestamp,
    /// Idempotency keys from before this time are deleted.
    pub(crate) keys_before: Timestamp,
    /// At most this many rows of each kind, but four times as many events, and the tasks whose end these tell.
    pub(crate) limit: u32,
}

/// How many rows went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Retired {
    /// Tasks whose answer, images and callers' URLs were erased.
    pub(crate) answers: u64,
    /// Tasks that were deleted.
    pub(crate) tasks: u64,
    /// Events that were deleted.
    pub(crate) events: u64,
    /// Deliveries that told of no task, and were deleted.
    pub(crate) deliveries: u64,
    /// Parked pingbacks that were deleted.
    pub(crate) pingbacks: u64,
    /// Idempotency keys that were deleted.
    pub(crate) keys: u64,
}

impl WriteTx<'_> {
    /// Forgets one batch of what is old.
    pub(crate) async fn retire(&mut self, plan: &RetirementPlan) -> Result<Retired, StoreError> {
        const FILES: &str = "DELETE FROM task_file WHERE task_id IN (
            SELECT id FROM task WHERE erased = 0 AND answered_at < $1 ORDER BY answered_at LIMIT $2)";
        const ANSWERS: &str =
            "UPDATE task SET answer = NULL, extra = NULL, params = '[]', callback_url = NULL,
                webhook_url = NULL, erased = 1
            WHERE id IN (
            SELECT id FROM task WHERE erased = 0 AND answered_at < $1 ORDER BY answered_at LIMIT $2)";
        // What ends later is erased when it ends.
        const URLS: &str = "UPDATE delivery SET url = NULL WHERE status <> 'waiting' AND task_id IN (
            SELECT id FROM task WHERE erased = 0 AND answered_at < $1 ORDER BY answered_at LIMIT $2)";
        // Of those that tell of a task, which go with it, some may come first.
        const DELIVERIES: &str = "DELETE FROM delivery WHERE id IN (
            SELECT id FROM (SELECT id, task_id, created_at FROM delivery ORDER BY id LIMIT $2) AS oldest
            WHERE task_id IS NULL AND created_at < $1)";
        // One that came while the clock was ahead holds up what came after it. An index by time would be one more for
        // every pingback to be written to.
        const PINGBACKS: &str = "DELETE FROM pingback WHERE id IN (
            SELECT id FROM (SELECT id, received_at FROM pingback ORDER BY id LIMIT $2) AS oldest
            WHERE received_at < $1)";
        const KEYS: &str = "DELETE FROM idempotency WHERE (owner, key) IN (
            SELECT owner, key FROM idempotency WHERE created_at < $1 ORDER BY created_at LIMIT $2)";
        self.retire_rows(FILES, plan.answers_before, plan.limit).await?;
        self.retire_rows(URLS, plan.answers_before, plan.limit).await?;
        let answers = self.retire_rows(ANSWERS, plan.answers_before, plan.limit).await?;
        let many = plan.limit.saturating_mul(EVENTS_PER_TASK);
        let (events, tasks) = self.retire_events(plan.tasks_before, many).await?;
        Ok(Retired {
            answers,
            tasks,
            events,
            deliveries: self.retire_rows(DELIVERIES, plan.tasks_before, many).await?,
            pingbacks: self.retire_rows(PINGBACKS, plan.answers_before, plan.limit).await?,
            keys: self.retire_rows(KEYS, plan.keys_before, plan.limit).await?,
        })
    }

    /// Deletes what the feed begins with and is old, so that it never has a hole, and the tasks whose end that told:
    /// nothing of theirs is left in the feed then, so no event outlives its task. How many of both.
    async fn retire_events(&mut self, before: Timestamp, limit: u32) -> Result<(u64, u64), StoreError> {
        const EVENTS: &str = "DELETE FROM event WHERE id < COALESCE(
                (SELECT MIN(id) FROM (SELECT id, time FROM event ORDER BY id LIMIT $2) AS oldest WHERE time >= $1),
                (SELECT MAX(id) + 1 FROM (SELECT id FROM event ORDER BY id LIMIT $2) AS oldest))
            RETURNING CASE WHEN type IN ('task.solved', 'task.failed', 'task.expired', 'task.cancelled')
                           THEN task_id END";
        const TASKS: Sql = sql!("DELETE FROM task WHERE id", among_numbers 1);
        let query = self.query(EVENTS).bind(before.as_micros()).bind(i64::from(limit));
        let rows = query.fetch_all().await?;
        let ended = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<Option<i64>>, _>>()?;
        let done = self.query(TASKS).bind(json(ended.iter().flatten())).execute().await?;
        Ok((rows.len() as u64, done))
    }

    async fn retire_rows(
        &mut self,
        sql: &'static str,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let done = self.query(sql).bind(before.as_micros()).bind(i64::from(limit)).execute().await?;
        Ok(done)
    }
}
