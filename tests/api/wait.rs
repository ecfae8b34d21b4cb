//! Waiting: woken with the own answer, or told how things stand.

use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::harness::{PATIENCE, TestApp, never_solved, text_captcha};

#[tokio::test]
async fn a_pingback_wakes_the_waiting_caller() {
    let app = TestApp::spawn().await;
    let (id, captcha_id) = app.submitted().await;
    let path = format!("/v1/tasks/{id}?wait=300");
    let (reply, pinged) =
        tokio::join!(timeout(PATIENCE, app.get(&path)), app.pingback(&captcha_id, "Friday"));
    assert_eq!(pinged, StatusCode::OK);
    let (status, task) = reply.expect("woken in time");
    assert_eq!((status, &task["answer"]["text"]), (StatusCode::OK, &json!("Friday")));
}

#[tokio::test]
async fn a_wait_that_ends_shows_the_task_as_it_stands() {
    let app = TestApp::spawn().await;
    let (id, _) = app.submitted().await;
    let (status, task) = app.get(&format!("/v1/tasks/{id}?wait=1")).await;
    assert_eq!((status, &task["status"]), (StatusCode::OK, &json!("submitted")));
}

#[tokio::test]
async fn a_wait_is_cut_to_the_longest_allowed() {
    let app = TestApp::with(never_solved(), &[("PINGBOX_API__MAX_WAIT", "1s")]).await;
    let (id, _) = app.submitted().await;
    let (status, _) = app.get(&format!("/v1/tasks/{id}?wait=99999999999")).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn one_call_submits_and_waits() {
    let app = TestApp::with(crate::harness::solved_at_once(), &[]).await;
    for request in [
        app.http.post(format!("{}/v1/tasks?wait=15", app.api)),
        app.http.post(format!("{}/v1/tasks", app.api)).header("prefer", "respond-async, wait=15"),
    ] {
        let reply = request.json(&text_captcha()).send().await.unwrap();
        assert_eq!(reply.status(), StatusCode::CREATED);
        let task: Value = reply.json().await.unwrap();
        assert_eq!(task["status"], "solved");
    }
}

#[tokio::test]
async fn a_batch_wait_ends_with_the_first_or_with_all() {
    let app = TestApp::spawn().await;
    let (one, first) = app.submitted().await;
    let (two, second) = app.submitted().await;
    let statuses = |list: &Value| {
        let tasks = list["tasks"].as_array().unwrap().iter();
        tasks.map(|task| task["status"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let path = format!("/v1/tasks?ids={two},{one}&wait=300");
    let ((_, any), pinged) = tokio::join!(app.get(&path), app.pingback(&first, "a"));
    assert_eq!((pinged, statuses(&any)), (StatusCode::OK, vec!["submitted".to_owned(), "solved".to_owned()]));

    let path = format!("/v1/tasks?ids={two},{one},{two},999&wait=300&until=all");
    let ((_, all), _) = tokio::join!(app.get(&path), app.pingback(&second, "b"));
    assert_eq!(statuses(&all), ["solved", "solved"]);
}

/// Every caller gets the answer to its own captcha, however many wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_waiters_are_woken_each_with_its_own_answer() {
    const TASKS: usize = 1000;
    let app = Arc::new(TestApp::spawn().await);
    let mut submitting = tokio::task::JoinSet::new();
    for _ in 0..TASKS {
        let app = Arc::clone(&app);
        submitting.spawn(async move { app.submit().await });
    }
    // One after the other: a thousand who ask all the time would leave the service little of the machine.
    let mut submitted = Vec::new();
    for id in submitting.join_all().await {
        let task = app.until(&id, |task| task["captcha_id"].is_string()).await;
        submitted.push((id, task["captcha_id"].as_str().unwrap().to_owned()));
    }
    let mut waiting = tokio::task::JoinSet::new();
    for (id, captcha_id) in submitted.clone() {
        let app = Arc::clone(&app);
        waiting.spawn(async move {
            let path = format!("/v1/tasks/{id}?wait=300");
            let (mut status, mut task) = app.get(&path).await;
            // So many at once may be too many for the readers of the database: those are told to try again.
            while status == StatusCode::SERVICE_UNAVAILABLE {
                (status, task) = app.get(&path).await;
            }
            let own = (json!(captcha_id), json!(format!("answer of {captcha_id}")));
            assert_eq!((&task["captcha_id"], &task["answer"]["text"]), (&own.0, &own.1), "{task}");
        });
    }
    let mut pinging = tokio::task::JoinSet::new();
    for (_, captcha_id) in submitted {
        let app = Arc::clone(&app);
        pinging.spawn(async move { app.pingback(&captcha_id, &format!("answer of {captcha_id}")).await });
    }
    assert!(pinging.join_all().await.iter().all(|status| *status == StatusCode::OK));
    let woken = timeout(Duration::from_secs(60), waiting.join_all()).await.expect("all are woken");
    assert_eq!(woken.len(), TASKS);
}

#[tokio::test]
async fn a_list_goes_page_by_page_newest_first() {
    let app = TestApp::spawn().await;
    let mut ids = Vec::new();
    for number in 0..5 {
        let mut body = text_captcha();
        body["tag"] = json!(if number % 2 == 0 { "even" } else { "odd" });
        ids.push(app.post(&body).await.1["id"].as_str().unwrap().to_owned());
    }
    ids.reverse();
    let page = async |path: &str| {
        let (status, list) = app.get(path).await;
        assert_eq!(status, StatusCode::OK, "{list}");
        let tasks = list["tasks"].as_array().unwrap().iter();
        let ids: Vec<_> = tasks.map(|task| task["id"].as_str().unwrap().to_owned()).collect();
        (ids, list["cursor"].as_str().map(str::to_owned))
    };
    let (first, cursor) = page("/v1/tasks?limit=3").await;
    let (second, end) = page(&format!("/v1/tasks?limit=3&cursor={}", cursor.unwrap())).await;
    assert_eq!((first.as_slice(), second.as_slice(), end), (&ids[..3], &ids[3..], None));
    let (even, _) = page("/v1/tasks?tag=even&type=text").await;
    assert_eq!(even, [&ids[0], &ids[2], &ids[4]].map(Clone::clone));
    assert_eq!(page("/v1/tasks?status=solved").await, (Vec::new(), None));
    assert_eq!(page("/v1/tasks?limit=5").await, (ids, None));
}

#[tokio::test]
async fn a_task_that_was_not_sent_can_be_cancelled_and_another_cannot() {
    // The first request goes out after an interval, so a new task is still in the queue.
    let app = TestApp::with(never_solved(), &[("PINGBOX_PROVIDER__SUBMIT_INTERVAL", "60s")]).await;
    let id = app.submit().await;
    let (status, task) = app.delete(&format!("/v1/tasks/{id}")).await;
    assert_eq!((status, &task["status"]), (StatusCode::OK, &json!("cancelled")));
    assert_eq!(app.delete(&format!("/v1/tasks/{id}")).await.0, StatusCode::CONFLICT);
    assert_eq!(app.delete("/v1/tasks/999").await.0, StatusCode::NOT_FOUND);

    let app = TestApp::spawn().await;
    let (id, _) = app.submitted().await;
    let (status, problem) = app.delete(&format!("/v1/tasks/{id}")).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("too_late_to_cancel")));
}
