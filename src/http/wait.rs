//! Waiting for tasks to end: subscribe, then read, then wait. Every endpoint that waits does it
//! here.

use std::pin::Pin;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::model::{Task, TaskId};
use crate::waiters::Waiters;

/// When a wait for several tasks is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// One of them has ended.
    Any,
    /// All of them have.
    All,
}

impl std::str::FromStr for Until {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "any" => Ok(Self::Any),
            "all" => Ok(Self::All),
            _ => Err(()),
        }
    }
}

impl Until {
    fn is_over(self, tasks: &[Arc<Task>]) -> bool {
        match self {
            Self::Any => tasks.is_empty() || tasks.iter().any(|task| task.is_final()),
            Self::All => tasks.iter().all(|task| task.is_final()),
        }
    }
}

/// How long a wait may last.
pub(super) struct Patience<'a> {
    pub(super) deadline: Instant,
    /// Shutdown ends every wait.
    pub(super) shutdown: &'a CancellationToken,
}

/// A read of the store under way. It is boxed, so that a parked waiter does not carry its size.
pub(super) type Reading<'a, E> = Pin<Box<dyn Future<Output = Result<Vec<Arc<Task>>, E>> + Send + 'a>>;

/// The tasks that `read` finds, once enough of them have ended, or as they stand at the deadline or
/// at shutdown.
///
/// `read` is called after the subscription, and again when the wait ends without a wake-up. What it
/// leaves out is not waited for.
pub(super) async fn wait_ended<'a, E>(
    waiters: &Arc<Waiters>,
    ids: &[TaskId],
    until: Until,
    patience: Patience<'_>,
    read: impl Fn() -> Reading<'a, E>,
) -> Result<Vec<Arc<Task>>, E> {
    if patience.deadline <= Instant::now() {
        return read().await;
    }
    // Subscribe before the read: a commit between the two still wakes us.
    let mut subscription = waiters.subscribe(ids);
    let mut tasks = read().await?;
    while !until.is_over(&tasks) {
        let woken = timeout_at(patience.deadline, subscription.news());
        let Some(Ok(ended)) = patience.shutdown.run_until_cancelled(woken).await else {
            return read().await;
        };
        for task in ended {
            if let Some(waited) = tasks.iter_mut().find(|waited| waited.id == task.id) {
                *waited = task;
            }
        }
    }
    Ok(tasks)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::model::{
        CaptchaId, FieldValue, Fields, Outcome, Pingback, Submission, Timestamp, TokenId, Via,
    };

    const NOW: Timestamp = Timestamp::from_micros(0);

    fn open_task() -> Task {
        let mut fields = Fields::default();
        for (name, value) in [("type", "text"), ("textcaptcha", "2 + 2?")] {
            fields.push(name.to_owned(), FieldValue::Text(value.to_owned()));
        }
        let submission = Submission::parse(fields).unwrap();
        Task::new(TaskId::new(1).unwrap(), TokenId::LOCAL, &submission, NOW)
    }

    fn solved(mut task: Task) -> Arc<Task> {
        let pingback = Pingback {
            captcha_id: CaptchaId::try_from("77".to_owned()).unwrap(),
            code: "four".to_owned(),
            outcome: Outcome::of("four"),
            price: None,
            extra: None,
            received_at: NOW,
        };
        task.settle(&pingback, Via::Pingback);
        Arc::new(task)
    }

    #[tokio::test]
    async fn a_task_that_ends_while_it_is_read_still_wakes_the_caller() {
        let waiters = Arc::new(Waiters::default());
        let shutdown = CancellationToken::new();
        let deadline = Instant::now() + Duration::from_secs(3600);
        let task = open_task();
        // The worst moment: the store has been read, its reply is on the way, the answer commits.
        let read = || -> Reading<'_, Infallible> {
            Box::pin(async {
                waiters.wake(&solved(task.clone()));
                Ok(vec![Arc::new(task.clone())])
            })
        };
        let patience = Patience { deadline, shutdown: &shutdown };
        let ids = [task.id];
        let waited = wait_ended(&waiters, &ids, Until::All, patience, read);
        let tasks = timeout(Duration::from_secs(5), waited).await.expect("woken").unwrap();
        assert_eq!(tasks[0].answer.as_deref(), Some("four"));
    }

    #[tokio::test]
    async fn a_wait_that_ends_unwoken_shows_the_task_as_it_stands_then() {
        let waiters = Arc::new(Waiters::default());
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        let reads = AtomicU32::new(0);
        let read = || -> Reading<'_, Infallible> {
            reads.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { Ok(vec![Arc::new(open_task())]) })
        };
        let deadline = Instant::now() + Duration::from_secs(3600);
        let patience = Patience { deadline, shutdown: &shutdown };
        wait_ended(&waiters, &[open_task().id], Until::Any, patience, read).await.unwrap();
        assert_eq!(reads.load(Ordering::Relaxed), 2);
    }
}
