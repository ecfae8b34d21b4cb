//! Waiting for tasks to end, and for answers: subscribe, then read, then wait. Every endpoint that waits
//! does it here.

use std::pin::{Pin, pin};
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::model::{CaptchaId, Task, TaskId};
use crate::waiters::{AnswerWaiters, TaskWaiters};

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
    fn is_over<T>(self, tasks: &[T], has_ended: impl Fn(&T) -> bool) -> bool {
        match self {
            Self::Any => tasks.is_empty() || tasks.iter().any(has_ended),
            Self::All => tasks.iter().all(has_ended),
        }
    }
}

/// A task that is waited for.
enum Waited {
    /// Only this much is kept of one that is open and waited for alone: ten thousand callers may wait so.
    Open(TaskId),
    Known(Arc<Task>),
}

impl Waited {
    fn of(task: Arc<Task>, is_alone: bool) -> Self {
        if is_alone && !task.is_final() { Self::Open(task.id) } else { Self::Known(task) }
    }

    fn id(&self) -> TaskId {
        match self {
            Self::Open(id) => *id,
            Self::Known(task) => task.id,
        }
    }

    fn has_ended(&self) -> bool {
        matches!(self, Self::Known(task) if task.is_final())
    }

    fn into_known(self) -> Option<Arc<Task>> {
        match self {
            Self::Open(_) => None,
            Self::Known(task) => Some(task),
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
pub(super) type Reading<'a, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// The tasks that `read` finds, once enough of them have ended, or as they stand at the deadline or
/// at shutdown.
///
/// `read` is called after the subscription, and again when the wait ends without a wake-up. What it
/// leaves out is not waited for.
pub(super) async fn wait_ended<'a, E>(
    waiters: &Arc<TaskWaiters>,
    ids: &[TaskId],
    until: Until,
    patience: Patience<'_>,
    read: impl Fn() -> Reading<'a, Vec<Arc<Task>>, E>,
) -> Result<Vec<Arc<Task>>, E> {
    if patience.deadline <= Instant::now() {
        return read().await;
    }
    // Subscribe before the read: a commit between the two still wakes us.
    let mut subscription = waiters.subscribe(ids);
    let tasks = read().await?;
    if until.is_over(&tasks, |task| task.is_final()) {
        return Ok(tasks);
    }
    let is_alone = tasks.len() == 1;
    let mut waited: Vec<_> = tasks.into_iter().map(|task| Waited::of(task, is_alone)).collect();
    while !until.is_over(&waited, Waited::has_ended) {
        // Given away by reference: what is given a future has room for it twice.
        let woken = pin!(timeout_at(patience.deadline, subscription.news()));
        let Some(Ok(news)) = patience.shutdown.run_until_cancelled(woken).await else {
            return read().await;
        };
        for task in news {
            if let Some(waited) = waited.iter_mut().find(|waited| waited.id() == task.id) {
                *waited = Waited::of(task, is_alone);
            }
        }
    }
    match waited.into_iter().map(Waited::into_known).collect() {
        Some(tasks) => Ok(tasks),
        None => read().await,
    }
}

/// What `read` finds of this captcha, as soon as it finds something; `None` when there is nothing by the
/// deadline or at shutdown.
///
/// `read` is called after the subscription, with every news, and again when the wait ends without any: the
/// news may be of what the caller must not see.
pub(super) async fn wait_found<'a, T, E>(
    waiters: &Arc<AnswerWaiters>,
    captcha_id: &CaptchaId,
    patience: Patience<'_>,
    read: impl Fn() -> Reading<'a, Option<T>, E>,
) -> Result<Option<T>, E> {
    if patience.deadline <= Instant::now() {
        return read().await;
    }
    // Subscribe before the read: a commit between the two still wakes us.
    let mut subscription = waiters.subscribe(std::slice::from_ref(captcha_id));
    loop {
        let found = read().await?;
        if found.is_some() {
            return Ok(found);
        }
        let woken = pin!(timeout_at(patience.deadline, subscription.news()));
        let Some(Ok(_)) = patience.shutdown.run_until_cancelled(woken).await else {
            return read().await;
        };
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::model::{FieldValue, Fields, Outcome, Pingback, Submission, Timestamp, TokenId, Via};

    const NOW: Timestamp = Timestamp::from_micros(0);

    fn open_task(id: i64) -> Task {
        let mut fields = Fields::default();
        for (name, value) in [("type", "text"), ("textcaptcha", "2 + 2?")] {
            fields.push(name.to_owned(), FieldValue::Text(value.to_owned()));
        }
        let submission = Submission::parse(fields).unwrap();
        Task::new(TaskId::new(id).unwrap(), TokenId::LOCAL, &submission, NOW)
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
        let waiters = Arc::new(TaskWaiters::default());
        let shutdown = CancellationToken::new();
        let deadline = Instant::now() + Duration::from_secs(3600);
        let task = open_task(1);
        let reads = AtomicU32::new(0);
        // The worst moment: the store has been read, its reply is on the way, the answer commits.
        let read = || -> Reading<'_, Vec<Arc<Task>>, Infallible> {
            reads.fetch_add(1, Ordering::Relaxed);
            Box::pin(async {
                waiters.wake(&task.id, &solved(task.clone()));
                Ok(vec![Arc::new(task.clone())])
            })
        };
        let patience = Patience { deadline, shutdown: &shutdown };
        let ids = [task.id];
        let waited = wait_ended(&waiters, &ids, Until::All, patience, read);
        let tasks = timeout(Duration::from_secs(5), waited).await.expect("woken").unwrap();
        assert_eq!(tasks[0].answer.as_deref(), Some("four"));
        assert_eq!(reads.load(Ordering::Relaxed), 1, "a wake-up costs no read");
    }

    /// What comes of a wait for two tasks, which are read once, as `known`; then, if that was not enough, the second is
    /// solved.
    async fn wait_for_two(until: Until, known: [Task; 2]) -> Vec<(TaskId, &'static str)> {
        let waiters = Arc::new(TaskWaiters::default());
        let shutdown = CancellationToken::new();
        let ids = known.each_ref().map(|task| task.id);
        let reads = AtomicU32::new(0);
        let read = || -> Reading<'_, Vec<Arc<Task>>, Infallible> {
            assert_eq!(reads.fetch_add(1, Ordering::Relaxed), 0, "a wake-up costs no read");
            Box::pin(async { Ok(known.each_ref().map(|task| Arc::new(task.clone())).to_vec()) })
        };
        let patience = Patience { deadline: Instant::now() + Duration::from_secs(3600), shutdown: &shutdown };
        let mut waited = pin!(wait_ended(&waiters, &ids, until, patience, read));
        assert!(timeout(Duration::ZERO, waited.as_mut()).await.is_err(), "it is not over");
        waiters.wake(&ids[1], &solved(known[1].clone()));
        let tasks = timeout(Duration::from_secs(5), waited).await.expect("woken").unwrap();
        tasks.iter().map(|task| (task.id, task.status.as_str())).collect()
    }

    #[tokio::test]
    async fn when_one_of_several_has_ended_the_others_are_shown_as_they_were() {
        let [first, second] = [1, 2].map(open_task);
        let ids = [first.id, second.id];
        let shown = wait_for_two(Until::Any, [first, second]).await;
        assert_eq!(shown, [(ids[0], "queued"), (ids[1], "solved")]);
    }

    #[tokio::test]
    async fn a_wait_for_all_ends_with_the_last() {
        let [first, second] = [1, 2].map(open_task);
        let ids = [first.id, second.id];
        let shown = wait_for_two(Until::All, [Task::clone(&solved(first)), second]).await;
        assert_eq!(shown, ids.map(|id| (id, "solved")));
    }

    #[tokio::test]
    async fn a_wait_that_ends_unwoken_shows_the_task_as_it_stands_then() {
        let waiters = Arc::new(TaskWaiters::default());
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        let reads = AtomicU32::new(0);
        let read = || -> Reading<'_, Vec<Arc<Task>>, Infallible> {
            reads.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { Ok(vec![Arc::new(open_task(1))]) })
        };
        let deadline = Instant::now() + Duration::from_secs(3600);
        let patience = Patience { deadline, shutdown: &shutdown };
        wait_ended(&waiters, &[open_task(1).id], Until::Any, patience, read).await.unwrap();
        assert_eq!(reads.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn an_answer_that_is_committed_while_it_is_read_still_wakes_the_caller() {
        let waiters = Arc::new(AnswerWaiters::default());
        let shutdown = CancellationToken::new();
        let deadline = Instant::now() + Duration::from_secs(3600);
        let captcha_id: CaptchaId = "77".parse().unwrap();
        let is_stored = AtomicU32::new(0);
        // The worst moment, as above.
        let read = || -> Reading<'_, Option<&str>, Infallible> {
            Box::pin(async {
                let found = (is_stored.swap(1, Ordering::Relaxed) == 1).then_some("four");
                waiters.wake(&captcha_id, &());
                Ok(found)
            })
        };
        let patience = Patience { deadline, shutdown: &shutdown };
        let waited = wait_found(&waiters, &captcha_id, patience, read);
        assert_eq!(timeout(Duration::from_secs(5), waited).await.expect("woken"), Ok(Some("four")));
    }

    #[tokio::test]
    async fn news_of_what_the_caller_must_not_see_do_not_end_its_wait() {
        let waiters = Arc::new(AnswerWaiters::default());
        let shutdown = CancellationToken::new();
        let deadline = Instant::now() + Duration::from_secs(3600);
        let captcha_id: CaptchaId = "77".parse().unwrap();
        let reads = AtomicU32::new(0);
        let read = || -> Reading<'_, Option<()>, Infallible> {
            // Woken three times for nothing, and then sent away.
            if reads.fetch_add(1, Ordering::Relaxed) < 3 {
                waiters.wake(&captcha_id, &());
            } else {
                shutdown.cancel();
            }
            Box::pin(async { Ok(None) })
        };
        let patience = Patience { deadline, shutdown: &shutdown };
        let waited = wait_found(&waiters, &captcha_id, patience, read);
        assert_eq!(timeout(Duration::from_secs(5), waited).await.expect("sent away"), Ok(None));
        assert_eq!(reads.load(Ordering::Relaxed), 5);
    }
}
