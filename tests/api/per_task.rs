//! A URL for each task: the token in it names the task, whatever else is known.

use pingbox::sandbox::{Knobs, Share};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::database::holds;
use crate::harness::{SECRET, TestApp, never_solved, solved_at_once};

const PER_TASK: [(&str, &str); 1] = [("PINGBOX_PINGBACK__URL_MODE", "per_task")];

/// The URL that a task was sent with.
fn url(app: &TestApp, index: usize) -> String {
    app.submissions()[index]["parameters"]["pingback"].as_str().unwrap().to_owned()
}

async fn post(app: &TestApp, url: &str, captcha_id: &str, code: &str) -> StatusCode {
    app.http.post(url).form(&[("id", captcha_id), ("code", code)]).send().await.unwrap().status()
}

#[tokio::test]
async fn each_task_has_a_token_of_128_bits_that_is_not_kept() {
    let app = TestApp::with(never_solved(), &PER_TASK).await;
    app.submitted().await;
    app.submitted().await;
    let tokens: Vec<String> = (0..2)
        .map(|index| {
            let url = url(&app, index);
            url.strip_prefix(&format!("{}/pingback/{SECRET}/", app.public)).unwrap().to_owned()
        })
        .collect();
    assert_ne!(tokens[0], tokens[1]);
    assert!(tokens.iter().all(|token| token.len() == 32));
    for token in &tokens {
        assert!(!holds(app.data(), token).await);
    }
}

#[tokio::test]
async fn tasks_are_solved_at_their_own_urls() {
    let app = TestApp::with(solved_at_once(), &PER_TASK).await;
    let id = app.submit().await;
    let (_, task) = app.get(&format!("/v1/tasks/{id}?wait=15")).await;
    assert_eq!((&task["status"], &task["via"]), (&json!("solved"), &json!("pingback")));
}

#[tokio::test]
async fn a_wrong_token_is_the_same_404_as_any_path() {
    let app = TestApp::with(never_solved(), &PER_TASK).await;
    let (id, captcha_id) = app.submitted().await;
    let right = url(&app, 0);
    let get = async |url: String| {
        let reply =
            app.http.post(url).form(&[("id", captcha_id.as_str()), ("code", "x")]).send().await.unwrap();
        (reply.status(), reply.text().await.unwrap())
    };
    let unknown = get(format!("{}/nowhere", app.public)).await;
    assert_eq!(unknown.0, StatusCode::NOT_FOUND);
    let wrong_secret = right.replace(SECRET, "a-secret-of-the-tests-0123456780");
    for wrong in [format!("{right}0"), right.replace('/', "//"), wrong_secret, format!("{right}/more")] {
        assert_eq!(get(wrong.clone()).await, unknown, "{wrong}");
    }
    assert_eq!(app.task(&id).await["status"], "submitted");
    assert_eq!(post(&app, &right, &captcha_id, "Friday").await, StatusCode::OK);
    assert_eq!(app.task(&id).await["status"], "solved");
}

#[tokio::test]
async fn an_unconfirmed_task_is_settled_by_its_pingback() {
    let app = TestApp::with(Knobs { cut: Share::ALWAYS, ..never_solved() }, &PER_TASK).await;
    let id = app.submit().await;
    app.until(&id, |task| task["status"] == "unconfirmed").await;
    // Nobody knows its captcha ID, but the URL says whose it is.
    assert_eq!(post(&app, &url(&app, 0), "70000000001", "Friday").await, StatusCode::OK);
    let task = app.task(&id).await;
    assert_eq!((&task["status"], &task["captcha_id"]), (&json!("solved"), &json!("70000000001")), "{task}");
    assert_eq!((&task["attempts"], app.submissions().len()), (&json!(1), 1));
}

#[tokio::test]
async fn a_notice_at_its_url_confirms_a_task() {
    let app = TestApp::with(Knobs { cut: Share::ALWAYS, ..never_solved() }, &PER_TASK).await;
    let id = app.submit().await;
    app.until(&id, |task| task["status"] == "unconfirmed").await;
    assert_eq!(post(&app, &url(&app, 0), "70000000001", "CAPCHA_NOT_READY").await, StatusCode::OK);
    let task = app.task(&id).await;
    assert_eq!(
        (&task["status"], &task["captcha_id"]),
        (&json!("submitted"), &json!("70000000001")),
        "{task}"
    );
}

#[tokio::test]
async fn an_answer_to_an_earlier_attempt_settles_the_task_and_a_later_one_is_kept() {
    let app = TestApp::with(Knobs { cut: Share::ALWAYS, ..never_solved() }, &PER_TASK).await;
    let id = app.submit().await;
    app.until(&id, |task| task["status"] == "unconfirmed").await;
    app.sandbox.set_knobs(never_solved());
    app.connect_and("UPDATE task SET due_at = 0").await;
    let task = app.until(&id, |task| task["captcha_id"].is_string()).await;
    assert_eq!((&task["status"], &task["attempts"]), (&json!("submitted"), &json!(2)));
    let second = task["captcha_id"].as_str().unwrap().to_owned();
    assert_eq!(post(&app, &url(&app, 0), "70000000001", "Friday").await, StatusCode::OK);
    assert_eq!(post(&app, &url(&app, 1), &second, "Saturday").await, StatusCode::OK);
    let task = app.task(&id).await;
    assert_eq!((&task["answer"]["text"], &task["captcha_id"]), (&json!("Friday"), &json!("70000000001")));
    assert_eq!(app.number("SELECT COUNT(*) FROM pingback WHERE task_id = 1 AND code = 'Saturday'").await, 1);
}

#[tokio::test]
async fn an_early_pingback_at_its_url_settles_the_task() {
    let app = TestApp::with(Knobs { early: Share::ALWAYS, ..solved_at_once() }, &PER_TASK).await;
    let id = app.submit().await;
    let (_, task) = app.get(&format!("/v1/tasks/{id}?wait=15")).await;
    assert_eq!((&task["status"], &task["via"]), (&json!("solved"), &json!("pingback")));
    assert_eq!(task["reason"], Value::Null);
}
