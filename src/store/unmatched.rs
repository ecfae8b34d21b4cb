//! What is known of captchas by their own ids: from tasks, or from pingbacks that no task waits for.

use super::rows::{self, pingback_columns, task_columns};
use super::{Store, StoreError, WriteTx};
use crate::model::{CaptchaId, Pingback, Task, Timestamp, TokenId};

/// How a captcha ended.
#[derive(Clone, Debug)]
pub(crate) enum FinalWord {
    /// It was the captcha of a task.
    OfTask(Box<Task>),
    /// It was not submitted with pingbox.
    OfPingback(Pingback),
}

/// What came of a trim.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trimmed {
    pub(crate) dropped: u64,
    pub(crate) left: u64,
}

/// A page of unmatched pingbacks, newest first.
#[derive(Clone, Debug)]
pub(crate) struct UnmatchedPage {
    pub(crate) pingbacks: Vec<Pingback>,
    /// Where the next page goes on; `None` on the last.
    pub(crate) next: Option<i64>,
}

/// Pingbacks that everybody may read: of captchas that are no task's, and no notices. As soon as a task has the
/// captcha ID, what came under it is its owner's business, also what is too old to have settled it.
macro_rules! open_to_all {
    () => {
        "task_id IS NULL AND outcome <> 'notice'
         AND NOT EXISTS (SELECT 1 FROM task WHERE task.captcha_id = pingback.captcha_id)"
    };
}

impl Store {
    /// What came for a task besides what settled it, oldest first, 20 at most.
    pub(crate) async fn other_pingbacks(&self, task: &Task) -> Result<Vec<Pingback>, StoreError> {
        // One that came before its captcha ID was known is there, too, when it settled the task: that is when it ended.
        const SQL: &str = concat!(
            "SELECT ",
            pingback_columns!(),
            " FROM pingback WHERE task_id = $1 AND (outcome = 'notice' OR received_at <> $2) ORDER BY id LIMIT 20"
        );
        let ended = task.answered_at.map_or(0, Timestamp::as_micros);
        let found = self.reader.query(SQL).bind(task.id.number()).bind(ended).fetch_all().await?;
        Ok(found.iter().map(rows::pingback).collect::<Result<_, _>>()?)
    }

    /// How this captcha ended: as its task did, if that task is of this owner (`None`: anybody's), or as the
    /// first unmatched pingback says, if it is no task's. `None` when nothing of that is there.
    pub(crate) async fn final_word(
        &self,
        captcha_id: &CaptchaId,
        owner: Option<TokenId>,
    ) -> Result<Option<FinalWord>, StoreError> {
        const PINGBACK: &str = concat!(
            "SELECT ",
            pingback_columns!(),
            " FROM pingback WHERE captcha_id = $1 AND ",
            open_to_all!(),
            " ORDER BY id LIMIT 1"
        );
        const TASK: &str = concat!(
            "SELECT ",
            task_columns!(),
            " FROM task WHERE captcha_id = $1 AND ($2 IS NULL OR owner = $2) AND answered_at IS NOT NULL
              ORDER BY id DESC LIMIT 1"
        );
        // In this order: one that is joined to its task in between is found there.
        let unmatched = self.reader.query(PINGBACK).bind(captcha_id.as_str()).fetch_optional().await?;
        if let Some(row) = unmatched {
            return Ok(Some(FinalWord::OfPingback(rows::pingback(&row)?)));
        }
        let query = self.reader.query(TASK).bind(captcha_id.as_str()).bind(owner.map(TokenId::number));
        let task = query.fetch_optional().await?;
        Ok(task.map(|row| rows::task(&row).map(|task| FinalWord::OfTask(Box::new(task)))).transpose()?)
    }

    /// At most `limit` unmatched pingbacks, of those that are older than the one with the number `before`.
    pub(crate) async fn unmatched(
        &self,
        before: Option<i64>,
        limit: u32,
    ) -> Result<UnmatchedPage, StoreError> {
        const SQL: &str = concat!(
            "SELECT ",
            pingback_columns!(),
            " FROM pingback WHERE id < $1 AND ",
            open_to_all!(),
            " ORDER BY id DESC LIMIT $2"
        );
        let query = self.reader.query(SQL).bind(before.unwrap_or(i64::MAX));
        // One more tells whether there is a next page.
        let mut found = query.bind(i64::from(limit) + 1).fetch_all().await?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().map(|row| row.try_get("id")).transpose()?;
        let pingbacks = found.iter().map(rows::pingback).collect::<Result<_, _>>()?;
        Ok(UnmatchedPage { pingbacks, next: last.filter(|_| has_more) })
    }
}

impl WriteTx<'_> {
    /// Drops unmatched pingbacks, oldest first, until `most` are left, but at most `limit`. It counts all of them. What
    /// belongs to a task is none of them.
    pub(crate) async fn trim_unmatched(&mut self, most: u32, limit: u32) -> Result<Trimmed, StoreError> {
        const COUNT: &str = "SELECT COUNT(*) FROM pingback WHERE task_id IS NULL";
        const DROP: &str = "DELETE FROM pingback WHERE id IN (
            SELECT id FROM pingback WHERE task_id IS NULL ORDER BY id LIMIT $1)";
        let count: i64 = self.query(COUNT).fetch_one().await?.try_get(0)?;
        let count = count.unsigned_abs();
        let surplus = count.saturating_sub(most.into()).min(limit.into());
        if surplus == 0 {
            return Ok(Trimmed { dropped: 0, left: count });
        }
        let surplus = i64::try_from(surplus).unwrap_or(i64::MAX);
        let dropped = self.query(DROP).bind(surplus).execute().await?;
        Ok(Trimmed { dropped, left: count.saturating_sub(dropped) })
    }
}
