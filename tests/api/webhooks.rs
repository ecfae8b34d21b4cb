//! Webhooks over REST: subscriptions, secrets, what was sent, and that it is sent again.

use std::collections::BTreeSet;

use axum::Router;
use axum::body::Bytes;
use axum::http::header::LOCATION;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::compat::Scripts;
use crate::harness::{PATIENCE, TestApp, never_solved, text_captcha};
use crate::owners::with_tokens;
use crate::process::serve;

const LOOPBACK: &[(&str, &str)] = &[("PINGBOX_WEBHOOKS__ALLOW_PRIVATE", "127.0.0.1/32")];
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEWER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// Status and body of the reply; no body is null.
async fn call(
    app: &TestApp,
    token: &str,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> (StatusCode, Value) {
    let mut request = app.http.request(method, format!("{}{path}", app.api)).bearer_auth(token);
    if let Some(body) = body {
        request = request.json(&body);
    }
    let reply = request.send().await.unwrap();
    let (status, text) = (reply.status(), reply.text().await.unwrap());
    (status, if text.is_empty() { Value::Null } else { text.parse().unwrap() })
}

impl TestApp {
    async fn send(&self, path: &str, body: Value) -> (StatusCode, Value) {
        call(self, "", Method::POST, path, Some(body)).await
    }

    /// `POST` without a body.
    async fn poke(&self, path: &str) -> (StatusCode, Value) {
        call(self, "", Method::POST, path, None).await
    }

    /// Subscribes; the webhook's id.
    async fn subscribed(&self, webhook: Value) -> String {
        let (status, body) = self.send("/v1/webhooks", webhook).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        body["id"].as_str().unwrap().to_owned()
    }

    async fn deliveries(&self, query: &str) -> Vec<Value> {
        let (status, body) = self.get(&format!("/v1/webhooks/deliveries?{query}")).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body["deliveries"].as_array().unwrap().clone()
    }

    /// The deliveries, once there are so many, all of them with this status.
    async fn until_all(&self, status: &str, count: usize) -> Vec<Value> {
        let poll = async {
            loop {
                let all = self.deliveries("").await;
                if all.len() == count && all.iter().all(|one| one["status"] == status) {
                    return all;
                }
            }
        };
        timeout(PATIENCE, poll).await.expect("it comes about")
    }

    /// Solves a captcha whose caller is told at `url` in the provider's own form; its id.
    async fn told(&self, url: &str, answer: &str) -> String {
        let reply = Scripts::of(self).submit(&[("textcaptcha", answer), ("pingback", url)]).await;
        let id = reply.strip_prefix("OK|").unwrap_or_else(|| panic!("{reply}")).to_owned();
        let task = self.until(&id, |task| task["captcha_id"].is_string()).await;
        self.pingback(task["captcha_id"].as_str().unwrap(), answer).await;
        id
    }
}

fn ids(list: &[Value]) -> Vec<&str> {
    list.iter().map(|one| one["id"].as_str().unwrap()).collect()
}

fn pointers(problem: &Value) -> Vec<&str> {
    let errors = problem["errors"].as_array().into_iter().flatten();
    errors.map(|error| error["pointer"].as_str().unwrap()).collect()
}

/// A receiver on loopback, and the bodies that it is sent.
async fn receiver() -> (String, mpsc::Receiver<String>) {
    let (sender, sent) = mpsc::channel(100);
    let handle = move |body: Bytes| async move {
        sender.send(String::from_utf8(body.to_vec()).unwrap()).await.unwrap();
        StatusCode::OK
    };
    (serve(Router::new().fallback(handle)).await, sent)
}

async fn next(sent: &mut mpsc::Receiver<String>) -> String {
    timeout(PATIENCE, sent.recv()).await.expect("it is called").unwrap()
}

/// Deliveries of each status, of a task that failed; the ninth is of nobody here. Their times are 1 s to 9 s after
/// 1970, and nothing is due before the year 2096.
const SOME: &str = "
    INSERT INTO task (id, owner, type, status, priority, params, created_at, answered_at, expires_at, error)
    VALUES (71, 0, 'text', 'failed', 0, '[]', 1, 1, 1, 'ERROR_PAGEURL'), (72, 0, 'text', 'solved', 0, '[]', 1, 1, 1, NULL);
    WITH RECURSIVE series (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM series WHERE value < 9)
         INSERT INTO delivery (id, type, task_id, owner, url, receiver, status, created_at, started_at, planned_at, due_at)
    SELECT value, 'task.failed', 71, CASE value WHEN 9 THEN 99 ELSE 0 END, 'http://127.0.0.1:9/', '127.0.0.1:9',
           CASE value % 3 WHEN 0 THEN 'waiting' WHEN 1 THEN 'delivered' ELSE 'dead' END,
           value * 1000000, 1, 1, 4000000000000000
    FROM series";

#[tokio::test]
async fn a_webhook_is_made_shown_listed_and_deleted() {
    let app = TestApp::spawn().await;
    let url = "https://example.com/hook?key=1";
    let body = json!({"url": url, "types": ["task.solved", "task.failed", "task.solved"], "secret": SECRET});
    let request = app.http.post(format!("{}/v1/webhooks", app.api)).json(&body);
    let reply = request.send().await.unwrap();
    assert_eq!(
        (reply.status(), &reply.headers()[LOCATION]),
        (StatusCode::CREATED, &"/v1/webhooks/1".parse().unwrap())
    );
    let made: Value = reply.json().await.unwrap();
    insta::assert_json_snapshot!(made, { ".created_at" => "[time]" }, @r#"
    {
      "created_at": "[time]",
      "disabled_at": null,
      "disabled_reason": null,
      "id": "1",
      "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
      "status": "enabled",
      "types": [
        "task.solved",
        "task.failed"
      ],
      "url": "https://example.com/hook?key=1"
    }
    "#);
    let mut shown = made.clone();
    shown.as_object_mut().unwrap().remove("secret");
    assert_eq!(app.get("/v1/webhooks/1").await, (StatusCode::OK, shown.clone()));
    let list = json!({"webhooks": [shown], "cursor": null});
    assert_eq!(app.get("/v1/webhooks").await, (StatusCode::OK, list));

    let delete = async || call(&app, "", Method::DELETE, "/v1/webhooks/1", None).await;
    assert_eq!(delete().await, (StatusCode::NO_CONTENT, Value::Null));
    for (status, problem) in [delete().await, app.get("/v1/webhooks/1").await] {
        assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &json!("webhook_not_found")));
    }
    assert_eq!(app.get("/v1/webhooks").await.1["webhooks"], json!([]));
}

#[tokio::test]
async fn types_may_be_left_out_or_be_one_text_and_a_secret_is_made() {
    let app = TestApp::spawn().await;
    let url = "https://example.com/";
    let mut secrets = BTreeSet::new();
    for (types, count) in [(Value::Null, 8), (json!("task.solved, task.failed"), 2)] {
        let (status, body) = app.send("/v1/webhooks", json!({"url": url, "types": types})).await;
        assert_eq!((status, body["types"].as_array().unwrap().len()), (StatusCode::CREATED, count), "{body}");
        let secret = body["secret"].as_str().unwrap().to_owned();
        assert!(secret.starts_with("whsec_") && secret.len() > 40 && secrets.insert(secret));
    }
}

#[tokio::test]
async fn a_webhook_that_cannot_be_is_refused_with_all_that_is_wrong() {
    let app = TestApp::spawn().await;
    let url = "https://example.com/";
    for (body, expected) in [
        (json!({}), vec!["/url"]),
        (json!({"url": {}}), vec!["/url"]),
        (json!({"url": ""}), vec!["/url"]),
        (json!({"url": "ftp://example.com/"}), vec!["/url"]),
        (json!({"url": "http://127.0.0.1/"}), vec!["/url"]),
        (json!({"url": "http://169.254.169.254/"}), vec!["/url"]),
        (json!({"url": url, "types": ["task.done"]}), vec!["/types"]),
        (json!({"url": url, "types": [1]}), vec!["/types"]),
        (json!({"url": url, "types": []}), vec!["/types"]),
        (json!({"url": url, "types": "task.solved,"}), vec!["/types"]),
        (json!({"url": url, "secret": ""}), vec!["/secret"]),
        (json!({"url": url, "secret": "short"}), vec!["/secret"]),
        (
            json!({"url": "x:y", "types": "no", "secret": "s", "extra": 1}),
            vec!["/url", "/types", "/secret", "/extra"],
        ),
    ] {
        let (status, problem) = app.send("/v1/webhooks", body.clone()).await;
        assert_eq!((status, pointers(&problem)), (StatusCode::UNPROCESSABLE_ENTITY, expected), "{body}");
    }
    let (_, problem) = app.send("/v1/webhooks", json!({"url": "http://10.0.0.1/"})).await;
    assert!(problem["detail"].as_str().unwrap().contains("webhooks.allow_private"), "{problem}");
    for body in ["", "[]", "5", "{", "\"https://example.com\""] {
        let request = app.http.post(format!("{}/v1/webhooks", app.api)).body(body);
        let status = request.send().await.unwrap().status();
        let expected =
            if body.is_empty() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::BAD_REQUEST };
        assert_eq!(status, expected, "{body}");
    }
    assert_eq!(app.number("SELECT COUNT(*) FROM webhook").await, 0);
}

#[tokio::test]
async fn a_token_has_twenty_webhooks_at_most() {
    let app = TestApp::spawn().await;
    let body = json!({"url": "https://example.com/"});
    for _ in 0..20 {
        app.subscribed(body.clone()).await;
    }
    let (status, problem) = app.send("/v1/webhooks", body.clone()).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("too_many_webhooks")));
    assert_eq!(app.number("SELECT COUNT(*) FROM webhook").await, 20);
    call(&app, "", Method::DELETE, "/v1/webhooks/7", None).await;
    assert_eq!(app.subscribed(body).await, "21", "numbers are not used again");
}

#[tokio::test]
async fn nobody_sees_or_changes_the_webhooks_and_deliveries_of_another() {
    let app = with_tokens(&[]).await;
    let new = json!({"url": "https://example.com/alice"});
    let (status, webhook) = call(&app, "alice", Method::POST, "/v1/webhooks", Some(new.clone())).await;
    assert_eq!((status, webhook["types"].as_array().unwrap().len()), (StatusCode::CREATED, 7));
    // The owner's number is that of the first token.
    app.connect_and(
        "INSERT INTO delivery (id, type, owner, url, receiver, status, created_at, started_at, planned_at, due_at)
         VALUES (1, 'task.failed', (SELECT owner FROM webhook), 'http://127.0.0.1:9/', '127.0.0.1:9', 'dead',
                 1, 1, 1, 1)",
    )
    .await;
    for (method, path) in [
        (Method::GET, "/v1/webhooks/1"),
        (Method::DELETE, "/v1/webhooks/1"),
        (Method::POST, "/v1/webhooks/1/enable"),
        (Method::POST, "/v1/webhooks/1/rotate"),
        (Method::GET, "/v1/webhooks/deliveries/1"),
        (Method::POST, "/v1/webhooks/deliveries/1/replay"),
    ] {
        let missing = path.replace('1', "999").replace("v999", "v1");
        let missing = call(&app, "bob", method.clone(), &missing, None).await;
        assert_eq!(missing.0, StatusCode::NOT_FOUND);
        assert_eq!(call(&app, "bob", method.clone(), path, None).await, missing, "{path}");
        if method != Method::GET {
            assert_eq!(call(&app, "reader", method, path, None).await.0, StatusCode::FORBIDDEN, "{path}");
        }
    }
    for (token, count) in [("alice", 1), ("bob", 0), ("reader", 0), ("boss", 1)] {
        for (path, noun) in [("/v1/webhooks", "webhooks"), ("/v1/webhooks/deliveries", "deliveries")] {
            let (_, list) = call(&app, token, Method::GET, path, None).await;
            assert_eq!(list[noun].as_array().unwrap().len(), count, "{token} {path}");
        }
    }
    for (token, count) in [("bob", 0), ("alice", 1)] {
        let all_dead = Some(json!({"status": "dead"}));
        let path = "/v1/webhooks/deliveries/replay";
        let (status, replayed) = call(&app, token, Method::POST, path, all_dead).await;
        assert_eq!((status, replayed), (StatusCode::ACCEPTED, json!({"replayed": count})), "{token}");
    }
    assert_eq!(call(&app, "reader", Method::POST, "/v1/webhooks", Some(new)).await.0, StatusCode::FORBIDDEN);
    assert_eq!(call(&app, "reader", Method::GET, "/v1/webhooks/secret", None).await.0, StatusCode::FORBIDDEN);
    assert_eq!(call(&app, "boss", Method::DELETE, "/v1/webhooks/1", None).await.0, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn only_an_admin_is_told_of_pingbacks_that_nobody_waits_for_and_of_others_tasks() {
    let app = with_tokens(LOOPBACK).await;
    let (url, _sent) = receiver().await;
    let unmatched = Some(json!({"url": url, "types": ["pingback.unmatched", "task.created"]}));
    let (status, problem) = call(&app, "alice", Method::POST, "/v1/webhooks", unmatched.clone()).await;
    assert_eq!((status, pointers(&problem)), (StatusCode::UNPROCESSABLE_ENTITY, vec!["/types"]));
    for (token, webhook) in
        [("boss", unmatched), ("bob", Some(json!({"url": url}))), ("alice", Some(json!({"url": url})))]
    {
        assert_eq!(call(&app, token, Method::POST, "/v1/webhooks", webhook).await.0, StatusCode::CREATED);
    }
    let (status, task) = call(&app, "alice", Method::POST, "/v1/tasks", Some(text_captcha())).await;
    assert_eq!(status, StatusCode::CREATED);
    app.pingback("123456", "nobody's").await;
    let told = async |token: &str| {
        let (_, list) = call(&app, token, Method::GET, "/v1/webhooks/deliveries", None).await;
        let list = list["deliveries"].as_array().unwrap().clone();
        let told = list.iter().map(|one| {
            let word = |name: &str| one[name].as_str().unwrap_or("-").to_owned();
            format!("{} {} {}", word("webhook_id"), word("type"), word("task_id"))
        });
        told.filter(|told| !told.contains("submitted")).collect::<BTreeSet<_>>()
    };
    let id = task["id"].as_str().unwrap();
    let (to_boss, to_alice) = (format!("1 task.created {id}"), format!("3 task.created {id}"));
    assert_eq!(told("alice").await, BTreeSet::from([to_alice.clone()]));
    assert_eq!(told("bob").await, BTreeSet::new());
    let all = BTreeSet::from([to_boss, to_alice, "1 pingback.unmatched -".to_owned()]);
    assert_eq!(told("boss").await, all);
}

#[tokio::test]
async fn a_webhook_is_told_only_of_its_types_and_of_nothing_before_it() {
    let app = TestApp::with(never_solved(), LOOPBACK).await;
    let (url, _sent) = receiver().await;
    let (earlier, captcha_id) = app.submitted().await;
    app.pingback(&captcha_id, "Friday").await;
    app.subscribed(json!({"url": url, "types": "task.solved"})).await;
    let (id, captcha_id) = app.submitted().await;
    app.pingback(&captcha_id, "Friday").await;
    let all = app.deliveries("").await;
    assert_eq!(all.len(), 1, "{all:?}");
    let (_, whole) = app.get(&format!("/v1/webhooks/deliveries/{}", all[0]["id"].as_str().unwrap())).await;
    assert_eq!(
        (&whole["type"], &whole["task_id"], &whole["form"]),
        (&json!("task.solved"), &json!(id), &json!("webhook"))
    );
    assert!(whole["message_id"].as_str().unwrap().starts_with("msg_"), "{whole}");
    assert_eq!(whole["message"]["type"], "task.solved");
    assert_eq!(whole["message"]["data"], app.task(&id).await);
    assert_eq!(app.deliveries(&format!("task_id={earlier}")).await, [] as [Value; 0]);
    // The answer is not told once it is erased.
    app.connect_and("UPDATE task SET answer = NULL, erased = 1").await;
    let path = format!("/v1/webhooks/deliveries/{}", all[0]["id"].as_str().unwrap());
    assert_eq!(app.get(&path).await.1["message"], Value::Null);
    let (status, problem) = app.poke(&format!("{path}/replay")).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("no_replay")));
}

#[tokio::test]
async fn a_task_may_carry_the_url_of_a_webhook_in_any_encoding() {
    let app = TestApp::with(never_solved(), LOOPBACK).await;
    let (url, _sent) = receiver().await;
    let mut json = text_captcha();
    json["webhook_url"] = json!(url);
    let pairs = [("type", "text"), ("textcaptcha", "2 + 2?"), ("webhook_url", url.as_str())];
    let multipart = pairs
        .iter()
        .fold(reqwest::multipart::Form::new(), |form, (name, value)| form.text(*name, (*value).to_owned()));
    for request in
        [app.submission().json(&json), app.submission().form(&pairs), app.submission().multipart(multipart)]
    {
        let (status, task) = crate::harness::reply(request).await;
        assert_eq!(status, StatusCode::CREATED, "{task}");
        let id = task["id"].as_str().unwrap();
        let task = app.until(id, |task| task["captcha_id"].is_string()).await;
        app.pingback(task["captcha_id"].as_str().unwrap(), "Friday").await;
        let [told] = &app.deliveries(&format!("task_id={id}")).await[..] else { panic!("one message") };
        assert_eq!((&told["type"], &told["webhook_id"]), (&json!("task.solved"), &Value::Null));
    }
    assert!(!serde_json::to_string(&app.sandbox.requests()).unwrap().contains("webhook"));
    let (_, problem) =
        app.post(&json!({"type": "text", "textcaptcha": "x", "webhook_url": "http://10.0.0.1/"})).await;
    assert!(problem["detail"].as_str().unwrap().contains("webhooks.allow_private"), "{problem}");
}

#[tokio::test]
async fn a_secret_is_exchanged_and_the_old_one_holds_for_a_day() {
    let app = TestApp::spawn().await;
    app.subscribed(json!({"url": "https://example.com/", "secret": SECRET})).await;
    let (status, rotated) = app.send("/v1/webhooks/1/rotate", json!({"secret": NEWER})).await;
    assert_eq!((status, &rotated["secret"]), (StatusCode::OK, &json!(NEWER)));
    let until = rotated["old_secret_until"].clone();
    let stored = (
        "SELECT COUNT(*) FROM webhook WHERE old_secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'
            AND old_until - unixepoch() * 1000000 BETWEEN 86000000000 AND 86401000000",
        "SELECT COUNT(*) FROM webhook WHERE old_secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'
            AND old_until - clock_micros() BETWEEN 86000000000 AND 86401000000",
    );
    assert_eq!(app.number(stored).await, 1);
    // A repeat with the same secret must not take the old one away.
    let (_, again) = app.send("/v1/webhooks/1/rotate", json!({"secret": NEWER})).await;
    assert_eq!(again["old_secret_until"], until);
    assert_eq!(app.number(stored).await, 1);
    let (_, shown) = app.get("/v1/webhooks/1").await;
    assert_eq!((&shown["secret"], &shown["old_secret_until"]), (&Value::Null, &until));
    let (status, random) = app.poke("/v1/webhooks/1/rotate").await;
    assert!(status == StatusCode::OK && random["secret"].as_str().unwrap().len() > 40, "{random}");
    for wrong in [json!({"secret": "x"}), json!({"url": "https://example.com/"})] {
        assert_eq!(app.send("/v1/webhooks/1/rotate", wrong).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    }
    assert_eq!(app.poke("/v1/webhooks/2/rotate").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_callers_tasks_have_a_secret_of_their_own() {
    let app = with_tokens(&[]).await;
    let path = "/v1/webhooks/secret";
    let secret = async |token: &str| call(&app, token, Method::GET, path, None).await.1["secret"].clone();
    let first = secret("alice").await;
    assert!(first.as_str().unwrap().starts_with("whsec_"));
    assert_eq!(secret("alice").await, first);
    assert_ne!(secret("bob").await, first);
    let wanted = Some(json!({"secret": NEWER}));
    let (status, rotated) = call(&app, "alice", Method::POST, "/v1/webhooks/secret/rotate", wanted).await;
    assert_eq!((status, &rotated["secret"]), (StatusCode::OK, &json!(NEWER)));
    assert!(rotated["old_secret_until"].is_string());
    assert_eq!(secret("alice").await, NEWER);
    // Whoever had none has nothing that could be old.
    let (_, fresh) = call(&app, "boss", Method::POST, "/v1/webhooks/secret/rotate", None).await;
    assert!(fresh["secret"].is_string() && fresh["old_secret_until"].is_null(), "{fresh}");
}

#[tokio::test]
async fn a_disabled_webhook_says_why_and_can_be_enabled() {
    let app = TestApp::with(never_solved(), LOOPBACK).await;
    app.subscribed(json!({"url": "http://127.0.0.1:9/"})).await;
    app.connect_and("UPDATE webhook SET disabled_at = 1000000, disabled_why = 'the receiver answered 410'")
        .await;
    let (_, shown) = app.get("/v1/webhooks/1").await;
    assert_eq!(shown["status"], "disabled");
    assert_eq!(shown["disabled_at"], "1970-01-01T00:00:01.000Z");
    assert_eq!(shown["disabled_reason"], "the receiver answered 410");
    app.submit().await;
    assert_eq!(app.deliveries("").await.len(), 0);
    let (status, enabled) = app.poke("/v1/webhooks/1/enable").await;
    assert_eq!((status, &enabled["status"]), (StatusCode::OK, &json!("enabled")));
    assert_eq!((&enabled["disabled_at"], &enabled["disabled_reason"]), (&Value::Null, &Value::Null));
    let id = app.submit().await;
    assert!(!app.deliveries(&format!("task_id={id}&type=task.created")).await.is_empty());
    assert_eq!(app.poke("/v1/webhooks/2/enable").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_waits_for_a_webhook_ends_with_it() {
    let app = TestApp::spawn().await;
    for _ in 0..2 {
        app.subscribed(json!({"url": "https://example.com/"})).await;
    }
    // More than one write ends, of both webhooks.
    app.connect_and(
        "WITH RECURSIVE series (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM series WHERE value < 2400)
         INSERT INTO delivery (type, event_id, webhook_id, owner, receiver, created_at, started_at, planned_at, due_at)
         SELECT 'task.failed', value, 1 + value % 2, 0, 'example.com:443#' || (1 + value % 2), 1, 1, 1, 4000000000000000
         FROM series",
    )
    .await;
    assert_eq!(call(&app, "", Method::DELETE, "/v1/webhooks/1", None).await.0, StatusCode::NO_CONTENT);
    let dead = "SELECT COUNT(*) FROM delivery WHERE webhook_id = 1 AND status = 'dead' AND ended_at > 1
        AND last_error = 'the webhook was deleted'";
    assert_eq!(app.number(dead).await, 1200);
    assert_eq!(app.number("SELECT COUNT(*) FROM delivery WHERE status = 'waiting'").await, 1200);
    let (_, list) = app.get("/v1/webhooks/deliveries?webhook_id=1&limit=1").await;
    let path = format!("/v1/webhooks/deliveries/{}/replay", list["deliveries"][0]["id"].as_str().unwrap());
    let (status, problem) = app.poke(&path).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("no_replay")));
    assert!(problem["detail"].as_str().unwrap().contains("the webhook was deleted"), "{problem}");
    let (_, replayed) = app.send("/v1/webhooks/deliveries/replay", json!({"webhook_id": 1})).await;
    assert_eq!(replayed["replayed"], 0);
}

#[tokio::test]
async fn what_cannot_be_sent_any_more_says_why() {
    let app = TestApp::with(never_solved(), LOOPBACK).await;
    app.subscribed(json!({"url": "http://127.0.0.1:9/", "types": "pingback.unmatched,task.created"})).await;
    app.submit().await;
    app.pingback("123456", "nobody's").await;
    let (created, unmatched) = ("type=task.created", "type=pingback.unmatched");
    let replay = async |query: &str| {
        let id = app.deliveries(query).await[0]["id"].as_str().unwrap().to_owned();
        let (status, body) = app.poke(&format!("/v1/webhooks/deliveries/{id}/replay")).await;
        (status, body["detail"].as_str().unwrap_or_default().to_owned())
    };
    for query in [created, unmatched] {
        assert_eq!(replay(query).await.0, StatusCode::ACCEPTED, "{query}");
    }
    for (sql, query, reason) in [
        ("DELETE FROM pingback", unmatched, "the pingback was erased"),
        ("UPDATE webhook SET disabled_at = 1", created, "the webhook is disabled: enable it first"),
        ("UPDATE webhook SET disabled_at = NULL", created, ""),
        ("DELETE FROM event", created, "the event was deleted"),
    ] {
        app.connect_and(sql).await;
        let (status, detail) = replay(query).await;
        let expected = if reason.is_empty() { StatusCode::ACCEPTED } else { StatusCode::CONFLICT };
        assert_eq!(status, expected, "{sql}");
        assert!(detail.ends_with(reason), "{sql}: {detail}");
    }
}

#[tokio::test]
async fn deliveries_are_listed_newest_first_by_pages_and_filters() {
    let app = TestApp::spawn().await;
    app.connect_and(SOME).await;
    for (query, expected) in [
        ("", "9 8 7 6 5 4 3 2 1"),
        ("status=waiting", "9 6 3"),
        ("status=delivered", "7 4 1"),
        ("status=dead", "8 5 2"),
        ("task_id=71&status=dead", "8 5 2"),
        ("task_id=72", ""),
        ("type=task.failed&limit=2", "9 8"),
        ("type=task.solved", ""),
        ("webhook_id=1", ""),
        ("since=1970-01-01T00:00:03Z&until=1970-01-01T00:00:06Z", "5 4 3"),
        ("since=1970-01-01T01:00:08%2B01:00", "9 8"),
        ("until=1970-01-01T00:00:01.5Z", "1"),
    ] {
        assert_eq!(ids(&app.deliveries(query).await).join(" "), expected, "{query}");
    }
    for filter in ["", "&status=dead", "&task_id=71"] {
        let (mut cursor, mut seen) = (String::new(), Vec::new());
        loop {
            let (_, page) = app.get(&format!("/v1/webhooks/deliveries?limit=2{filter}{cursor}")).await;
            seen.extend(ids(page["deliveries"].as_array().unwrap()).into_iter().map(str::to_owned));
            let Some(next) = page["cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(seen, ids(&app.deliveries(filter.trim_start_matches('&')).await), "{filter}");
    }
    let (_, one) = app.get("/v1/webhooks/deliveries/8").await;
    insta::assert_json_snapshot!(one, @r#"
    {
      "attempts": 0,
      "created_at": "1970-01-01T00:00:08.000Z",
      "ended_at": null,
      "form": "pingback",
      "id": "8",
      "last_error": null,
      "last_status": null,
      "message": {
        "code": "ERROR_PAGEURL",
        "id": "71"
      },
      "message_id": null,
      "next_attempt_at": null,
      "status": "dead",
      "task_id": "71",
      "type": "task.failed",
      "url_host": "127.0.0.1:9",
      "webhook_id": null
    }
    "#);
    assert_eq!(app.get("/v1/webhooks/deliveries/9").await.1["next_attempt_at"], "2096-10-02T07:06:40.000Z");
}

#[tokio::test]
async fn a_page_of_deliveries_looks_at_so_many_and_no_more() {
    let app = TestApp::spawn().await;
    app.connect_and(SOME).await;
    app.connect_and("UPDATE delivery SET id = 150000 WHERE id = 9").await;
    let (_, page) = app.get("/v1/webhooks/deliveries?status=dead").await;
    assert_eq!((&page["deliveries"], &page["cursor"]), (&json!([]), &json!("50001")));
    let (_, page) = app.get("/v1/webhooks/deliveries?status=dead&cursor=50001").await;
    assert_eq!(
        (ids(page["deliveries"].as_array().unwrap()), &page["cursor"]),
        (vec!["8", "5", "2"], &Value::Null)
    );
    let (_, replayed) = app.send("/v1/webhooks/deliveries/replay", json!({"status": "dead"})).await;
    assert_eq!(replayed["replayed"], 3);
}

#[tokio::test]
async fn queries_and_filters_of_deliveries_that_make_no_sense_are_refused() {
    let app = TestApp::spawn().await;
    app.connect_and(SOME).await;
    let (_, problem) = app
        .get("/v1/webhooks/deliveries?status=done&webhook_id=x&task_id=0&type=solved&since=now&until=1&limit=0&cursor=-1&a=1")
        .await;
    let expected =
        ["/status", "/webhook_id", "/task_id", "/type", "/since", "/until", "/limit", "/cursor", "/a"];
    assert_eq!(pointers(&problem), expected);
    let path = "/v1/webhooks/deliveries/replay";
    for (body, expected) in [
        (json!({}), vec![""]),
        (json!({"status": "waiting"}), vec!["/status"]),
        (json!({"status": "dead", "limit": 5}), vec!["/limit"]),
        (json!({"webhook_id": "x", "since": 5}), vec!["/webhook_id", "/since"]),
    ] {
        let (status, problem) = app.send(path, body.clone()).await;
        assert_eq!((status, pointers(&problem)), (StatusCode::UNPROCESSABLE_ENTITY, expected), "{body}");
    }
    assert_eq!(app.poke(path).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    for id in ["0", "99", "x", "-1", "%FF", "99999999999999999999"] {
        for (path, code) in [("deliveries/", "delivery_not_found"), ("", "webhook_not_found")] {
            let (status, problem) = app.get(&format!("/v1/webhooks/{path}{id}")).await;
            assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &json!(code)), "{id}");
        }
    }
    assert_eq!(app.number("SELECT COUNT(*) FROM delivery WHERE started_at > 1").await, 0);
}

#[tokio::test]
async fn a_message_that_was_delivered_is_sent_again() {
    let app = TestApp::with(never_solved(), LOOPBACK).await;
    let (url, mut sent) = receiver().await;
    app.told(&url, "Friday").await;
    let first = next(&mut sent).await;
    let delivered = app.until_all("delivered", 1).await.remove(0);
    assert_eq!((&delivered["form"], &delivered["message_id"]), (&json!("pingback"), &Value::Null));
    let path = format!("/v1/webhooks/deliveries/{}", delivered["id"].as_str().unwrap());
    assert_eq!(app.get(&path).await.1["message"]["code"], "Friday");
    let (status, waiting) = app.poke(&format!("{path}/replay")).await;
    assert_eq!((status, &waiting["status"]), (StatusCode::ACCEPTED, &json!("waiting")));
    assert_eq!((&waiting["attempts"], &waiting["ended_at"]), (&json!(0), &Value::Null));
    assert_eq!(next(&mut sent).await, first);
    let again = app.until_all("delivered", 1).await.remove(0);
    assert_eq!(again["attempts"], 1);
    // Its URL is erased with the answer.
    app.connect_and("UPDATE delivery SET url = NULL").await;
    assert_eq!(app.poke(&format!("{path}/replay")).await.0, StatusCode::CONFLICT);
}

#[tokio::test]
async fn messages_of_a_span_of_time_are_sent_again() {
    let app = TestApp::with(never_solved(), LOOPBACK).await;
    let (url, mut sent) = receiver().await;
    let mut told = Vec::new();
    for answer in ["one", "two", "three"] {
        app.told(&url, answer).await;
        told.push(next(&mut sent).await);
    }
    app.until_all("delivered", 3).await;
    app.connect_and("UPDATE delivery SET created_at = task_id * 1000000").await;
    let span = json!({"since": "1970-01-01T00:00:02Z", "until": "1970-01-01T00:00:03Z"});
    let path = "/v1/webhooks/deliveries/replay";
    assert_eq!(app.send(path, span).await, (StatusCode::ACCEPTED, json!({"replayed": 1})));
    assert_eq!(next(&mut sent).await, told[1]);
    app.until_all("delivered", 3).await;
    let task = json!({"task_id": 3, "type": "task.solved"});
    assert_eq!(app.send(path, task).await.1["replayed"], 1);
    assert_eq!(next(&mut sent).await, told[2]);
    assert!(sent.try_recv().is_err());
}

#[tokio::test]
async fn thousands_of_messages_are_sent_again_and_none_twice() {
    let app = TestApp::spawn().await;
    app.connect_and(SOME).await;
    app.connect_and("DELETE FROM delivery").await;
    // Of 1300 that ended, 300 have no URL any more; 100 wait.
    app.connect_and(
        "WITH RECURSIVE series (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM series WHERE value < 1400)
         INSERT INTO delivery (type, task_id, owner, url, receiver, status, created_at, started_at, planned_at, due_at)
         SELECT 'task.failed', 71, 0, CASE WHEN value > 300 THEN 'http://127.0.0.1:9/' END, '127.0.0.1:9',
                CASE WHEN value > 1300 THEN 'waiting' ELSE 'dead' END, 1, 1, 1, 4000000000000000
         FROM series",
    )
    .await;
    let (status, replayed) = app.send("/v1/webhooks/deliveries/replay", json!({"type": "task.failed"})).await;
    assert_eq!((status, &replayed["replayed"]), (StatusCode::ACCEPTED, &json!(1000)));
    assert_eq!(app.number("SELECT COUNT(*) FROM delivery WHERE started_at > 1").await, 1000);
    assert_eq!(app.number("SELECT COUNT(*) FROM delivery WHERE url IS NULL AND started_at > 1").await, 0);
}
