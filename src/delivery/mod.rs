//! Tells receivers of callers what happened, again and again until they have heard it: how a task ended as the
//! provider would tell it (a callback), and events (a webhook).
//!
//! | file | what it holds |
//! | --- | --- |
//! | `mod.rs` | what is tried when |
//! | `under_way.rs` | what is being tried: so many at a time, for one receiver, for one owner |
//! | `breaker.rs` | receivers that do not answer, which are left alone for a while |
//! | `attempt.rs` | one attempt: made, judged, stored |
//! | `message.rs` | what is sent |
//! | `messenger.rs` | one request: its limits, what its reply means |
//! | `resolver.rs` | the addresses of a name, all of which must be allowed |

mod attempt;
mod breaker;
mod message;
mod messenger;
mod resolver;
mod under_way;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::attempt::Work;
use self::breaker::Breaker;
pub(crate) use self::breaker::Pauses;
use self::message::Subjects;
pub(crate) use self::messenger::{Deadlines, Messenger};
pub(crate) use self::resolver::SystemNames;
use self::under_way::{Ended, UnderWay};
use crate::ingest::Ingest;
use crate::model::{FeedId, Retries, Timestamp};
use crate::store::{Look, Store, StoreError, Target};

/// Requests under way at a time. More wait in the database.
const MAX_IN_FLIGHT: usize = 32;
/// Requests under way to one receiver, so that one that hangs leaves room for others.
const MAX_PER_RECEIVER: u32 = 4;
/// Requests under way for one owner of tasks, whose receivers may all hang: half of all.
const MAX_PER_OWNER: u32 = 16;
/// Deliveries that one look finds: twice as many as can be under way, because those that are, and others for
/// the same receivers, may come first.
const LOOK: u32 = 64;

/// For how long other replicas leave a delivery alone: longer than an attempt takes. If its result cannot be stored in
/// that time, or the process ends, another one tries it again.
const CLAIM: Duration = Duration::from_secs(60);

/// Delivers what is due. A process that has the database to itself knows what it has under way; one that shares it
/// claims each delivery before it tries it. A message is repeated when the process ends between its delivery and the
/// note of it.
pub(crate) struct Deliverer {
    work: Arc<Work>,
    /// The writer says that there is something new.
    called_back: Arc<Notify>,
    under_way: UnderWay,
    /// What the feed is called that events are of, once it is known.
    feed: Option<FeedId>,
    /// The clock at the last turn; `None` at the start.
    last_seen: Option<Timestamp>,
}

/// When things are done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rhythm {
    pub(crate) retries: Retries,
    /// How often there is a look for what is due, besides when the writer says so.
    pub(crate) look_interval: Duration,
    /// The least time between two looks: one reads something of every receiver that waits.
    pub(crate) look_pause: Duration,
    /// How long requests under way may take to end at shutdown. What does not is tried again after the
    /// start.
    pub(crate) grace: Duration,
    /// Pause before what could not be stored is stored again; each further one is twice as long.
    pub(crate) record_pause: Duration,
    /// How long receivers that do not answer are left alone.
    pub(crate) pauses: Pauses,
    /// For how long a message may be held back by that, counted from its first attempt.
    pub(crate) patience: Duration,
}

impl Rhythm {
    pub(crate) const STANDARD: Self = Self {
        retries: Retries::STANDARD,
        look_interval: Duration::from_secs(2),
        look_pause: Duration::from_millis(50),
        grace: Duration::from_secs(5),
        record_pause: Duration::from_millis(500),
        pauses: Pauses::STANDARD,
        patience: Duration::from_secs(24 * 60 * 60),
    };
}

impl Deliverer {
    pub(crate) fn new(
        store: Store,
        ingest: Ingest,
        messenger: Messenger,
        rhythm: Rhythm,
        called_back: Arc<Notify>,
    ) -> Self {
        let breaker = Mutex::new(Breaker::new(rhythm.pauses));
        let work = Arc::new(Work { store, ingest, messenger, rhythm, breaker });
        Self { work, called_back, under_way: UnderWay::default(), feed: None, last_seen: None }
    }

    /// Delivers until `shutdown`; requests under way have a little time to end then.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut attempts = JoinSet::new();
        let rhythm = self.work.rhythm;
        let mut next_look = Instant::now();
        while !shutdown.is_cancelled() {
            shutdown.run_until_cancelled(sleep_until(next_look)).await;
            next_look = Instant::now() + rhythm.look_pause;
            shutdown.run_until_cancelled(self.mind_clock(Timestamp::now())).await;
            let looked = Instant::now();
            let started = self.start_due(&mut attempts).await.unwrap_or_else(|error| {
                if !error.is_told() {
                    warn!(%error, "Could not look for messages to deliver: {error}");
                }
                0
            });
            let pause = if started > 0 { Duration::ZERO } else { self.until_look(looked) };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.called_back.notified() => {}
                Some(ended) = attempts.join_next() => self.ended(ended),
                () = sleep(pause) => {}
            }
            while let Some(ended) = attempts.try_join_next() {
                self.ended(ended);
            }
        }
        let ending = async {
            while let Some(ended) = attempts.join_next().await {
                self.ended(ended);
            }
        };
        if timeout(rhythm.grace, ending).await.is_err() {
            info!(
                deliveries = attempts.len(),
                "Some messages were not delivered in time: they are tried again after the start"
            );
            attempts.shutdown().await;
            let broken_off = self.under_way.ids().iter().copied();
            if let Err(error) = self.work.store.release_deliveries(broken_off).await {
                info!(%error, "Other replicas try them in a minute: {error}");
            }
        }
    }

    /// At the start, and when the clock is seen to go back, waits that begin in the future begin at once: as
    /// planned, what is due in 5 s would be due in a year.
    async fn mind_clock(&mut self, now: Timestamp) {
        if self.last_seen.is_some_and(|last| last <= now) {
            self.last_seen = Some(now);
            return;
        }
        let work = &self.work;
        let failed = |error| warn!(%error, "Could not plan messages by the clock as it stands: {error}");
        let replanned = work.until_stored(|| work.ingest.replan_deliveries(), failed).await;
        if replanned > 0 {
            warn!(deliveries = replanned, "The clock was set back: messages that wait were planned anew");
        }
        self.last_seen = Some(now);
    }

    /// Starts what is due, as far as there is room; how many. There may be more, of other owners.
    async fn start_due(&mut self, attempts: &mut JoinSet<Ended>) -> Result<usize, StoreError> {
        let (work, now) = (Arc::clone(&self.work), Timestamp::now());
        if !self.under_way.has_room() {
            return Ok(0);
        }
        let held = work.breaker().held(Instant::now());
        // What is held may be a lot, and all of it due: then only the look itself tells, which leaves it out.
        let under_way = self.under_way.ids().iter().copied();
        if held.is_empty() && !work.store.is_any_due(under_way, now).await? {
            return Ok(0);
        }
        let but = self.under_way.full_owner();
        let look = Look { limit: LOOK, per_receiver: MAX_PER_RECEIVER, but, held };
        let mut due = work.store.due_deliveries(look, now).await?;
        due.retain(|due| !self.under_way.ids().contains(&due.delivery.id));
        if due.is_empty() {
            return Ok(0);
        }
        let subjects = Subjects::load(&work.store, self.feed().await?, &due).await?;
        let mut started = 0;
        for due in due {
            let delivery = due.delivery.clone();
            let message = subjects.message(due);
            let target = Target::of(&delivery);
            if !work.breaker().lets_pass(&target, Instant::now()) || !self.under_way.take(&delivery) {
                continue;
            }
            let claimed = work.store.claim_delivery(&delivery, CLAIM).await;
            if !matches!(claimed, Ok(true)) {
                self.under_way.release(&Ended::of(&delivery));
                claimed?;
                continue;
            }
            // What cannot be sent does not try the receiver.
            if message.is_ok() {
                work.breaker().start(&target, delivery.id);
            }
            attempts.spawn(Arc::clone(&work).attempt(delivery, message));
            started += 1;
        }
        Ok(started)
    }

    async fn feed(&mut self) -> Result<FeedId, StoreError> {
        if let Some(feed) = &self.feed {
            return Ok(feed.clone());
        }
        let feed = self.work.store.feed_id().await?;
        Ok(self.feed.insert(feed).clone())
    }

    /// How long nothing is looked for, if nobody says that there is something. A pause that ended since the last look
    /// held something back in it.
    fn until_look(&self, looked: Instant) -> Duration {
        let next_end = self.work.breaker().next_end(looked).map(|end| end - Instant::now());
        next_end.unwrap_or(Duration::MAX).min(self.work.rhythm.look_interval)
    }

    fn ended(&mut self, ended: Result<Ended, JoinError>) {
        match ended {
            Ok(ended) => self.under_way.release(&ended),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => warn!(%error, "The delivery of a message broke off: {error}"),
        }
    }
}

#[cfg(test)]
mod tests;
