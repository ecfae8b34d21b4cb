//! Nothing is missed, and nothing comes twice, on whichever database.

use std::sync::atomic::{AtomicI64, Ordering};

use tokio::time::timeout;

use super::*;

const ROUNDS: i64 = 200_000;

/// An event comes about at the moment at which its reader has the last one: between its look for the next and its
/// wait for it, ever so often.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_comes_about_unseen_between_the_look_and_the_wait() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::for_test(&folder).await;
    let feed = Arc::new(Feed::new(store, Arc::default()).await.unwrap());
    feed.lock().begin(0);
    let read = Arc::new(AtomicI64::new(0));
    let (written, seen) = (Arc::clone(&feed), Arc::clone(&read));
    let writer = std::thread::spawn(move || {
        for number in 1..=ROUNDS {
            while seen.load(Ordering::Acquire) < number - 1 {
                std::thread::yield_now();
            }
            let item = Item { number, kind: EventKind::Created, owner: None, json: "{}".into() };
            written.lock().extend(std::iter::once(Arc::new(item)), number);
            written.end.send_replace(number);
        }
    });
    let mut reader = feed.read_after(0, EventFilter::ALL);
    for number in 1..=ROUNDS {
        let items = timeout(Duration::from_secs(10), reader.next(1)).await.expect("woken").unwrap();
        assert_eq!(items[0].number, number);
        read.store(number, Ordering::Release);
    }
    writer.join().unwrap();
}
