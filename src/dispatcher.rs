//! Sends queued tasks to the provider: spaced, several in flight, each outcome recorded.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Notify, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::account::{Account, Registration, task_token};
use crate::ingest::{Claim, Claimed, Ingest};
use crate::model::{Captcha, Gate, Script, Secret, Sent, Task, TaskId, Timestamp};
use crate::provider::PingbackUrl;
use crate::store::{Store, StoreError};

/// Requests under way at a time. With replies within 3 s this many nearly keep up with 10 a second; and if
/// all of them are held up on the way and arrive at once, they and those of the next 3 s stay within the
/// provider's 60.
const MAX_IN_FLIGHT: usize = 28;
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
    /// Whether each task has a URL of its own.
    pub(crate) url_per_task: bool,
    /// The most that a day's captchas may cost, in billionths.
    pub(crate) daily_limit: Option<i64>,
}

/// What sending one task takes.
#[derive(Clone)]
pub(crate) struct Sender {
    pub(crate) account: Account,
    pub(crate) ingest: Ingest,
    pub(crate) store: Store,
    pub(crate) spacing: Arc<Spacing>,
}

/// Keeps the starts of requests apart, however long the way to each of them was.
#[derive(Debug)]
pub(crate) struct Spacing {
    interval: Duration,
    next: Mutex<Instant>,
}

impl Spacing {
    /// The smallest spacing between the starts of two requests. The first waits for it too: the last process
    /// may have sent a moment ago.
    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, next: Mutex::new(Instant::now() + interval) }
    }

    /// Waits until a request may start, which it then must at once.
    async fn turn(&self) {
        let mut next = self.next.lock().await;
        // A sleep takes a millisecond at least, also one that is over.
        if *next > Instant::now() {
            sleep_until(*next).await;
        }
        *next = Instant::now() + self.interval;
    }
}

/// A request that has ended.
struct Landed {
    /// What its captcha may cost, in billionths.
    cost: i64,
}

/// Requests under way, and when spacing lets the next one start.
struct Flights {
    under_way: JoinSet<Landed>,
    /// What all of them may cost.
    cost: i64,
    next_start: Instant,
    /// Told of every change of what holds tasks back.
    changes: watch::Receiver<u64>,
}

impl Flights {
    /// One request has ended. A panic while a task was sent is one of the dispatcher; the next start
    /// finds the task.
    fn ended(&mut self, ended: Result<Landed, JoinError>) {
        match ended {
            Ok(Landed { cost }) => self.cost -= cost,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => error!(%error, "Sending a task broke off: {error}"),
        }
    }

    /// How many requests may start, and when the first of them may. A request that finds out whether a
    /// pause is over is alone.
    fn room(&self, gate: Gate, is_spaced: bool) -> Option<(usize, Instant)> {
        let free = match gate {
            Gate::Open => MAX_IN_FLIGHT - self.under_way.len(),
            Gate::Probe | Gate::Until(_) => usize::from(self.under_way.is_empty()),
            Gate::Stopped => 0,
        };
        let start = match gate {
            Gate::Until(until) => self.next_start.max(Instant::now() + until.since(Timestamp::now())),
            _ => self.next_start,
        };
        (free > 0).then_some((if is_spaced { 1 } else { free }, start))
    }
}

impl Dispatcher {
    /// Sends until `shutdown`; requests that have begun are brought to their end.
    pub(crate) async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let mut registration = self.sender.account.registration();
        let known = registration.wait_for(|state| *state != Registration::Pending);
        // A provider that cannot be asked may still take tasks, and know the URL from before.
        drop(shutdown.run_until_cancelled(timeout(REGISTRATION_PATIENCE, known)).await);
        let mut flights = Flights {
            under_way: JoinSet::new(),
            cost: 0,
            // As for the spacing; what is taken out of the queue earlier would only wait for it.
            next_start: Instant::now() + self.sender.spacing.interval,
            changes: self.sender.account.changes(),
        };
        let interval = self.sender.spacing.interval;
        while !shutdown.is_cancelled() {
            let room = flights.room(self.gate(), !interval.is_zero());
            let start = room.map_or_else(Instant::now, |(_, start)| start);
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(ended) = flights.under_way.join_next() => {
                    flights.ended(ended);
                    continue;
                }
                Ok(()) = flights.changes.changed() => continue,
                () = sleep_until(start), if room.is_some() => {}
            }
            let count = match self.gate() {
                Gate::Until(_) | Gate::Stopped => continue,
                Gate::Open | Gate::Probe => room.map_or(0, |(count, _)| count),
            };
            if self.start_some(&mut flights, count).await == 0 {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = self.queued.notified() => {}
                    () = sleep(POLL_INTERVAL) => {}
                    Some(ended) = flights.under_way.join_next() => flights.ended(ended),
                }
            }
        }
        while let Some(ended) = flights.under_way.join_next().await {
            flights.ended(ended);
        }
    }

    fn gate(&self) -> Gate {
        self.sender.account.gate(Script::In)
    }

    /// Starts to send the next tasks, `count` at most; how many.
    async fn start_some(&self, flights: &mut Flights, count: usize) -> usize {
        let (Claimed { tasks, is_short_of_money, backoff }, tokens) = match self.claim(flights, count).await {
            Ok(claimed) => claimed,
            Err(ClaimError::Write(error)) if error.is_told() => return 0,
            Err(error) => {
                warn!(%error, "Could not look for tasks to send: {error}");
                return 0;
            }
        };
        if let Some(is_short) = is_short_of_money {
            self.sender.account.set_short_of_money(is_short);
        }
        let others = backoff.map(|backoff| backoff.gate(Script::In, Timestamp::now()));
        let is_held_elsewhere = others.is_some_and(is_held);
        let started = if is_held_elsewhere { 0 } else { tasks.len() };
        let mut tokens = tokens.into_iter();
        for task in tasks {
            let token = tokens.next();
            // A change may have come during the claim, even in the same commit, or from another replica.
            if is_held(self.gate()) || is_held_elsewhere {
                self.sender.record(&task, Sent::Unsent).await;
                continue;
            }
            // Read beforehand: what is spaced are the requests.
            let captcha = self.sender.store.captcha(task.id).await;
            flights.next_start = Instant::now() + self.sender.spacing.interval;
            flights.cost += task.kind.rate_nanos();
            flights.under_way.spawn(self.sender.clone().send(task, self.url(token), captcha));
        }
        started
    }

    /// Takes tasks out of the queue, with a token for the URL of each if they have their own.
    async fn claim(&self, flights: &Flights, count: usize) -> Result<(Claimed, Vec<Secret>), ClaimError> {
        let has_tokens = self.url_per_task && self.url(None).is_some();
        let tokens = (0..count).filter(|_| has_tokens).map(|_| task_token());
        let tokens: Vec<Secret> = tokens.collect::<Result<_, _>>()?;
        // Where others may have sent some, the database counts what is being sent.
        let flights_cost = if self.sender.store.is_shared() { 0 } else { flights.cost };
        let claim = Claim {
            limit: u32::try_from(count).unwrap_or(u32::MAX),
            tokens: tokens.iter().map(Secret::digest).collect(),
            budget: self.daily_limit.map(|limit| limit.saturating_sub(flights_cost)),
        };
        Ok((self.sender.ingest.claim(claim).await?, tokens))
    }

    /// The URL that the answer is to be sent to; `None` if the provider would not.
    fn url(&self, token: Option<Secret>) -> Option<PingbackUrl> {
        if self.sender.account.why_polling().is_some() {
            return None;
        }
        let url = self.sender.account.urls().current()?;
        Some(match token {
            Some(token) => url.of_task(token),
            None => url,
        })
    }
}

fn is_held(gate: Gate) -> bool {
    matches!(gate, Gate::Until(_) | Gate::Stopped)
}

/// Why no tasks could be taken out of the queue.
#[derive(Debug, thiserror::Error)]
enum ClaimError {
    #[error("the system gives no randomness")]
    Randomness(#[from] getrandom::Error),
    #[error(transparent)]
    Write(#[from] crate::ingest::WriteError),
}

impl Sender {
    /// Sends one task, and records the outcome.
    async fn send(
        self,
        task: Task,
        url: Option<PingbackUrl>,
        captcha: Result<Option<Captcha>, StoreError>,
    ) -> Landed {
        let id = task.id;
        let sent = match captcha {
            Ok(Some(captcha)) => {
                self.account.submit(captcha, url.as_ref(), task.expires_at, self.spacing.turn()).await
            }
            Ok(None) => unread("the task's parameters are gone"),
            Err(error) => {
                error!(task.id = %id, %error, "Could not read the task: {error}");
                unread("the database could not be read")
            }
        };
        log(id, &sent);
        self.record(&task, sent).await;
        Landed { cost: task.kind.rate_nanos() }
    }

    /// Records the outcome, however long it takes: a captcha ID that was received is paid for.
    async fn record(&self, task: &Task, sent: Sent) {
        while let Err(error) = self.ingest.record_sent(task.id, task.sent_at, sent.clone()).await {
            if !error.is_told() {
                warn!(task.id = %task.id, ?sent, %error, "Could not record what became of sending a task: {error}");
            }
            sleep(RECORD_PAUSE).await;
        }
    }
}

/// Of a task that was claimed, but could not be read.
fn unread(reason: &str) -> Sent {
    Sent::Postponed { wait: POLL_INTERVAL, reason: reason.to_owned() }
}

fn log(id: TaskId, sent: &Sent) {
    match sent {
        Sent::Accepted { captcha_id, .. } => {
            debug!(task.id = %id, captcha.id = %captcha_id, "The provider took a task");
        }
        Sent::Refused(code) => {
            info!(task.id = %id, code = code.as_str(), "The provider refused a task: {code}");
        }
        Sent::Postponed { wait, reason } => {
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            info!(task.id = %id, wait_ms, "A task was not taken and is sent again: {reason}");
        }
        Sent::Held(_) | Sent::Unsent => debug!(task.id = %id, "A task goes back to the queue"),
        Sent::Unanswered { reason } => warn!(task.id = %id, "A task is unconfirmed: {reason}"),
    }
}
