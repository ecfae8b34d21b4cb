//! The feed of events, as it is read while it grows. Whoever reads it holds a place in it and asks for what is
//! behind; nothing is kept for a reader, however slow.
//!
//! The newest events are in memory, read from the store once for everybody who is there: a commit costs one read,
//! not one for each reader. Whoever is further behind reads the store.

mod item;
mod reader;
mod tail;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub(crate) use self::item::Item;
pub(crate) use self::reader::{Lost, Most, Reader};
use self::tail::Tail;
use crate::model::FeedId;
use crate::store::{EventFilter, FeedEnds, Store, StoreError};

/// Events that one read of the store brings.
const PAGE: u32 = 256;
/// How often there is a look for new events while somebody reads, besides when the writer says so.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long readers have rest after they were told of new events. To wake and write to each of them costs more than
/// most events themselves, so what happens meanwhile is told together.
const REST: Duration = Duration::from_millis(5);

/// The feed.
#[derive(Debug)]
pub(crate) struct Feed {
    store: Store,
    id: FeedId,
    /// The writer tells of its commits.
    committed: Arc<Notify>,
    tail: Mutex<Tail>,
    /// The end of the tail. Readers wait for it to move; their number is that of its receivers.
    end: watch::Sender<i64>,
    rest: Duration,
}

/// What a look at the store brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    Nothing,
    /// All that there was.
    All,
    /// A page; there is more.
    Some,
}

impl Feed {
    pub(crate) async fn new(store: Store, committed: Arc<Notify>) -> Result<Self, StoreError> {
        let id = store.feed_id().await?;
        Ok(Self { store, id, committed, tail: Mutex::default(), end: watch::Sender::new(0), rest: REST })
    }

    /// What the feed is called.
    pub(crate) fn id(&self) -> &FeedId {
        &self.id
    }

    /// Where it begins and ends.
    pub(crate) async fn ends(&self) -> Result<FeedEnds, StoreError> {
        self.store.feed_ends().await
    }

    /// How many read it at the moment.
    pub(crate) fn readers(&self) -> usize {
        self.end.receiver_count()
    }

    /// A reader of what is behind the event with this number.
    pub(crate) fn read_after(self: &Arc<Self>, number: i64, filter: EventFilter) -> Reader {
        let reader = Reader::new(Arc::clone(self), self.end.subscribe(), number, filter);
        if self.lock().end().is_none() {
            // The first one has the tail begin.
            self.committed.notify_one();
        }
        reader
    }

    /// Keeps the tail until `shutdown`.
    pub(crate) async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let news = self.follow().await.unwrap_or_else(|error| {
                if !error.is_told() {
                    warn!(%error, "Could not read new events: {error}");
                }
                News::Nothing
            });
            match news {
                News::Some => continue,
                // When shutdown ends it, there is nobody left to be told.
                News::All => _ = shutdown.run_until_cancelled(sleep(self.rest)).await,
                News::Nothing => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.committed.notified() => {}
                () = sleep(LOOK_INTERVAL), if self.end.receiver_count() > 0 => {}
            }
        }
    }

    /// Adds a page to the tail, while anybody reads; else forgets it.
    async fn follow(&self) -> Result<News, StoreError> {
        if self.end.receiver_count() == 0 {
            self.lock().forget();
            return Ok(News::Nothing);
        }
        let end = self.lock().end();
        let Some(end) = end else {
            self.begin(self.store.feed_ends().await?.latest);
            return Ok(News::Nothing);
        };
        let page = self.store.events(end, &EventFilter::ALL, PAGE).await?;
        if end < page.ends.earliest {
            // Retention has overtaken us. Who reads from here on learns that from the store.
            self.begin(page.ends.latest);
            return Ok(News::Nothing);
        }
        let items: Vec<_> = page.events.iter().map(|event| Arc::new(Item::new(event, &self.id))).collect();
        self.lock().extend(items.into_iter(), page.through, Instant::now());
        if page.through > end {
            self.end.send_replace(page.through);
        }
        Ok(match page.through {
            through if through < page.ends.latest => News::Some,
            through if through > end => News::All,
            _ => News::Nothing,
        })
    }

    /// Has the tail begin behind the event with this number.
    fn begin(&self, number: i64) {
        self.lock().begin(number);
        self.end.send_replace(number);
    }

    fn lock(&self) -> MutexGuard<'_, Tail> {
        // Nothing panics while it holds this lock, so what is behind it is whole.
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
