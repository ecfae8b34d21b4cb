//! Waiting for a task among many others who wait, and waking one of them.

use std::sync::Arc;

use criterion::Criterion;
use futures_util::FutureExt as _;

use crate::model::TaskId;
use crate::waiters::{Subscription, Waiters};

/// Those who wait meanwhile.
const WAITING: i64 = 10_000;

/// What is handed out stands for a task: a pointer all the same.
type News = Arc<str>;

pub(crate) fn measure(criterion: &mut Criterion) {
    let waiters: Arc<Waiters<TaskId, News>> = Arc::default();
    let mut waiting: Vec<Subscription<TaskId, News>> =
        (1..=WAITING).map(|number| waiters.subscribe(&[id(number)])).collect();
    let news = News::from("solved");
    let mut group = criterion.benchmark_group("waiters");
    group.bench_function("subscribe and leave, beside 10,000", |bencher| {
        let key = [id(WAITING + 1)];
        bencher.iter(|| drop(waiters.subscribe(&key)));
    });
    group.bench_function("wake one of 10,000", |bencher| {
        let mut turns = (1..=WAITING).cycle();
        bencher.iter(|| {
            let number = turns.next().expect("a cycle has no end");
            waiters.wake(&id(number), &news);
            let place = usize::try_from(number - 1).expect("it is positive");
            let heard = waiting[place].news().now_or_never();
            heard.expect("news are there")
        });
    });
    group.bench_function("wake nobody, beside 10,000", |bencher| {
        let key = id(WAITING + 1);
        bencher.iter(|| waiters.wake(&key, &news));
    });
    group.finish();
}

fn id(number: i64) -> TaskId {
    TaskId::new(number).expect("it is small and positive")
}
