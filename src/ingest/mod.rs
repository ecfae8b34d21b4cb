//! The one writer. Everything that changes the database waits in one queue; the writer takes what
//! has gathered there, stores it in one transaction, answers everybody, and wakes the callers.
//!
//! Nobody hears of anything before it is on disk. While one transaction is being committed the
//! next batch gathers: the busier it is, the more rows share a commit.

mod batch;
mod touched;

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tracing::error;

use self::batch::{Asked, Batch, Job};
use crate::model::{Pingback, Sent, Submission, Task, TaskId, TokenId};
use crate::store::{IdempotencyKey, Retired, RetirementPlan, Store};
use crate::waiters::Waiters;

/// Writes that may wait. Beyond it a write is refused at once, so that senders hear 503 instead of
/// nothing.
const QUEUE: usize = 4096;
/// Writes that share a transaction. Measured: more rows a commit gain little beyond this.
const MAX_BATCH: usize = 256;

/// How long an idempotency key holds.
pub(crate) const IDEMPOTENCY_WINDOW: Duration = Duration::from_hours(24);

/// Why a write did not happen. Nothing of it is stored, or at least nobody was told so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WriteError {
    /// Too many writes wait already.
    #[error("too many writes are waiting")]
    Busy,
    /// The database failed; the writer has logged how.
    #[error("the database cannot be written")]
    Failed,
}

/// A captcha to store as a task.
#[derive(Debug)]
pub(crate) struct Submit {
    pub(crate) owner: TokenId,
    pub(crate) submission: Submission,
    pub(crate) idempotency: Option<IdempotencyKey>,
}

/// What became of a submission.
#[derive(Debug)]
pub(crate) enum Submitted {
    /// It is a new task.
    New(Task),
    /// It is this earlier task, submitted under the same idempotency key.
    Repeated(Task),
    /// Its idempotency key belongs to a task with another content.
    KeyReused,
}

/// What became of a pingback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receipt {
    /// It settled a task.
    Settled(TaskId),
    /// It says again what is known.
    Repeated,
    /// It settles nothing, and is kept: unmatched, differing, or about the account.
    Kept,
}

/// What became of a wish to cancel.
#[derive(Debug)]
pub(crate) enum Cancelled {
    /// It is cancelled.
    Done(Task),
    /// It was sent, or has ended.
    TooLate(Task),
    /// There is no such task, or it is not the caller's.
    NotFound,
}

/// The writer's queue, as everybody who writes holds it. The writer ends when the last one is gone
/// and the queue is empty.
#[derive(Clone, Debug)]
pub(crate) struct Ingest {
    queue: mpsc::Sender<Job>,
}

impl Ingest {
    /// Stores a captcha as a task, or finds the one it repeats.
    pub(crate) async fn submit(&self, submit: Submit) -> Result<Submitted, WriteError> {
        self.ask(Job::Submit, submit).await
    }

    /// Records a pingback: on disk when this returns `Ok`.
    pub(crate) async fn pingback(&self, pingback: Pingback) -> Result<Receipt, WriteError> {
        self.ask(Job::Pingback, pingback).await
    }

    /// Takes up to `limit` tasks out of the queue, to be sent at once.
    pub(crate) async fn claim(&self, limit: u32) -> Result<Vec<Task>, WriteError> {
        self.ask(Job::Claim, limit).await
    }

    /// Records what became of sending a task.
    pub(crate) async fn record_sent(&self, id: TaskId, sent: Sent) -> Result<(), WriteError> {
        self.ask(Job::Sent, (id, sent)).await
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

    /// Whether writing works right now: goes through the queue and the disk like any write.
    pub(crate) async fn probe(&self) -> Result<(), WriteError> {
        self.ask(Job::Probe, ()).await
    }

    async fn ask<Q, A>(&self, job: fn(Asked<Q, A>) -> Job, question: Q) -> Result<A, WriteError> {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(job(Asked { question, answer: None, reply })).map_err(|_| WriteError::Busy)?;
        answer.await.unwrap_or(Err(WriteError::Failed))
    }
}

/// The writer's side of the queue.
#[derive(Debug)]
pub(crate) struct Writer {
    jobs: mpsc::Receiver<Job>,
    store: Store,
    waiters: Arc<Waiters>,
    /// Told when there may be something new to send.
    queued: Arc<Notify>,
}

/// A writer for the store, and the handle to its queue.
pub(crate) fn writer(store: Store, waiters: Arc<Waiters>, queued: Arc<Notify>) -> (Ingest, Writer) {
    let (queue, jobs) = mpsc::channel(QUEUE);
    (Ingest { queue }, Writer { jobs, store, waiters, queued })
}

impl Writer {
    /// Writes until every [`Ingest`] is gone and what they asked for is done.
    pub(crate) async fn run(mut self) {
        let mut jobs = Vec::new();
        while self.jobs.recv_many(&mut jobs, MAX_BATCH).await > 0 {
            self.write(Batch::new(mem::take(&mut jobs))).await;
        }
    }

    /// Commit, then wake, then answer.
    async fn write(&self, mut batch: Batch) {
        match batch.commit(&self.store).await {
            Ok(committed) => {
                for task in committed.ended {
                    self.waiters.wake(&Arc::new(task));
                }
                batch.finish(None);
                if committed.queue_grew {
                    self.queued.notify_one();
                }
            }
            // One bad row must not fail the others: each is tried on its own.
            Err(error) if error.is_one_rows_fault() && batch.len() > 1 => {
                for single in batch.into_singles() {
                    Box::pin(self.write(single)).await;
                }
            }
            Err(error) => {
                error!(%error, writes = batch.len(), "Could not commit: {error}");
                batch.finish(Some(WriteError::Failed));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("test.db"), Timestamp::now()).await.unwrap();
        let (ingest, writer) = writer(store, Arc::default(), Arc::default());
        // Nobody takes anything out: the writer does not run yet.
        let waiting: Vec<_> = (0..QUEUE)
            .map(|_| {
                let ingest = ingest.clone();
                tokio::spawn(async move { ingest.probe().await })
            })
            .collect();
        while ingest.queue.capacity() > 0 {
            tokio::task::yield_now().await;
        }
        let refused = tokio::time::timeout(Duration::from_secs(5), ingest.probe()).await;
        assert_eq!(refused.expect("told at once"), Err(WriteError::Busy));

        let ending = tokio::spawn(writer.run());
        for probe in waiting {
            assert_eq!(probe.await.unwrap(), Ok(()));
        }
        drop(ingest);
        ending.await.unwrap();
    }
}
