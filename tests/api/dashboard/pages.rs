//! What pages show, and what a browser may do with them.

use std::collections::BTreeSet;

use pingbox::sandbox::Knobs;
use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::time::timeout;

use super::person::{ADMIN, Page, Person, WITH_ADMIN, task, token};
use crate::harness::{PATIENCE, TestApp, base64, data_file, never_solved, reply, solved_at_once};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// One of each, of a service in which a person is asked to click an image.
async fn every_page() -> Vec<Page> {
    let app = TestApp::with(Knobs { by_hand: true, ..never_solved() }, &[WITH_ADMIN]).await;
    let mut image = std::fs::read(data_file("click-39-36-192-72.png")).unwrap();
    // As it is, its answer is known, and nobody is asked.
    image.push(0);
    let body = json!({"type": "click", "textinstructions": "Click the stars", "body": base64(&image)});
    let (status, task) = reply(app.submission().bearer_auth(ADMIN).json(&body)).await;
    assert_eq!(status, StatusCode::CREATED, "{task}");
    let mut person = Person::with(&app, ADMIN).await;
    let asked = async {
        loop {
            let page = person.open("/solve").await;
            if page.has("data-pick") {
                return page;
            }
        }
    };
    let asked = timeout(PATIENCE, asked).await.expect("the captcha waits to be solved");
    let mut pages = vec![Person::at(&app).open("/sign-in").await, asked];
    let of_task = format!("/tasks/{}", task["id"].as_str().unwrap());
    for path in ["/", "/tasks", &of_task, "/deliveries", "/tokens"] {
        let page = person.open(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
        pages.push(page);
    }
    assert!(pages.iter().filter(|page| page.has("<image")).count() == 2, "on /solve and {of_task}");
    for path in ["/deliveries/99", "/tasks/99", "/deliveries?status=wrong"] {
        pages.push(person.open(path).await);
    }
    pages
}

#[tokio::test]
async fn every_page_may_run_and_load_what_is_ours_alone() {
    for page in every_page().await {
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(page.header("content-security-policy"), POLICY);
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        assert_eq!(page.header("x-frame-options"), "DENY");
        assert_eq!(page.header("cache-control"), "no-store");
        // Else browsers would send its forms with `Origin: null`.
        assert_eq!(page.header("referrer-policy"), "same-origin");
        for inline in [
            "<style",
            "style=",
            "<script>",
            " onclick",
            "javascript:",
            "src=\"http",
            "href=\"http",
            "action=\"http",
        ] {
            assert!(!page.has(inline), "{inline}: {}", page.text);
        }
    }
}

/// The script finds what it renews, and what had the focus, by them.
#[tokio::test]
async fn no_id_is_on_a_page_twice() {
    for page in every_page().await {
        let mut seen = BTreeSet::new();
        for rest in page.text.split(" id=\"").skip(1) {
            let (id, _) = rest.split_once('"').unwrap();
            assert!(seen.insert(id), "{id}: {}", page.text);
        }
        let is_named = |region: &str| region.starts_with(" id=\"");
        assert!(page.text.split("class=\"scroll\"").skip(1).all(is_named), "{}", page.text);
    }
}

#[tokio::test]
async fn styles_and_script_are_kept_for_good_under_a_path_that_changes_with_them() {
    let app = TestApp::spawn().await;
    let mut person = Person::at(&app);
    let page = person.open("/").await;
    for (mark, kind) in [("href=\"/assets/", "text/css"), ("src=\"/assets/", "text/javascript")] {
        let (_, rest) = page.text.split_once(mark).unwrap();
        let path = format!("/assets/{}", rest.split_once('"').unwrap().0);
        let asset = person.open(&path).await;
        assert_eq!(asset.status, StatusCode::OK, "{path}");
        assert!(asset.header("content-type").starts_with(kind), "{path}");
        assert_eq!(asset.header("cache-control"), "max-age=31536000, immutable");
        assert_eq!(asset.header("x-content-type-options"), "nosniff");
    }
    assert_eq!(person.open("/assets/pingbox-000000000000.css").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_callers_wrote_is_shown_as_text() {
    let app = TestApp::with(never_solved(), &[WITH_ADMIN]).await;
    let tag = "<img src=x onerror=alert(1)>\"'&";
    task(&app, ADMIN, json!({ "tag": tag })).await;
    let page = Person::with(&app, ADMIN).await.open("/").await;
    assert!(page.has("&#60;img src=x onerror=alert(1)&#62;&#34;&#39;&#38;"), "{}", page.text);
    assert!(!page.has("<img"), "{}", page.text);
}

#[tokio::test]
async fn a_page_shows_what_its_token_sees() {
    let environment = [WITH_ADMIN, ("PINGBOX_WEBHOOKS__ALLOW_PRIVATE", "127.0.0.1/32")];
    let app = TestApp::with(solved_at_once(), &environment).await;
    let (_, one) = token(&app, "one", &["submit", "read"]).await;
    let (_, other) = token(&app, "other", &["submit", "read"]).await;
    let id = task(&app, &one, json!({"tag": "of-one", "webhook_url": "http://127.0.0.1:9/"})).await;
    task(&app, &other, json!({"tag": "of-other"})).await;
    let wait = app.http.get(format!("{}/v1/tasks/{id}?wait=30", app.api)).bearer_auth(&one);
    assert_eq!(wait.send().await.unwrap().status(), StatusCode::OK);
    for (token, tags, deliveries) in [
        (one.as_str(), [true, false], StatusCode::OK),
        (&other, [false, true], StatusCode::NOT_FOUND),
        (ADMIN, [true, true], StatusCode::OK),
    ] {
        let mut person = Person::with(&app, token).await;
        let page = person.open("/").await;
        assert_eq!([page.has("of-one"), page.has("of-other")], tags, "{}", page.text);
        let list = person.open("/deliveries").await;
        assert_eq!(list.has(r#"href="/deliveries/1""#), tags[0], "{}", list.text);
        assert_eq!(person.open("/deliveries/1").await.status, deliveries);
    }
}

#[tokio::test]
async fn the_overview_counts_draws_and_says_how_the_account_stands() {
    let app = TestApp::with(solved_at_once(), &[("PINGBOX_SPEND__DAILY_LIMIT", "5")]).await;
    for _ in 0..3 {
        let id = app.submit().await;
        app.until(&id, |task| task["status"] == "solved").await;
    }
    let page = Person::at(&app).open("/").await;
    assert!(page.has("<div><dt>Solved</dt><dd>3</dd></div>"), "{}", page.text);
    assert!(page.has("Solved per minute in the last hour: 3 in all"), "{}", page.text);
    assert!(page.has(r#"<th scope="row">text</th><td class="number">3</td>"#), "{}", page.text);
    assert_eq!(page.text.matches("<rect").count(), 62, "{}", page.text);
    assert!(page.has(" of 5 <meter") && page.has("<dd>100 %</dd>"), "{}", page.text);
    assert!(page.has("/pingback/***") && !page.has(crate::harness::SECRET), "{}", page.text);
}

#[tokio::test]
async fn an_open_listener_shows_its_pages_to_who_calls_it_locally() {
    let app = TestApp::spawn().await;
    let mut person = Person::at(&app);
    let page = person.open("/").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(!page.has("Sign out"), "{}", page.text);
    assert_eq!(person.open("/sign-in").await.leads_to(), "/");
    for (name, value) in
        [("Host", "evil.example"), ("Sec-Fetch-Site", "cross-site"), ("Origin", "https://evil.example")]
    {
        for path in ["/", "/tokens", "/live"] {
            let request = person.request(Method::GET, path).header(name, value);
            assert_eq!(person.send(request).await.status, StatusCode::FORBIDDEN, "{path} {name}");
        }
    }
}
