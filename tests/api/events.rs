//! The feed of events: each once, in order, to whoever may know of it.

mod cursors;
mod sse;
mod stream;
mod tailers;

use pingbox::sandbox::{Knobs, Share};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::harness::{PATIENCE, TestApp, never_solved, solved_at_once};

/// The events behind a cursor that are there, and the cursor behind them.
pub(crate) async fn events(app: &TestApp, query: &str) -> (Vec<Value>, String) {
    let (status, page) = app.get(&format!("/v1/events?{query}")).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    (page["events"].as_array().unwrap().clone(), page["cursor"].as_str().unwrap().to_owned())
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_task_is_shown_as_it_was_at_each_event() {
    let app = TestApp::spawn().await;
    let (id, captcha_id) = app.submitted().await;
    app.pingback(&captcha_id, "Sunday").await;
    let task = app.until(&id, |task| task["status"] == "solved").await;

    let (events, _) = events(&app, "cursor=earliest").await;
    assert_eq!(types(&events), ["task.created", "task.submitted", "task.solved"]);
    let [created, submitted, solved] = &events[..] else { panic!("{events:?}") };
    assert_eq!(solved["data"], task);
    for event in [created, submitted] {
        for (field, value) in event["data"].as_object().unwrap() {
            let then = match field.as_str() {
                "status" => json!(
                    event["type"].as_str().unwrap().trim_start_matches("task.").replace("created", "queued")
                ),
                "attempts" if event == created => json!(0),
                "captcha_id" | "submitted_at" if event == created => Value::Null,
                "answer" | "error" | "via" | "price" | "answered_at" | "solve_ms" => Value::Null,
                _ => task[field].clone(),
            };
            assert_eq!(*value, then, "{field} of {event}");
        }
    }
    let ids: Vec<_> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert!(ids[0] != ids[1] && ids[1] != ids[2], "{ids:?}");
    let times: Vec<_> = events.iter().map(|event| event["time"].as_str().unwrap()).collect();
    assert!(times.is_sorted() && solved["time"].as_str() >= task["answered_at"].as_str(), "{times:?}");
}

#[tokio::test]
async fn what_was_unconfirmed_is_shown_without_what_became_of_it() {
    let app = TestApp::spawn().await;
    let (_, captcha_id) = app.submitted().await;
    app.connect_and(
        "UPDATE task SET status = 'unconfirmed', captcha_id = NULL, submitted_at = NULL, due_at = 4000000000000000",
    )
    .await;
    app.connect_and(
        "UPDATE task SET status = 'submitted', captcha_id = '99', submitted_at = 5000000, attempts = 2",
    )
    .await;
    let told = events(&app, "cursor=earliest").await.0;
    assert_eq!(types(&told), ["task.created", "task.submitted", "task.unconfirmed", "task.submitted"]);
    let shown = |event: &Value| {
        let data = &event["data"];
        (data["status"].clone(), data["captcha_id"].clone(), data["attempts"].clone())
    };
    assert_eq!(shown(&told[1]), (json!("submitted"), json!(captcha_id), json!(1)));
    assert_eq!(shown(&told[2]), (json!("unconfirmed"), Value::Null, json!(1)));
    assert_eq!(told[2]["data"]["submitted_at"], Value::Null);
    assert_eq!(shown(&told[3]), (json!("submitted"), json!("99"), json!(2)));
}

#[tokio::test]
async fn every_way_to_end_is_told() {
    let app = TestApp::with(never_solved(), &[]).await;
    let (failed, captcha_id) = app.submitted().await;
    app.pingback(&captcha_id, "ERROR_CAPTCHA_UNSOLVABLE").await;
    app.until(&failed, |task| task["status"] == "failed").await;
    let (expired, _) = app.submitted().await;
    app.connect_and(
        "UPDATE task SET expires_at = 0, submitted_at = submitted_at - 900000000, due_at = NULL
         WHERE status = 'submitted'",
    )
    .await;
    app.until(&expired, |task| task["status"] == "expired").await;
    let told = events(&app, "cursor=earliest").await.0;
    let told: Vec<_> = told
        .iter()
        .map(|event| (event["data"]["id"].as_str().unwrap(), event["type"].as_str().unwrap()))
        .collect();
    let life = |id| [(id, "task.created"), (id, "task.submitted")];
    let expected = [
        &life(failed.as_str())[..],
        &[(&failed, "task.failed")],
        &life(&expired),
        &[(&expired, "task.expired")],
    ];
    assert_eq!(told, expected.concat());
}

#[tokio::test]
async fn an_answer_that_overtook_its_captcha_id_is_two_events_and_one_of_its_own() {
    let knobs = Knobs { early: Share::ALWAYS, ..solved_at_once() };
    let app = TestApp::with(knobs, &[]).await;
    let id = app.submit().await;
    let task = app.until(&id, |task| task["status"] == "solved").await;
    let told = events(&app, "cursor=earliest").await.0;
    let expected = ["task.created", "pingback.unmatched", "task.submitted", "task.solved"];
    assert_eq!(types(&told), expected);
    assert_eq!(told[1]["data"]["captcha_id"], task["captcha_id"]);
    assert_eq!((&told[2]["data"]["answer"], &told[3]["data"]["answer"]), (&Value::Null, &task["answer"]));
}

#[tokio::test]
async fn an_unmatched_pingback_is_told_and_a_notice_is_not() {
    let app = TestApp::spawn().await;
    app.pingback("987654321", "CAPCHA_NOT_READY").await;
    app.pingback("987654321", "abc").await;
    app.pingback("987654321", "abc").await;
    let told = events(&app, "cursor=earliest").await.0;
    assert_eq!(types(&told), ["pingback.unmatched"]);
    let data = &told[0]["data"];
    assert_eq!((&data["captcha_id"], &data["answer"]), (&json!("987654321"), &json!({"text": "abc"})));
    assert_eq!((&data["task_id"], &data["error"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn who_waits_is_woken_by_what_happens() {
    let app = TestApp::spawn().await;
    let (_, cursor) = events(&app, "cursor=now").await;
    let path = format!("cursor={cursor}&wait=300&types=task.solved");
    let waiting = events(&app, &path);
    let happening = async {
        let (_, captcha_id) = app.submitted().await;
        app.pingback(&captcha_id, "Sunday").await;
        captcha_id
    };
    let ((told, _), captcha_id) =
        timeout(PATIENCE, async { tokio::join!(waiting, happening) }).await.expect("woken");
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["data"]["captcha_id"], *captcha_id);
}

#[tokio::test]
async fn a_wait_ends_with_an_empty_list_and_a_cursor_to_go_on_from() {
    let app = TestApp::spawn().await;
    app.submitted().await;
    let (told, cursor) = events(&app, "cursor=earliest&wait=3&types=task.failed").await;
    assert_eq!(told, Vec::<Value>::new());
    // It has gone past what was of another type.
    assert_eq!(events(&app, &format!("cursor={cursor}")).await, (Vec::new(), cursor));
}

#[tokio::test]
async fn pages_follow_one_another() {
    let app = TestApp::spawn().await;
    for number in 0..25 {
        app.pingback("987654321", &format!("answer {number}")).await;
    }
    let (mut cursor, mut told) = ("earliest".to_owned(), Vec::new());
    loop {
        let page = events(&app, &format!("cursor={cursor}&limit=10")).await;
        assert!(page.0.len() <= 10);
        cursor = page.1;
        if page.0.is_empty() {
            break;
        }
        assert_eq!(page.0.last().unwrap()["id"], *cursor, "the id of an event is the cursor behind it");
        told.extend(page.0);
    }
    let answers: Vec<_> = told.iter().map(|event| event["data"]["answer"]["text"].clone()).collect();
    assert_eq!(answers, (0..25).map(|number| json!(format!("answer {number}"))).collect::<Vec<_>>());
    assert_eq!(events(&app, "limit=1000").await.0, told, "without a cursor it begins with the earliest");
}

#[tokio::test]
async fn what_is_asked_wrongly_is_named() {
    let app = TestApp::spawn().await;
    for (query, field) in [
        ("cursor=12", "/cursor"),
        ("last_event_id=x", "/last_event_id"),
        ("limit=0", "/limit"),
        ("limit=1001", "/limit"),
        ("types=task.solved,task.done", "/types"),
        ("wait=soon", "/wait"),
        ("type=task.solved", "/type"),
    ] {
        let (status, problem) = app.get(&format!("/v1/events?{query}")).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{query}");
        assert_eq!(problem["errors"][0]["pointer"], field, "{problem}");
    }
}
