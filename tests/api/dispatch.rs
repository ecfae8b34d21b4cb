//! Sending: what `in.php` gets, when, and what its replies do to a task.

use pingbox::sandbox::{Knobs, Share};
use reqwest::StatusCode;
use serde_json::json;

use crate::harness::{PATIENCE, SECRET, TestApp, never_solved, solved_at_once, text_captcha};

#[tokio::test]
async fn a_task_is_sent_with_the_registered_pingback_url() {
    let app = TestApp::spawn().await;
    app.submitted().await;
    let sent = &app.submissions()[0]["parameters"];
    let url = format!("{}/pingback/{SECRET}", app.public);
    assert_eq!((&sent["pingback"], &sent["textcaptcha"]), (&json!(url), &text_captcha()["textcaptcha"]));
}

#[tokio::test]
async fn requests_start_the_interval_apart() {
    let app = TestApp::with(never_solved(), &[("PINGBOX_PROVIDER__SUBMIT_INTERVAL", "400ms")]).await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(app.submit().await);
    }
    for id in &ids {
        app.until(id, |task| task["captcha_id"].is_string()).await;
    }
    let starts: Vec<_> = app.submissions().iter().map(|request| request["at_us"].as_i64().unwrap()).collect();
    // What is seen is arrival: on a busy machine two requests come closer together than they started.
    assert!(starts.windows(2).all(|pair| pair[1] - pair[0] > 200_000), "{starts:?}");
}

#[tokio::test]
async fn higher_priorities_go_first() {
    let app = TestApp::with(never_solved(), &[("PINGBOX_PROVIDER__SUBMIT_INTERVAL", "1s")]).await;
    for (text, priority) in [("low", -1), ("usual", 0), ("urgent", 9), ("usual too", 0)] {
        let body = json!({"type": "text", "textcaptcha": text, "priority": priority});
        assert_eq!(app.post(&body).await.0, StatusCode::CREATED);
    }
    let sent = || {
        app.submissions()
            .iter()
            .map(|request| request["parameters"]["textcaptcha"].clone())
            .collect::<Vec<_>>()
    };
    let all = async {
        while sent().len() < 4 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("all are sent");
    assert_eq!(sent(), ["urgent", "usual", "usual too", "low"]);
}

#[tokio::test]
async fn an_error_of_the_task_fails_it_with_the_code() {
    let knobs = Knobs { code: Some("ERROR_CAPTCHAIMAGE_BLOCKED".to_owned()), ..never_solved() };
    let app = TestApp::with(knobs, &[]).await;
    let id = app.submit().await;
    let (_, task) = app.get(&format!("/v1/tasks/{id}?wait=15")).await;
    assert_eq!(
        (&task["status"], &task["error"]["code"]),
        (&json!("failed"), &json!("ERROR_CAPTCHAIMAGE_BLOCKED"))
    );
    assert_eq!((&task["via"], &task["attempts"]), (&json!(null), &json!(1)));
}

#[tokio::test]
async fn an_error_of_the_account_leaves_the_task_in_the_queue_and_says_why() {
    let knobs = Knobs { code: Some("ERROR_ZERO_BALANCE".to_owned()), ..never_solved() };
    let app = TestApp::with(knobs, &[]).await;
    let id = app.submit().await;
    let task = app.until(&id, |task| task["reason"].is_string()).await;
    assert_eq!(task["status"], "queued");
    assert_eq!(task["reason"], "ERROR_ZERO_BALANCE: the account has no money left");
    // Nothing else is sent while the provider wants to be left alone.
    let other = app.submit().await;
    let (_, other) = app.get(&format!("/v1/tasks/{other}?wait=1")).await;
    assert_eq!((&other["status"], app.submissions().len()), (&json!("queued"), 1));
}

#[tokio::test]
async fn a_page_instead_of_a_reply_is_sent_again() {
    let app = TestApp::with(Knobs { html_5xx: Share::ALWAYS, ..solved_at_once() }, &[]).await;
    let id = app.submit().await;
    let task = app.until(&id, |task| task["reason"].is_string()).await;
    assert_eq!(task["status"], "queued");
    app.sandbox.set_knobs(solved_at_once());
    let (_, task) = app.get(&format!("/v1/tasks/{id}?wait=15")).await;
    assert_eq!(task["attempts"], 2);
}

#[tokio::test]
async fn a_reply_that_is_cut_leaves_the_task_unconfirmed_and_it_is_not_sent_again() {
    let app = TestApp::with(Knobs { cut: Share::ALWAYS, ..never_solved() }, &[]).await;
    let id = app.submit().await;
    let task = app.until(&id, |task| task["status"] == "unconfirmed").await;
    assert_eq!((&task["captcha_id"], &task["attempts"]), (&json!(null), &json!(1)));
    app.get(&format!("/v1/tasks/{id}?wait=2")).await;
    assert_eq!(app.submissions().len(), 1);
}

#[tokio::test]
async fn a_task_expires_when_its_ttl_is_over() {
    let app = TestApp::spawn().await;
    let mut body = text_captcha();
    body["ttl"] = json!(3);
    let (_, task) = app.post(&body).await;
    let id = task["id"].as_str().unwrap();
    let (_, task) = app.get(&format!("/v1/tasks/{id}?wait=15")).await;
    assert_eq!((&task["status"], &task["error"]["code"]), (&json!("expired"), &json!("EXPIRED")));
    // An answer that comes too late is kept, not applied.
    let captcha_id = task["captcha_id"].as_str().unwrap().to_owned();
    assert_eq!(app.pingback(&captcha_id, "late").await, StatusCode::OK);
    assert_eq!(app.task(id).await["status"], "expired");
}

#[tokio::test]
async fn what_is_queued_is_sent_after_a_restart() {
    let slow = [("PINGBOX_PROVIDER__SUBMIT_INTERVAL", "60s")];
    let app = TestApp::with(solved_at_once(), &slow).await;
    let ids = [app.submit().await, app.submit().await];
    let app = app.restart(solved_at_once()).await;
    for id in ids {
        let (_, task) = app.get(&format!("/v1/tasks/{id}?wait=15")).await;
        assert_eq!((&task["status"], &task["attempts"]), (&json!("solved"), &json!(1)));
    }
}

#[tokio::test]
async fn registration_adds_the_url_once_and_says_so() {
    let app = TestApp::spawn().await;
    app.submitted().await;
    let (_, ready) = app.get("/readyz").await;
    assert_eq!((&ready["registration"], &ready["summary"]), (&json!("registered"), &json!("ready")));
    assert_eq!(ready["attention"], json!([]));
    let requests = serde_json::to_value(app.sandbox.requests()).unwrap();
    let actions: Vec<_> = requests
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|request| request["parameters"]["action"].as_str())
        .collect();
    assert_eq!(actions, ["get_pingback", "add_pingback"]);
}

#[tokio::test]
async fn a_task_whose_time_is_over_is_not_sent() {
    let slow = [("PINGBOX_PROVIDER__SUBMIT_INTERVAL", "60s")];
    let app = TestApp::with(never_solved(), &slow).await;
    let mut body = text_captcha();
    body["ttl"] = json!(1);
    let ids = [app.post(&body).await.1["id"].clone(), app.post(&body).await.1["id"].clone()];
    let data = app.stop().await;
    // The clock, not the next process, ends their time.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let app = TestApp::on(never_solved(), data).await;
    for id in ids {
        let (_, task) = app.get(&format!("/v1/tasks/{}?wait=15", id.as_str().unwrap())).await;
        assert_eq!((&task["status"], &task["attempts"]), (&json!("expired"), &json!(0)));
    }
    assert_eq!(app.submissions().len(), 0);
}

#[tokio::test]
async fn a_task_that_is_always_turned_away_does_not_hold_up_the_others() {
    // A page for everything at first: each task is turned away once, and waits its own time.
    let interval = [("PINGBOX_PROVIDER__SUBMIT_INTERVAL", "10ms")];
    let app = TestApp::with(Knobs { html_5xx: Share::ALWAYS, ..never_solved() }, &interval).await;
    let first = app.submit().await;
    app.until(&first, |task| task["attempts"] == 1).await;
    let others = [app.submit().await, app.submit().await];
    app.until(&others[0], |task| task["attempts"] == 1).await;
}
