//! `src/waiters.rs` under a model checker: its locks, its counter and its wake-ups are exchanged for ones that
//! let another thread go first at every step, and each test runs in many random orders.
//!
//! Tokio's `Notify` is the real one. What it does within one call is one step here; the model lets others go
//! first before and after each call. A lost wake-up leaves threads that nobody can wake, which ends a test. So
//! does an order that fails, with what is needed to run it again.
//!
//! All orders are of one memory: what an ordering weaker than `SeqCst` would allow is not tried.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt as _;
use shuttle::future::block_on;
use shuttle::thread;

#[path = "../src/waiters.rs"]
#[expect(dead_code, reason = "the program uses more of it than these tests")]
mod waiters;

mod model {
    pub(crate) use pingbox::model::{CaptchaId, Task, TaskId};
}

/// What takes the place of `src/sync.rs`.
mod sync {
    pub(crate) use shuttle::sync::atomic::{AtomicUsize, Ordering};
    pub(crate) use shuttle::sync::{Mutex, MutexGuard};

    /// Puts keys into the same shards in every run, or an order could not be run again.
    pub(crate) type RandomState = std::hash::BuildHasherDefault<std::collections::hash_map::DefaultHasher>;

    #[derive(Debug)]
    pub(crate) struct Notify(tokio::sync::Notify);

    impl Notify {
        pub(crate) fn new() -> Self {
            Self(tokio::sync::Notify::new())
        }

        pub(crate) fn notify_one(&self) {
            shuttle::thread::yield_now();
            self.0.notify_one();
            shuttle::thread::yield_now();
        }

        pub(crate) async fn notified(&self) {
            shuttle::thread::yield_now();
            let notified = self.0.notified();
            shuttle::thread::yield_now();
            notified.await;
        }
    }
}

type Numbers = waiters::Waiters<u32, u32>;
type Subscription = waiters::Subscription<u32, u32>;

/// Orders that each test is run in.
const ORDERS: usize = 1_000;
/// The same for the test that takes its time.
const MANY_ORDERS: usize = 100_000;

/// These share no shard, but for the last two.
const KEYS: [u32; 3] = [1, 2, 17];

/// The waiters, and the keys whose change is committed.
#[derive(Clone, Default)]
struct World {
    waiters: Arc<Numbers>,
    committed: Arc<sync::Mutex<BTreeSet<u32>>>,
}

impl World {
    /// What the writer does.
    fn commit(&self, key: u32) {
        self.committed.lock().unwrap().insert(key);
        self.waiters.wake(&key, &key);
    }

    fn read(&self, keys: &[u32]) -> BTreeSet<u32> {
        let committed = self.committed.lock().unwrap();
        keys.iter().copied().filter(|key| committed.contains(key)).collect()
    }

    /// What a caller does, until all of the keys have changed.
    async fn wait_for(&self, keys: &[u32]) {
        let mut subscription = self.waiters.subscribe(keys);
        let mut seen = self.read(keys);
        while seen.len() < keys.len() {
            seen.extend(subscription.news().await);
        }
    }

    /// A caller who looks now and then, and lets go of the wait in between.
    async fn look_until(&self, key: u32) {
        let mut subscription = self.waiters.subscribe(&[key]);
        if self.read(&[key]).is_empty() {
            let is_there = |news: Option<Vec<u32>>| news.is_some();
            for _ in 0..2 {
                if is_there(pin!(subscription.news()).now_or_never()) {
                    return;
                }
                thread::yield_now();
            }
            subscription.news().await;
        }
    }

    /// A caller who leaves before anything has come.
    fn leave(&self, keys: &[u32]) {
        let subscription = self.waiters.subscribe(keys);
        assert!(!self.waiters.is_empty());
        assert!(keys.iter().all(|key| self.waiters.has(key)));
        drop(subscription);
    }

    /// When everybody has gone: no place is counted, and no entry is kept.
    fn assert_empty(&self) {
        assert!(self.waiters.is_empty(), "a place is still counted");
        // While nobody waits, nothing is looked up.
        let _other = self.waiters.subscribe(&[99]);
        assert!(KEYS.iter().all(|key| !self.waiters.has(key)), "an entry was left behind");
    }
}

/// Callers of every kind while two writers commit.
fn callers_and_writers() {
    let world = World::default();
    let run = |act: fn(World)| {
        let world = world.clone();
        thread::spawn(move || act(world))
    };
    let threads = [
        run(|world| block_on(world.wait_for(&[1]))),
        run(|world| block_on(world.wait_for(&KEYS))),
        run(|world| block_on(world.look_until(17))),
        run(|world| world.leave(&[17, 1])),
        run(|world| [1, 17].into_iter().for_each(|key| world.commit(key))),
        run(|world| world.commit(2)),
    ];
    for thread in threads {
        thread.join().unwrap();
    }
    world.assert_empty();
}

#[test]
fn no_wake_up_is_missed_and_no_entry_left_behind() {
    shuttle::check_random(callers_and_writers, ORDERS);
}

#[test]
fn no_wake_up_is_missed_when_few_threads_go_first() {
    // Most threads run on until they cannot; a few changes of turn are placed anywhere.
    shuttle::check_pct(callers_and_writers, ORDERS, 3);
}

#[test]
#[ignore = "takes minutes; run it after a change of src/waiters.rs"]
fn no_wake_up_is_missed_in_many_orders() {
    shuttle::check_random(callers_and_writers, MANY_ORDERS);
}

fn next(subscription: &mut Subscription) -> Vec<u32> {
    block_on(subscription.news())
}

#[test]
fn everybody_who_waits_for_something_gets_its_news() {
    let waits = || {
        let waiters = Arc::new(Numbers::default());
        let (mut one, mut other) = (waiters.subscribe(&[1]), waiters.subscribe(&[1]));
        let waking = Arc::clone(&waiters);
        let writer = thread::spawn(move || waking.wake(&1, &1));
        assert_eq!((next(&mut one), next(&mut other)), (vec![1], vec![1]));
        writer.join().unwrap();
    };
    shuttle::check_random(waits, ORDERS);
}

#[test]
fn a_wake_before_the_wait_is_not_lost() {
    let waits = || {
        let waiters = Arc::new(Numbers::default());
        let mut batch = waiters.subscribe(&KEYS);
        waiters.wake(&17, &17);
        waiters.wake(&1, &1);
        assert_eq!(next(&mut batch), [17, 1]);
        waiters.wake(&2, &2);
        assert_eq!(next(&mut batch), [2]);
    };
    shuttle::check_random(waits, 1);
}

#[test]
fn nobody_is_woken_by_what_they_do_not_wait_for() {
    let waits = || {
        let waiters = Arc::new(Numbers::default());
        let mut one = waiters.subscribe(&[1]);
        // Some of these share its shard.
        for other in 2..100 {
            waiters.wake(&other, &other);
        }
        waiters.wake(&1, &1);
        assert_eq!(next(&mut one), [1]);
    };
    shuttle::check_random(waits, 1);
}

#[test]
fn an_entry_lives_only_while_somebody_waits() {
    let waits = || {
        let waiters = Arc::new(Numbers::default());
        let (one, other) = (waiters.subscribe(&[1, 2]), waiters.subscribe(&[2]));
        drop(one);
        assert!(!waiters.has(&1));
        assert!(waiters.has(&2));
        drop(other);
        assert!(waiters.is_empty());
    };
    shuttle::check_random(waits, 1);
}
