//! The account at the provider, as everything that calls it shares it. Nothing is sent but through
//! here: this is where it is held back, where calls are paid for, and where the key is proven.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `balance` | what is on it |
//! | `pauses` | pauses that the provider asked for: told, stored, explained, ended |
//! | `sent` | what a reply of `in.php` means for its task |
//! | `registration` | how far the registration of our pingback URL has come |
//! | `shared` | what other replicas found out, or changed |
//! | `tally` | what was called, and what came of it |

mod balance;
mod pauses;
mod registration;
mod sent;
mod shared;
mod tally;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{Instrument as _, error, info, warn};

use balance::BalanceSheet;
use pauses::explained;
pub(crate) use registration::{Registration, remedy};
pub(crate) use tally::{Call, Tally};

use crate::ingest::{Ingest, Paid, SharedSolveTimes, WriteError};
use crate::model::{
    Backoff, Captcha, CaptchaType, Cause, ErrorCode, Gate, Hold, Pace, Remedy, Script, Secret, Sent, Signal,
    Timestamp,
};
use crate::provider::{
    ClockOffset, LoopMark, PingbackUrl, PingbackUrls, Provider, ProviderError, Question, Reply, Shape,
    explain, signal,
};
use crate::replicas::Lead;
use crate::store::{AccountId, Store, StoreError};

/// Calls that look after nothing urgent leave so many for those that fetch answers.
pub(crate) const RESERVE: u32 = 300;

/// The account, shared by everything that calls the provider.
#[derive(Clone)]
pub(crate) struct Account(Arc<Shared>);

struct Shared {
    provider: Provider,
    ingest: Ingest,
    store: Store,
    /// Whether this replica may submit.
    lead: Lead,
    urls: PingbackUrls,
    state: Mutex<State>,
    /// Whether the provider has accepted the key in this process. Until then one request at a time: a
    /// wrong key costs one, and never five.
    is_proven: AtomicBool,
    /// Held by a request that is to be alone.
    alone: tokio::sync::Mutex<()>,
    /// What was left of the credit when it was last used.
    credit: AtomicU32,
    /// The same of replies of `ERROR_NO_SLOT_AVAILABLE`.
    refusals: AtomicU32,
    solve_times: SharedSolveTimes,
    registration: watch::Sender<Registration>,
    /// Counts the changes of what holds tasks back.
    changes: watch::Sender<u64>,
    balance: Mutex<BalanceSheet>,
    /// Held by the one caller who asks for the balance.
    asking_balance: tokio::sync::Mutex<()>,
    /// Held while pauses are stored: what is on disk is never older than what was there.
    saving: tokio::sync::Mutex<()>,
    is_saved: AtomicBool,
    /// Held while the secrets of our URLs change.
    changing_secrets: tokio::sync::Mutex<()>,
    /// When they were last known to be all there are.
    secrets_read_at: Mutex<Instant>,
    tally: Tally,
}

#[derive(Debug, Default)]
struct State {
    backoff: Backoff,
    /// The pauses as they are on disk, as far as is known.
    stored: Backoff,
    /// The day's money is not enough for the next task.
    is_short_of_money: bool,
}

/// Why there is no reply of `res.php`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    /// Nothing was sent: the provider wants to be left alone.
    #[error("nothing is sent at the moment: {0}")]
    Held(Cause),
    /// Nothing was sent: the credit of calls is used up, but for what more urgent calls may need.
    #[error("too many calls were made for the captchas submitted: more are allowed with the next ones")]
    NoCredit,
    /// Nothing was sent: the call could not be paid for.
    #[error("the database cannot take this right now")]
    Write(#[from] WriteError),
    /// It was sent, or should have been.
    #[error(transparent)]
    Failed(ProviderError),
}

/// What an account starts with.
pub(crate) struct Parts {
    pub(crate) provider: Provider,
    pub(crate) ingest: Ingest,
    pub(crate) store: Store,
    pub(crate) lead: Lead,
    pub(crate) urls: PingbackUrls,
    pub(crate) solve_times: SharedSolveTimes,
    pub(crate) registration: Registration,
}

impl Account {
    /// The account as it was left: with its pauses and its credit. A stop for a loop ends here: the way to
    /// the provider may be another one than before, and one request finds out.
    pub(crate) async fn restore(parts: Parts) -> Result<Self, StoreError> {
        let Parts { provider, ingest, store, lead, urls, solve_times, registration } = parts;
        let id = AccountId::new(provider.key_digest());
        let stored = store.backoff(&id).await?;
        let mut backoff = stored.clone();
        let is_saved = !backoff.forget_loops();
        if !is_saved {
            info!("Sending stopped because the provider's address led back to pingbox: it is tried again");
        }
        if let Some(hold @ Hold { cause, until: None, .. }) = backoff.hold(Script::In) {
            let why = explained(hold, provider.route());
            error!(code = cause.as_str(), "Nothing is sent, as before the start: {why}");
        }
        let credit = store.credit(&id).await?;
        Ok(Self(Arc::new(Shared {
            provider,
            ingest,
            store,
            lead,
            urls,
            state: Mutex::new(State { backoff, stored, is_short_of_money: false }),
            is_proven: AtomicBool::new(false),
            alone: tokio::sync::Mutex::new(()),
            credit: AtomicU32::new(credit.calls.level()),
            refusals: AtomicU32::new(credit.refusals.level()),
            solve_times,
            registration: watch::Sender::new(registration),
            changes: watch::Sender::new(0),
            balance: Mutex::default(),
            asking_balance: tokio::sync::Mutex::new(()),
            saving: tokio::sync::Mutex::new(()),
            is_saved: AtomicBool::new(is_saved),
            changing_secrets: tokio::sync::Mutex::new(()),
            secrets_read_at: Mutex::new(Instant::now()),
            tally: Tally::default(),
        })))
    }

    /// Sends a captcha to `in.php` when it is its `turn`, heeds what the reply asks of the others, and says what
    /// became of it. Its answer is of use until `expires_at`.
    pub(crate) async fn submit(
        &self,
        captcha: Captcha,
        url: Option<&PingbackUrl>,
        expires_at: Timestamp,
        turn: impl Future<Output = ()>,
    ) -> Sent {
        let Ok(alone) = self.admit(Script::In).await else { return Sent::Unsent };
        turn.await;
        // A pause may have come meanwhile. And another replica may submit from here on, and would not know of this
        // request.
        if matches!(self.gate(Script::In), Gate::Until(_) | Gate::Stopped) || !self.0.lead.is_held() {
            return Sent::Unsent;
        }
        let kind = captcha.kind;
        let result = self.0.provider.submit(captcha, url).await;
        let now = Timestamp::now();
        self.note(Script::In, "submit", &result).await;
        drop(alone);
        sent::outcome(result, now, |now| self.pace(kind).next(kind, now, expires_at, now))
    }

    /// Asks `res.php`, if that leaves `reserve` of the credit. A caller who stops waiting does not stop the
    /// call: it is paid for, and its reply concerns everybody.
    ///
    /// # Errors
    /// When nothing may be sent, or no usable reply came.
    pub(crate) async fn ask(&self, question: &Question<'_>, reserve: u32) -> Result<Reply, Unanswered> {
        let (account, question) = (self.clone(), OwnedQuestion::from(question));
        // It holds on to the writer's queue, and so the end of the service waits for it.
        let call = async move { account.call(&question, reserve).await };
        let call = tokio::spawn(call.in_current_span());
        call.await.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Unanswered::Write(WriteError::Failed)),
        })
    }

    async fn call(&self, question: &OwnedQuestion, reserve: u32) -> Result<Reply, Unanswered> {
        let alone = self.admit(Script::Res).await.map_err(Unanswered::Held)?;
        let Paid { left, backoff } = self.0.ingest.pay(reserve).await?;
        let credit = left.ok_or(Unanswered::NoCredit)?;
        self.0.credit.store(credit, Ordering::Relaxed);
        // Paying took a commit: meanwhile the provider may have asked for a pause, another replica perhaps.
        let gates = [self.gate(Script::Res), backoff.gate(Script::Res, Timestamp::now())];
        if gates.iter().any(|gate| matches!(gate, Gate::Until(_) | Gate::Stopped)) {
            self.refund().await;
            let cause = backoff.hold(Script::Res).map(|hold| hold.cause.clone());
            return Err(Unanswered::Held(cause.unwrap_or_else(|| self.cause(Script::Res))));
        }
        let result = question.put_to(&self.0.provider).await;
        if result.as_ref().is_err_and(ProviderError::is_unsent) {
            self.refund().await;
        }
        self.note(Script::Res, &question.action, &result).await;
        drop(alone);
        result.map_err(Unanswered::Failed)
    }

    async fn refund(&self) {
        if let Err(error) = self.0.ingest.refund().await
            && !error.is_told()
        {
            warn!(%error, "Could not give back the credit of a call that did not arrive: {error}");
        }
    }

    /// Whether a request may start; the guard keeps others away from one that has to be alone.
    async fn admit(&self, script: Script) -> Result<Option<tokio::sync::MutexGuard<'_, ()>>, Cause> {
        match self.gate(script) {
            Gate::Open => return Ok(None),
            Gate::Probe => {}
            Gate::Until(_) | Gate::Stopped => return Err(self.cause(script)),
        }
        let alone = self.0.alone.lock().await;
        // What the request before it found out counts.
        match self.gate(script) {
            Gate::Open => Ok(None),
            Gate::Probe => Ok(Some(alone)),
            Gate::Until(_) | Gate::Stopped => Err(self.cause(script)),
        }
    }

    /// Whether a request to the script may start at this moment.
    pub(crate) fn gate(&self, script: Script) -> Gate {
        match self.state().backoff.gate(script, Timestamp::now()) {
            Gate::Open if !self.0.is_proven.load(Ordering::Acquire) => Gate::Probe,
            gate => gate,
        }
    }

    /// Why the script is not called.
    fn cause(&self, script: Script) -> Cause {
        self.state().backoff.hold(script).map_or(Cause::NoReply, |hold| hold.cause.clone())
    }

    /// Takes in what came of a request; what follows is on disk when this returns.
    async fn note(&self, script: Script, action: &str, result: &Result<Reply, ProviderError>) {
        let signal = signal(result);
        self.0.tally.note(script, action, result, &signal);
        match &signal {
            Signal::Welcome => self.0.is_proven.store(true, Ordering::Release),
            Signal::Trouble(Cause::Code(code)) => {
                self.0.is_proven.store(code.remedy() != Remedy::Operator, Ordering::Release);
            }
            Signal::Trouble(_) => {}
        }
        let is_refusal =
            matches!(&signal, Signal::Trouble(Cause::Code(code)) if code.as_str() == ErrorCode::NO_SLOT);
        let refusals = self.0.refusals.load(Ordering::Relaxed).saturating_sub(u32::from(is_refusal));
        // The pause comes first: nobody starts while what follows is being stored.
        let (before, after) = {
            let mut state = self.state();
            let before = state.backoff.clone();
            state.backoff.note(script, signal, refusals, Timestamp::now());
            (before, state.backoff.clone())
        };
        if is_refusal {
            match self.0.ingest.refuse().await {
                Ok(left) => self.0.refusals.store(left, Ordering::Relaxed),
                Err(error) => warn!(%error, "Could not count that the provider had no slot: {error}"),
            }
        }
        if before != after {
            if let Err(error) = result {
                info!(script = script.as_str(), "No reply of {}: {}", script.as_str(), explain(error));
            }
            self.changed(&before, &after).await;
        }
    }

    fn tell_change(&self) {
        self.0.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The day's money is, or is not, enough for the next task.
    pub(crate) fn set_short_of_money(&self, is_short: bool) {
        let was_short = std::mem::replace(&mut self.state().is_short_of_money, is_short);
        match (was_short, is_short) {
            (false, true) => warn!("Tasks wait in the queue: {SHORT_OF_MONEY}"),
            (true, false) => info!("There is money for tasks again"),
            _ => return,
        }
        self.tell_change();
    }

    /// The pauses in force.
    pub(crate) fn backoff(&self) -> Backoff {
        self.state().backoff.clone()
    }

    /// Told of every change of what holds tasks back.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is left of the calls to `res.php`, as of the last one.
    pub(crate) fn credit(&self) -> u32 {
        self.0.credit.load(Ordering::Relaxed)
    }

    /// The SHA-256 of the key, by which the database knows the account.
    pub(crate) fn id(&self) -> AccountId {
        AccountId::new(self.0.provider.key_digest())
    }

    /// What our requests carry, by which they are known when they come back.
    pub(crate) fn mark(&self) -> &LoopMark {
        self.0.provider.mark()
    }

    /// How far our clock is from the provider's, as its last reply told; `None` when none did.
    pub(crate) fn clock(&self) -> Option<ClockOffset> {
        self.0.provider.clock()
    }

    /// What was called so far, and what came of it.
    pub(crate) fn tally(&self) -> &Tally {
        &self.0.tally
    }

    /// Our pingback URLs.
    pub(crate) fn urls(&self) -> &PingbackUrls {
        &self.0.urls
    }

    /// How far the registration of our URL has come.
    pub(crate) fn registration(&self) -> watch::Receiver<Registration> {
        self.0.registration.subscribe()
    }

    /// Whether no pingbacks can come, so that answers are asked for; then why.
    pub(crate) fn why_polling(&self) -> Option<String> {
        if self.urls().current().is_none() {
            return Some("public.url is not set".to_owned());
        }
        match &*self.0.registration.borrow() {
            refused @ Registration::Refused(_) => Some(format!("the registration is {refused}")),
            _ => None,
        }
    }

    /// How eagerly answers to this type are asked for.
    pub(crate) fn pace(&self, kind: CaptchaType) -> Pace {
        if self.why_polling().is_some() {
            return Pace::Polling { credit: self.credit() };
        }
        let times = self.0.solve_times.lock().unwrap_or_else(PoisonError::into_inner);
        Pace::Overdue { typical: times.p90(kind) }
    }
}

/// A question that outlives who asks it.
struct OwnedQuestion {
    action: String,
    params: Vec<(String, String)>,
    shape: Shape,
}

impl From<&Question<'_>> for OwnedQuestion {
    fn from(question: &Question<'_>) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let Question { action, params, shape } = question;
        Self { action: (*action).to_owned(), params: params.iter().map(owned).collect(), shape: *shape }
    }
}

impl OwnedQuestion {
    async fn put_to(&self, provider: &Provider) -> Result<Reply, ProviderError> {
        let params: Vec<_> =
            self.params.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        provider.ask(&Question { action: &self.action, params: &params, shape: self.shape }).await
    }
}

/// Under this name the database remembers the secrets of our pingback URLs.
pub(crate) const SECRETS: &str = "pingback_secrets";

/// Under this one, how far their registration has come.
const REGISTRATION: &str = "registration";

const SHORT_OF_MONEY: &str =
    "spend.daily_limit would be exceeded: tasks are sent again tomorrow (UTC), or when the limit is raised";

/// A token for the pingback URL of one task: 128 bits.
pub(crate) fn task_token() -> Result<Secret, getrandom::Error> {
    Secret::random_hex(16)
}
