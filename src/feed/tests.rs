//! Nothing is missed, and nothing comes twice, on whichever database.

use std::sync::atomic::{AtomicI64, Ordering};

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::model::{EventKind, Outcome, Pingback, Timestamp};
use crate::store::Parked;

const ROUNDS: i64 = 200_000;
const PATIENCE: Duration = Duration::from_secs(10);

async fn feed(folder: &TempDir) -> Arc<Feed> {
    let store = Store::for_test(folder).await;
    Arc::new(Feed::new(store, Arc::default()).await.unwrap())
}

/// Stores so many events, each with an answer of this length, in one commit.
async fn happen(feed: &Feed, count: u32, length: usize) {
    let code = "x".repeat(length);
    let pingback = |number: u32| Pingback {
        captcha_id: (1_000_000 + number).to_string().parse().unwrap(),
        code: code.clone(),
        outcome: Outcome::of(&code),
        price: None,
        extra: None,
        received_at: Timestamp::now(),
    };
    let pingbacks: Vec<_> = (0..count).map(pingback).collect();
    let parked: Vec<_> = pingbacks.iter().map(|pingback| Parked { pingback, task_id: None }).collect();
    let mut writing = feed.store.writing().await;
    let mut tx = writing.begin().await.unwrap();
    tx.insert_pingbacks(&parked).await.unwrap();
    tx.commit().await.unwrap();
    feed.committed.notify_one();
}

/// Follows all that has happened.
async fn catch_up(feed: &Feed) {
    while feed.follow().await.unwrap() == News::Some {}
}

fn tail_reaches(feed: &Feed, reader: &Reader) -> bool {
    feed.lock().read(reader.number(), &EventFilter::ALL, Most::events(1)).is_some()
}

/// A reader whose place the tail has let go reads the store, until it is back in the tail.
#[tokio::test]
async fn who_fell_out_of_the_tail_gets_every_event_once_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let feed = feed(&folder).await;
    let mut reader = feed.read_after(0, EventFilter::ALL);
    catch_up(&feed).await;
    happen(&feed, 50, 100).await;
    catch_up(&feed).await;
    let mut read: Vec<_> = reader.next(Most::events(10)).await.unwrap();
    for _ in 0..4 {
        // More than a tail in all; the same captcha ID may be told of again with another answer.
        happen(&feed, 100, 50_000 + read.len()).await;
        catch_up(&feed).await;
        read.extend(reader.next(Most::events(1)).await.unwrap());
    }
    assert!(!tail_reaches(&feed, &reader), "it reads the store");
    while !tail_reaches(&feed, &reader) {
        read.extend(reader.next(Most::CHUNK).await.unwrap());
    }
    assert!(read.len() < 450, "it is in the tail before the end");
    while read.len() < 450 {
        read.extend(timeout(PATIENCE, reader.next(Most::CHUNK)).await.expect("there are more").unwrap());
    }
    let stored = feed.store.events(0, &EventFilter::ALL, 1000).await.unwrap().events;
    let told = |items: Vec<Arc<Item>>| items.iter().map(|item| item.text().to_owned()).collect::<Vec<_>>();
    let stored = stored.iter().map(|event| Arc::new(Item::new(event, &feed.id))).collect();
    assert!(told(read) == told(stored), "all of them, once, in order");
}

/// A pingback has its 200 before the tail has its event.
#[tokio::test]
async fn what_is_stored_is_found_before_the_tail_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let feed = feed(&folder).await;
    let mut reader = feed.read_after(0, EventFilter::ALL);
    catch_up(&feed).await;
    happen(&feed, 1, 100).await;
    assert!(tail_reaches(&feed, &reader), "it says that there is nothing");
    let latest = feed.ends().await.unwrap().latest;
    assert_eq!(reader.now(Most::events(10), latest).await.unwrap().len(), 1);
    assert_eq!(reader.now(Most::events(10), latest).await.unwrap().len(), 0);
}

/// To wake every reader costs more than most events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_fast_is_told_together() {
    let folder = tempfile::tempdir().unwrap();
    let mut feed = feed(&folder).await;
    // So long that a slow disk does not hide that there is none.
    Arc::get_mut(&mut feed).unwrap().rest = Duration::from_secs(1);
    let shutdown = CancellationToken::new();
    let mut reader = feed.read_after(0, EventFilter::ALL);
    catch_up(&feed).await;
    let following = tokio::spawn(Arc::clone(&feed).run(shutdown.clone()));
    let begun = Instant::now();
    let happening = async {
        for number in 0..20 {
            happen(&feed, 1, 100 + number).await;
        }
    };
    let reading = async {
        let (mut times, mut events) = (0, 0);
        while events < 20 {
            events += timeout(PATIENCE, reader.next(Most::CHUNK)).await.expect("told").unwrap().len();
            times += 1;
        }
        times
    };
    let ((), times) = tokio::join!(happening, reading);
    let most = begun.elapsed().as_secs() + 2;
    assert!(times <= most, "{times} times, at most {most}");
    shutdown.cancel();
    timeout(PATIENCE, following).await.expect("it ends").unwrap();
}

/// An event comes about at the moment at which its reader has the last one: between its look for the next and its
/// wait for it, ever so often.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_comes_about_unseen_between_the_look_and_the_wait() {
    let folder = tempfile::tempdir().unwrap();
    let feed = feed(&folder).await;
    feed.lock().begin(0);
    let read = Arc::new(AtomicI64::new(0));
    let (written, seen) = (Arc::clone(&feed), Arc::clone(&read));
    let writer = std::thread::spawn(move || {
        for number in 1..=ROUNDS {
            while seen.load(Ordering::Acquire) < number - 1 {
                std::thread::yield_now();
            }
            let item = Item::of(number, EventKind::Created, None, "{}", &written.id);
            written.lock().extend(std::iter::once(Arc::new(item)), number, Instant::now());
            written.end.send_replace(number);
        }
    });
    let mut reader = feed.read_after(0, EventFilter::ALL);
    for number in 1..=ROUNDS {
        let items = timeout(PATIENCE, reader.next(Most::events(1))).await.expect("woken").unwrap();
        assert_eq!(items[0].number, number);
        read.store(number, Ordering::Release);
    }
    writer.join().unwrap();
}
