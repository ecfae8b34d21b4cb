//! Callers who wait at this replica are woken by what others committed.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Lead, News, SAFETY_INTERVAL};
use crate::ingest::Heralds;
use crate::model::{EventKind, TaskId};
use crate::store::{Happened, Store, StoreError};

/// Events that one look reads.
const PAGE: u32 = 1000;

/// Follows the feed for those who wait here for a task, for an answer, or for something to send. What this replica
/// commits itself it hears of too, when those who waited have been told already.
pub(crate) struct Echo {
    store: Store,
    heralds: Heralds,
    news: Arc<News>,
    lead: Lead,
    /// Behind the event with this number.
    place: i64,
}

impl Echo {
    /// From what there is now on. To be made before anybody waits.
    pub(crate) async fn new(
        store: Store,
        heralds: Heralds,
        news: Arc<News>,
        lead: Lead,
    ) -> Result<Self, StoreError> {
        let place = store.feed_ends().await?.latest;
        Ok(Self { store, heralds, news, lead, place })
    }

    /// Wakes until `shutdown`.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            match shutdown.run_until_cancelled(self.look()).await {
                Some(Ok(true)) => continue,
                Some(Ok(false)) | None => {}
                Some(Err(error)) => warn!(%error, "Could not read what other replicas did: {error}"),
            }
            // While nobody waits here, there is one look a second.
            let mut until = Instant::now() + SAFETY_INTERVAL;
            while let Some(Ok(())) =
                shutdown.run_until_cancelled(timeout_at(until, self.news.events.notified())).await
            {
                self.heralds.committed.notify_one();
                self.heralds.called_back.notify_one();
                if self.is_awaited() {
                    until = Instant::now();
                }
            }
        }
    }

    /// Whether anybody here wants to know what happens: callers, or the dispatcher.
    fn is_awaited(&self) -> bool {
        let Heralds { waiters, answers, sent, .. } = &self.heralds;
        self.lead.is_held() || !(waiters.is_empty() && answers.is_empty() && sent.is_empty())
    }

    /// Leaves out what nobody waited for. Whoever comes later reads for itself what has happened before.
    async fn skip(&mut self) -> Result<(), StoreError> {
        let latest = self.store.feed_ends().await?.latest;
        // Who came during the read may have read less than that.
        if !self.is_awaited() {
            self.place = latest;
        }
        Ok(())
    }

    /// Wakes who waits for what has happened since the last look; whether there may be more.
    async fn look(&mut self) -> Result<bool, StoreError> {
        if !self.is_awaited() {
            self.skip().await?;
            return Ok(false);
        }
        let happened = self.store.happened(self.place, PAGE).await?;
        let Some(last) = happened.last() else {
            // A database that was restored may have gone back.
            self.place = self.place.min(self.store.feed_ends().await?.latest);
            return Ok(false);
        };
        let place = last.number;
        let mut awaited: Vec<TaskId> = Vec::new();
        for Happened { kind, task, .. } in &happened {
            let Some(task) = *task else { continue };
            let is_awaited =
                (is_end(*kind) && self.heralds.waiters.has(&task)) || self.heralds.sent.has(&task);
            if is_awaited && awaited.last() != Some(&task) {
                awaited.push(task);
            }
        }
        if !awaited.is_empty() {
            for task in self.store.own_tasks(&awaited).await?.into_iter().map(Arc::new) {
                if task.is_final() {
                    self.heralds.waiters.wake(&task.id, &task);
                }
                self.heralds.sent.wake(&task.id, &task);
            }
        }
        // A hint: what each of those who wait may see, the store tells them.
        for Happened { kind, captcha_id, .. } in &happened {
            let is_answer = is_end(*kind) || *kind == Some(EventKind::Unmatched);
            if let Some(captcha_id) = captcha_id.as_ref().filter(|_| is_answer) {
                self.heralds.answers.wake(captcha_id, &());
            }
        }
        self.heralds.committed.notify_one();
        self.heralds.called_back.notify_one();
        if happened.iter().any(|event| event.kind == Some(EventKind::Created)) {
            self.heralds.queued.notify_one();
        }
        // Only now: what failed above is read again.
        self.place = place;
        Ok(happened.len() >= usize::try_from(PAGE).unwrap_or(usize::MAX))
    }
}

fn is_end(kind: Option<EventKind>) -> bool {
    kind.is_some_and(EventKind::is_end)
}
