//! The one writer. Everything that changes the database waits in one queue; the writer takes what
//! has gathered there, stores it in one transaction, answers everybody, and wakes the callers.
//!
//! Nobody hears of anything before it is on disk. While one transaction is being committed the
//! next batch gathers: the busier it is, the more rows share a commit.

mod admission;
mod batch;
mod chores;
mod sink;
mod tally;
mod tokens;
mod touched;
mod webhooks;
mod words;

use std::collections::HashSet;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;
use tracing::{debug, error};

use self::admission::{Admission, Pace, QUEUE};
use self::batch::{Asked, Batch, Committed, Job};
pub(crate) use self::chores::MOST_ENDED;
use self::chores::{Chore, NewReport};
pub(crate) use self::sink::SinkTally;
use self::sink::{Bound, Sink};
pub(crate) use self::tally::{Fate, WriterTally};
pub(crate) use self::tokens::MOST_TOKENS;
pub(crate) use self::webhooks::{MOST_DELIVERIES, MOST_WEBHOOKS, Owned};
pub(crate) use self::words::{
    Cancelled, Claim, Claimed, Fetched, Granted, Paid, Receipt, Received, Reported, Submit, Submitted,
    UrlAdded, WriteError,
};
use crate::model::{
    Backoff, CallerUrl, Delivery, Outcome, Report, Sent, SigningKeys, SigningSecret, SolveTimes, Status,
    Task, TaskId, Timestamp, TokenId, Verdict, Via,
};
use crate::store::{AccountId, Fault, Retired, RetirementPlan, Store, StoreError};
use crate::waiters::{AnswerWaiters, TaskWaiters};

/// Writes that share a transaction. Measured: more rows a commit gain little beyond this.
const MAX_BATCH: usize = 256;

/// How long a transaction may take, with the wait for a server that is away: what takes longer hangs on a connection
/// whose other end is gone.
const WRITE_DEADLINE: Duration = Duration::from_secs(45);

/// How long an idempotency key holds.
pub(crate) const IDEMPOTENCY_WINDOW: Duration = Duration::from_hours(24);

/// The writer's queue, as everybody who writes holds it. The writer ends when the last one is gone
/// and the queue is empty.
#[derive(Clone, Debug)]
pub(crate) struct Ingest {
    queue: mpsc::Sender<Job>,
    admission: Arc<Admission>,
    tally: Arc<WriterTally>,
}

impl Ingest {
    /// Stores a captcha as a task, or finds the one it repeats.
    pub(crate) async fn submit(&self, submit: Submit) -> Result<Submitted, WriteError> {
        self.admit()?;
        self.ask(Job::Submit, submit).await
    }

    /// Records a pingback: on disk when this returns `Ok`.
    pub(crate) async fn pingback(&self, received: Received) -> Result<Receipt, WriteError> {
        self.ask(Job::Pingback, received).await.inspect_err(|error| self.tally.note_refused(*error))
    }

    /// Whether there is room for one more pingback. It is asked before the pingback is read: to refuse must cost less
    /// than to take, or there is nothing left to take with.
    pub(crate) fn admit_pingback(&self) -> Result<(), WriteError> {
        self.admit().inspect_err(|error| self.tally.note_refused(*error))
    }

    fn admit(&self) -> Result<(), WriteError> {
        if self.waiting() < self.admission.most() {
            return Ok(());
        }
        self.admission.note_refused();
        Err(WriteError::Busy)
    }

    /// What has been stored since the start.
    pub(crate) fn tally(&self) -> &WriterTally {
        &self.tally
    }

    /// How many writes wait, and how many may at the moment.
    pub(crate) fn queue(&self) -> (usize, usize) {
        (self.waiting(), self.admission.most())
    }

    fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Takes tasks out of the queue, to be sent at once.
    pub(crate) async fn claim(&self, claim: Claim) -> Result<Claimed, WriteError> {
        self.ask(Job::Claim, claim).await
    }

    /// Records what `res.php` said of some tasks.
    pub(crate) async fn fetched(&self, fetched: Vec<(TaskId, Fetched)>) -> Result<(), WriteError> {
        self.ask(Job::Fetched, fetched).await
    }

    /// Records what became of the attempt to send a task that began at `since`; `None`: of the last one. What an
    /// earlier attempt came to counts only if it got a captcha ID.
    pub(crate) async fn record_sent(
        &self,
        id: TaskId,
        since: Option<Timestamp>,
        sent: Sent,
    ) -> Result<(), WriteError> {
        self.ask(Job::Sent, (id, since, sent)).await
    }

    /// Withdraws a task that was not sent yet; with an owner, only a task of theirs.
    pub(crate) async fn cancel(&self, id: TaskId, owner: Option<TokenId>) -> Result<Cancelled, WriteError> {
        self.ask(Job::Cancel, (id, owner)).await
    }

    /// Ends the tasks whose time is over, and the wait of unconfirmed ones: they are submitted
    /// again if `resubmit`, else they fail. The number of tasks that changed.
    pub(crate) async fn sweep(&self, resubmit: bool) -> Result<usize, WriteError> {
        self.ask(Job::Sweep, resubmit).await
    }

    /// Forgets one batch of what is old.
    pub(crate) async fn retire(&self, plan: RetirementPlan) -> Result<Retired, WriteError> {
        self.ask(Job::Retire, plan).await
    }

    /// Pays for a request to `res.php`, if more than `reserve` is left. It must be
    /// paid before it is sent: a crash in between may cost credit, but never breaks the limit.
    pub(crate) async fn pay(&self, reserve: u32) -> Result<Paid, WriteError> {
        self.ask_chore(Chore::Pay, reserve).await
    }

    /// Gives back what was paid for a request that cannot have arrived.
    pub(crate) async fn refund(&self) -> Result<(), WriteError> {
        self.ask_chore(Chore::Refund, ()).await
    }

    /// Notes that the provider had no slot; how many more such replies the account can afford.
    pub(crate) async fn refuse(&self) -> Result<u32, WriteError> {
        self.ask_chore(Chore::Refuse, ()).await
    }

    /// Stores that the pauses changed from `before` to `after`; what they are by it, together with what others have
    /// stored meanwhile.
    pub(crate) async fn change_backoff(
        &self,
        before: Backoff,
        after: Backoff,
    ) -> Result<Backoff, WriteError> {
        self.ask_chore(Chore::Backoff, (before, after)).await
    }

    /// Stores a report on a task, to be sent; with an owner, only on a task of theirs.
    pub(crate) async fn report(
        &self,
        task: TaskId,
        owner: Option<TokenId>,
        verdict: Verdict,
    ) -> Result<Reported, WriteError> {
        self.ask_chore(Chore::Report, NewReport { task, owner, verdict }).await
    }

    /// Stores what became of a report.
    pub(crate) async fn report_ended(&self, report: Report) -> Result<(), WriteError> {
        self.ask_chore(Chore::ReportEnded, report).await
    }

    /// The secrets that sign messages to URLs that this owner's tasks carry, made if there are none yet.
    pub(crate) async fn signing_keys(&self, owner: TokenId) -> Result<SigningKeys, WriteError> {
        let fresh = SigningSecret::random().map_err(|_| WriteError::Failed)?;
        self.ask_chore(Chore::SigningKeys, (owner, fresh)).await
    }

    /// Stores what became of a delivery.
    pub(crate) async fn delivery_tried(&self, delivery: Delivery) -> Result<(), WriteError> {
        self.ask_chore(Chore::Delivery, delivery).await
    }

    /// Stores what became of a delivery to a webhook that wants no more: in the same commit the webhook is disabled,
    /// and others that wait for it are ended. How many; when they are [`MOST_ENDED`], there may be more.
    pub(crate) async fn webhook_gone(&self, delivery: Delivery) -> Result<u64, WriteError> {
        self.ask_chore(Chore::WebhookGone, delivery).await
    }

    /// Gives up on those of these deliveries that still wait, for this reason; how many.
    pub(crate) async fn give_up(&self, ids: Vec<i64>, why: &'static str) -> Result<u64, WriteError> {
        self.ask_chore(Chore::GiveUp, (ids, why)).await
    }

    /// Has deliveries whose wait begins ahead of the clock, which was set back, begin it now; how many.
    pub(crate) async fn replan_deliveries(&self) -> Result<u64, WriteError> {
        self.ask_chore(Chore::ReplanDeliveries, ()).await
    }

    /// Deletes what waits to be told of a task, because its caller has been told in another way.
    pub(crate) async fn drop_callback(&self, id: TaskId) -> Result<(), WriteError> {
        self.ask_chore(Chore::DropCallback, id).await
    }

    /// Has every submitted task asked for soon, because no pingbacks come any more; how many.
    pub(crate) async fn ask_for_all(&self) -> Result<u64, WriteError> {
        self.ask_chore(Chore::AskForAll, ()).await
    }

    /// Remembers a value under a name.
    pub(crate) async fn remember(&self, name: &'static str, value: String) -> Result<(), WriteError> {
        self.ask_chore(Chore::Remember, (name, value)).await
    }

    /// Remembers `after` under a name, if it is `before` that is remembered; whether it was.
    pub(crate) async fn replace(
        &self,
        name: &'static str,
        before: String,
        after: String,
    ) -> Result<bool, WriteError> {
        self.ask_chore(Chore::Replace, (name, [before, after])).await
    }

    /// Notes that a pingback URL was added for others, or that it was deleted.
    pub(crate) async fn note_url(&self, url: String, is_added: bool) -> Result<(), WriteError> {
        self.ask_chore(Chore::AddedUrl, (url, is_added)).await
    }

    /// Registers a URL for a caller, which may have it already; at most 100 each.
    pub(crate) async fn add_caller_url(
        &self,
        owner: TokenId,
        url: CallerUrl,
    ) -> Result<UrlAdded, WriteError> {
        self.ask_chore(Chore::AddCallerUrl, (owner, url)).await
    }

    /// Deletes a URL that a caller registered, or all of them with `None`; whether there was one.
    pub(crate) async fn delete_caller_url(
        &self,
        owner: TokenId,
        url: Option<CallerUrl>,
    ) -> Result<bool, WriteError> {
        self.ask_chore(Chore::DeleteCallerUrl, (owner, url)).await
    }

    /// Whether writing works right now: goes through the queue and the disk like any write.
    pub(crate) async fn probe(&self) -> Result<(), WriteError> {
        self.ask(Job::Probe, ()).await
    }

    async fn ask<Q, A>(&self, job: impl FnOnce(Asked<Q, A>) -> Job, question: Q) -> Result<A, WriteError> {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(job(Asked { question, answer: None, reply })).map_err(|error| match error {
            TrySendError::Full(_) => {
                self.admission.note_refused();
                WriteError::Busy
            }
            TrySendError::Closed(_) => WriteError::Failed,
        })?;
        answer.await.unwrap_or(Err(WriteError::Failed))
    }

    async fn ask_chore<Q, A>(&self, chore: fn(Asked<Q, A>) -> Chore, question: Q) -> Result<A, WriteError> {
        self.ask(|asked| Job::Chore(chore(asked)), question).await
    }
}

/// What the writer tells of its commits, and to whom.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heralds {
    /// Given the tasks that have ended.
    pub(crate) waiters: Arc<TaskWaiters>,
    /// Told for which captchas there is an answer, or an end without one.
    pub(crate) answers: Arc<AnswerWaiters>,
    /// Counts what no task waits for.
    pub(crate) sink: Arc<SinkTally>,
    /// Given the tasks that were sent to the provider, as that left them.
    pub(crate) sent: Arc<TaskWaiters>,
    /// Told of every commit: there may be new events.
    pub(crate) committed: Arc<Notify>,
    /// Told when there may be something new to send.
    pub(crate) queued: Arc<Notify>,
    /// Told of every commit: there may be something to tell a caller's receiver.
    pub(crate) called_back: Arc<Notify>,
    /// Counts what was stored.
    pub(crate) tally: Arc<WriterTally>,
    /// Told how long captchas took.
    pub(crate) solve_times: SharedSolveTimes,
}

/// Solve times, noted by the writer and read by who plans with them.
pub(crate) type SharedSolveTimes = Arc<Mutex<SolveTimes>>;

/// The writer's side of the queue.
#[derive(Debug)]
pub(crate) struct Writer {
    jobs: mpsc::Receiver<Job>,
    admission: Arc<Admission>,
    store: Store,
    /// Whose credit it keeps.
    account: AccountId,
    heralds: Heralds,
    sink: Sink,
    /// Whether events are told to anybody, so that it need not be read after every commit.
    has_webhooks: bool,
    /// Tasks that this process took out of the queue, and has not said what became of.
    sending: HashSet<TaskId>,
}

/// A writer for the store, and the handle to its queue.
pub(crate) fn writer(store: Store, account: AccountId, heralds: Heralds) -> (Ingest, Writer) {
    let (queue, jobs) = mpsc::channel(QUEUE);
    let tally = Arc::clone(&heralds.tally);
    let sink = Sink::new(Bound::STANDARD, Arc::clone(&heralds.sink));
    let admission = Arc::<Admission>::default();
    let ingest = Ingest { queue, admission: Arc::clone(&admission), tally };
    let sending = HashSet::new();
    (ingest, Writer { jobs, admission, store, account, heralds, sink, has_webhooks: true, sending })
}

impl Writer {
    /// Writes until every [`Ingest`] is gone and what they asked for is done.
    pub(crate) async fn run(mut self) {
        let mut jobs = Vec::new();
        let mut pace = Pace::new(Instant::now());
        self.look_for_webhooks().await;
        loop {
            let is_rest = self.jobs.is_empty();
            if self.jobs.recv_many(&mut jobs, MAX_BATCH).await == 0 {
                break;
            }
            let now = Instant::now();
            if is_rest {
                pace.rest(now);
            }
            pace.note(jobs.len(), self.jobs.len(), now, &self.admission);
            self.write(Batch::new(mem::take(&mut jobs))).await;
            // It hangs only on a server that is gone; the next one tries again.
            drop(timeout(WRITE_DEADLINE, self.sink.trim(&self.store)).await);
        }
    }

    /// Commit, then wake, then answer.
    async fn write(&mut self, mut batch: Batch) {
        let begun = Instant::now();
        match self.commit(&mut batch).await {
            Ok(committed) => {
                self.heralds.tally.note_commit(&batch, &committed, begun.elapsed());
                self.store.health().wrote();
                self.note_solve_times(committed.newly_ended());
                batch.note_sending(&mut self.sending);
                let is_called_back =
                    |task: &Task| task.has_webhook || (task.has_callback && task.status != Status::Cancelled);
                if batch.is_about_subscriptions() {
                    self.look_for_webhooks().await;
                }
                let is_told = self.has_webhooks && (batch.may_tell() || !committed.ended.is_empty());
                if is_told || batch.has_replays() || committed.ended.iter().any(is_called_back) {
                    self.heralds.called_back.notify_one();
                }
                self.tell_of_answers(&committed);
                for task in committed.ended.into_iter().map(Arc::new) {
                    self.heralds.waiters.wake(&task.id, &task);
                }
                for task in committed.sent.into_iter().map(Arc::new) {
                    self.heralds.sent.wake(&task.id, &task);
                }
                self.heralds.committed.notify_one();
                batch.finish(None);
                if committed.queue_grew {
                    self.heralds.queued.notify_one();
                }
            }
            // One bad row must not fail the others: each is tried on its own.
            Err(error) if error.is_one_rows_fault() && batch.len() > 1 => {
                for single in batch.into_singles() {
                    Box::pin(self.write(single)).await;
                }
            }
            Err(error) if error.is_one_rows_fault() => {
                self.heralds.tally.note_failed_commit();
                error!(%error, "Could not store what was asked for: {error}");
                batch.finish(Some(WriteError::Failed));
            }
            Err(error) => {
                self.heralds.tally.note_failed_commit();
                self.store.health().could_not_write(&error);
                let fault = error.fault();
                batch.finish(Some(WriteError::Store(fault)));
                if fault.takes_long() {
                    self.refuse_waiting(fault);
                }
            }
        }
    }

    /// Who came while a write waited in vain is told the same, instead of waiting as long again.
    fn refuse_waiting(&mut self, fault: Fault) {
        let waiting = std::iter::from_fn(|| self.jobs.try_recv().ok()).take(QUEUE).collect();
        Batch::new(waiting).finish(Some(WriteError::Store(fault)));
    }

    /// Once more where the server went away before anything was stored: it may only have been started again.
    async fn commit(&self, batch: &mut Batch) -> Result<Committed, StoreError> {
        match self.try_to_commit(batch).await {
            Err(error) if error.is_lost() => {
                debug!(%error, "The database went away before a commit, which is tried again: {error}");
                self.try_to_commit(batch).await
            }
            done => done,
        }
    }

    /// What takes too long is given up, with the connection that it hangs on.
    async fn try_to_commit(&self, batch: &mut Batch) -> Result<Committed, StoreError> {
        let done = timeout(WRITE_DEADLINE, batch.commit(&self.store, &self.account, &self.sending)).await;
        done.unwrap_or_else(|_| Err(StoreError::too_slow()))
    }

    /// Wakes who waits for a captcha that a task of ours had, or that none has.
    fn tell_of_answers(&self, committed: &Committed) {
        self.heralds.sink.note_received(committed.unmatched.len());
        let of_tasks = committed.ended.iter().filter_map(|task| task.captcha_id.as_ref());
        let unmatched = committed.unmatched.iter().filter(|pingback| pingback.outcome != Outcome::Notice);
        for captcha_id in of_tasks.chain(unmatched.map(|pingback| &pingback.captcha_id)) {
            self.heralds.answers.wake(captcha_id, &());
        }
    }

    /// Where that cannot be read, or another replica may have stored one, there may be some.
    async fn look_for_webhooks(&mut self) {
        self.has_webhooks = self.store.is_shared() || self.store.has_webhooks().await.unwrap_or(true);
    }

    /// An answer that was asked for says when it was asked for, not how long it took.
    fn note_solve_times<'a>(&self, ended: impl Iterator<Item = &'a Task>) {
        let solved = ended.filter(|task| task.status == Status::Solved && task.via == Some(Via::Pingback));
        let mut times = self.heralds.solve_times.lock().unwrap_or_else(PoisonError::into_inner);
        for task in solved {
            if let (Some(submitted_at), Some(answered_at)) = (task.submitted_at, task.answered_at) {
                times.note(task.kind, answered_at.since(submitted_at));
            }
        }
    }
}

#[cfg(test)]
mod tests;
