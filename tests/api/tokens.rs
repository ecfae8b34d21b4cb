//! Tokens that are made, listed and revoked while the service runs.

use futures_util::future::join_all;
use reqwest::header::{CACHE_CONTROL, HeaderMap};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{PATIENCE, TestApp, never_solved, reply, text_captcha};
use crate::program::{Server, http, outcome, pingbox};

const ADMIN: &str = "0123456789abcdef0123456789abcdef";
const WITH_ADMIN: [(&str, &str); 1] = [("PINGBOX_API__TOKEN", ADMIN)];

impl TestApp {
    async fn call(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let request = self.http.request(method, format!("{}{path}", self.api));
        let request = if token.is_empty() { request } else { request.bearer_auth(token) };
        reply(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }

    async fn make(&self, by: &str, name: &str, scopes: &[&str]) -> (StatusCode, Value) {
        self.call(by, Method::POST, "/v1/tokens", Some(json!({"name": name, "scopes": scopes}))).await
    }

    /// A token of these scopes: its id and its text.
    async fn made(&self, by: &str, name: &str, scopes: &[&str]) -> (String, String) {
        let (status, token) = self.make(by, name, scopes).await;
        assert_eq!(status, StatusCode::CREATED, "{token}");
        (token["id"].as_str().unwrap().to_owned(), token["token"].as_str().unwrap().to_owned())
    }

    async fn revoke(&self, by: &str, id: &str) -> StatusCode {
        let request = self.http.delete(format!("{}/v1/tokens/{id}", self.api)).bearer_auth(by);
        request.send().await.unwrap().status()
    }

    async fn status_of(&self, by: &str, path: &str) -> StatusCode {
        self.call(by, Method::GET, path, None).await.0
    }
}

async fn with_admin() -> TestApp {
    TestApp::with(never_solved(), &WITH_ADMIN).await
}

#[tokio::test]
async fn a_token_is_shown_once_and_opens_at_once_what_its_scopes_say() {
    let app = with_admin().await;
    let (status, made) = app.make(ADMIN, "scraper", &["read", "submit"]).await;
    assert_eq!(status, StatusCode::CREATED);
    let secret = made["token"].as_str().unwrap();
    assert_eq!((secret.len(), &made["scopes"]), (32, &json!(["submit", "read"])));
    assert_eq!(made["last_used_at"], Value::Null);

    assert_eq!(
        app.call(secret, Method::POST, "/v1/tasks", Some(text_captcha())).await.0,
        StatusCode::CREATED
    );
    assert_eq!(app.status_of(secret, "/v1/tokens").await, StatusCode::FORBIDDEN);
    let (_, list) = app.call(ADMIN, Method::GET, "/v1/tokens", None).await;
    assert_eq!(list["cursor"], Value::Null);
    let [token] = list["tokens"].as_array().unwrap().as_slice() else { panic!("{list}") };
    assert_eq!((&token["name"], &token["id"]), (&json!("scraper"), &made["id"]));
    assert!(token["last_used_at"].is_string(), "{token}");
    assert!(token.get("token").is_none() && token.get("digest").is_none(), "{token}");
    assert!(!list.to_string().contains(secret));
}

#[tokio::test]
async fn a_revoked_token_opens_nothing_and_ends_what_it_had_open() {
    let app = with_admin().await;
    let (id, secret) = app.made(ADMIN, "gone soon", &["read"]).await;
    let stream = app.http.get(format!("{}/v1/events", app.api)).bearer_auth(&secret);
    let stream = stream.header("accept", "text/event-stream").send().await.unwrap();
    assert_eq!(stream.status(), StatusCode::OK);

    assert_eq!(app.revoke(ADMIN, &id).await, StatusCode::NO_CONTENT);
    assert_eq!(app.status_of(&secret, "/v1/tasks").await, StatusCode::UNAUTHORIZED);
    // Its end, which comes because the token is gone.
    tokio::time::timeout(PATIENCE, stream.text()).await.expect("the stream ends").unwrap();
    let (status, problem) = app.call(ADMIN, Method::DELETE, &format!("/v1/tokens/{id}"), None).await;
    assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &json!("token_not_found")));
}

/// Begins a request whose body comes later.
async fn begin(app: &TestApp, token: &str, path: &str, length: usize) -> TcpStream {
    let address = app.api.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn what_was_begun_with_a_token_makes_nothing_once_it_is_revoked() {
    let app = with_admin().await;
    let (id, stolen) = app.made(ADMIN, "stolen", &["admin"]).await;
    let bodies = [
        ("/v1/tokens", json!({"name": "next", "scopes": ["admin"]})),
        ("/v1/webhooks", json!({"url": "https://example.com/"})),
    ];
    let mut begun = Vec::new();
    for (path, body) in &bodies {
        let body = body.to_string();
        begun.push((begin(&app, &stolen, path, body.len()).await, body));
    }
    // Both are in the hands of their handlers by the time that this is answered.
    assert_eq!(app.status_of(&stolen, "/v1/tasks").await, StatusCode::OK);
    assert_eq!(app.revoke(ADMIN, &id).await, StatusCode::NO_CONTENT);
    for (mut stream, body) in begun {
        stream.write_all(&body.as_bytes()[1..]).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        assert!(reply.starts_with("HTTP/1.1 401 "), "{reply}");
    }
    let (_, list) = app.call(ADMIN, Method::GET, "/v1/tokens", None).await;
    assert_eq!(list["tokens"], json!([]));
    assert_eq!(app.number("SELECT COUNT(*) FROM webhook").await, 0);
}

#[tokio::test]
async fn tokens_count_after_a_restart_as_before() {
    let app = with_admin().await;
    let (_, kept) = app.made(ADMIN, "kept", &["read"]).await;
    let (id, gone) = app.made(ADMIN, "gone", &["read"]).await;
    assert_eq!(app.revoke(ADMIN, &id).await, StatusCode::NO_CONTENT);
    assert_eq!(app.status_of(&kept, "/v1/tasks").await, StatusCode::OK);
    let app = app.restart_with(never_solved(), &WITH_ADMIN).await;
    assert_eq!(app.status_of(&kept, "/v1/tasks").await, StatusCode::OK);
    assert_eq!(app.status_of(&gone, "/v1/tasks").await, StatusCode::UNAUTHORIZED);
    let (_, list) = app.call(ADMIN, Method::GET, "/v1/tokens", None).await;
    assert!(list["tokens"][0]["last_used_at"].is_string(), "stored at the end: {list}");
}

#[tokio::test]
async fn the_first_token_has_to_be_an_admin_and_shuts_an_open_listener() {
    let app = TestApp::spawn().await;
    let (status, problem) = app.make("", "ci", &["submit", "read"]).await;
    assert_eq!(
        (status, &problem["errors"][0]["pointer"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("/scopes"))
    );
    assert_eq!(app.status_of("", "/v1/tasks").await, StatusCode::OK);

    let (id, secret) = app.made("", "me", &["admin"]).await;
    assert_eq!(app.status_of("", "/v1/tasks").await, StatusCode::UNAUTHORIZED);
    assert_eq!(app.status_of(&secret, "/v1/tasks").await, StatusCode::OK);
    let (status, problem) = app.call(&secret, Method::DELETE, &format!("/v1/tokens/{id}"), None).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("last_admin")));
    assert_eq!(app.status_of(&secret, "/v1/tasks").await, StatusCode::OK);
}

#[tokio::test]
async fn a_token_that_cannot_be_is_refused_with_all_that_is_wrong() {
    let app = with_admin().await;
    for (body, pointers) in [
        (json!({}), json!(["/name", "/scopes"])),
        (json!({"name": "", "scopes": []}), json!(["/name", "/scopes"])),
        (json!({"name": "x".repeat(101), "scopes": ["reed"]}), json!(["/name", "/scopes"])),
        (json!({"name": "a\u{7}", "scopes": ["read"]}), json!(["/name"])),
        (json!({"name": "a", "scopes": ["read"], "token": ADMIN}), json!(["/token"])),
    ] {
        let (status, problem) = app.call(ADMIN, Method::POST, "/v1/tokens", Some(body.clone())).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        let named: Vec<_> =
            problem["errors"].as_array().unwrap().iter().map(|error| &error["pointer"]).collect();
        assert_eq!(json!(named), pointers, "{problem}");
    }
    for id in ["0", "-1", "x", "99999999999999999999", "7"] {
        assert_eq!(
            app.call(ADMIN, Method::DELETE, &format!("/v1/tokens/{id}"), None).await.0,
            StatusCode::NOT_FOUND
        );
    }
}

#[tokio::test]
async fn wrong_tokens_are_slowed_down_and_right_ones_are_not() {
    let app = with_admin().await;
    let mut slow = Box::pin(join_all((0..30).map(|_| app.status_of("wrong", "/v1/tasks"))));
    // Ten right ones go by while the last wrong ones wait.
    let right = async {
        for _ in 0..10 {
            assert_eq!(app.status_of(ADMIN, "/v1/tasks").await, StatusCode::OK);
        }
    };
    tokio::select! {
        biased;
        _ = &mut slow => panic!("no wrong one did wait"),
        () = right => {}
    }
    assert!(slow.await.iter().all(|status| *status == StatusCode::UNAUTHORIZED));
    let metrics = app.http.get(format!("{}/metrics", app.api)).bearer_auth(ADMIN).send().await.unwrap();
    assert!(metrics.text().await.unwrap().contains("pingbox_wrong_tokens_total 30\n"));
}

#[tokio::test]
async fn a_sdk_uses_a_token_as_its_key_until_it_is_revoked() {
    let app = with_admin().await;
    let (id, key) = app.made(ADMIN, "sdk", &["submit", "read"]).await;
    let balance = || async {
        let url = format!("{}/res.php?action=getbalance&key={key}", app.api);
        app.http.get(url).send().await.unwrap().text().await.unwrap()
    };
    assert!(balance().await.parse::<f64>().is_ok());
    assert_eq!(app.revoke(ADMIN, &id).await, StatusCode::NO_CONTENT);
    assert_eq!(balance().await, "ERROR_KEY_DOES_NOT_EXIST");
}

#[tokio::test]
async fn the_tasks_of_a_revoked_token_stay_with_the_admins() {
    let app = with_admin().await;
    let (id, secret) = app.made(ADMIN, "gone", &["submit", "read"]).await;
    let (_, task) = app.call(&secret, Method::POST, "/v1/tasks", Some(text_captcha())).await;
    assert_eq!(app.revoke(ADMIN, &id).await, StatusCode::NO_CONTENT);
    let (_, other) = app.made(ADMIN, "next", &["submit", "read"]).await;
    let path = format!("/v1/tasks/{}", task["id"].as_str().unwrap());
    assert_eq!(app.status_of(ADMIN, &path).await, StatusCode::OK);
    assert_eq!(app.status_of(&other, &path).await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn every_reply_tells_browsers_that_it_is_no_page() {
    let app = TestApp::spawn().await;
    let fetch = async |method: Method, path: &str| {
        let url = format!("{}{path}", app.api);
        app.http.request(method, url).send().await.unwrap().headers().clone()
    };
    let says =
        |headers: &HeaderMap, name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    for (method, path) in [
        (Method::GET, "/v1/tasks"),
        (Method::GET, "/nothing"),
        (Method::PUT, "/v1/tasks"),
        (Method::GET, "/livez"),
        (Method::GET, "/res.php?action=get&id=1&header_acao=1"),
        (Method::OPTIONS, "/in.php"),
    ] {
        let headers = fetch(method, path).await;
        assert_eq!(says(&headers, "x-content-type-options").as_deref(), Some("nosniff"), "{path}");
        let policy = says(&headers, "content-security-policy").unwrap();
        assert_eq!(policy, "default-src 'none'; frame-ancestors 'none'", "{path}");
        assert_eq!(says(&headers, "x-frame-options").as_deref(), Some("DENY"), "{path}");
        assert_eq!(says(&headers, "referrer-policy").as_deref(), Some("no-referrer"), "{path}");
        assert_eq!(says(&headers, "server"), None, "{path}");
        assert_eq!(headers[CACHE_CONTROL], "no-store", "{path}");
    }
    for path in ["/v1/tasks", "/metrics", "/res.php?action=get&id=1"] {
        assert_eq!(says(&fetch(Method::GET, path).await, "access-control-allow-origin"), None, "{path}");
    }
}

/// A service whose token is in a file.
struct Filed {
    server: Server,
    folder: tempfile::TempDir,
}

impl Filed {
    fn start(token: &str) -> Self {
        let folder = tempfile::TempDir::new().unwrap();
        std::fs::write(folder.path().join("token"), token).unwrap();
        let mut command = pingbox(folder.path(), &["serve", "--sandbox"]);
        let server = Server::start(command.env("PINGBOX_API__TOKEN_FILE", folder.path().join("token")));
        Self { server, folder }
    }

    async fn status(&self, token: &str) -> StatusCode {
        let url = format!("{}/v1/tasks", self.server.url("api"));
        http().get(url).bearer_auth(token).send().await.unwrap().status()
    }

    /// Exchanges what is in the file, and tells the server.
    fn exchange(&self, text: &str) {
        std::fs::write(self.folder.path().join("token"), text).unwrap();
        self.server.hang_up();
    }

    async fn until(&self, token: &str, status: StatusCode) {
        let seen = async {
            while self.status(token).await != status {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.expect("it comes to that");
    }
}

#[tokio::test]
async fn sighup_exchanges_the_configured_token() {
    const OTHER: &str = "fedcba9876543210fedcba9876543210";
    let mut filed = Filed::start(ADMIN);
    assert_eq!(filed.status(ADMIN).await, StatusCode::OK);
    filed.exchange(OTHER);
    filed.until(OTHER, StatusCode::OK).await;
    assert_eq!(filed.status(ADMIN).await, StatusCode::UNAUTHORIZED);
    // What is no token changes nothing.
    filed.exchange("too short");
    filed.server.until_logged("api.token stays what it was");
    assert_eq!(filed.status(OTHER).await, StatusCode::OK);
}

#[tokio::test]
async fn tokens_are_made_listed_and_revoked_from_the_command_line() {
    let folder = tempfile::TempDir::new().unwrap();
    let server = Server::start(&mut pingbox(folder.path(), &["serve", "--sandbox"]));
    let run = |token: &str, line: &[&str]| {
        let mut command = pingbox(folder.path(), line);
        let command = command.env("PINGBOX_SERVER", server.url("api"));
        outcome(if token.is_empty() { command } else { command.env("PINGBOX_TOKEN", token) })
    };
    let (code, _, error) = run("", &["token", "create", "--name", "ci"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("must have admin"), "{error}");
    let (code, admin, error) = run("", &["token", "create", "--name", "me", "--scopes", "admin"]);
    assert_eq!((code, admin.len()), (Some(0), 33), "{error}");
    let admin = admin.trim();

    assert_eq!(run("", &["token", "list"]).0, Some(1));
    let (_, ci, _) = run(admin, &["token", "create", "--name", "ci", "--json"]);
    let ci: Value = serde_json::from_str(&ci).unwrap();
    assert_eq!(ci["scopes"], json!(["submit", "read"]));
    let (_, list, _) = run(admin, &["token", "list"]);
    assert_eq!(list.lines().count(), 3, "{list}");
    assert!(!list.contains(admin), "{list}");
    let id = ci["id"].as_str().unwrap();
    assert_eq!(run(admin, &["token", "revoke", id]).1, format!("revoked token {id}\n"));
    assert_eq!(run(admin, &["token", "revoke", id]).0, Some(1));
    assert_eq!(run(ci["token"].as_str().unwrap(), &["balance"]).0, Some(1));
    assert_eq!(run(admin, &["token", "create", "--name", "x", "--scopes", "reed"]).0, Some(2));
}
