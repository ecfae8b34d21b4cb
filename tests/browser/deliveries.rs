//! What was sent to webhooks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::json;

use crate::process::serve;
use crate::stage::Stage;

#[tokio::test]
async fn a_delivery_that_was_given_up_on_is_sent_again() {
    let Some(stage) = Stage::signed_in(&["--delay", "0"]).await else { return };
    let browser = &stage.browser;
    let is_there = Arc::new(AtomicBool::new(false));
    let open = Arc::clone(&is_there);
    let status =
        move || async move { if open.load(Ordering::SeqCst) { StatusCode::OK } else { StatusCode::GONE } };
    let receiver = serve(Router::new().route("/hook", post(status))).await;
    let webhook = format!("{receiver}/hook");
    stage.submit(json!({"type": "text", "textcaptcha": "2 + 2?", "webhook_url": webhook})).await;

    stage.go("/deliveries").await;
    browser.until_there_is("#deliveries tbody .badge.dead").await;
    browser.click("#deliveries tbody a").await;
    browser.until_there_is("#delivery .badge.dead").await;
    browser.until_it_says("410").await;
    is_there.store(true, Ordering::SeqCst);
    browser.click("#replay").await;
    browser.until_there_is("#delivery .badge.delivered").await;
    stage.close().await;
}
