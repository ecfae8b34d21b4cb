//! Who may call, and what a key is told that may not.

use super::{Scripts, body};
use crate::harness::{TestApp, never_solved};

const ALICE: &str = "a1ice000000000000000000000000000";
const BOB: &str = "b0b00000000000000000000000000000";
const READER: &str = "reader";

/// A service with tokens of two callers, and one that may only read.
async fn with_tokens() -> TestApp {
    let app = TestApp::spawn().await;
    let mut database = app.connect().await;
    for (token, scopes) in [(ALICE, "submit,read"), (BOB, "submit,read"), (READER, "read")] {
        database.add_token("x", token, scopes).await;
    }
    app.restart_with(never_solved(), &[("PINGBOX_COMPAT__HOLD", "0s")]).await
}

fn with_key(app: &TestApp, key: &str) -> Scripts {
    Scripts { key: key.to_owned(), ..Scripts::of(app) }
}

#[tokio::test]
async fn a_key_that_is_no_token_is_told_so_by_its_length_and_goes_nowhere() {
    let app = with_tokens().await;
    for (key, code) in [
        ("1abc234de56fab7c89012d34e56fa7b8", "ERROR_KEY_DOES_NOT_EXIST"),
        ("1abc234de56fab7c89012d34e56fa7b", "ERROR_WRONG_USER_KEY"),
        ("", "ERROR_WRONG_USER_KEY"),
    ] {
        let scripts = with_key(&app, key);
        assert_eq!(scripts.submit(&[("textcaptcha", "2 + 2?")]).await, code);
        assert_eq!(scripts.ask(&[("action", "getbalance")]).await, code);
        let in_json = scripts.ask(&[("action", "get"), ("id", "1"), ("json", "1")]).await;
        let expected = format!(
            r#"{{"status":0,"request":"{code}","error_text":"the key is no token of this pingbox"}}"#
        );
        assert_eq!(in_json, expected);
    }
    assert_eq!(app.stored_tasks().await, 0);
    assert!(app.submissions().is_empty());
}

#[tokio::test]
async fn whoever_sends_a_large_body_with_a_wrong_key_hears_so() {
    let app = with_tokens().await;
    let url = format!("{}/in.php?key=wrong&method=base64", app.api);
    for _ in 0..5 {
        let reply = body(app.http.post(&url).body(vec![b'a'; 3_000_000])).await;
        assert_eq!(reply, "ERROR_WRONG_USER_KEY");
    }
}

#[tokio::test]
async fn nobody_reads_or_reports_on_the_captcha_of_another() {
    let app = with_tokens().await;
    let (alice, bob) = (with_key(&app, ALICE), with_key(&app, BOB));
    let id = alice.submitted().await;
    assert_eq!(alice.ask(&[("action", "get"), ("id", &id)]).await, "CAPCHA_NOT_READY");
    for action in ["get", "get2", "reportbad", "reportgood"] {
        assert_eq!(bob.ask(&[("action", action), ("id", &id)]).await, "ERROR_WRONG_CAPTCHA_ID", "{action}");
    }
    assert_eq!(bob.ask(&[("action", "get"), ("ids", &id)]).await, "ERROR_WRONG_CAPTCHA_ID");
}

#[tokio::test]
async fn a_key_does_what_its_scopes_say() {
    let app = with_tokens().await;
    let id = with_key(&app, ALICE).submitted().await;
    let reader = with_key(&app, READER);
    assert_eq!(reader.submit(&[("textcaptcha", "2 + 2?")]).await, "ERROR_KEY_DOES_NOT_EXIST");
    for action in ["reportbad", "reportgood", "add_pingback", "del_pingback"] {
        let reply = reader.ask(&[("action", action), ("id", &id), ("addr", "http://a.example/")]).await;
        assert_eq!(reply, "ERROR_KEY_DOES_NOT_EXIST", "{action}");
    }
    // It may read, though not what is another's.
    assert_eq!(reader.ask(&[("action", "get"), ("id", &id)]).await, "ERROR_WRONG_CAPTCHA_ID");
}

#[tokio::test]
async fn the_key_never_reaches_the_provider() {
    let app = with_tokens().await;
    with_key(&app, ALICE).submitted().await;
    let seen = serde_json::to_string(&app.sandbox.requests()).unwrap();
    assert!(!seen.contains(ALICE), "{seen}");
}

#[tokio::test]
async fn an_open_listener_takes_no_request_of_another_sites_page() {
    let app = TestApp::spawn().await;
    let page = |request: reqwest::RequestBuilder| request.header("origin", "https://evil.example");
    let url = format!("{}/in.php?key=k&textcaptcha=x&header_acao=1", app.api);
    assert_eq!(body(page(app.http.get(url))).await, "ERROR_IP_NOT_ALLOWED");
    let rebound = app.http.get(format!("{}/res.php?key=k&action=getbalance", app.api));
    assert_eq!(body(rebound.header("host", "evil.example")).await, "ERROR_IP_NOT_ALLOWED");
    assert_eq!(app.stored_tasks().await, 0);
    // A hosts entry brings callers here under the provider's name.
    let hosts_entry = app.http.get(format!("{}/res.php?key=k&action=getbalance", app.api));
    assert_eq!(body(hosts_entry.header("host", "api.solvecaptcha.com")).await, "1000");
}

#[tokio::test]
async fn pages_may_read_a_reply_that_asks_for_it() {
    let app = with_tokens().await;
    let get = |query: &str| {
        let url = format!("{}/res.php?key={ALICE}&action=getbalance{query}", app.api);
        app.http.get(url).header("origin", "https://shop.example").send()
    };
    let allowed = |reply: &reqwest::Response| {
        reply.headers().get("access-control-allow-origin").map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(allowed(&get("&header_acao=1").await.unwrap()).as_deref(), Some("*"));
    assert_eq!(allowed(&get("").await.unwrap()), None);
    let url = format!("{}/in.php?key=wrong&header_acao=1", app.api);
    assert_eq!(allowed(&app.http.get(url).send().await.unwrap()).as_deref(), Some("*"));

    for script in ["in.php", "res.php"] {
        let url = format!("{}/{script}", app.api);
        let preflight = app.http.request(reqwest::Method::OPTIONS, url).send().await.unwrap();
        assert_eq!((preflight.status().as_u16(), allowed(&preflight).as_deref()), (200, Some("*")));
        assert_eq!(preflight.headers()["access-control-allow-headers"], "Content-Type");
    }
}
