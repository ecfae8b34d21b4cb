//! Who waits for what: for the end of a task, for word of its sending, for the answer to a captcha. An
//! entry lives only while somebody waits.
//!
//! A waiter subscribes, then reads the store, then waits: a change that is committed after the
//! subscription reaches it, an earlier one is seen by the read. `tests/waiters.rs` tries that in many orders.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash};
use std::sync::Arc;

use crate::model::{CaptchaId, Task, TaskId};
use crate::sync::{AtomicUsize, Mutex, MutexGuard, Notify, Ordering, RandomState};

/// Locks are held for a few instructions; several of them keep the writer and the waiters apart.
const SHARDS: usize = 16;

/// Who waits for tasks. They are handed the task as it was committed, which saves them a read.
pub(crate) type TaskWaiters = Waiters<TaskId, Arc<Task>>;

/// Who waits for answers by captcha ID. What they are told is a hint: what each of them may see, the store
/// says.
pub(crate) type AnswerWaiters = Waiters<CaptchaId, ()>;

/// The callers that wait for news `V` of something that `K` names. Their number is bounded by the
/// connections of the api listener, and each of them by the ids that one request may name.
#[derive(Debug)]
pub(crate) struct Waiters<K, V> {
    shards: [Mutex<Shard<K, V>>; SHARDS],
    hasher: RandomState,
    /// How many places are taken. While it is zero, waking costs a look at it.
    waiting: AtomicUsize,
}

type Shard<K, V> = HashMap<K, Vec<Arc<Mailbox<V>>>>;

/// What has come about since its waiter last looked.
#[derive(Debug)]
struct Mailbox<V> {
    news: Mutex<Vec<V>>,
    arrived: Notify,
}

/// A place in the queue for some keys; given up when dropped.
#[derive(Debug)]
pub(crate) struct Subscription<K: Eq + Hash, V> {
    waiters: Arc<Waiters<K, V>>,
    keys: Vec<K>,
    mailbox: Arc<Mailbox<V>>,
}

impl<K, V> Default for Waiters<K, V> {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::default(),
            waiting: AtomicUsize::new(0),
        }
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Waiters<K, V> {
    /// From here on, news of any of these reach the subscription.
    pub(crate) fn subscribe(self: &Arc<Self>, keys: &[K]) -> Subscription<K, V> {
        let mailbox = Arc::new(Mailbox { news: Mutex::default(), arrived: Notify::new() });
        // Before the entries, and so before the read of whoever subscribes: a commit that the read does not
        // see finds this raised.
        self.waiting.fetch_add(keys.len(), Ordering::SeqCst);
        for key in keys {
            self.shard(key).entry(key.clone()).or_default().push(Arc::clone(&mailbox));
        }
        Subscription { waiters: Arc::clone(self), keys: keys.to_vec(), mailbox }
    }

    /// Hands news, which are committed, to everybody who waits for them.
    pub(crate) fn wake(&self, key: &K, news: &V) {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let waiting = self.shard(key).get(key).cloned().unwrap_or_default();
        for mailbox in waiting {
            lock(&mailbox.news).push(news.clone());
            mailbox.arrived.notify_one();
        }
    }
}

impl<K: Eq + Hash, V> Waiters<K, V> {
    /// Whether anybody waits for anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0
    }

    /// How many places are taken: one for each thing that a caller waits for.
    pub(crate) fn count(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Whether anybody waits for it.
    pub(crate) fn has(&self, key: &K) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0 && self.shard(key).contains_key(key)
    }

    fn shard(&self, key: &K) -> MutexGuard<'_, Shard<K, V>> {
        let index = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        lock(&self.shards[index])
    }
}

impl<K: Eq + Hash, V> Subscription<K, V> {
    /// The news since the last call; waits until there are some.
    pub(crate) async fn news(&mut self) -> Vec<V> {
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

impl<K: Eq + Hash, V> Drop for Subscription<K, V> {
    fn drop(&mut self) {
        for key in &self.keys {
            let mut shard = self.waiters.shard(key);
            if let Some(waiting) = shard.get_mut(key) {
                waiting.retain(|mailbox| !Arc::ptr_eq(mailbox, &self.mailbox));
                if waiting.is_empty() {
                    shard.remove(key);
                }
            }
        }
        self.waiters.waiting.fetch_sub(self.keys.len(), Ordering::SeqCst);
    }
}

/// Nothing panics while it holds one of these locks, so what is behind it is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
