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
    let captcha_id = stage.captcha_id(&id).await;
    browser.until_there_is("#tasks tbody .badge.submitted").await;
    browser.until_it_says("<b>sum</b>").await;
    stage.solve(&captcha_id, "four").await;
    browser.until_there_is("#tasks tbody .badge.solved").await;
    browser.until_it_says("four").await;
    assert_eq!(browser.script("return window.isTheSamePage").await, json!(true));
    stage.close().await;
}

#[tokio::test]
async fn what_has_not_changed_is_not_renewed() {
    let Some(stage) = Stage::signed_in(&["--delay", "0"]).await else { return };
    let browser = &stage.browser;
    let id = stage.submit(json!({"type": "text", "textcaptcha": "2 + 2?"})).await;
    stage.ended(&id).await;
    stage.go("/tasks").await;
    browser.until_there_is("#tasks tbody .badge.solved").await;
    browser.script("document.querySelector('#tasks tbody tr').isTheSame = true").await;
    // Somebody comes back to the page: it is read at once, and again later, when the first reading has had its effect.
    browser.script("document.dispatchEvent(new Event('visibilitychange'))").await;
    let is_read_twice = "return performance.getEntriesByType('resource')
        .filter((entry) => entry.initiatorType === 'fetch' && entry.name === location.href).length > 1";
    browser.until(is_read_twice).await;
    let is_the_same = "return document.querySelector('#tasks tbody tr').isTheSame";
    assert_eq!(browser.script(is_the_same).await, json!(true));
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
