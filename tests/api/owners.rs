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
