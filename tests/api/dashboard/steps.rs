//! What the page of a task says of its past, and what it does for its future.

use pingbox::sandbox::{Knobs, Share};
use reqwest::StatusCode;
use serde_json::json;

use super::person::{ADMIN, Person, WITH_ADMIN, task};
use crate::harness::{TestApp, solved_at_once};

#[tokio::test]
async fn a_pingback_that_came_early_is_what_solved_the_task_and_no_other() {
    let app = TestApp::with(Knobs { early: Share::ALWAYS, ..solved_at_once() }, &[]).await;
    let id = app.submit().await;
    let task = app.until(&id, |task| task["status"] == "solved").await;
    let mut person = Person::at(&app);
    let page = person.open(&format!("/tasks/{id}")).await;
    assert!(page.has("Solved") && !page.has("Another pingback"), "{}", page.text);
    let captcha_id = task["captcha_id"].as_str().unwrap();
    assert_eq!(app.pingback(captcha_id, "another answer").await, StatusCode::OK);
    let page = person.open(&format!("/tasks/{id}")).await;
    assert_eq!(page.text.matches("Another pingback").count(), 1, "{}", page.text);
}

#[tokio::test]
async fn a_report_that_says_neither_good_nor_bad_is_none() {
    let app = TestApp::with(solved_at_once(), &[WITH_ADMIN]).await;
    let id = task(&app, ADMIN, json!({})).await;
    let mut person = Person::with(&app, ADMIN).await;
    let path = format!("/tasks/{id}/report");
    for fields in [&[("verdict", "excellent")][..], &[], &[("verdict", "bad"), ("why", "wrong")]] {
        let form_token = person.open("/tasks").await.form_token();
        let page = person.fill(&path, &form_token, fields).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{fields:?}: {}", page.text);
        assert!(page.has("<nav"), "one can go on from there: {}", page.text);
    }
    let report = app.http.get(format!("{}/v1/tasks/{id}/report", app.api)).bearer_auth(ADMIN).send().await;
    assert_eq!(report.unwrap().status(), StatusCode::NOT_FOUND, "nothing was reported");
}
