//! Who may call the api listener.

use std::os::unix::fs::PermissionsExt as _;

use reqwest::header::{AUTHORIZATION, ORIGIN};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::database::holds;
use crate::harness::{TestApp, never_solved, reply, text_captcha};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const WITH_TOKEN: [(&str, &str); 1] = [("PINGBOX_API__TOKEN", TOKEN)];
const EVERYWHERE: [(&str, &str); 1] = [("PINGBOX_API__LISTEN", "0.0.0.0:0")];

impl TestApp {
    fn list(&self) -> RequestBuilder {
        self.http.get(format!("{}/v1/tasks", self.api))
    }

    /// The first token, as the operator finds it.
    fn first_token(&self) -> String {
        std::fs::read_to_string(self.first_token_file()).unwrap().trim_end().to_owned()
    }

    fn first_token_file(&self) -> std::path::PathBuf {
        self.data().join("api-token")
    }

    /// Stores a token, which counts from the next start on.
    async fn add_token(&self, token: &str, scopes: &str) {
        self.connect().await.add_token("test", token, scopes).await;
    }
}

async fn status(request: RequestBuilder) -> StatusCode {
    request.send().await.unwrap().status()
}

#[tokio::test]
async fn a_loopback_listener_without_tokens_is_open() {
    let app = TestApp::spawn().await;
    assert_eq!(status(app.list()).await, StatusCode::OK);
    app.submit().await;
}

#[tokio::test]
async fn an_open_listener_makes_no_token() {
    let app = TestApp::spawn().await;
    assert!(!app.first_token_file().exists());
}

#[tokio::test]
async fn an_open_listener_refuses_pages_of_other_sites() {
    let app = TestApp::spawn().await;
    for origin in ["https://evil.example", "null", "http://127.0.0.1", "http://localhost:8081"] {
        for request in [app.list(), app.submission().json(&text_captcha())] {
            let (status, problem) = reply(request.header(ORIGIN, origin)).await;
            assert_eq!((status, &problem["code"]), (StatusCode::FORBIDDEN, &json!("forbidden")), "{origin}");
        }
    }
    assert_eq!(status(app.list().header("sec-fetch-site", "cross-site")).await, StatusCode::FORBIDDEN);
    assert_eq!(app.stored_tasks().await, 0);
}

#[tokio::test]
async fn an_open_listener_serves_its_own_pages() {
    let app = TestApp::spawn().await;
    assert_eq!(status(app.list().header(ORIGIN, &app.api)).await, StatusCode::OK);
}

#[tokio::test]
async fn a_configured_token_is_demanded() {
    let app = TestApp::with(never_solved(), &WITH_TOKEN).await;
    let upper = TOKEN.to_uppercase();
    let longer = format!("{TOKEN}0");
    for wrong in ["", "x", upper.as_str(), longer.as_str(), &TOKEN[1..]] {
        assert_eq!(status(app.list().bearer_auth(wrong)).await, StatusCode::UNAUTHORIZED, "{wrong:?}");
    }
    for wrong in [format!("Basic {TOKEN}"), TOKEN.to_owned(), format!("Bearer{TOKEN}")] {
        assert_eq!(status(app.list().header(AUTHORIZATION, wrong)).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(status(app.list().query(&[("token", TOKEN)])).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(app.submission().json(&text_captcha())).await, StatusCode::UNAUTHORIZED);
    assert_eq!(app.stored_tasks().await, 0);
}

#[tokio::test]
async fn a_caller_without_a_token_is_told_how_to_send_one() {
    let app = TestApp::with(never_solved(), &WITH_TOKEN).await;
    let response = app.list().send().await.unwrap();
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    insta::assert_json_snapshot!(response.json::<Value>().await.unwrap(), @r#"
    {
      "code": "unauthorized",
      "detail": "a valid token is needed: send it as `Authorization: Bearer <token>`",
      "status": 401,
      "title": "Unauthorized",
      "type": "about:blank"
    }
    "#);
}

#[tokio::test]
async fn a_configured_token_opens_everything() {
    let app = TestApp::with(never_solved(), &WITH_TOKEN).await;
    let request = app.submission().bearer_auth(TOKEN).json(&text_captcha());
    assert_eq!(status(request).await, StatusCode::CREATED);
    for authorization in [format!("Bearer {TOKEN}"), format!("bearer  {TOKEN} ")] {
        let (status, list) = reply(app.list().header(AUTHORIZATION, authorization)).await;
        assert_eq!((status, list["tasks"].as_array().unwrap().len()), (StatusCode::OK, 1));
    }
}

#[tokio::test]
async fn health_needs_no_token() {
    let app = TestApp::with(never_solved(), &WITH_TOKEN).await;
    for path in ["/livez", "/readyz"] {
        assert_eq!(status(app.http.get(format!("{}{path}", app.api))).await, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_reachable_listener_makes_a_first_token() {
    let app = TestApp::with(never_solved(), &EVERYWHERE).await;
    assert_eq!(status(app.list()).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(app.list().bearer_auth(app.first_token())).await, StatusCode::OK);
}

#[tokio::test]
async fn the_file_of_the_first_token_is_private() {
    let app = TestApp::with(never_solved(), &EVERYWHERE).await;
    let mode = std::fs::metadata(app.first_token_file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn the_first_token_is_not_in_the_database() {
    let app = TestApp::with(never_solved(), &EVERYWHERE).await;
    let token = app.first_token();
    let data = app.stop().await;
    assert!(!holds(data.path(), &token).await);
    for file in std::fs::read_dir(data.path()).unwrap() {
        let path = file.unwrap().path();
        let content = std::fs::read(&path).unwrap();
        let found = content.windows(token.len()).any(|window| window == token.as_bytes());
        assert_eq!(found, path.ends_with("api-token"), "{}", path.display());
    }
}

#[tokio::test]
async fn the_first_token_survives_a_restart() {
    let app = TestApp::with(never_solved(), &EVERYWHERE).await;
    let token = app.first_token();
    let written = std::fs::metadata(app.first_token_file()).unwrap().modified().unwrap();
    let app = app.restart_with(never_solved(), &EVERYWHERE).await;
    assert_eq!(app.first_token(), token);
    assert_eq!(std::fs::metadata(app.first_token_file()).unwrap().modified().unwrap(), written);
    assert_eq!(status(app.list().bearer_auth(&token)).await, StatusCode::OK);
    assert_eq!(status(app.list()).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_loopback_listener_is_not_open_once_there_is_a_token() {
    let app = TestApp::with(never_solved(), &EVERYWHERE).await;
    let token = app.first_token();
    let app = app.restart(never_solved()).await;
    assert_eq!(status(app.list()).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(app.list().bearer_auth(&token)).await, StatusCode::OK);
}

#[tokio::test]
async fn no_authentication_lets_everybody_in() {
    let none = [EVERYWHERE[0], WITH_TOKEN[0], ("PINGBOX_API__AUTH", "none")];
    let app = TestApp::with(never_solved(), &none).await;
    assert_eq!(status(app.list()).await, StatusCode::OK);
    assert!(!app.first_token_file().exists());
}

/// A service with three tokens that may submit and read, only read, and only submit.
async fn with_scopes() -> TestApp {
    let app = TestApp::spawn().await;
    for (token, scopes) in
        [("both", "submit,read"), ("reader", "read"), ("writer", "submit"), ("admin", "admin")]
    {
        app.add_token(token, scopes).await;
    }
    app.restart(never_solved()).await
}

#[tokio::test]
async fn a_scope_that_is_missing_is_named() {
    let app = with_scopes().await;
    for (request, scope) in [
        (app.submission().bearer_auth("reader").json(&text_captcha()), "submit"),
        (app.http.delete(format!("{}/v1/tasks/1", app.api)).bearer_auth("reader"), "submit"),
        (app.list().bearer_auth("writer"), "read"),
    ] {
        let (status, problem) = reply(request).await;
        assert_eq!((status, &problem["code"]), (StatusCode::FORBIDDEN, &json!("forbidden")));
        assert!(problem["detail"].as_str().unwrap().ends_with(scope), "{problem}");
    }
    assert_eq!(app.stored_tasks().await, 0);
}

#[tokio::test]
async fn a_token_sees_its_own_tasks_and_an_admin_all() {
    let app = with_scopes().await;
    let mut ids = Vec::new();
    for owner in ["both", "writer"] {
        let (_, task) = reply(app.submission().bearer_auth(owner).json(&text_captcha())).await;
        ids.push(task["id"].as_str().unwrap().to_owned());
    }
    for (token, seen) in [("both", vec![&ids[0]]), ("reader", vec![]), ("admin", vec![&ids[1], &ids[0]])] {
        let (_, list) = reply(app.list().bearer_auth(token)).await;
        let listed: Vec<_> = list["tasks"].as_array().unwrap().iter().map(|task| &task["id"]).collect();
        assert_eq!(listed, seen, "{token}");
    }
    let request = |id: &str| app.http.get(format!("{}/v1/tasks/{id}", app.api)).bearer_auth("both");
    assert_eq!(status(request(&ids[0])).await, StatusCode::OK);
    assert_eq!(status(request(&ids[1])).await, StatusCode::NOT_FOUND);
    let named = app.list().bearer_auth("both").query(&[("ids", ids.join(","))]);
    assert_eq!(reply(named).await.1["tasks"].as_array().unwrap().len(), 1);
    let cancel = app.http.delete(format!("{}/v1/tasks/{}", app.api, ids[1])).bearer_auth("both");
    assert_eq!(status(cancel).await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_idempotency_key_belongs_to_its_token() {
    let app = with_scopes().await;
    let mut ids = Vec::new();
    for (token, expected) in
        [("both", StatusCode::CREATED), ("writer", StatusCode::CREATED), ("both", StatusCode::OK)]
    {
        let request =
            app.submission().bearer_auth(token).header("idempotency-key", "k1").json(&text_captcha());
        let (status, task) = reply(request).await;
        assert_eq!(status, expected);
        ids.push(task["id"].clone());
    }
    assert_ne!(ids[0], ids[1]);
    assert_eq!(ids[0], ids[2]);
}
