//! A token sees only its own tasks, and does only what its scopes say.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{TestApp, never_solved, text_captcha};

/// A service with the tokens `alice` and `bob` (submit, read), `reader` and `boss` (admin).
pub(crate) async fn with_tokens(environment: &[(&str, &str)]) -> TestApp {
    let app = TestApp::spawn().await;
    let mut database = app.connect().await;
    for (name, scopes) in
        [("alice", "submit,read"), ("bob", "submit,read"), ("reader", "read"), ("boss", "admin")]
    {
        database.add_token(name, name, scopes).await;
    }
    app.restart_with(never_solved(), environment).await
}

pub(crate) async fn call(app: &TestApp, token: &str, method: Method, path: &str) -> (StatusCode, Value) {
    let mut request = app.http.request(method.clone(), format!("{}{path}", app.api)).bearer_auth(token);
    if method == Method::POST {
        request = request.json(&text_captcha());
    }
    let reply = request.send().await.unwrap();
    (reply.status(), reply.json().await.unwrap())
}

fn ids(list: &Value) -> Vec<&str> {
    list["tasks"].as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn nobody_sees_waits_for_or_cancels_the_tasks_of_another() {
    let app = with_tokens(&[]).await;
    let (status, task) = call(&app, "alice", Method::POST, "/v1/tasks").await;
    assert_eq!(status, StatusCode::CREATED);
    let id = task["id"].as_str().unwrap();
    let path = format!("/v1/tasks/{id}?wait=1");
    assert_eq!(call(&app, "alice", Method::GET, &path).await.0, StatusCode::OK);
    assert_eq!(call(&app, "boss", Method::GET, &path).await.0, StatusCode::OK);
    let missing = call(&app, "bob", Method::GET, "/v1/tasks/999").await;
    assert_eq!(call(&app, "bob", Method::GET, &path).await, missing);
    assert_eq!(call(&app, "bob", Method::DELETE, &format!("/v1/tasks/{id}")).await, missing);
    for (token, expected) in [("alice", vec![id]), ("bob", vec![]), ("reader", vec![]), ("boss", vec![id])] {
        for path in ["/v1/tasks".to_owned(), format!("/v1/tasks?ids={id}")] {
            assert_eq!(ids(&call(&app, token, Method::GET, &path).await.1), expected, "{token} {path}");
        }
    }
}

#[tokio::test]
async fn a_token_does_what_its_scopes_say() {
    let app = with_tokens(&[]).await;
    let (status, problem) = call(&app, "reader", Method::POST, "/v1/tasks").await;
    assert_eq!((status, &problem["code"]), (StatusCode::FORBIDDEN, &json!("forbidden")));
    assert_eq!(call(&app, "reader", Method::GET, "/v1/tasks").await.0, StatusCode::OK);
    assert_eq!(call(&app, "nobody", Method::GET, "/v1/tasks").await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_idempotency_key_means_something_only_to_its_owner() {
    let app = with_tokens(&[]).await;
    let submit = async |token: &str| {
        let request = app.http.post(format!("{}/v1/tasks", app.api)).bearer_auth(token);
        let reply = request.header("idempotency-key", "same").json(&text_captcha()).send().await.unwrap();
        (reply.status(), reply.json::<Value>().await.unwrap()["id"].clone())
    };
    let (first, alice) = submit("alice").await;
    let (second, bob) = submit("bob").await;
    assert_eq!((first, second), (StatusCode::CREATED, StatusCode::CREATED));
    assert_ne!(alice, bob);
    assert_eq!(submit("alice").await, (StatusCode::OK, alice));
}

#[tokio::test]
async fn nobody_reports_on_or_counts_the_tasks_of_another() {
    let app = with_tokens(&[]).await;
    let (_, task) = call(&app, "alice", Method::POST, "/v1/tasks").await;
    let id = task["id"].as_str().unwrap();
    let captcha_id = loop {
        let (_, task) = call(&app, "alice", Method::GET, &format!("/v1/tasks/{id}?wait=1")).await;
        if let Some(captcha_id) = task["captcha_id"].as_str() {
            break captcha_id.to_owned();
        }
    };
    assert_eq!(app.pingback(&captcha_id, "Friday").await, StatusCode::OK);
    let report = async |token: &str, id: &str| {
        let url = format!("{}/v1/tasks/{id}/report?wait=0", app.api);
        let request = app.http.post(url).bearer_auth(token).json(&json!({"verdict": "bad"}));
        let reply = request.send().await.unwrap();
        (reply.status(), reply.json::<Value>().await.unwrap())
    };
    assert_eq!(report("bob", id).await, report("bob", "999").await);
    assert_eq!(report("reader", id).await.0, StatusCode::FORBIDDEN);
    assert_eq!(report("alice", id).await.0, StatusCode::ACCEPTED);
    let path = format!("/v1/tasks/{id}/report");
    assert_eq!(call(&app, "bob", Method::GET, &path).await.1["code"], "task_not_found");
    for (token, total) in [("alice", 1), ("bob", 0), ("reader", 0), ("boss", 1)] {
        assert_eq!(call(&app, token, Method::GET, "/v1/stats").await.1["total"], total, "{token}");
    }
    for path in ["/v1/pingbacks", "/v1/pingbacks/rotate", "/v1/account/resume"] {
        let method = if path == "/v1/pingbacks" { Method::GET } else { Method::POST };
        assert_eq!(call(&app, "alice", method, path).await.0, StatusCode::FORBIDDEN, "{path}");
    }
}

/// What alice has, and what of it would show her to somebody else.
struct Alices {
    id: String,
    captcha_id: String,
    webhook: String,
    delivery: String,
}

const ANSWER: &str = "an-answer-for-alice";
const TAG: &str = "a-tag-of-alice";
const URL: &str = "http://127.0.0.1:9/alices-hook";

/// A task of alice's, answered, with a webhook that could not be told, a registered URL, and a report.
async fn alices(app: &TestApp) -> Alices {
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned();
    let post = async |path: &str, body: Value| {
        let request = app.http.post(format!("{}{path}", app.api)).bearer_auth("alice").json(&body);
        request.send().await.unwrap().json::<Value>().await.unwrap()
    };
    let webhook = text(&post("/v1/webhooks", json!({"url": URL, "types": ["task.solved"]})).await["id"]);
    let mut task = text_captcha();
    task["tag"] = json!(TAG);
    let id = text(&post("/v1/tasks", task).await["id"]);
    let url = format!("{}/res.php?key=alice&action=add_pingback&addr={URL}", app.api);
    assert_eq!(app.http.get(url).send().await.unwrap().text().await.unwrap(), "OK");
    let captcha_id = loop {
        let (_, task) = call(app, "alice", Method::GET, &format!("/v1/tasks/{id}?wait=1")).await;
        if let Some(captcha_id) = task["captcha_id"].as_str() {
            break captcha_id.to_owned();
        }
    };
    assert_eq!(app.pingback(&captcha_id, ANSWER).await, StatusCode::OK);
    let (_, list) = call(app, "alice", Method::GET, "/v1/webhooks/deliveries").await;
    let delivery = text(&list["deliveries"][0]["id"]);
    Alices { id, captcha_id, webhook, delivery }
}

/// Whether any of that is in the text, beside what the request itself names.
fn shows_alice(alices: &Alices, path: &str, text: &str) -> Option<String> {
    let marks = [ANSWER, TAG, URL, &alices.captcha_id, "alices-hook"];
    marks.into_iter().find(|mark| text.contains(*mark) && !path.contains(*mark)).map(str::to_owned)
}

#[tokio::test]
async fn no_route_shows_or_changes_what_is_another_tokens() {
    let app = with_tokens(&[("PINGBOX_WEBHOOKS__ALLOW_PRIVATE", "127.0.0.1/32")]).await;
    let alices = alices(&app).await;
    let Alices { id, captcha_id, webhook, delivery } = &alices;
    let before = app.task_of("alice", id).await;
    for (method, path, expected) in [
        (Method::GET, format!("/v1/tasks/{id}?wait=1"), 404),
        (Method::DELETE, format!("/v1/tasks/{id}"), 404),
        (Method::GET, format!("/v1/tasks/{id}/report"), 404),
        (Method::POST, format!("/v1/tasks/{id}/report"), 404),
        (Method::GET, "/v1/tasks".to_owned(), 200),
        (Method::GET, format!("/v1/tasks?ids={id}&wait=1"), 200),
        (Method::GET, format!("/v1/tasks?tag={TAG}"), 200),
        (Method::GET, format!("/v1/answers/{captcha_id}?wait=1"), 404),
        (Method::GET, "/v1/answers".to_owned(), 200),
        (Method::GET, "/v1/events?cursor=earliest".to_owned(), 200),
        (Method::GET, "/v1/stats".to_owned(), 200),
        (Method::GET, "/v1/account".to_owned(), 200),
        (Method::GET, "/v1/webhooks".to_owned(), 200),
        (Method::GET, format!("/v1/webhooks/{webhook}"), 404),
        (Method::DELETE, format!("/v1/webhooks/{webhook}"), 404),
        (Method::POST, format!("/v1/webhooks/{webhook}/enable"), 404),
        (Method::POST, format!("/v1/webhooks/{webhook}/rotate"), 404),
        (Method::GET, "/v1/webhooks/deliveries".to_owned(), 200),
        (Method::POST, format!("/v1/webhooks/deliveries/{delivery}/replay"), 404),
        (Method::GET, "/v1/tokens".to_owned(), 403),
        (Method::DELETE, "/v1/tokens/1".to_owned(), 403),
        (Method::GET, "/v1/pingbacks".to_owned(), 403),
        (Method::DELETE, format!("/v1/pingbacks?url={URL}&force=true"), 403),
        (Method::GET, "/metrics".to_owned(), 200),
        (Method::GET, "/readyz".to_owned(), 200),
        (Method::GET, format!("/res.php?key=bob&action=get&id={id}"), 200),
        (Method::GET, format!("/res.php?key=bob&action=get2&id={id}&json=1"), 200),
        (Method::GET, format!("/res.php?key=bob&action=get&ids={id},{id}"), 200),
        (Method::GET, format!("/res.php?key=bob&action=reportbad&id={id}"), 200),
        (Method::GET, "/res.php?key=bob&action=get_pingback".to_owned(), 200),
        (Method::GET, "/res.php?key=bob&action=del_pingback&addr=all".to_owned(), 200),
    ] {
        let request = app.http.request(method.clone(), format!("{}{path}", app.api)).bearer_auth("bob");
        let is_report = path.ends_with("/report") && method == Method::POST;
        let request = if is_report { request.json(&json!({"verdict": "bad"})) } else { request };
        let reply = request.send().await.unwrap();
        let (status, text) = (reply.status(), reply.text().await.unwrap());
        assert_eq!(status, expected, "{method} {path}: {text}");
        assert_eq!(shows_alice(&alices, &path, &text), None, "{method} {path}: {text}");
    }
    // The look would have seen it, and nothing has changed.
    let (_, list) = call(&app, "boss", Method::GET, "/v1/tasks").await;
    assert!(shows_alice(&alices, "", &list.to_string()).is_some());
    assert_eq!(app.task_of("alice", id).await, before);
    let registered = format!("{}/res.php?key=alice&action=get_pingback", app.api);
    let registered = app.http.get(registered).send().await.unwrap().text().await.unwrap();
    assert!(registered.contains(URL), "{registered}");
    assert_eq!(
        call(&app, "alice", Method::GET, &format!("/v1/webhooks/{webhook}")).await.1["status"],
        "enabled"
    );
}

impl TestApp {
    async fn task_of(&self, token: &str, id: &str) -> Value {
        call(self, token, Method::GET, &format!("/v1/tasks/{id}")).await.1
    }
}
