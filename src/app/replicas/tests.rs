//! Three replicas on one database, each with eight writers that dawdle, and one who follows the feed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::feed::{Feed, Most};
use crate::ingest::Heralds;
use crate::model::{Outcome, Pingback, Timestamp};
use crate::replicas::{Echo, Lead, News};
use crate::store::{EventFilter, Parked, Store};

const REPLICAS: u32 = 3;
const WRITERS: u32 = 8;
/// Nothing here takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

fn random(most: u32) -> u32 {
    getrandom::u32().unwrap() % (most + 1)
}

fn unmatched(number: u64) -> Pingback {
    Pingback {
        captcha_id: number.to_string().parse().unwrap(),
        code: "Friday".to_owned(),
        outcome: Outcome::of("Friday"),
        price: None,
        extra: None,
        received_at: Timestamp::now(),
    }
}

/// Writes `count` events, several at a time, and takes up to 2 ms before it commits; one time in six it gives up
/// instead. The captcha IDs that were committed.
async fn write(store: Store, writer: u32, count: usize) -> Vec<u64> {
    let mut committed = Vec::new();
    let mut next = (u64::from(writer) + 1) * 1_000_000_000;
    while committed.len() < count {
        let ids: Vec<u64> = (next..).take(1 + random(60) as usize).collect();
        next += ids.len() as u64;
        let pingbacks: Vec<_> = ids.iter().copied().map(unmatched).collect();
        let parked: Vec<_> = pingbacks.iter().map(|pingback| Parked { pingback, task_id: None }).collect();
        let mut writing = store.writing().await;
        let mut tx = writing.begin().await.unwrap();
        tx.insert_pingbacks(&parked).await.unwrap();
        sleep(Duration::from_micros(random(2_000).into())).await;
        if random(5) > 0 {
            tx.commit().await.unwrap();
            committed.extend(ids);
        }
    }
    committed
}

/// Follows the feed from its beginning as a caller's stream does, hearing of commits as a replica does; what it sees,
/// in order: numbers and captcha IDs.
fn follow(store: Store, shutdown: CancellationToken) -> mpsc::UnboundedReceiver<(i64, u64)> {
    let (sender, seen) = mpsc::unbounded_channel();
    let following = async move {
        let (heralds, news) = (Heralds::default(), Arc::new(News::default()));
        let echo =
            Echo::new(store.clone(), heralds.clone(), Arc::clone(&news), Lead::always()).await.unwrap();
        let feed = Arc::new(Feed::new(store.clone(), Arc::clone(&heralds.committed)).await.unwrap());
        tokio::spawn(echo.run(shutdown.clone()));
        tokio::spawn(news.hear(store, shutdown.clone()));
        tokio::spawn(Arc::clone(&feed).run(shutdown.clone()));
        let mut reader = feed.read_after(0, EventFilter::ALL);
        while let Some(items) = shutdown.run_until_cancelled(reader.next(Most::events(100))).await {
            for item in items.unwrap() {
                let event: serde_json::Value = serde_json::from_str(item.json()).unwrap();
                let captcha_id = event["data"]["captcha_id"].as_str().unwrap().parse().unwrap();
                sender.send((item.number, captcha_id)).unwrap();
            }
        }
    };
    tokio::spawn(following);
    seen
}

/// Every event is seen by everybody once, in one order.
async fn nothing_is_missed(events: u32) {
    let Some(stores) = Store::several_on_postgres(REPLICAS).await else { return };
    let shutdown = CancellationToken::new();
    let (mut writers, mut followers) = (JoinSet::new(), Vec::new());
    for (number, store) in (0..).zip(stores) {
        followers.push(follow(store.clone(), shutdown.clone()));
        for writer in 0..WRITERS {
            let each = usize::try_from(events / (REPLICAS * WRITERS)).unwrap();
            writers.spawn(write(store.clone(), number * WRITERS + writer, each));
        }
    }
    let mut committed: Vec<u64> = writers.join_all().await.into_iter().flatten().collect();
    committed.sort_unstable();
    let mut orders = Vec::new();
    for mut follower in followers {
        let mut seen = Vec::new();
        while seen.len() < committed.len() {
            seen.push(timeout(PATIENCE, follower.recv()).await.expect("nothing is missing").unwrap());
        }
        assert!(seen.windows(2).all(|pair| pair[0].0 < pair[1].0), "each once, in order");
        let mut ids: Vec<u64> = seen.iter().map(|(_, id)| *id).collect();
        ids.sort_unstable();
        assert!(ids == committed, "all that was committed, and nothing else");
        orders.push(seen);
    }
    assert!(orders.windows(2).all(|pair| pair[0] == pair[1]), "for all the same");
    shutdown.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_replica_sees_each_event_once_in_the_order_of_the_commits() {
    nothing_is_missed(20_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn the_same_with_two_hundred_thousand_events() {
    nothing_is_missed(200_000).await;
}
