//! Pictures of every page, wide and narrow, light and dark.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::{Value, json};

use crate::process::serve;
use crate::stage::{ANSWERS, Stage};

#[tokio::test]
async fn every_page_fits_wide_and_narrow() {
    let flags = ["--delay", "300ms", "--unsolvable", "0.1", "--seed", "3", "--answers", ANSWERS];
    let Some(stage) = Stage::open(&flags).await else { return };
    let browser = &stage.browser;
    stage.go("/").await;
    browser.pictures("sign-in").await;
    browser.type_into("#token", crate::program::TOKEN).await;
    browser.click("main button").await;
    browser.until_it_says("Overview").await;

    let statuses = Router::new()
        .route("/good", post(async || StatusCode::OK))
        .route("/gone", post(async || StatusCode::GONE));
    let receiver = serve(statuses).await;
    for (at, file) in
        ["captcha-01-x7k2p.png", "captcha-06-p9fs3.jpg", "captcha-10-n8wcu.gif", "big-captcha-harbour7.png"]
            .iter()
            .enumerate()
    {
        let tag = [
            "login-page",
            "checkout",
            "a tag that is much longer than what fits into a column of a table",
            "sign-up",
        ][at];
        stage.upload("/v1/tasks?wait=30", &[("type", "image"), ("tag", tag)], &[("file", file)]).await;
    }
    for hook in ["good", "gone"] {
        let url = format!("{receiver}/{hook}");
        stage
            .submit(json!({"type": "text", "textcaptcha": "What day is it today?", "webhook_url": url}))
            .await;
    }
    let fields = [("type", "click"), ("textinstructions", "Click the stars"), ("tag", "stars")];
    let click = stage.upload("/v1/tasks?wait=30", &fields, &[("file", "click-39-36-192-72.png")]).await;
    let fields = [("type", "recaptcha_image"), ("textinstructions", "Select all squares with stars")];
    let files = [("file", "grid-3x3-2-4-9.jpg"), ("imginstructions", "instruction-stars.png")];
    let grid = stage.upload("/v1/tasks?wait=30", &fields, &files).await;
    let fields = [("type", "recaptcha_image"), ("canvas", "1"), ("textinstructions", "Outline the house")];
    let canvas = stage.upload("/v1/tasks?wait=30", &fields, &[("file", "rotate-3-turned-240.png")]).await;
    let files = [("file_1", "rotate-1-turned-40.png"), ("file_2", "rotate-2-turned-200.png")];
    let rotate = stage.upload("/v1/tasks?wait=30", &[("type", "rotate"), ("angle", "40")], &files).await;
    let key = json!({"type": "recaptcha_v2", "googlekey": "6Le-wvkSVVABCPBMRTvw0Q4Muexq1bi0DJwx_mJ-", "pageurl": "https://a.example/sign-up"});
    let token: Value = stage.call(reqwest::Method::POST, "/v1/tasks?wait=30", &key).await;

    for (name, path) in [
        ("overview", "/".to_owned()),
        ("tasks", "/tasks".to_owned()),
        ("tasks-none", "/tasks?q=nothing".to_owned()),
        ("task-click", format!("/tasks/{click}")),
        ("task-grid", format!("/tasks/{grid}")),
        ("task-canvas", format!("/tasks/{canvas}")),
        ("task-rotate", format!("/tasks/{rotate}")),
        ("task-token", format!("/tasks/{}", token["id"].as_str().unwrap())),
        ("deliveries", "/deliveries".to_owned()),
        ("tokens", "/tokens".to_owned()),
        ("solve-off", "/solve".to_owned()),
    ] {
        stage.go(&path).await;
        browser.pictures(name).await;
    }
    stage.go("/deliveries").await;
    browser.click("#deliveries tbody a").await;
    browser.until_it_says("Message").await;
    browser.pictures("delivery").await;
    stage.close().await;
}

#[tokio::test]
async fn the_page_for_solving_by_hand_fits_wide_and_narrow() {
    let Some(stage) = Stage::signed_in(&["--by-hand"]).await else { return };
    let browser = &stage.browser;
    stage.go("/solve").await;
    browser.until_it_says("No captcha waits").await;
    browser.pictures("solve-none").await;
    let fields = [
        ("type", "recaptcha_image"),
        ("can_no_answer", "1"),
        ("textinstructions", "Select all squares with stars"),
    ];
    let files = [("file", "grid-3x3-2-4-9.jpg"), ("imginstructions", "instruction-stars.png")];
    stage.upload("/v1/tasks", &fields, &files).await;
    browser.until_it_says("with stars").await;
    browser.type_into("#answer", "2 7").await;
    browser.pictures("solve-grid").await;
    browser.click("#unsolvable").await;
    browser.until_it_says("No captcha waits").await;
    let fields = [("type", "click"), ("textinstructions", "Click the letters in the order of the alphabet")];
    stage.upload("/v1/tasks", &fields, &[("file", "captcha-02-84613.png")]).await;
    browser.until_it_says("alphabet").await;
    browser.type_into("#answer", "20,30 90,20").await;
    browser.pictures("solve-points").await;
    stage.close().await;
}
