//! Every request to the api listener has a name, by which its lines in the log are found.

use reqwest::StatusCode;
use serde_json::Value;
use tempfile::TempDir;

use crate::database;
use crate::harness::{TestApp, text_captcha};
use crate::process::{Process, never_solved, provider};

const HEADER: &str = "x-request-id";

/// The name that comes back with the reply to a request with this one.
async fn named(app: &TestApp, path: &str, id: Option<&str>) -> String {
    let request = app.http.get(format!("{}{path}", app.api));
    let request = if let Some(id) = id { request.header(HEADER, id) } else { request };
    request.send().await.unwrap().headers()[HEADER].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_reply_names_its_request() {
    let app = TestApp::spawn().await;
    for path in ["/v1/tasks", "/v1/tasks/999", "/livez", "/res.php?action=get&id=1", "/no/such/path"] {
        assert_eq!(named(&app, path, Some("a-job_7:3")).await, "a-job_7:3", "{path}");
    }
    let made = named(&app, "/livez", None).await;
    assert!(made.len() == 16 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{made}");
    assert_ne!(named(&app, "/livez", None).await, made);
    for bad in ["a b", "{\"a\":1}", &"x".repeat(200)] {
        let made = named(&app, "/livez", Some(bad)).await;
        assert_eq!(made.len(), 16, "{bad}: {made}");
    }
}

#[tokio::test]
async fn lines_in_the_log_name_their_request_and_their_task() {
    let data = TempDir::new().unwrap();
    let (_sandbox, url) = provider(never_solved()).await;
    let filter = [("PINGBOX_LOG__FILTER", "info,pingbox::http=debug"), ("PINGBOX_LOG__FORMAT", "json")];
    let mut process = Process::start(data.path(), &url, &filter).await;
    let id = process.submit(&text_captcha()).await;
    let api = process.api.clone();
    let ask = |path: String, name: &'static str| {
        process.http.get(format!("{api}{path}")).header(HEADER, name).send()
    };
    ask(format!("/v1/tasks/{id}?note=a-secret"), "the-first").await.unwrap();
    ask("/pingback/a-secret-by-mistake".to_owned(), "the-second").await.unwrap();
    // What fails in the middle of a request is logged there.
    let mut database = database::Database::of(data.path()).await;
    database.execute("ALTER TABLE task RENAME TO away").await;
    let failed = ask("/v1/tasks/1".to_owned(), "the-third").await.unwrap();
    assert_eq!(failed.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(failed.headers()[HEADER], "the-third");
    database.execute("ALTER TABLE away RENAME TO task").await;

    process.server.until_logged("the-third");
    let lines: Vec<Value> = process.server.logged().iter().filter_map(|line| line.parse().ok()).collect();
    let of = |name: &str| {
        let mut lines = lines.iter().filter(|line| line["span"]["request.id"] == name);
        lines.next().unwrap_or_else(|| panic!("no line of {name}: {lines:?}"))
    };
    let first = of("the-first");
    assert_eq!(
        (&first["span"]["task.id"], &first["status"], &first["route"]),
        (&id.into(), &422.into(), &"tasks".into())
    );
    assert_eq!(of("the-second")["status"], 404);
    assert_eq!(of("the-third")["level"], "ERROR", "its cause comes first");
    // The new task's line names it too, though its path did not.
    assert!(
        lines.iter().any(|line| line["method"] == "POST" && line["span"]["task.id"].is_string()),
        "{lines:?}"
    );
    let text = process.server.logged().join("\n");
    assert!(!text.contains("a-secret"), "{text}");
}

#[tokio::test]
async fn a_pingback_is_logged_by_the_name_that_a_proxy_gave_it() {
    let data = TempDir::new().unwrap();
    let (_sandbox, url) = provider(never_solved()).await;
    let mut process = Process::start(
        data.path(),
        &url,
        &[("PINGBOX_LOG__FORMAT", "json"), ("PINGBOX_LOG__FILTER", "pingbox=debug")],
    )
    .await;
    let pingback = format!("{}/pingback/{}", process.public, crate::process::SECRET);
    for (name, body) in [("kept-one", "id=991&code=x"), ("bad-one", "id=none")] {
        let request = process.http.post(&pingback).header(HEADER, name).body(body);
        let reply = request.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap();
        assert!(!reply.headers().contains_key(HEADER));
        process.server.until_logged(name);
    }
}
