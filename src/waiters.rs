//! Who waits for which task: for its end, or for word of its sending. An entry lives only while somebody
//! waits.
//!
//! A waiter subscribes, then reads the store, then waits: a change that is committed after the
//! subscription reaches it, an earlier one is seen by the read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::model::{Task, TaskId};

/// Locks are held for a few instructions; several of them keep the writer and the waiters apart.
const SHARDS: usize = 16;

/// The callers that wait. Their number is bounded by the connections of the api listener, and each
/// of them by the ids that one request may name.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    shards: [Mutex<Shard>; SHARDS],
}

type Shard = HashMap<TaskId, Vec<Arc<Mailbox>>>;

/// What has come about since its waiter last looked.
#[derive(Debug, Default)]
struct Mailbox {
    news: Mutex<Vec<Arc<Task>>>,
    arrived: Notify,
}

/// A place in the queue for some tasks; given up when dropped.
#[derive(Debug)]
pub(crate) struct Subscription {
    waiters: Arc<Waiters>,
    ids: Vec<TaskId>,
    mailbox: Arc<Mailbox>,
}

impl Waiters {
    /// From here on, news of any of these tasks reach the subscription.
    pub(crate) fn subscribe(self: &Arc<Self>, ids: &[TaskId]) -> Subscription {
        let mailbox = Arc::new(Mailbox::default());
        for &id in ids {
            self.shard(id).entry(id).or_default().push(Arc::clone(&mailbox));
        }
        Subscription { waiters: Arc::clone(self), ids: ids.to_vec(), mailbox }
    }

    /// Hands a task, as it was committed, to everybody who waits for it.
    pub(crate) fn wake(&self, task: &Arc<Task>) {
        let waiting = self.shard(task.id).get(&task.id).cloned().unwrap_or_default();
        for mailbox in waiting {
            lock(&mailbox.news).push(Arc::clone(task));
            mailbox.arrived.notify_one();
        }
    }

    fn shard(&self, id: TaskId) -> MutexGuard<'_, Shard> {
        let index = usize::try_from(id.number()).unwrap_or(0) % SHARDS;
        lock(&self.shards[index])
    }
}

impl Subscription {
    /// The tasks of which there was news since the last call; waits until there is at least one.
    pub(crate) async fn news(&mut self) -> Vec<Arc<Task>> {
        loop {
            let news = std::mem::take(&mut *lock(&self.mailbox.news));
            if !news.is_empty() {
                return news;
            }
            // A notice that came since the look above is kept by `Notify` and ends this at once.
            self.mailbox.arrived.notified().await;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        for &id in &self.ids {
            let mut shard = self.waiters.shard(id);
            if let Some(waiting) = shard.get_mut(&id) {
                waiting.retain(|mailbox| !Arc::ptr_eq(mailbox, &self.mailbox));
                if waiting.is_empty() {
                    shard.remove(&id);
                }
            }
        }
    }
}

/// Nothing panics while it holds one of these locks, so what is behind it is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::model::{FieldValue, Fields, Submission, Timestamp, TokenId};

    fn task(number: i64) -> Arc<Task> {
        let mut fields = Fields::default();
        for (name, value) in [("type", "text"), ("textcaptcha", "2 + 2?")] {
            fields.push(name.to_owned(), FieldValue::Text(value.to_owned()));
        }
        let submission = Submission::parse(fields).unwrap();
        let id = TaskId::new(number).unwrap();
        Arc::new(Task::new(id, TokenId::LOCAL, &submission, Timestamp::from_micros(0)))
    }

    async fn next(subscription: &mut Subscription) -> Vec<i64> {
        let news = timeout(Duration::from_secs(5), subscription.news()).await.expect("woken in time");
        news.iter().map(|task| task.id.number()).collect()
    }

    #[tokio::test]
    async fn everybody_who_waits_for_a_task_gets_it() {
        let waiters = Arc::new(Waiters::default());
        let (mut one, mut other) = (waiters.subscribe(&[task(1).id]), waiters.subscribe(&[task(1).id]));
        waiters.wake(&task(1));
        assert_eq!((next(&mut one).await, next(&mut other).await), (vec![1], vec![1]));
    }

    #[tokio::test]
    async fn a_wake_before_the_wait_is_not_lost() {
        let waiters = Arc::new(Waiters::default());
        let mut batch = waiters.subscribe(&[task(1).id, task(2).id, task(17).id]);
        waiters.wake(&task(17));
        waiters.wake(&task(1));
        assert_eq!(next(&mut batch).await, [17, 1]);
        waiters.wake(&task(2));
        assert_eq!(next(&mut batch).await, [2]);
    }

    #[tokio::test]
    async fn nobody_is_woken_by_a_task_that_they_do_not_wait_for() {
        let waiters = Arc::new(Waiters::default());
        let mut one = waiters.subscribe(&[task(1).id]);
        // Task 17 shares the shard of task 1.
        waiters.wake(&task(17));
        waiters.wake(&task(1));
        assert_eq!(next(&mut one).await, [1]);
    }

    #[test]
    fn an_entry_lives_only_while_somebody_waits() {
        let waiters = Arc::new(Waiters::default());
        let (one, other) = (waiters.subscribe(&[task(1).id, task(2).id]), waiters.subscribe(&[task(2).id]));
        drop(one);
        assert!(!waiters.shard(task(1).id).contains_key(&task(1).id));
        assert!(waiters.shard(task(2).id).contains_key(&task(2).id));
        drop(other);
        assert!(waiters.shards.iter().all(|shard| lock(shard).is_empty()));
    }
}
