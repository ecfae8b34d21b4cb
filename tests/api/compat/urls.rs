//! Callers' own pingback URLs: kept here, and out of what the provider gets.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Scripts;
use crate::harness::{PATIENCE, TestApp, never_solved};
use crate::process::serve;

async fn loopback_allowed() -> (TestApp, Scripts) {
    let app = TestApp::with(never_solved(), &[("PINGBOX_WEBHOOKS__ALLOW_PRIVATE", "127.0.0.1/32")]).await;
    let scripts = Scripts::of(&app);
    (app, scripts)
}

#[tokio::test]
async fn urls_are_added_listed_and_deleted_as_at_the_provider() {
    let (app, scripts) = loopback_allowed().await;
    let add = async |addr: &str| scripts.ask(&[("action", "add_pingback"), ("addr", addr)]).await;
    let list = async || scripts.ask(&[("action", "get_pingback")]).await;
    assert_eq!(list().await, "OK|");
    let (one, other) = ("http://mysite.com/test.php?a=1&b=2", "123.123.123.123/pingback/url/");
    assert_eq!(add(one).await, "OK");
    let in_json = scripts.ask(&[("action", "add_pingback"), ("addr", other), ("json", "1")]).await;
    assert_eq!(in_json, r#"{"status":1,"request":"OK_PINGBACK"}"#);
    assert_eq!(add(one).await, "OK");
    assert_eq!(list().await, format!("OK|{one}|{other}"));
    let in_json = scripts.ask(&[("action", "get_pingback"), ("json", "1")]).await;
    assert_eq!(in_json, format!(r#"{{"status":1,"request":"{one}|{other}"}}"#));
    for gone in [one, "http://never.example/"] {
        assert_eq!(scripts.ask(&[("action", "del_pingback"), ("addr", gone)]).await, "OK");
    }
    assert_eq!(list().await, format!("OK|{other}"));
    assert_eq!(scripts.ask(&[("action", "del_pingback"), ("addr", "all")]).await, "OK");
    assert_eq!(list().await, "OK|");
    // None of it has reached the provider.
    let seen = serde_json::to_string(&app.sandbox.requests()).unwrap();
    assert!(!seen.contains("mysite") && !seen.contains("del_pingback"), "{seen}");
}

#[tokio::test]
async fn a_url_that_cannot_or_must_not_be_called_is_refused_before_money_is_spent() {
    let (app, scripts) = loopback_allowed().await;
    for (url, code) in [
        ("ftp://a.example/", "ERROR_BAD_PARAMETERS"),
        ("http://", "ERROR_BAD_PARAMETERS"),
        ("http://169.254.169.254/latest/meta-data", "ERROR_IP_ADDRES"),
        ("http://10.0.0.1/", "ERROR_IP_ADDRES"),
        ("http://[::ffff:169.254.169.254]/", "ERROR_IP_ADDRES"),
    ] {
        assert_eq!(scripts.ask(&[("action", "add_pingback"), ("addr", url)]).await, code, "{url}");
        assert_eq!(scripts.submit(&[("textcaptcha", "2 + 2?"), ("pingback", url)]).await, code, "{url}");
    }
    assert_eq!(scripts.ask(&[("action", "add_pingback")]).await, "ERROR_BAD_PARAMETERS");
    assert_eq!(
        scripts.ask(&[("action", "add_pingback"), ("addr", "http://a.example/|b")]).await,
        "ERROR_BAD_PARAMETERS"
    );
    assert_eq!(app.stored_tasks().await, 0);
    assert_eq!(scripts.ask(&[("action", "add_pingback"), ("addr", "http://127.0.0.1:9/")]).await, "OK");
}

#[tokio::test]
async fn the_provider_is_given_our_url_in_place_of_the_callers() {
    let (app, scripts) = loopback_allowed().await;
    let own = "http://127.0.0.1:9/of-the-caller";
    for form in [
        vec![("textcaptcha", "2 + 2?"), ("pingback", own)],
        vec![("method", "newest"), ("pingback", own), ("json", "1")],
    ] {
        assert!(!scripts.submit(&form).await.contains("ERROR"));
    }
    for submission in app.submissions() {
        assert_eq!(submission["parameters"]["pingback"], app.pingback_url());
    }
}

/// A receiver on loopback; what it was sent, and where.
struct Receiver {
    url: String,
    sent: mpsc::Receiver<(String, BTreeMap<String, String>)>,
}

impl Receiver {
    /// One that answers with these statuses, and then with 200.
    async fn spawn(statuses: &[u16]) -> Self {
        let (sender, sent) = mpsc::channel(100);
        let statuses = Arc::new(Mutex::new(statuses.iter().copied().collect::<VecDeque<_>>()));
        let handle = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| async move {
            assert_eq!(method, Method::POST);
            assert_eq!(headers["content-type"], "application/x-www-form-urlencoded");
            let form = form_urlencoded::parse(&body).into_owned().collect();
            sender.send((uri.to_string(), form)).await.unwrap();
            let status = statuses.lock().unwrap().pop_front().unwrap_or(200);
            StatusCode::from_u16(status).unwrap()
        };
        Self { url: serve(Router::new().fallback(handle)).await, sent }
    }

    async fn next(&mut self) -> (String, BTreeMap<String, String>) {
        timeout(PATIENCE, self.sent.recv()).await.expect("it is called").unwrap()
    }
}

fn word(id: &str, code: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("id".to_owned(), id.to_owned()), ("code".to_owned(), code.to_owned())])
}

#[tokio::test]
async fn the_caller_is_told_at_its_own_url_by_the_id_that_it_was_given() {
    let (app, scripts) = loopback_allowed().await;
    let mut receiver = Receiver::spawn(&[]).await;
    for answer in ["Friday", "40|200|-120", "a+b &c=d é", "ERROR_BAD_DUPLICATES"] {
        let url = format!("{}/hook?secret=1", receiver.url);
        let reply = scripts.submit(&[("textcaptcha", answer), ("pingback", &url)]).await;
        let id = reply.strip_prefix("OK|").unwrap();
        let task = app.until(id, |task| task["captcha_id"].is_string()).await;
        app.pingback(task["captcha_id"].as_str().unwrap(), answer).await;
        assert_eq!(receiver.next().await, ("/hook?secret=1".to_owned(), word(id, answer)));
    }
}

#[tokio::test]
async fn a_captcha_that_in_php_refused_is_not_told_of() {
    let mut knobs = never_solved();
    knobs.code = Some("ERROR_PAGEURL".to_owned());
    let app = TestApp::with(knobs, &[("PINGBOX_WEBHOOKS__ALLOW_PRIVATE", "127.0.0.1/32")]).await;
    let scripts = Scripts::of(&app);
    let mut receiver = Receiver::spawn(&[]).await;
    let reply = scripts.submit(&[("textcaptcha", "2 + 2?"), ("pingback", &receiver.url)]).await;
    assert_eq!(reply, "ERROR_PAGEURL");
    assert_eq!(app.number("SELECT COUNT(*) FROM task WHERE status = 'failed'").await, 1);
    assert_eq!(app.number("SELECT COUNT(*) FROM delivery").await, 0);
    assert!(receiver.sent.try_recv().is_err());
}

#[tokio::test]
async fn a_receiver_that_fails_is_called_again() {
    let (app, scripts) = loopback_allowed().await;
    let mut receiver = Receiver::spawn(&[500]).await;
    let reply = scripts.submit(&[("textcaptcha", "2 + 2?"), ("pingback", &receiver.url)]).await;
    let id = reply.strip_prefix("OK|").unwrap();
    let task = app.until(id, |task| task["captcha_id"].is_string()).await;
    app.pingback(task["captcha_id"].as_str().unwrap(), "4").await;
    for _ in 0..2 {
        assert_eq!(receiver.next().await.1, word(id, "4"));
    }
}

#[tokio::test]
async fn a_captcha_that_nobody_solves_in_time_is_told_as_unsolvable() {
    let (app, scripts) = loopback_allowed().await;
    let mut receiver = Receiver::spawn(&[]).await;
    let reply = scripts.submit(&[("textcaptcha", "2 + 2?"), ("pingback", &receiver.url)]).await;
    let id = reply.strip_prefix("OK|").unwrap();
    app.until(id, |task| task["captcha_id"].is_string()).await;
    app.connect_and("UPDATE task SET expires_at = 1, due_at = NULL").await;
    assert_eq!(receiver.next().await.1, word(id, "ERROR_CAPTCHA_UNSOLVABLE"));
}
