//! A task whose caller has not heard its id yet: should it go away first, the task goes too, for a
//! caller who asks again would pay twice.

use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{Instrument as _, warn};

use crate::ingest::{Cancelled, Ingest, Submit, Submitted, WriteError};
use crate::model::{Task, TaskId};

/// How often a task is withdrawn before that is given up, and the pause in between.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(250);

/// A stored task. When it is dropped before its id was [heard](Self::heard), it is withdrawn if it was
/// not sent yet.
pub(super) struct Unheard {
    ingest: Option<Ingest>,
    task: Box<Task>,
}

/// What became of a captcha.
pub(super) enum Stored {
    Task(Unheard),
    /// With the tasks under way, less is left of the day's money than it may cost.
    OverLimit,
}

impl Unheard {
    /// Stores a captcha, whose body has `slot`. The write goes on when nobody waits for it any more, at
    /// the deadline or because the caller left: then its task is withdrawn as soon as it is there.
    pub(super) async fn store(
        ingest: Ingest,
        submit: Submit,
        slot: Option<OwnedSemaphorePermit>,
        deadline: Instant,
    ) -> Result<Stored, WriteError> {
        let (hand_over, stored) = oneshot::channel();
        let storing = async move {
            let submitted = ingest.submit(submit).await;
            drop(slot);
            let stored = submitted.map(|submitted| match submitted {
                Submitted::New(task) | Submitted::Repeated(task) => {
                    Stored::Task(Self { ingest: Some(ingest), task: Box::new(task) })
                }
                Submitted::OverLimit => Stored::OverLimit,
                Submitted::KeyReused => unreachable!("no idempotency key was given"),
            });
            // What nobody takes is dropped.
            drop(hand_over.send(stored));
        };
        // It holds on to the writer's queue, and so the end of the service waits for it.
        tokio::spawn(storing.in_current_span());
        match timeout_at(deadline, stored).await {
            Ok(Ok(stored)) => stored,
            Ok(Err(_)) | Err(_) => Err(WriteError::TooSlow),
        }
    }

    pub(super) fn task(&self) -> &Task {
        &self.task
    }

    /// The caller is told the id, or why there is none.
    pub(super) fn heard(mut self) {
        self.ingest = None;
    }
}

impl Drop for Unheard {
    fn drop(&mut self) {
        if let Some(ingest) = self.ingest.take() {
            tokio::spawn(withdraw(ingest, self.task.id).in_current_span());
        }
    }
}

async fn withdraw(ingest: Ingest, id: TaskId) {
    for _ in 0..TRIES {
        match ingest.cancel(id, None).await {
            Ok(Cancelled::Done(_)) => {
                warn!(task.id = %id, "A caller of in.php went away before it heard the id: the task is withdrawn");
                return;
            }
            Ok(Cancelled::TooLate(_) | Cancelled::NotFound) => {
                warn!(task.id = %id, "A caller of in.php went away before it heard the id of a task that was sent");
                return;
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
    warn!(task.id = %id, "Could not withdraw a task whose caller went away");
}
