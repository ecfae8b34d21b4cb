//! Callers' own pingback URLs: kept here, and out of what the provider gets.

use super::Scripts;
use crate::harness::{TestApp, never_solved};

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
