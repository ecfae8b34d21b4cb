//! Signing in and out, and what a session is good for.

use reqwest::header::{COOKIE, SET_COOKIE};
use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::time::timeout;

use super::person::{ADMIN, Person, WITH_ADMIN, task, token};
use crate::harness::{PATIENCE, TestApp, never_solved, reply, text_captcha};

async fn with_admin() -> TestApp {
    TestApp::with(never_solved(), &[WITH_ADMIN]).await
}

#[tokio::test]
async fn one_signs_in_with_a_token_and_is_led_to_where_one_was_going() {
    let app = with_admin().await;
    let mut person = Person::at(&app);
    let page = person.open("/deliveries?status=dead").await;
    assert_eq!(page.leads_to(), "/sign-in?next=%2Fdeliveries%3Fstatus%3Ddead");
    let page = person.open(page.leads_to()).await;
    assert!(page.has(r#"value="/deliveries?status=dead""#), "{}", page.text);
    let page = person.sign_in(&format!(" {ADMIN} "), "/deliveries?status=dead").await;
    assert_eq!(page.leads_to(), "/deliveries?status=dead");
    assert_eq!(person.open("/deliveries?status=dead").await.status, StatusCode::OK);
    assert_eq!(Person::at(&app).sign_in(ADMIN, "//evil.example").await.leads_to(), "/");
}

#[tokio::test]
async fn the_cookie_is_for_this_site_alone_and_holds_no_token() {
    let app = with_admin().await;
    let mut person = Person::at(&app);
    let page = person.sign_in(ADMIN, "/").await;
    let cookie = page.header(SET_COOKIE.as_str());
    let (value, attributes) = cookie.split_once(';').unwrap();
    assert_eq!(attributes, " Max-Age=43200; Path=/; HttpOnly; SameSite=Strict");
    assert!(value.starts_with("pingbox_session=s1.") && !value.contains(ADMIN), "{value}");
    let secure = Person::at(&app).request(Method::GET, "/sign-in").header("X-Forwarded-Proto", "https");
    let page = Person::at(&app).send(secure).await;
    let cookie = page.header(SET_COOKIE.as_str());
    assert!(cookie.starts_with("__Host-pingbox_form=") && cookie.ends_with("; Secure"), "{cookie}");
}

#[tokio::test]
async fn a_wrong_token_signs_nobody_in_and_is_counted() {
    let app = with_admin().await;
    let mut person = Person::at(&app);
    for wrong in ["ffffffffffffffffffffffffffffffff", "", "<script>"] {
        let page = person.sign_in(wrong, "/").await;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{wrong}");
        assert!(page.has(r#"role="alert""#) && !page.has("<script>"), "{}", page.text);
        assert_eq!(person.open("/").await.leads_to(), "/sign-in");
    }
    let metrics = app.http.get(format!("{}/metrics", app.api)).bearer_auth(ADMIN).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains("wrong_tokens_total 3\n"), "{metrics}");
}

#[tokio::test]
async fn the_api_takes_no_cookie() {
    let app = with_admin().await;
    let person = Person::with(&app, ADMIN).await;
    let cookie = person.cookie.clone().unwrap();
    for (method, path) in [
        (Method::GET, "/v1/tasks"),
        (Method::POST, "/v1/tasks"),
        (Method::GET, "/v1/tokens"),
        (Method::POST, "/v1/tokens"),
        (Method::DELETE, "/v1/tokens/1"),
        (Method::GET, "/v1/events"),
        (Method::GET, "/metrics"),
    ] {
        let request = app.http.request(method.clone(), format!("{}{path}", app.api));
        let (status, _) = reply(request.header(COOKIE, &cookie).json(&text_captcha())).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path}");
    }
    assert_eq!(app.stored_tasks().await, 0);
}

#[tokio::test]
async fn a_session_that_was_changed_is_none() {
    let app = with_admin().await;
    let (id, _) = token(&app, "other", &["admin"]).await;
    let mut person = Person::with(&app, ADMIN).await;
    let cookie = person.cookie.clone().unwrap();
    let parts: Vec<&str> = cookie.split('.').collect();
    let later = (parts[1].parse::<i64>().unwrap() + 1).to_string();
    for (place, other) in [(1, later.as_str()), (2, id.as_str()), (3, "0"), (4, "0")] {
        let mut changed = parts.clone();
        changed[place] = other;
        person.cookie = Some(changed.join("."));
        assert_eq!(person.open("/").await.leads_to(), "/sign-in", "{place}");
    }
    person.cookie = Some(cookie);
    assert_eq!(person.open("/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_session_and_what_it_has_open_end_with_its_token() {
    let app = with_admin().await;
    let (id, text) = token(&app, "leaver", &["read"]).await;
    let mut person = Person::with(&app, &text).await;
    let stream = person.request(Method::GET, "/live").send().await.unwrap();
    assert_eq!(stream.status(), StatusCode::OK);
    let revoke = app.http.delete(format!("{}/v1/tokens/{id}", app.api)).bearer_auth(ADMIN);
    assert_eq!(revoke.send().await.unwrap().status(), StatusCode::NO_CONTENT);
    assert_eq!(person.open("/").await.leads_to(), "/sign-in");
    timeout(PATIENCE, stream.text()).await.expect("the stream ends").unwrap();
    assert_eq!(person.open("/live").await.leads_to(), "/sign-in");
}

#[tokio::test]
async fn after_a_restart_one_is_still_signed_in() {
    let app = with_admin().await;
    let person = Person::with(&app, ADMIN).await;
    let app = app.restart_with(never_solved(), &[WITH_ADMIN]).await;
    let mut again = Person::at(&app);
    again.cookie.clone_from(&person.cookie);
    assert_eq!(again.open("/").await.status, StatusCode::OK);
    let other = [("PINGBOX_API__TOKEN", "ffffffffffffffffffffffffffffffff")];
    let app = app.restart_with(never_solved(), &other).await;
    let mut again = Person::at(&app);
    again.cookie = person.cookie;
    assert_eq!(again.open("/").await.leads_to(), "/sign-in", "the token was exchanged");
}

/// A browser brings no cookie when a page of another site leads to us.
#[tokio::test]
async fn a_link_from_elsewhere_ends_no_session() {
    let app = with_admin().await;
    let mut person = Person::with(&app, ADMIN).await;
    let form_token = person.open("/tokens").await.form_token();
    let (session, form) = (person.cookie.take().unwrap(), person.form_cookie.take());
    assert!(form.is_some(), "it signed in by a form");
    assert_eq!(person.open("/").await.leads_to(), "/sign-in");
    person.open("/sign-in").await;
    assert!(person.cookie.is_none() && person.form_cookie.is_some());
    person.cookie = Some(session);
    let page = person.fill("/tokens", &form_token, &[("name", "made"), ("read", "on")]).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    assert_eq!(person.open("/sign-in").await.leads_to(), "/", "who is inside need not sign in");
}

#[tokio::test]
async fn of_two_sessions_none_counts() {
    let app = with_admin().await;
    let mut person = Person::with(&app, ADMIN).await;
    let mut other = Person::with(&app, ADMIN).await;
    other.form_cookie = person.cookie.clone();
    assert_eq!(other.open("/").await.leads_to(), "/sign-in", "somebody set one for a narrower path");
    assert_eq!(person.open("/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn who_signs_out_has_to_sign_in_again() {
    let app = with_admin().await;
    let mut person = Person::with(&app, ADMIN).await;
    let form_token = person.open("/").await.form_token();
    assert_eq!(person.fill("/sign-out", &form_token, &[]).await.leads_to(), "/sign-in");
    assert_eq!(person.open("/").await.leads_to(), "/sign-in");
}

#[tokio::test]
async fn a_page_is_told_of_a_change() {
    let app = with_admin().await;
    let person = Person::with(&app, ADMIN).await;
    let mut stream = person.request(Method::GET, "/live").send().await.unwrap();
    let mut text = String::new();
    let mut until = async |wanted: &str| {
        while !text.contains(wanted) {
            text.push_str(&String::from_utf8_lossy(&stream.chunk().await.unwrap().unwrap()));
        }
    };
    timeout(PATIENCE, until("retry:")).await.expect("it begins");
    task(&app, ADMIN, json!({})).await;
    timeout(PATIENCE, until("event: change")).await.expect("it is told");
}
