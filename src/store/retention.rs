//! Forgetting: answers first, then the records, in batches small enough not to hold up pingbacks.

use super::{StoreError, WriteTx};
use crate::model::Timestamp;

/// What is old enough to go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetirementPlan {
    /// Answers, images and parked pingbacks from before this time are erased.
    pub(crate) answers_before: Timestamp,
    /// Tasks that ended before this time are deleted.
    pub(crate) tasks_before: Timestamp,
    /// Idempotency keys from before this time are deleted.
    pub(crate) keys_before: Timestamp,
    /// At most this many rows of each kind.
    pub(crate) limit: u32,
}

/// How many rows went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Retired {
    /// Tasks whose answer, images and callers' URLs were erased.
    pub(crate) answers: u64,
    /// Tasks that were deleted.
    pub(crate) tasks: u64,
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
            "UPDATE task SET answer = NULL, extra = NULL, params = '[]', callback_url = NULL, erased = 1
            WHERE id IN (
            SELECT id FROM task WHERE erased = 0 AND answered_at < $1 ORDER BY answered_at LIMIT $2)";
        // What ends later is erased when it ends.
        const URLS: &str = "UPDATE delivery SET url = NULL WHERE status <> 'waiting' AND task_id IN (
            SELECT id FROM task WHERE erased = 0 AND answered_at < $1 ORDER BY answered_at LIMIT $2)";
        const TASKS: &str = "DELETE FROM task WHERE id IN (
            SELECT id FROM task WHERE erased = 1 AND answered_at < $1 ORDER BY answered_at LIMIT $2)";
        const PINGBACKS: &str = "DELETE FROM pingback WHERE id IN (
            SELECT id FROM pingback WHERE received_at < $1 ORDER BY received_at LIMIT $2)";
        const KEYS: &str = "DELETE FROM idempotency WHERE rowid IN (
            SELECT rowid FROM idempotency WHERE created_at < $1 ORDER BY created_at LIMIT $2)";
        self.retire_rows(FILES, plan.answers_before, plan.limit).await?;
        self.retire_rows(URLS, plan.answers_before, plan.limit).await?;
        Ok(Retired {
            answers: self.retire_rows(ANSWERS, plan.answers_before, plan.limit).await?,
            tasks: self.retire_rows(TASKS, plan.tasks_before, plan.limit).await?,
            pingbacks: self.retire_rows(PINGBACKS, plan.answers_before, plan.limit).await?,
            keys: self.retire_rows(KEYS, plan.keys_before, plan.limit).await?,
        })
    }

    async fn retire_rows(
        &mut self,
        sql: &'static str,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let done = sqlx::query(sql).bind(before.as_micros()).bind(limit).execute(self.connection()).await?;
        Ok(done.rows_affected())
    }
}
