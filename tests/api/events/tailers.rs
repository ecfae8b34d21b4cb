//! Whoever follows the feed gets every event once, in order, however often it comes and goes.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;

use super::events;
use super::sse::Sse;
use crate::harness::TestApp;

const EVENTS: usize = 10_000;
const WRITERS: usize = 16;
/// Long for a machine that does much else at the time.
const PATIENCE: Duration = Duration::from_secs(100);

/// Numbers that look random, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// What tells one event from another.
fn name(event: &Value) -> String {
    let data = &event["data"];
    format!("{} {} {} {}", event["id"], event["type"], data["captcha_id"], data["answer"]["text"])
}

/// Long-polls, now and then hanging up in the middle of a wait.
async fn poll(app: Arc<TestApp>, mut dice: Dice) -> Vec<String> {
    let (mut cursor, mut told) = ("earliest".to_owned(), Vec::new());
    while told.len() < EVENTS {
        let limit = 1 + dice.below(500);
        let query = format!("cursor={cursor}&wait=10&limit={limit}");
        let patience = match dice.below(3) {
            0 => Duration::from_millis(dice.below(30)),
            _ => Duration::from_secs(20),
        };
        if let Ok((page, next)) = timeout(patience, events(&app, &query)).await {
            told.extend(page.iter().map(name));
            cursor = next;
        }
    }
    told
}

/// Reads streams, each for a while.
async fn stream(app: Arc<TestApp>, mut dice: Dice) -> Vec<String> {
    let (mut last, mut told) = (None, Vec::new());
    while told.len() < EVENTS {
        let query = if last.is_none() { "cursor=earliest" } else { "" };
        let mut stream = Sse::open(&app, query, last.as_deref()).await;
        for _ in 0..=dice.below(1500) {
            if told.len() == EVENTS {
                break;
            }
            let block = stream.event().await.unwrap();
            told.push(name(&block.data.parse().unwrap()));
            last = block.id;
        }
    }
    told
}

/// Sends its share of pingbacks.
async fn write(app: Arc<TestApp>, writer: usize) {
    for number in (writer..EVENTS).step_by(WRITERS) {
        app.pingback(&(1_000_000 + number).to_string(), &format!("answer {number}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tailer_that_comes_and_goes_gets_every_event_once_in_order() {
    let app = Arc::new(TestApp::spawn().await);
    let writing: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(write(Arc::clone(&app), writer))).collect();
    let tailing = [
        tokio::spawn(poll(Arc::clone(&app), Dice(0x9E37_79B9))),
        tokio::spawn(poll(Arc::clone(&app), Dice(0x85EB_CA6B))),
        tokio::spawn(stream(Arc::clone(&app), Dice(0xC2B2_AE35))),
        tokio::spawn(stream(Arc::clone(&app), Dice(0x27D4_EB2F))),
    ];
    for task in writing {
        task.await.unwrap();
    }
    let sql = "SELECT (SELECT value FROM memory WHERE name = 'feed') || '-' || event.id, event.type,
                      event.captcha_id, pingback.code
               FROM event JOIN pingback ON pingback.id = pingback_id ORDER BY event.id";
    let rows: Vec<(String, String, String, String)> = app.connect().await.rows(sql).await;
    let stored: Vec<_> =
        rows.iter().map(|row| format!("{:?} {:?} {:?} {:?}", row.0, row.1, row.2, row.3)).collect();
    assert_eq!(stored.len(), EVENTS);
    for (tailer, task) in tailing.into_iter().enumerate() {
        let told = timeout(PATIENCE, task).await.expect("it gets all of them").unwrap();
        let first = told.iter().zip(&stored).position(|(told, stored)| told != stored);
        let first = first.map(|index| (index, &told[index], &stored[index]));
        assert!(first.is_none() && told.len() == EVENTS, "tailer {tailer}: {first:?}");
    }
}
