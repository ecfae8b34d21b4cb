//! The list of tasks, and one of them.

use serde_json::json;

use crate::stage::{ANSWERS, Stage};

#[tokio::test]
async fn a_task_becomes_solved_before_one_s_eyes() {
    let Some(stage) = Stage::signed_in(&["--by-hand"]).await else { return };
    let browser = &stage.browser;
    stage.go("/tasks").await;
    browser.script("window.isTheSamePage = true").await;

    let id = stage.submit(json!({"type": "text", "textcaptcha": "2 + 2?", "tag": "<b>sum</b>"})).await;
    browser.until_it_says("submitted").await;
    browser.until_it_says("<b>sum</b>").await;
    let task = stage.call(reqwest::Method::GET, &format!("/v1/tasks/{id}"), &json!(null)).await;
    stage.solve(task["captcha_id"].as_str().unwrap(), "four").await;
    browser.until_it_says("solved").await;
    browser.until_it_says("four").await;
    assert_eq!(browser.script("return window.isTheSamePage").await, json!(true));
    stage.close().await;
}

#[tokio::test]
async fn a_task_is_found_shown_and_reported() {
    let Some(stage) = Stage::signed_in(&["--delay", "0", "--answers", ANSWERS]).await else { return };
    let browser = &stage.browser;
    let fields = [("type", "click"), ("textinstructions", "Click the stars"), ("tag", "stars")];
    let id = stage.upload("/v1/tasks?wait=30", &fields, &[("file", "click-39-36-192-72.png")]).await;
    stage.submit(json!({"type": "text", "textcaptcha": "2 + 2?", "tag": "sum"})).await;

    stage.go("/tasks").await;
    browser.type_into("#q", "stars\n").await;
    browser.until_it_says("Show all").await;
    assert_eq!(browser.count("#tasks tbody tr").await, 1);
    browser.click("#tasks tbody a").await;
    browser.until_it_says("What happened").await;
    assert_eq!(browser.path().await, format!("/tasks/{id}"));

    // Both stars are marked, on a picture that was loaded.
    assert_eq!(browser.count("svg.drawing circle.mark-dot").await, 2);
    let place = "const mark = document.querySelector('circle.mark-dot'); return [mark.cx.baseVal.value, mark.cy.baseVal.value]";
    assert_eq!(browser.script(place).await, json!([39, 36]));
    let load = "return fetch(document.querySelector('svg.drawing image').href.baseVal)
        .then((reply) => reply.headers.get('content-type'))";
    assert_eq!(browser.script(load).await, "image/png");

    browser.click("#report-bad").await;
    browser.until_it_says("Reported as bad; the provider recorded it.").await;
    assert_eq!(browser.count("#report-bad").await, 0);
    stage.close().await;
}

#[tokio::test]
async fn a_queued_task_is_cancelled() {
    let Some(stage) = Stage::signed_in(&["--code", "ERROR_ZERO_BALANCE"]).await else { return };
    let browser = &stage.browser;
    let id = stage.submit(json!({"type": "text", "textcaptcha": "2 + 2?"})).await;
    stage.go(&format!("/tasks/{id}")).await;
    browser.until_it_says("ERROR_ZERO_BALANCE").await;
    browser.click("#cancel").await;
    browser.until_it_says("Cancelled").await;
    assert_eq!(browser.count("#cancel").await, 0);
    stage.close().await;
}
