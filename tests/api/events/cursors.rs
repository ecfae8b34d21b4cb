//! Cursors that lead nowhere are said to; whose tasks are told to whom.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::sse::Sse;
use super::{events, types};
use crate::harness::{TestApp, never_solved};
use crate::owners::{call, with_tokens};

/// Deletes the oldest two events, as retention would.
async fn lose_two(app: &TestApp) {
    app.connect_and("DELETE FROM event WHERE id <= (SELECT MIN(id) + 1 FROM event)").await;
}

#[tokio::test]
async fn a_cursor_behind_which_events_are_gone_is_410_and_names_the_earliest() {
    let app = TestApp::spawn().await;
    for number in 0..5 {
        app.pingback("987654321", &format!("answer {number}")).await;
    }
    let (told, _) = events(&app, "cursor=earliest").await;
    let id = |index: usize| told[index]["id"].as_str().unwrap();
    let app = app.restart(never_solved()).await;
    lose_two(&app).await;

    let (status, problem) = app.get(&format!("/v1/events?cursor={}", id(0))).await;
    assert_eq!((status, &problem["code"]), (StatusCode::GONE, &json!("cursor_expired")));
    assert_eq!(problem["earliest_cursor"], id(1));
    let (rest, _) = events(&app, &format!("cursor={}", id(1))).await;
    assert_eq!((&rest[..], types(&rest)[0]), (&told[2..], "pingback.unmatched"));
    assert_eq!(events(&app, "cursor=earliest").await.0, rest);

    // A stream that was opened with it is refused the same way.
    let stream = Sse::open(&app, &format!("cursor={}", id(0)), None).await;
    assert_eq!(stream.response.status(), StatusCode::GONE);
    // A browser that brings it back by itself would give up at that; it is told in the stream.
    let mut stream = Sse::open(&app, "", Some(id(0))).await;
    let told_so = stream.event().await.unwrap();
    assert_eq!((told_so.event.as_str(), told_so.id.as_deref()), ("reset", Some(id(1))));
    assert_eq!(told_so.data.parse::<Value>().unwrap()["earliest_cursor"], id(1));
    assert_eq!(stream.event().await.unwrap().id.as_deref(), Some(id(2)));
}

#[tokio::test]
async fn an_emptied_feed_has_a_cursor_and_goes_on() {
    let app = TestApp::spawn().await;
    app.pingback("987654321", "one").await;
    let (told, cursor) = events(&app, "cursor=earliest").await;
    let app = app.restart(never_solved()).await;
    app.connect_and("DELETE FROM event").await;
    assert_eq!(events(&app, "cursor=earliest").await, (Vec::new(), cursor.clone()));
    app.pingback("987654321", "two").await;
    let (next, _) = events(&app, &format!("cursor={cursor}")).await;
    assert_eq!(next[0]["data"]["answer"]["text"], "two");
    assert_ne!(next[0]["id"], told[0]["id"], "numbers are not used again");
}

#[tokio::test]
async fn a_cursor_of_another_database_or_from_the_future_is_410() {
    let app = TestApp::spawn().await;
    app.pingback("987654321", "one").await;
    let (_, cursor) = events(&app, "cursor=now").await;
    let (feed, number) = cursor.split_once('-').unwrap();
    let foreign = format!("{}-{number}", if feed == "00000000" { "00000001" } else { "00000000" });
    let ahead = format!("{feed}-{}", number.parse::<u64>().unwrap() + 1);
    for wrong in [foreign, ahead] {
        let (status, problem) = app.get(&format!("/v1/events?cursor={wrong}&wait=1")).await;
        assert_eq!(status, StatusCode::GONE, "{wrong}");
        assert_eq!(problem["earliest_cursor"], format!("{feed}-0"));
        let mut stream = Sse::open(&app, &format!("last_event_id={wrong}"), None).await;
        assert_eq!(stream.event().await.unwrap().event, "reset");
    }
}

#[tokio::test]
async fn a_token_is_told_of_its_own_tasks_alone() {
    let app = with_tokens(&[]).await;
    for token in ["alice", "bob"] {
        call(&app, token, Method::POST, "/v1/tasks").await;
    }
    app.pingback("987654321", "abc").await;
    for (token, path, expected) in [
        ("alice", "types=task.created", vec!["task.created"]),
        ("bob", "types=task.created", vec!["task.created"]),
        ("reader", "limit=100", vec![]),
        ("boss", "types=task.created", vec!["task.created", "task.created"]),
        ("boss", "types=pingback.unmatched", vec!["pingback.unmatched"]),
    ] {
        let (status, page) = call(&app, token, Method::GET, &format!("/v1/events?{path}")).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(types(page["events"].as_array().unwrap()), expected, "{token} {path}");
    }
    for (token, path) in [("alice", "limit=100"), ("bob", "limit=100&types=task.created,task.submitted")] {
        let (_, page) = call(&app, token, Method::GET, &format!("/v1/events?{path}")).await;
        let told = page["events"].as_array().unwrap();
        assert!(!told.is_empty() && told.iter().all(|event| event["data"]["id"] == told[0]["data"]["id"]));
    }
    let (status, _) = call(&app, "alice", Method::GET, "/v1/events?types=pingback.unmatched").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn streams_that_are_told_at_once_have_only_what_their_tokens_may_see() {
    let app = with_tokens(&[]).await;
    let mut streams = Vec::new();
    for (token, query) in [
        ("alice", ""),
        ("bob", ""),
        ("boss", ""),
        ("boss", "types=pingback.unmatched"),
        ("alice", "types=task.created"),
    ] {
        streams.push(Sse::open_as(&app, token, query).await);
    }
    let mut expected = vec![Vec::new(); 5];
    for round in 0..20 {
        let (_, alice) = call(&app, "alice", Method::POST, "/v1/tasks").await;
        let (_, bob) = call(&app, "bob", Method::POST, "/v1/tasks").await;
        app.pingback(&format!("98765432{round}"), "abc").await;
        for (stream, of) in [(0, &alice), (1, &bob), (2, &alice), (2, &bob), (4, &alice)] {
            expected[stream].push(of["id"].clone());
        }
        expected[3].push(json!(format!("98765432{round}")));
    }
    for (stream, expected) in streams.iter_mut().zip(&expected) {
        let mut told = Vec::new();
        while told.len() < expected.len() {
            let block = stream.event().await.unwrap();
            let event: Value = block.data.parse().unwrap();
            assert_eq!(event["id"], block.id.unwrap());
            let (id, captcha_id) = (&event["data"]["id"], &event["data"]["captcha_id"]);
            match block.event.as_str() {
                "task.created" => told.push(id.clone()),
                "pingback.unmatched" if expected.contains(captcha_id) => told.push(captcha_id.clone()),
                // Only the one that sees everything has others.
                _ => assert!(expected.contains(id) || expected.len() > 20, "{event}"),
            }
        }
        assert_eq!(told, *expected);
    }
}
