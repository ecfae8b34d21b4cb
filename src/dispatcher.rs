//! Sends queued tasks to the provider: spaced, several in flight, each outcome recorded.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::ingest::Ingest;
use crate::model::{Captcha, ErrorCode, Sent, TaskId};
use crate::provider::{Demand, PingbackUrl, Provider, Registration};
use crate::store::{Store, StoreError};

/// Requests under way at a time. With replies within 3 s this many keep up with 10 a second.
const MAX_IN_FLIGHT: usize = 32;
/// How often the queue is looked at when nobody says that it grew: postponed tasks come due
/// unannounced.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long sending waits for the registration: a task that is sent before it gets no pingback.
const REGISTRATION_PATIENCE: Duration = Duration::from_secs(15);
/// Pause before an outcome that could not be stored is stored again.
const RECORD_PAUSE: Duration = Duration::from_millis(500);

/// The one sender of `in.php` requests.
pub(crate) struct Dispatcher {
    pub(crate) sender: Sender,
    /// Told when there may be something new to send.
    pub(crate) queued: Arc<Notify>,
    pub(crate) registration: watch::Receiver<Registration>,
    /// Told why nothing is sent until somebody acts.
    pub(crate) held: watch::Sender<Option<String>>,
    /// The smallest spacing between the starts of two requests.
    pub(crate) interval: Duration,
}

/// What sending one task takes.
#[derive(Clone)]
pub(crate) struct Sender {
    pub(crate) ingest: Ingest,
    pub(crate) store: Store,
    pub(crate) provider: Provider,
    pub(crate) pingback: Option<PingbackUrl>,
    pub(crate) orders: Arc<Orders>,
}

/// What the provider asked of everything that is to be sent. It is noted before the outcome of the
/// task that brought it is recorded, so that nobody is sent after it.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    pause_until: Mutex<Option<Instant>>,
    /// The code that forbids to go on.
    stopped: OnceLock<ErrorCode>,
}

impl Orders {
    fn note(&self, demand: Demand) {
        match demand {
            Demand::Nothing => {}
            Demand::Pause(pause) => {
                let mut pause_until = self.pause_until.lock().unwrap_or_else(PoisonError::into_inner);
                *pause_until = (*pause_until).max(Some(Instant::now() + pause));
            }
            Demand::Stop(code) => {
                self.stopped.get_or_init(|| code);
            }
        }
    }

    /// Whether nothing may be sent at this moment.
    fn forbid_a_start(&self) -> bool {
        let now = Instant::now();
        self.stopped.get().is_some() || self.not_before(now) > now
    }

    /// When the next request may start that could otherwise start at `planned`.
    fn not_before(&self, planned: Instant) -> Instant {
        let pause_until = *self.pause_until.lock().unwrap_or_else(PoisonError::into_inner);
        pause_until.map_or(planned, |pause_until| pause_until.max(planned))
    }
}

/// Requests under way, and when spacing lets the next one start.
struct Pace {
    in_flight: JoinSet<()>,
    next_start: Instant,
}

impl Dispatcher {
    /// Sends until `shutdown`; requests that have begun are brought to their end.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let known = self.registration.wait_for(|state| *state != Registration::Pending);
        // A provider that cannot be asked may still take tasks, and know the URL from before.
        drop(shutdown.run_until_cancelled(timeout(REGISTRATION_PATIENCE, known)).await);
        // The last process may have sent a moment ago.
        let next_start = Instant::now() + self.interval;
        let mut pace = Pace { in_flight: JoinSet::new(), next_start };
        while !shutdown.is_cancelled() {
            let may_send = self.may_send() && pace.in_flight.len() < MAX_IN_FLIGHT;
            let start = self.sender.orders.not_before(pace.next_start);
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(ended) = pace.in_flight.join_next() => {
                    check(ended);
                    continue;
                }
                Ok(()) = self.registration.changed() => continue,
                () = sleep_until(start), if may_send => {}
            }
            if self.sender.orders.forbid_a_start() {
                continue;
            }
            if self.start_some(&mut pace).await == 0 {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = self.queued.notified() => {}
                    () = sleep(POLL_INTERVAL) => {}
                    Some(ended) = pace.in_flight.join_next() => check(ended),
                }
            }
        }
        while let Some(ended) = pace.in_flight.join_next().await {
            check(ended);
        }
    }

    /// Whether tasks may be sent; if not, says why to whoever asks for it.
    fn may_send(&mut self) -> bool {
        let reason = match (self.sender.orders.stopped.get(), &*self.registration.borrow_and_update()) {
            (Some(code), _) => {
                Some(format!("{code}: {}. Nothing is sent until pingbox is started again", code.message()))
            }
            // Its answer could not come back, but would be paid for.
            (None, state @ Registration::Refused(_)) => Some(format!("the registration is {state}")),
            (None, _) => None,
        };
        let may_send = reason.is_none();
        self.held.send_if_modified(|held| {
            let is_new = *held != reason;
            if let (true, Some(reason)) = (is_new, &reason) {
                error!("Tasks wait in the queue: {reason}");
            }
            *held = reason;
            is_new
        });
        may_send
    }

    /// Starts to send the next tasks: one, or as many as there is room for if they need no spacing.
    async fn start_some(&self, pace: &mut Pace) -> usize {
        let free = MAX_IN_FLIGHT - pace.in_flight.len();
        let limit = if self.interval.is_zero() { free } else { 1 };
        let claimed = self.sender.ingest.claim(u32::try_from(limit).unwrap_or(u32::MAX)).await;
        let tasks = claimed.unwrap_or_else(|error| {
            warn!(%error, "Could not look for tasks to send: {error}");
            Vec::new()
        });
        let count = tasks.len();
        for task in tasks {
            // An order may have come during the claim, even in the same commit.
            if self.sender.orders.forbid_a_start() {
                self.sender.record(task.id, unsent("the provider asked for a pause")).await;
                continue;
            }
            // Read beforehand: what is spaced are the requests.
            let captcha = self.sender.store.captcha(task.id).await;
            pace.next_start = Instant::now() + self.interval;
            pace.in_flight.spawn(self.sender.clone().send(task.id, captcha));
        }
        count
    }
}

impl Sender {
    /// Sends one task, heeds what the provider asks of the others, and records the outcome.
    async fn send(self, id: TaskId, captcha: Result<Option<Captcha>, StoreError>) {
        let (sent, demand) = match captcha {
            Ok(Some(captcha)) => self.provider.submit(captcha, self.pingback.as_ref()).await,
            Ok(None) => (unsent("the task's parameters are gone"), Demand::Nothing),
            Err(error) => {
                error!(task.id = %id, %error, "Could not read the task: {error}");
                (unsent("the database could not be read"), Demand::Pause(POLL_INTERVAL))
            }
        };
        log(id, &sent);
        self.orders.note(demand);
        self.record(id, sent).await;
    }

    /// Records the outcome, however long it takes: a captcha ID that was received is paid for.
    async fn record(&self, id: TaskId, sent: Sent) {
        while let Err(error) = self.ingest.record_sent(id, sent.clone()).await {
            warn!(task.id = %id, ?sent, %error, "Could not record what became of sending a task: {error}");
            sleep(RECORD_PAUSE).await;
        }
    }
}

/// A panic while a task was sent is one of the dispatcher; the next start finds the task.
fn check(ended: Result<(), JoinError>) {
    match ended {
        Ok(()) => {}
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => error!(%error, "Sending a task broke off: {error}"),
    }
}

/// Of a task that was claimed, but not sent.
fn unsent(reason: &str) -> Sent {
    Sent::Postponed { wait: POLL_INTERVAL, reason: reason.to_owned() }
}

fn log(id: TaskId, sent: &Sent) {
    match sent {
        Sent::Accepted(captcha_id) => {
            debug!(task.id = %id, captcha.id = %captcha_id, "The provider took a task");
        }
        Sent::Refused(code) => {
            info!(task.id = %id, code = code.as_str(), "The provider refused a task: {code}");
        }
        Sent::Postponed { wait, reason } => {
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            warn!(task.id = %id, wait_ms, "A task was not taken and is sent again: {reason}");
        }
        Sent::Unanswered { reason } => warn!(task.id = %id, "A task is unconfirmed: {reason}"),
    }
}
