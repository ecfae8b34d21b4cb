//! What `in.php` says when the provider refuses, is full, or is silent; and what is left of the task.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use pingbox::sandbox::Share;
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::timeout;

use super::{Scripts, body};
use crate::harness::{PATIENCE, TestApp, never_solved, solved_at_once};
use crate::process::Process;
use crate::scripted::{Act, Scripted};

const CAPTCHA: [(&str, &str); 1] = [("textcaptcha", "2 + 2?")];

/// A service whose provider refuses every captcha with this code.
async fn refusing(code: &str) -> (TestApp, Scripts) {
    let mut knobs = never_solved();
    knobs.code = Some(code.to_owned());
    let app = TestApp::with(knobs, &[("PINGBOX_COMPAT__HOLD", "0s")]).await;
    let scripts = Scripts::of(&app);
    (app, scripts)
}

#[tokio::test]
async fn a_refusal_of_the_task_is_the_reply() {
    for code in ["ERROR_CAPTCHAIMAGE_BLOCKED", "ERROR_BAD_TOKEN_OR_PAGEURL", "ERROR_NEVER_SEEN_BEFORE"] {
        let (app, scripts) = refusing(code).await;
        assert_eq!(scripts.submit(&CAPTCHA).await, code);
        assert_eq!(app.task("1").await["status"], "failed");
    }
}

#[tokio::test]
async fn what_stops_every_captcha_is_the_reply_and_nothing_is_left_to_be_sent() {
    for code in ["ERROR_ZERO_BALANCE", "ERROR_KEY_DOES_NOT_EXIST", "ERROR_IP_NOT_ALLOWED", "IP_BANNED"] {
        let (app, scripts) = refusing(code).await;
        for _ in 0..3 {
            assert_eq!(scripts.submit(&CAPTCHA).await, code);
        }
        // The others were told what is known: nobody was asked for it, and nothing was stored.
        assert_eq!((app.submissions().len(), app.stored_tasks().await), (1, 1), "{code}");
        assert_eq!(app.number("SELECT COUNT(*) FROM task WHERE answered_at IS NULL").await, 0, "{code}");
        assert_eq!(app.task("1").await["status"], "cancelled", "{code}");
    }
}

#[tokio::test]
async fn what_passes_gives_an_id_and_the_task_waits_its_turn() {
    for code in ["ERROR_NO_SLOT_AVAILABLE", "MAX_USER_TURN", "ERROR: 1001", "ERROR: 1003"] {
        let (app, scripts) = refusing(code).await;
        // The second meets the pause that the first has brought.
        assert_eq!(
            [scripts.submit(&CAPTCHA).await, scripts.submit(&CAPTCHA).await],
            ["OK|1", "OK|2"],
            "{code}"
        );
        app.until("1", |task| task["status"] == "queued").await;
        assert_eq!(scripts.ask(&[("action", "get"), ("id", "2")]).await, "CAPCHA_NOT_READY");
    }
    let mut knobs = never_solved();
    knobs.html_5xx = "1".parse().unwrap();
    let app = TestApp::with(knobs, &[]).await;
    assert_eq!(Scripts::of(&app).submit(&CAPTCHA).await, "OK|1");
    app.until("1", |task| task["status"] == "queued").await;
}

#[tokio::test]
async fn a_silent_provider_is_waited_for_no_longer_than_sdks_wait() {
    let mut knobs = never_solved();
    knobs.hang = "1".parse().unwrap();
    let app = TestApp::with(knobs, &[]).await;
    let mut scripts = Scripts::of(&app);
    scripts.http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(8)).build().unwrap();
    assert_eq!(scripts.submit(&CAPTCHA).await, "OK|1");
    assert!(!app.task("1").await["status"].as_str().unwrap().starts_with("cancel"));
}

/// A provider that holds its reply until it is allowed.
async fn slow(reply: &'static str) -> (Scripted, Process, TempDir) {
    // A key that nothing has proven yet: one request goes alone, the next captchas wait.
    let scripted = Scripted::spawn(move |seen| match seen.params.get("action") {
        None => Act::ReplyWhenAllowed(reply.to_owned()),
        Some(_) => Act::Page(StatusCode::BAD_GATEWAY, "error code: 502"),
    })
    .await;
    let data = TempDir::new().unwrap();
    let process = Process::start(data.path(), &scripted.url, &[]).await;
    (scripted, process, data)
}

#[tokio::test]
async fn the_id_comes_when_the_provider_has_taken_the_captcha() {
    let (scripted, process, _data) = slow("OK|2122988149").await;
    let scripts = Scripts::at(&process.api);
    let (reply, ()) = tokio::join!(scripts.submit(&CAPTCHA), async {
        scripted.until_seen("/in.php", 1).await;
        scripted.allow();
    });
    assert_eq!(reply, "OK|1");
    assert_eq!(process.get("/v1/tasks/1").await["captcha_id"], "2122988149");
}

#[tokio::test]
async fn a_stop_reaches_the_callers_whose_captchas_wait_behind_it() {
    let (scripted, process, _data) = slow("ERROR_ZERO_BALANCE").await;
    let scripts = Scripts::at(&process.api);
    let all =
        async { tokio::join!(scripts.submit(&CAPTCHA), scripts.submit(&CAPTCHA), scripts.submit(&CAPTCHA)) };
    let (replies, ()) = tokio::join!(all, async {
        scripted.until_seen("/in.php", 1).await;
        process.until("3", |task| task["status"].is_string()).await;
        scripted.allow();
    });
    assert_eq!([replies.0, replies.1, replies.2], ["ERROR_ZERO_BALANCE"; 3]);
    for id in 1..=3 {
        assert_eq!(process.get(&format!("/v1/tasks/{id}")).await["status"], "cancelled");
    }
    assert_eq!(scripted.seen("/in.php").len(), 1);
}

#[tokio::test]
async fn a_captcha_whose_caller_went_away_unanswered_is_not_sent() {
    let (scripted, process, _data) = slow("OK|2122988149").await;
    let scripts = Scripts::at(&process.api);
    let first = scripts.submit(&CAPTCHA);
    let second = async {
        scripted.until_seen("/in.php", 1).await;
        let request = scripts.http.get(format!("{}/in.php?key=k&textcaptcha=gone", scripts.url));
        let going = tokio::spawn(request.send());
        process.until("2", |task| task["status"] == "queued").await;
        going.abort();
        process.until("2", |task| task["status"] == "cancelled").await;
        scripted.allow();
    };
    let (reply, ()) = timeout(PATIENCE, async { tokio::join!(first, second) }).await.unwrap();
    assert_eq!(reply, "OK|1");
    assert_eq!(scripted.seen("/in.php").len(), 1);
}

#[tokio::test]
async fn a_spent_daily_limit_is_an_empty_balance() {
    let app = TestApp::with(never_solved(), &[("PINGBOX_SPEND__DAILY_LIMIT", "0.001")]).await;
    let scripts = Scripts::of(&app);
    assert_eq!(scripts.submit(&CAPTCHA).await, "OK|1");
    let reply = scripts.submit(&[CAPTCHA[0], ("json", "1")]).await;
    assert!(
        reply.starts_with(r#"{"status":0,"request":"ERROR_ZERO_BALANCE","error_text":"spend.daily_limit"#),
        "{reply}"
    );
    assert_eq!(app.stored_tasks().await, 1);
}

#[tokio::test]
async fn a_database_that_fails_is_a_full_queue_and_nothing_is_lost() {
    let app = TestApp::spawn().await;
    let scripts = Scripts::of(&app);
    let mut other = app.connect().await;
    other.lock().await;
    assert_eq!(scripts.submit(&CAPTCHA).await, "ERROR_NO_SLOT_AVAILABLE");
    let report = [("action", "reportbad"), ("id", "1")];
    assert_eq!(scripts.ask(&report).await, "CAPCHA_NOT_READY");
    other.unlock().await;
    assert!(scripts.submit(&CAPTCHA).await.starts_with("OK|"));
}

#[tokio::test]
async fn what_is_stored_after_its_caller_was_sent_away_is_not_sent() {
    let mut knobs = never_solved();
    // The provider takes nothing meanwhile: what is not withdrawn stays open.
    knobs.code = Some("ERROR_NO_SLOT_AVAILABLE".to_owned());
    let app = TestApp::with(knobs, &[]).await;
    let scripts = Scripts::of(&app);
    assert_eq!(scripts.submit(&CAPTCHA).await, "OK|1");
    let mut other = app.connect().await;
    other.lock().await;
    // One leaves by itself, the other is told to come back.
    let going =
        tokio::spawn(scripts.http.get(format!("{}/in.php?key=k&textcaptcha=gone", scripts.url)).send());
    assert_eq!(scripts.submit(&CAPTCHA).await, "ERROR_NO_SLOT_AVAILABLE");
    going.abort();
    drop(going.await);
    other.unlock().await;
    // The probe goes through the writer's queue, behind what was asked before.
    app.get("/readyz").await;
    let withdrawn = async {
        while app.number("SELECT COUNT(*) FROM task WHERE status <> 'cancelled'").await > 1 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, withdrawn).await.expect("they are withdrawn");
    assert_eq!(scripts.submit(&CAPTCHA).await.get(..3), Some("OK|"));
}

#[tokio::test]
async fn a_captcha_that_was_taken_and_failed_at_once_has_an_id() {
    let mut knobs = solved_at_once();
    (knobs.early, knobs.unsolvable) = (Share::ALWAYS, Share::ALWAYS);
    let app = TestApp::with(knobs, &[]).await;
    let scripts = Scripts::of(&app);
    let id = scripts.submitted().await;
    assert_eq!(scripts.ask(&[("action", "get"), ("id", &id)]).await, "ERROR_CAPTCHA_UNSOLVABLE");
}

#[tokio::test]
async fn at_shutdown_the_caller_gets_the_id_of_what_is_stored() {
    let (scripted, process, _data) = slow("OK|2122988149").await;
    let scripts = Scripts::at(&process.api);
    // The first is on its way, the second waits behind it.
    let (first, second) = (scripts.submit(&CAPTCHA), scripts.submit(&CAPTCHA));
    let end = async {
        scripted.until_seen("/in.php", 1).await;
        process.until("2", |task| task["status"] == "queued").await;
        process.server.send(Signal::TERM);
        scripted.allow();
    };
    let (first, second, ()) = tokio::join!(first, second, end);
    let mut replies = [first, second];
    replies.sort();
    assert_eq!(replies, ["OK|1", "OK|2"]);
}

#[tokio::test]
async fn a_balance_that_cannot_be_had_says_why() {
    let refuse = Arc::new(AtomicBool::new(false));
    let is_refused = Arc::clone(&refuse);
    let scripted = Scripted::spawn(move |seen| match seen.params.get("action").map(String::as_str) {
        Some("getbalance") if is_refused.load(Ordering::SeqCst) => Act::Reply("ERROR: 1005".to_owned()),
        Some("getbalance") => Act::Reply("{\"status\":0,\"request\":12}".to_owned()),
        _ => Act::Reply("OK|1".to_owned()),
    })
    .await;
    for (reply, code) in [(false, "ERROR_NO_SLOT_AVAILABLE"), (true, "ERROR: 1005")] {
        refuse.store(reply, Ordering::SeqCst);
        let data = TempDir::new().unwrap();
        let process = Process::start(data.path(), &scripted.url, &[]).await;
        let scripts = Scripts::at(&process.api);
        assert_eq!(scripts.ask(&[("action", "getbalance")]).await, code);
    }
    let none = body(reqwest::Client::new().get(format!("{}/res.php?action=getbalance", scripted.url))).await;
    assert_eq!(none, json!("ERROR: 1005").as_str().unwrap());
}
