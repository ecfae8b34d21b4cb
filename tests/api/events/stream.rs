//! The feed as a stream of server-sent events.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::sse::{Block, Sse};
use super::{events, types};
use crate::harness::TestApp;

fn json(block: &Block) -> Value {
    block.data.parse().unwrap()
}

#[tokio::test]
async fn events_come_as_they_happen_each_with_its_cursor() {
    let app = TestApp::spawn().await;
    app.submitted().await;
    let mut stream = Sse::open(&app, "", None).await;
    let header = |name: &str| stream.response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "text/event-stream; charset=utf-8");
    assert_eq!(
        (header("x-accel-buffering"), header("cache-control")),
        ("no".to_owned(), "no-store".to_owned())
    );
    assert_eq!(stream.block().await.unwrap().retry.as_deref(), Some("2000"));

    let (_, captcha_id) = app.submitted().await;
    app.pingback(&captcha_id, "two\nlines").await;
    let mut told = Vec::new();
    for _ in 0..3 {
        let block = stream.event().await.unwrap();
        let event = json(&block);
        assert_eq!(
            (block.id.as_deref(), block.event.as_str()),
            (event["id"].as_str(), event["type"].as_str().unwrap())
        );
        told.push(event);
    }
    assert_eq!(types(&told), ["task.created", "task.submitted", "task.solved"]);
    assert_eq!(told[2]["data"]["answer"]["text"], "two\nlines");
    assert_eq!(events(&app, "cursor=earliest").await.0[2..], told);
}

#[tokio::test]
async fn a_stream_goes_on_where_it_broke_off() {
    let app = TestApp::spawn().await;
    for number in 0..5 {
        app.pingback("987654321", &format!("answer {number}")).await;
    }
    let mut stream = Sse::open(&app, "cursor=earliest", None).await;
    stream.event().await.unwrap();
    let second = stream.event().await.unwrap().id.unwrap();
    drop(stream);
    for (query, header) in [
        (String::new(), Some(second.as_str())),
        (format!("last_event_id={second}"), None),
        (format!("cursor={second}"), None),
        // A browser sends what it saw last beside what its page asked for.
        ("cursor=now".to_owned(), Some(&second)),
        ("last_event_id=earliest".to_owned(), Some(&second)),
    ] {
        let mut stream = Sse::open(&app, &query, header).await;
        let event = json(&stream.event().await.unwrap());
        assert_eq!(event["data"]["answer"]["text"], "answer 2", "{query} {header:?}");
    }
}

#[tokio::test]
async fn a_stream_has_only_what_passes_its_filter_and_learns_how_far_it_is() {
    let app = TestApp::spawn().await;
    let mut stream = Sse::open(&app, "types=task.solved,%20task.failed", None).await;
    let (_, captcha_id) = app.submitted().await;
    app.pingback(&captcha_id, "ERROR_CAPTCHA_UNSOLVABLE").await;
    let event = json(&stream.event().await.unwrap());
    assert_eq!(event["type"], "task.failed");

    app.submitted().await;
    let (_, cursor) = events(&app, "cursor=now").await;
    // Within 15 s.
    let block = stream.block().await.unwrap();
    assert_eq!((block.comments.len(), block.data.as_str(), block.id), (1, "", Some(cursor)));
    let block = stream.block().await.unwrap();
    assert_eq!((block.comments.len(), block.id), (1, None));
}

/// More than all that connections and the service's memory hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_gets_every_event_once_in_order_and_holds_up_nobody() {
    const EVENTS: usize = 450;
    let app = TestApp::spawn().await;
    let mut slow = Sse::open(&app, "", None).await;
    let mut fast = Sse::open(&app, "", None).await;
    let happening = async {
        for number in 0..EVENTS {
            app.pingback(&format!("{}", 1_000_000 + number), &"x".repeat(50_000 + number)).await;
        }
    };
    let reading = async {
        let mut told = Vec::new();
        while told.len() < EVENTS {
            told.push(fast.event().await.unwrap());
        }
        told
    };
    let ((), told) = tokio::join!(happening, reading);
    for (number, fast) in told.iter().enumerate() {
        assert_eq!(json(fast)["data"]["captcha_id"], format!("{}", 1_000_000 + number));
        let slow = slow.event().await.unwrap();
        assert!(slow == *fast, "event {number}: {:?} instead of {:?}", slow.id, fast.id);
    }
}

#[tokio::test]
async fn a_stream_ends_in_order_with_the_service() {
    let app = TestApp::spawn().await;
    let mut stream = Sse::open(&app, "", None).await;
    app.pingback("987654321", "abc").await;
    stream.event().await.unwrap();
    app.shutdown.cancel();
    // A connection that is cut is an error, and would panic.
    assert_eq!(stream.block().await, None);
    app.stop().await;
}

#[tokio::test]
async fn a_stream_needs_the_same_rights() {
    let app =
        TestApp::with(crate::harness::never_solved(), &[("PINGBOX_API__TOKEN", &"ab".repeat(16))]).await;
    let stream = Sse::open(&app, "", None).await;
    assert_eq!(stream.response.status(), StatusCode::UNAUTHORIZED);
    let body: Value = stream.response.text().await.unwrap().parse().unwrap();
    assert_eq!(body["code"], json!("unauthorized"));
}
