//! Tells receivers of callers how their tasks ended, again and again until they have heard it.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `mod.rs` | what is tried when |
//! | `under_way.rs` | what is being tried: so many at a time, for one receiver, for one owner |
//! | `messenger.rs` | one request: what is sent, its limits, what its reply means |
//! | `resolver.rs` | the addresses of a name, all of which must be allowed |

mod messenger;
mod resolver;
mod under_way;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::field::display;
use tracing::{debug, info, warn};

pub(crate) use self::messenger::{Deadlines, Messenger};
pub(crate) use self::resolver::SystemNames;
use self::under_way::{Ended, UnderWay};
use crate::ingest::{Ingest, WriteError};
use crate::model::{Attempt, CallerUrl, Delivery, DeliveryStatus, Retries, Task, TaskId, Timestamp};
use crate::store::{Due, Look, Store, StoreError};

/// Requests under way at a time. More wait in the database.
const MAX_IN_FLIGHT: usize = 32;
/// Requests under way to one receiver, so that one that hangs leaves room for others.
const MAX_PER_RECEIVER: u32 = 4;
/// Requests under way for one owner of tasks, whose receivers may all hang: half of all.
const MAX_PER_OWNER: u32 = 16;
/// Deliveries that one look finds: twice as many as can be under way, because those that are, and others for
/// the same receivers, may come first.
const LOOK: u32 = 64;
/// The longest pause before what could not be stored is stored again.
const LONGEST_RECORD_PAUSE: Duration = Duration::from_secs(30);

/// Delivers what is due. Nothing is claimed on disk: one process has the database, and knows what it has
/// under way. So a message is repeated when the process ends between its delivery and the note of it.
pub(crate) struct Deliverer {
    work: Arc<Work>,
    /// The writer says that there is something new.
    called_back: Arc<Notify>,
    under_way: UnderWay,
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
}

impl Rhythm {
    pub(crate) const STANDARD: Self = Self {
        retries: Retries::STANDARD,
        look_interval: Duration::from_secs(2),
        look_pause: Duration::from_millis(50),
        grace: Duration::from_secs(5),
        record_pause: Duration::from_millis(500),
    };
}

/// What an attempt is made with.
struct Work {
    store: Store,
    ingest: Ingest,
    messenger: Messenger,
    rhythm: Rhythm,
}

impl Deliverer {
    pub(crate) fn new(
        store: Store,
        ingest: Ingest,
        messenger: Messenger,
        rhythm: Rhythm,
        called_back: Arc<Notify>,
    ) -> Self {
        let work = Arc::new(Work { store, ingest, messenger, rhythm });
        Self { work, called_back, under_way: UnderWay::default(), last_seen: None }
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
            let started = self.start_due(&mut attempts).await.unwrap_or_else(|error| {
                warn!(%error, "Could not look for callbacks to deliver: {error}");
                0
            });
            let pause = if started > 0 { Duration::ZERO } else { rhythm.look_interval };
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
                "Some callbacks were not delivered in time: they are tried again after the start"
            );
            attempts.shutdown().await;
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
        let failed = |error| warn!(%error, "Could not plan callbacks by the clock as it stands: {error}");
        let replanned = work.until_stored(|| work.ingest.replan_deliveries(), failed).await;
        if replanned > 0 {
            warn!(deliveries = replanned, "The clock was set back: callbacks that wait were planned anew");
        }
        self.last_seen = Some(now);
    }

    /// Starts what is due, as far as there is room; how many. There may be more, of other owners.
    async fn start_due(&mut self, attempts: &mut JoinSet<Ended>) -> Result<usize, StoreError> {
        let (store, now) = (&self.work.store, Timestamp::now());
        if !self.under_way.has_room() || !store.is_any_due(self.under_way.ids().iter().copied(), now).await? {
            return Ok(0);
        }
        let look = Look { limit: LOOK, per_receiver: MAX_PER_RECEIVER, but: self.under_way.full_owner() };
        let mut due = store.due_deliveries(look, now).await?;
        due.retain(|due| !self.under_way.ids().contains(&due.delivery.id));
        if due.is_empty() {
            return Ok(0);
        }
        let ids: Vec<TaskId> = due.iter().filter_map(|due| due.delivery.task).collect();
        let tasks = store.tasks(&ids).await?;
        let tasks: HashMap<TaskId, Task> = tasks.into_iter().map(|task| (task.id, task)).collect();
        let mut started = 0;
        for due in due {
            if self.under_way.take(&due.delivery) {
                let message = message(&due, due.delivery.task.and_then(|id| tasks.get(&id)));
                attempts.spawn(Arc::clone(&self.work).attempt(due.delivery, message));
                started += 1;
            }
        }
        Ok(started)
    }

    fn ended(&mut self, ended: Result<Ended, JoinError>) {
        match ended {
            Ok(ended) => self.under_way.release(&ended),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => warn!(%error, "The delivery of a callback broke off: {error}"),
        }
    }
}

/// Where a message goes, and what it says; or why there can be none.
fn message(due: &Due, task: Option<&Task>) -> Result<(CallerUrl, String), &'static str> {
    let url = CallerUrl::parse(&due.url).map_err(|_| "its URL cannot be called")?;
    let task = task.ok_or("its task is gone")?;
    let code = task.callback_code().ok_or("the answer was erased before it could be delivered")?;
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("id", &task.id.to_string()).append_pair("code", code);
    Ok((url, form.finish()))
}

impl Work {
    /// Tries once, and stores what became of it.
    async fn attempt(
        self: Arc<Self>,
        mut delivery: Delivery,
        message: Result<(CallerUrl, String), &'static str>,
    ) -> Ended {
        let attempt = match message {
            Ok((url, form)) => self.messenger.post(&url, form).await,
            Err(why) => Attempt::Hopeless(why),
        };
        delivery.attempted(&attempt, &self.rhythm.retries, random(), Timestamp::now());
        report(&delivery);
        // Not stored, it would be sent again at once: better it takes up room until it is.
        let task = delivery.task;
        let failed = |error| warn!(task.id = task.map(display), %error, "Could not store what became of a callback: {error}");
        self.until_stored(|| self.ingest.delivery_tried(delivery.clone()), failed).await;
        Ended { id: delivery.id, owner: delivery.owner, receiver: delivery.receiver }
    }

    /// Writes until it is stored. Only the first failure is told of: a database that cannot be written would
    /// fill the log.
    async fn until_stored<T, W>(&self, write: impl Fn() -> W, failed: impl FnOnce(WriteError)) -> T
    where
        W: Future<Output = Result<T, WriteError>>,
    {
        let mut failed = Some(failed);
        let mut pause = self.rhythm.record_pause;
        loop {
            match write().await {
                Ok(stored) => return stored,
                Err(error) => {
                    debug!(%error, "Could not store what concerns callbacks: {error}");
                    if let Some(failed) = failed.take() {
                        failed(error);
                    }
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_RECORD_PAUSE);
        }
    }
}

/// Any number, to spread retries with.
fn random() -> u32 {
    // Without randomness they are not spread, and that is all.
    getrandom::u32().unwrap_or_default()
}

fn report(delivery: &Delivery) {
    let Delivery { id, receiver, attempts, .. } = delivery;
    let task = delivery.task.map(display);
    let error = delivery.last_error.as_deref().unwrap_or_default();
    match delivery.status {
        DeliveryStatus::Delivered => {
            debug!(delivery.id = id, task.id = task, receiver, attempts, "Delivered a callback")
        }
        DeliveryStatus::Waiting => {
            info!(
                delivery.id = id,
                task.id = task,
                receiver,
                attempts,
                "A callback is tried again later: {error}"
            );
        }
        DeliveryStatus::Dead => {
            warn!(delivery.id = id, task.id = task, receiver, attempts, "Gave up on a callback: {error}");
        }
    }
}

#[cfg(test)]
mod tests;
