//! The provider's name leads to a fixed address, or back to pingbox.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse as _;
use pingbox::sandbox::DEFAULT_KEY;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::harness::{PATIENCE, base64, data_file, solved_at_once, text_captcha};
use crate::process::{Process, provider, serve, submissions};
use crate::program::{Server, free_address, http, outcome, pingbox};

/// Nothing else calls the provider then.
const UNREGISTERED: (&str, &str) = ("PINGBOX_PINGBACK__REGISTER", "false");

/// The largest body of a task.
const LARGEST: usize = 4 * 1024 * 1024;

/// What a task waits for when its request has come back.
const CAME_BACK: &str = "a request to the provider came back to pingbox itself: ";

/// Passes connections on, as a reverse proxy or a redirected port does; its port.
async fn forwarder(to: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let to = to.clone();
            tokio::spawn(async move {
                let Ok(mut to) = TcpStream::connect(to).await else { return };
                // Either side may close first.
                drop(tokio::io::copy_bidirectional(&mut from, &mut to).await);
            });
        }
    });
    port
}

fn port(url: &str) -> &str {
    url.rsplit(':').next().unwrap()
}

/// `/v1/account`, once both scripts are left alone for this.
async fn until_held(process: &Process, code: &str) -> Value {
    let poll = async {
        loop {
            let account = process.get("/v1/account").await;
            let is_held = |script: &str| account["backoff"][script]["code"] == code;
            if is_held("in_php") && is_held("res_php") {
                return account;
            }
        }
    };
    timeout(PATIENCE, poll).await.expect("it is held back")
}

#[tokio::test]
async fn a_fixed_address_is_called_by_the_name_of_the_host() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let handle = async move |headers: HeaderMap| {
        log.lock().unwrap().push(headers.clone());
        // A provider that sends the mark back is a provider all the same.
        ([("cdn-loop", headers["cdn-loop"].clone())], "OK|70000000001")
    };
    let url = serve(Router::new().fallback(handle)).await;
    let data = TempDir::new().unwrap();
    let host = format!("somehost.test:{}", port(&url));
    let resolve = ("PINGBOX_PROVIDER__RESOLVE", "somehost.test=127.0.0.1");
    let mut marks = Vec::new();
    for _ in 0..2 {
        let process = Process::start(data.path(), &format!("http://{host}"), &[resolve, UNREGISTERED]).await;
        let id = process.submit(&text_captcha()).await;
        process.until(&id, |task| task["captcha_id"].is_string()).await;
        let headers = seen.lock().unwrap().pop().unwrap();
        assert_eq!(headers["host"], host);
        marks.push(headers["cdn-loop"].to_str().unwrap().to_owned());
    }
    // The mark belongs to the data, not to the process.
    assert_eq!(marks[0], marks[1]);
    let id = marks[0].strip_prefix("pingbox-").expect("a name of ours");
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    assert_ne!(marks[0], mark_of(&TempDir::new().unwrap()).await);
}

/// What requests of a service with this data carry.
async fn mark_of(data: &TempDir) -> String {
    let seen = Arc::new(Mutex::new(String::new()));
    let log = Arc::clone(&seen);
    let url = serve(Router::new().fallback(async move |headers: HeaderMap| {
        headers["cdn-loop"].to_str().unwrap().clone_into(&mut log.lock().unwrap());
        "OK|1"
    }))
    .await;
    let process = Process::start(data.path(), &url, &[UNREGISTERED]).await;
    // It asks for the balance.
    process.get("/v1/account").await;
    seen.lock().unwrap().clone()
}

#[tokio::test]
async fn a_provider_that_is_pingbox_itself_is_refused_at_the_start() {
    for (base_url, resolve, remedy) in [
        ("http://127.0.0.1:PORT", "", "set provider.base_url to the provider's own address"),
        ("http://0.0.0.0:PORT", "", "set provider.base_url to the provider's own address"),
        ("http://localhost:PORT", "", "set provider.base_url to the provider's own address"),
        (
            "http://api.solvecaptcha.com:PORT",
            "api.solvecaptcha.com=127.0.0.1",
            "provider.resolve says that api.solvecaptcha.com is 127.0.0.1: set it to the provider's own IP",
        ),
    ] {
        for own in ["PINGBOX_API__LISTEN", "PINGBOX_PUBLIC__LISTEN"] {
            let listen = free_address().await;
            let base_url = base_url.replace("PORT", port(&listen));
            let data = TempDir::new().unwrap();
            let mut command = pingbox(data.path(), &["serve"]);
            command
                .env(own, &listen)
                .env("PINGBOX_PROVIDER__BASE_URL", &base_url)
                .env("PINGBOX_PROVIDER__RESOLVE", resolve)
                .env("PINGBOX_PROVIDER__API_KEY", DEFAULT_KEY);
            let (code, _, said) = outcome(&mut command);
            assert_eq!(code, Some(1), "{base_url}: {said}");
            assert!(said.contains(&base_url) && said.contains("submitted to itself"), "{said}");
            assert!(said.contains(remedy), "{said}");
        }
    }
}

#[tokio::test]
async fn a_provider_that_cannot_be_found_is_no_reason_not_to_start() {
    let data = TempDir::new().unwrap();
    let mut process = Process::start(data.path(), "http://nowhere.invalid", &[UNREGISTERED]).await;
    assert!(process.server.logged().iter().any(|line| line.contains("cannot be found at the moment")));
    let id = process.submit(&text_captcha()).await;
    let task = process.until(&id, |task| task["reason"].is_string()).await;
    assert_eq!(
        (&task["status"], &task["reason"]),
        (&"queued".into(), &"the provider cannot be reached".into())
    );
}

#[tokio::test]
async fn a_request_that_comes_back_stops_sending_and_loses_no_task() {
    let image = base64(&std::fs::read(data_file("big-captcha-harbour7.png")).unwrap());
    let image = serde_json::json!({"type": "image", "body": image});
    for listener in ["PINGBOX_API__LISTEN", "PINGBOX_PUBLIC__LISTEN"] {
        let own = free_address().await;
        let base_url = format!("http://somehost.test:{}", forwarder(own.clone()).await);
        let data = TempDir::new().unwrap();
        let resolve = ("PINGBOX_PROVIDER__RESOLVE", "somehost.test=127.0.0.1");
        let token = ("PINGBOX_API__TOKEN", crate::program::TOKEN);
        let environment = [(listener, own.as_str()), resolve, token, UNREGISTERED];
        let mut process = Process::start(data.path(), &base_url, &environment).await;
        process.http = with_token();

        // Nobody asks for the balance before them.
        let ids = [process.submit(&image).await, process.submit(&text_captcha()).await];
        for id in &ids {
            let waits = |task: &Value| {
                task["status"] == "queued"
                    && task["reason"].as_str().is_some_and(|why| why.starts_with(CAME_BACK))
            };
            let task = process.until(id, waits).await;
            assert_eq!((&task["attempts"], &task["error"]), (&0.into(), &Value::Null), "{task}");
        }
        let account = until_held(&process, "loop").await;
        assert_eq!(account["backoff"]["in_php"]["stopped"], true, "{account}");
        let ready = process.get("/readyz").await;
        for said in [&account["reason"], &ready["sending"]] {
            let said = said.as_str().unwrap();
            assert!(said.starts_with(CAME_BACK) && said.contains("provider.resolve says that"), "{said}");
            assert!(said.contains("`pingbox doctor --resume`"), "{said}");
        }
        let errors = errors_in(process.server.logged());
        assert_eq!(errors.len(), 1, "{errors:?}");
        let marks = process.server.logged().iter().filter(|line| line.contains("pingbox-"));
        assert_eq!(marks.count(), 0);
        process.server.kill();

        // A start tries again; the name leads to the provider.
        let (sandbox, url) = provider(solved_at_once()).await;
        let mut process = Process::start(data.path(), &url, &[token]).await;
        process.http = with_token();
        for id in &ids {
            let task = process.until(id, |task| task["captcha_id"].is_string()).await;
            assert_eq!(task["attempts"], 1, "{task}");
        }
        assert_eq!(submissions(&sandbox).len(), 2);
    }
}

/// The errors of the log.
fn errors_in(log: &[String]) -> Vec<&String> {
    log.iter().filter(|line| line.contains("\"ERROR\"")).collect()
}

fn with_token() -> reqwest::Client {
    let bearer = format!("Bearer {}", crate::program::TOKEN);
    let headers = HeaderMap::from_iter([(axum::http::header::AUTHORIZATION, bearer.parse().unwrap())]);
    http();
    reqwest::Client::builder().no_proxy().timeout(PATIENCE).default_headers(headers).build().unwrap()
}

#[tokio::test]
async fn whoever_brings_a_request_of_ours_back_hears_so_once_all_of_it_is_read() {
    let data = TempDir::new().unwrap();
    let mark = mark_of(&data).await;
    let (sandbox, url) = provider(solved_at_once()).await;
    for listener in ["api", "public"] {
        let process = Process::start(data.path(), &url, &[UNREGISTERED]).await;
        let to = if listener == "api" { &process.api } else { &process.public };
        // As large as the largest task, and from a sender that reads nothing before it has sent all.
        let mut stream = TcpStream::connect(to.trim_start_matches("http://")).await.unwrap();
        let head = format!(
            "POST /in.php HTTP/1.1\r\nhost: a.example\r\ncdn-loop: edge.example, {mark}; v=1\r\n\
             connection: close\r\ncontent-length: {LARGEST}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b'a'; LARGEST]).await.expect("all of it is taken");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        assert!(reply.starts_with("HTTP/1.1 508 "), "{listener}: {reply}");
        assert!(reply.contains(&format!("\r\ncdn-loop: {mark}\r\n")), "{listener}: {reply}");
        assert!(reply.contains("\"loop_detected\""), "{listener}: {reply}");
        let account = process.get("/v1/account").await;
        assert_eq!(account["backoff"]["in_php"]["code"], "loop", "{account}");
    }
    assert_eq!(sandbox.requests().len(), 0);
}

#[tokio::test]
async fn the_mark_of_another_deployment_is_no_loop() {
    let data = TempDir::new().unwrap();
    let other = mark_of(&data).await;
    let (_, url) = provider(solved_at_once()).await;
    let another = TempDir::new().unwrap();
    let process = Process::start(another.path(), &url, &[]).await;
    for listener in [&process.api, &process.public] {
        let request = process.http.post(format!("{listener}/in.php")).header("CDN-Loop", &other);
        assert_ne!(request.send().await.unwrap().status(), StatusCode::LOOP_DETECTED);
    }
    assert_eq!(process.get("/readyz").await["sending"], "ok");
}

#[tokio::test]
async fn an_emulation_beside_pingbox_is_no_loop() {
    let (sandbox, url) = provider(solved_at_once()).await;
    let data = TempDir::new().unwrap();
    // Listening everywhere, on this machine as well.
    let address = free_address().await.replace("127.0.0.1", "0.0.0.0");
    let everywhere = ("PINGBOX_API__LISTEN", address.as_str());
    let token = ("PINGBOX_API__TOKEN", crate::program::TOKEN);
    let mut process = Process::start(data.path(), &url, &[everywhere, token]).await;
    process.http = with_token();
    process.api = process.api.replace("0.0.0.0", "127.0.0.1");
    let id = process.submit(&text_captcha()).await;
    process.until(&id, |task| task["captcha_id"].is_string()).await;
    assert_eq!(submissions(&sandbox).len(), 1);

    let built_in = Server::start(&mut pingbox(TempDir::new().unwrap().path(), &["serve", "--sandbox"]));
    let ready = http().get(format!("{}/readyz", built_in.url("api"))).send().await.unwrap();
    assert_eq!(ready.json::<Value>().await.unwrap()["sending"], "ok");
}

#[tokio::test]
async fn no_redirect_of_the_provider_is_followed() {
    let seen = Arc::new(Mutex::new(BTreeMap::<String, u32>::new()));
    let log = Arc::clone(&seen);
    let handle = async move |uri: Uri| {
        *log.lock().unwrap().entry(uri.path().to_owned()).or_default() += 1;
        (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, "/elsewhere")], "moved\n").into_response()
    };
    let url = serve(Router::new().fallback(handle)).await;
    let data = TempDir::new().unwrap();
    let process = Process::start(data.path(), &url, &[UNREGISTERED]).await;
    let id = process.submit(&text_captcha()).await;
    process.until(&id, |task| task["reason"].is_string()).await;
    let seen = seen.lock().unwrap().clone();
    assert!(seen.contains_key("/in.php") && !seen.contains_key("/elsewhere"), "{seen:?}");
}
