//! Balance, prices, limits, reports, statistics.

use pingbox::sandbox::{Amount, Knobs, Share};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{TestApp, never_solved, reply, solved_at_once, text_captcha};

impl TestApp {
    async fn solved(&self) -> String {
        let id = self.submit().await;
        let (_, task) = self.get(&format!("/v1/tasks/{id}?wait=15")).await;
        assert_eq!(task["status"], "solved", "{task}");
        id
    }

    async fn report(&self, id: &str, body: &Value) -> (StatusCode, Value) {
        reply(self.http.post(format!("{}/v1/tasks/{id}/report?wait=10", self.api)).json(body)).await
    }
}

#[tokio::test]
async fn the_account_shows_balance_spending_credit_and_registration() {
    let knobs = Knobs { balance: Amount::from_micros(12_500_000), ..solved_at_once() };
    let app = TestApp::with(knobs, &[]).await;
    app.until_registered().await;
    app.solved().await;
    app.solved().await;
    let account = app.account().await;
    assert_eq!((&account["balance"], &account["answers"]), (&json!("12.5"), &json!("pingback")));
    assert!(account["balance_at"].is_string());
    assert_eq!(
        account["spend"],
        json!({"today": "0.001", "daily_limit": null,
               "by_type": {"text": {"tasks": 2, "amount": "0.001", "estimated": 0}}})
    );
    assert_eq!(account["backoff"], json!({"in_php": null, "res_php": null}));
    assert_eq!(account["registration"]["url"], format!("{}/pingback/***", app.public));
}

#[tokio::test]
async fn a_price_that_is_not_told_is_estimated() {
    let app = TestApp::with(Knobs { rate: false, ..solved_at_once() }, &[]).await;
    let id = app.solved().await;
    let task = app.task(&id).await;
    assert_eq!((&task["price"], &task["price_estimated"]), (&json!("0.001"), &json!(true)));
    assert_eq!(app.account().await["spend"]["by_type"]["text"]["estimated"], 1);
}

#[tokio::test]
async fn an_absurd_price_fails_no_answer() {
    let app = TestApp::spawn().await;
    for price in ["99999999999999999999", "0.00000000000000000001"] {
        let (id, captcha_id) = app.submitted().await;
        let form = [("id", captcha_id.as_str()), ("code", "Friday"), ("rate", price)];
        let sent = app.http.post(app.pingback_url()).form(&form).send().await.unwrap();
        assert_eq!((sent.status(), &app.task(&id).await["price"]), (StatusCode::OK, &json!(price)));
    }
}

#[tokio::test]
async fn past_the_daily_limit_nothing_is_taken_and_what_is_queued_waits() {
    let limit = [("PINGBOX_SPEND__DAILY_LIMIT", "0.002"), ("PINGBOX_PROVIDER__SUBMIT_INTERVAL", "300ms")];
    let app = TestApp::with(never_solved(), &limit).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(app.submit().await);
    }
    // Each may cost up to 0.001, so two of them are as much as may be spent.
    let waiting = app.until(&ids[2], |task| task["reason"].is_string()).await;
    assert!(waiting["reason"].as_str().unwrap().contains("spend.daily_limit"), "{waiting}");
    assert_eq!((&waiting["status"], app.submissions().len()), (&json!("queued"), 2));
    let (status, problem) = app.post(&text_captcha()).await;
    assert_eq!((status.as_u16(), &problem["code"]), (402, &json!("daily_limit_reached")));

    // What failed costs nothing, and makes room.
    let captcha_id = app.task(&ids[0]).await["captcha_id"].as_str().unwrap().to_owned();
    app.pingback(&captcha_id, "ERROR_CAPTCHA_UNSOLVABLE").await;
    app.until(&ids[2], |task| task["captcha_id"].is_string()).await;
    assert_eq!(app.account().await["spend"]["daily_limit"], "0.002");
}

#[tokio::test]
async fn what_may_cost_more_than_is_left_of_the_day_is_not_taken() {
    let app = TestApp::with(solved_at_once(), &[("PINGBOX_SPEND__DAILY_LIMIT", "0.0009")]).await;
    assert_eq!(app.post(&text_captcha()).await.0, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(app.stored_tasks().await, 0);
}

#[tokio::test]
async fn a_repeat_of_a_task_is_taken_past_the_limit() {
    let app = TestApp::with(never_solved(), &[("PINGBOX_SPEND__DAILY_LIMIT", "0.001")]).await;
    let submit = || app.submission().header("Idempotency-Key", "once").json(&text_captcha());
    let (status, task) = reply(submit()).await;
    assert_eq!(status, StatusCode::CREATED);
    app.connect_and((
        "INSERT INTO spend VALUES (unixepoch() / 86400, 'text', 1, 500000, 0)",
        "INSERT INTO spend VALUES (clock_micros() / 86400000000, 'text', 1, 500000, 0)",
    ))
    .await;
    assert_eq!(app.post(&text_captcha()).await.0, StatusCode::PAYMENT_REQUIRED);
    let (status, repeated) = reply(submit()).await;
    assert_eq!((status, &repeated["id"]), (StatusCode::OK, &task["id"]));
}

#[tokio::test]
async fn a_report_is_answered_with_the_providers_word_and_sent_once() {
    let app = TestApp::with(solved_at_once(), &[]).await;
    let (bad, good) = (app.solved().await, app.solved().await);
    let (status, report) = app.report(&bad, &json!({"verdict": "bad"})).await;
    assert_eq!(status, StatusCode::OK, "{report}");
    assert_eq!(
        (&report["status"], &report["reply"], &report["verdict"]),
        (&json!("recorded"), &json!("OK_REPORT_RECORDED"), &json!("bad"))
    );
    assert_eq!(app.report(&good, &json!({"verdict": "good"})).await.1["status"], "recorded");
    assert_eq!(app.report(&bad, &json!({"verdict": "bad"})).await, (StatusCode::OK, report.clone()));
    let (status, problem) = app.report(&bad, &json!({"verdict": "good"})).await;
    assert_eq!((status.as_u16(), &problem["code"]), (409, &json!("already_reported")));
    assert_eq!(app.get(&format!("/v1/tasks/{bad}/report")).await, (StatusCode::OK, report));
    let counters = app.sandbox.counters();
    assert_eq!((counters.reported_bad, counters.reported_good), (1, 1));
}

#[tokio::test]
async fn a_report_that_cannot_be_sent_waits_and_is_sent_later() {
    let app = TestApp::with(solved_at_once(), &[]).await;
    app.until_registered().await;
    let id = app.solved().await;
    app.sandbox.set_knobs(Knobs { html_5xx: Share::ALWAYS, ..solved_at_once() });
    let url = format!("{}/v1/tasks/{id}/report?wait=1", app.api);
    let (status, report) = reply(app.http.post(url).json(&json!({"verdict": "bad"}))).await;
    assert_eq!((status, &report["status"]), (StatusCode::ACCEPTED, &json!("queued")));
    app.sandbox.set_knobs(solved_at_once());
    let (status, report) = app.report(&id, &json!({"verdict": "bad"})).await;
    assert_eq!((status, &report["status"]), (StatusCode::OK, &json!("recorded")), "{report}");
    assert_eq!(app.sandbox.counters().reported_bad, 1);
}

#[tokio::test]
async fn what_cannot_be_reported_says_why() {
    let app = TestApp::spawn().await;
    let (id, captcha_id) = app.submitted().await;
    let report = async |id: &str, body: Value| {
        let (status, problem) = app.report(id, &body).await;
        (status.as_u16(), problem["code"].as_str().unwrap().to_owned())
    };
    assert_eq!(report(&id, json!({"verdict": "bad"})).await, (409, "no_answer_to_report".to_owned()));
    assert_eq!(report("77", json!({"verdict": "bad"})).await, (404, "task_not_found".to_owned()));
    assert_eq!(report(&id, json!({"verdict": "so-so"})).await, (422, "invalid_fields".to_owned()));
    assert_eq!(report(&id, json!({"verdikt": "bad"})).await, (400, "bad_request".to_owned()));
    assert_eq!(app.get(&format!("/v1/tasks/{id}/report")).await.1["code"], "report_not_found");
    app.pingback(&captcha_id, "Friday").await;
    app.connect_and("UPDATE task SET submitted_at = submitted_at - 900000000").await;
    assert_eq!(report(&id, json!({"verdict": "bad"})).await, (409, "too_late_to_report".to_owned()));
    // The provider was not asked for any of it.
    assert_eq!(app.sandbox.counters().reported_bad, 0);
}

#[tokio::test]
async fn the_statistics_count_tasks_and_how_answers_came() {
    let app = TestApp::with(solved_at_once(), &[]).await;
    for _ in 0..3 {
        app.solved().await;
    }
    app.sandbox.set_knobs(Knobs { unsolvable: Share::ALWAYS, ..solved_at_once() });
    let id = app.submit().await;
    app.get(&format!("/v1/tasks/{id}?wait=15")).await;
    let (code, stats) = app.get("/v1/stats").await;
    assert_eq!(code, StatusCode::OK);
    assert_eq!((&stats["total"], &stats["by_status"]), (&json!(4), &json!({"solved": 3, "failed": 1})));
    assert_eq!(stats["by_type"], json!({"text": {"solved": 3, "failed": 1}}));
    assert_eq!(stats["answers"], json!({"pingback": 4, "reconcile": 0, "pingback_share": 1.0}));
    assert_eq!(stats["solve_ms"]["text"]["count"], 3);
}
