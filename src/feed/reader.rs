//! One who reads the feed.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Feed, Item};
use crate::model::Cursor;
use crate::store::{EventFilter, FeedEnds, StoreError};

/// A place in the feed, and what is read from there.
#[derive(Debug)]
pub(crate) struct Reader {
    feed: Arc<Feed>,
    moved: watch::Receiver<i64>,
    /// Behind the event with this number.
    number: i64,
    filter: EventFilter,
}

/// How much is read at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    /// Of what is in memory.
    pub(super) events: usize,
    /// Of what is in memory, as a stream tells it; one event may be longer.
    pub(super) bytes: usize,
    /// Events of the store.
    pub(super) stored: u32,
}

impl Most {
    /// What a stream writes at a time.
    pub(crate) const CHUNK: Self = Self { events: usize::MAX, bytes: 64 * 1024, stored: 32 };

    /// So many events, however long.
    pub(crate) fn events(limit: u32) -> Self {
        Self { events: usize::try_from(limit).unwrap_or(usize::MAX), bytes: usize::MAX, stored: limit }
    }
}

/// Why a reader cannot go on from its place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    /// Events behind it were deleted, or it is ahead of the feed.
    #[error("the cursor is of no place in the feed any more")]
    Expired(FeedEnds),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Reader {
    pub(super) fn new(
        feed: Arc<Feed>,
        moved: watch::Receiver<i64>,
        number: i64,
        filter: EventFilter,
    ) -> Self {
        Self { feed, moved, number, filter }
    }

    /// The place behind all that was read, and all that did not pass the filter.
    pub(crate) fn cursor(&self) -> Cursor {
        self.feed.id.cursor(self.number)
    }

    #[cfg(test)]
    pub(super) fn number(&self) -> i64 {
        self.number
    }

    /// The next events, at least one: waits until there is. Dropped, nothing is lost.
    pub(crate) async fn next(&mut self, most: Most) -> Result<Vec<Arc<Item>>, Lost> {
        loop {
            // Before the look: what is added after it wakes us.
            self.moved.borrow_and_update();
            let (items, is_end) = self.look(most).await?;
            if !items.is_empty() {
                return Ok(items);
            }
            if is_end && self.moved.changed().await.is_err() {
                // The feed is gone; whoever waits has a deadline.
                std::future::pending::<()>().await;
            }
        }
    }

    /// What there is right now, and goes on behind it; perhaps nothing, although there is more. `latest` is the number
    /// of the last event that is known to be stored: whoever was told of it finds it, also while the tail does not have
    /// it yet.
    pub(crate) async fn now(&mut self, most: Most, latest: i64) -> Result<Vec<Arc<Item>>, Lost> {
        loop {
            let (mut items, mut is_end) = self.look(most).await?;
            if items.is_empty() && is_end && self.number < latest {
                (items, is_end) = self.look_at_store(most).await?;
            }
            if !items.is_empty() || is_end {
                return Ok(items);
            }
        }
    }

    /// One look, and whether it went to the end of what there is.
    async fn look(&mut self, most: Most) -> Result<(Vec<Arc<Item>>, bool), Lost> {
        let found = self.feed.lock().read(self.number, &self.filter, most);
        if let Some(found) = found {
            self.number = found.through;
            return Ok((found.items, found.is_end));
        }
        self.look_at_store(most).await
    }

    async fn look_at_store(&mut self, most: Most) -> Result<(Vec<Arc<Item>>, bool), Lost> {
        let page = self.feed.store.events(self.number, &self.filter, most.stored).await?;
        if self.number < page.ends.earliest || self.number > page.ends.latest {
            return Err(Lost::Expired(page.ends));
        }
        self.number = page.through;
        let items = page.events.iter().map(|event| Arc::new(Item::new(event, &self.feed.id))).collect();
        Ok((items, page.through >= page.ends.latest))
    }
}
