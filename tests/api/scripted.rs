//! A provider that says what a test wants, for what the emulation never does; and what is done about it.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::RawQuery;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Frame;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::harness::{PATIENCE, base64, data_file, text_captcha};
use crate::process::{Process, serve, serve_on};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) params: BTreeMap<String, String>,
}

/// What to do with a request.
pub(crate) enum Act {
    Reply(String),
    /// The same, when the test allows it.
    ReplyWhenAllowed(String),
    /// A status and what a web server says by itself.
    Page(StatusCode, &'static str),
    /// The reply breaks off after its head.
    BreakOff,
}

/// The provider.
pub(crate) struct Scripted {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    permits: Arc<Semaphore>,
}

impl Scripted {
    pub(crate) async fn spawn(act: impl Fn(&Seen) -> Act + Send + Sync + 'static) -> Self {
        let (seen, permits) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Semaphore::new(0)));
        let (log, gate, act) = (Arc::clone(&seen), Arc::clone(&permits), Arc::new(act));
        let handle = move |uri: Uri, RawQuery(query): RawQuery, body: Bytes| async move {
            let query = form_urlencoded::parse(query.as_deref().unwrap_or_default().as_bytes());
            let params = query.into_owned().chain(form_urlencoded::parse(&body).into_owned()).collect();
            let request = Seen { path: uri.path().to_owned(), params };
            log.lock().unwrap().push(request.clone());
            match act(&request) {
                Act::Reply(text) => text.into_response(),
                Act::ReplyWhenAllowed(text) => {
                    gate.acquire().await.unwrap().forget();
                    text.into_response()
                }
                Act::Page(status, text) => (status, text).into_response(),
                Act::BreakOff => Response::new(Body::new(Broken)),
            }
        };
        let url = serve(Router::new().fallback(handle)).await;
        Self { url, seen, permits }
    }

    /// Lets one reply go.
    pub(crate) fn allow(&self) {
        self.permits.add_permits(1);
    }

    /// The requests to a script, oldest first.
    pub(crate) fn seen(&self, path: &str) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().filter(|seen| seen.path == path).cloned().collect()
    }

    /// The questions of one action.
    fn asked(&self, action: &str) -> Vec<Seen> {
        let is_asked = |seen: &Seen| seen.params.get("action").is_some_and(|given| given == action);
        self.seen("/res.php").into_iter().filter(is_asked).collect()
    }

    /// Waits until a script was called so often.
    pub(crate) async fn until_seen(&self, path: &str, count: usize) {
        let poll = async {
            while self.seen(path).len() < count {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, poll).await.expect("it is called");
    }
}

/// A body that breaks off.
pub(crate) struct Broken;

impl HttpBody for Broken {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionAborted.into())))
    }
}

/// The registration is refused, so that every answer is asked for; else what `act` says.
async fn polled(act: impl Fn(&Seen) -> Act + Send + Sync + 'static) -> Scripted {
    Scripted::spawn(move |seen| match seen.params.get("action").map(String::as_str) {
        Some("get_pingback") => Act::Reply("OK|".to_owned()),
        Some("add_pingback") => Act::Reply("ERROR_IP_ADDRES".to_owned()),
        _ => act(seen),
    })
    .await
}

/// Takes every captcha; its id says how many there were before.
fn take() -> impl Fn() -> Act + Send + Sync {
    let count = Mutex::new(0);
    move || {
        let mut count = count.lock().unwrap();
        *count += 1;
        Act::Reply(format!("OK|7000000000{count}"))
    }
}

#[tokio::test]
async fn a_batch_whose_count_differs_is_discarded_and_each_is_asked_for_by_itself() {
    let take = take();
    let scripted = polled(move |seen| match seen.params.get("ids") {
        _ if seen.path == "/in.php" => take(),
        // One is missing: nobody knows which.
        Some(ids) => Act::Reply(
            ids.split(',').skip(1).map(|id| format!("answer to {id}")).collect::<Vec<_>>().join("|"),
        ),
        None => Act::Reply(format!("OK|answer to {}|0.001", seen.params["id"])),
    })
    .await;
    let data = TempDir::new().unwrap();
    let process = Process::start(data.path(), &scripted.url, &[]).await;
    let body = base64(&std::fs::read(data_file("captcha-01-x7k2p.png")).unwrap());
    for _ in 0..3 {
        process.submit(&json!({"type": "image", "body": body})).await;
    }
    let tasks = process.get("/v1/tasks?ids=1,2,3&until=all&wait=19").await;
    for task in tasks["tasks"].as_array().unwrap() {
        let expected = format!("answer to {}", task["captcha_id"].as_str().unwrap());
        assert_eq!((&task["answer"]["text"], &task["price"]), (&json!(expected), &json!("0.001")), "{task}");
    }
    assert_eq!((scripted.asked("get").len(), scripted.asked("get2").len()), (1, 3));
}

#[tokio::test]
async fn a_provider_that_does_not_tell_prices_is_asked_without() {
    let take = take();
    let scripted = polled(move |seen| match seen.params.get("action").map(String::as_str) {
        None => take(),
        Some("get2") => Act::Reply("ERROR_BAD_PARAMETERS".to_owned()),
        _ => Act::Reply("OK|a|b|c".to_owned()),
    })
    .await;
    let data = TempDir::new().unwrap();
    let process = Process::start(data.path(), &scripted.url, &[]).await;
    let id = process.submit(&text_captcha()).await;
    let task = process.get(&format!("/v1/tasks/{id}?wait=19")).await;
    assert_eq!(
        (&task["answer"]["text"], &task["price_estimated"]),
        (&json!("a|b|c"), &json!(true)),
        "{task}"
    );
    assert_eq!((scripted.asked("get2").len(), scripted.asked("get").len()), (1, 1));
}

#[tokio::test]
async fn a_forgotten_captcha_id_says_nothing_of_the_task() {
    let take = take();
    let scripted = polled(move |seen| match seen.path.as_str() {
        "/in.php" => take(),
        _ => Act::Reply("ERROR_WRONG_CAPTCHA_ID".to_owned()),
    })
    .await;
    let data = TempDir::new().unwrap();
    let process = Process::start(data.path(), &scripted.url, &[]).await;
    let id = process.submit(&text_captcha()).await;
    // The registration, and two questions.
    scripted.until_seen("/res.php", 4).await;
    let task = process.get(&format!("/v1/tasks/{id}?wait=1")).await;
    assert_eq!((&task["status"], &task["error"]), (&json!("submitted"), &Value::Null));
}

#[tokio::test]
async fn until_the_key_is_proven_one_request_is_under_way_whoever_asks() {
    let scripted = Scripted::spawn(|_| Act::ReplyWhenAllowed("ERROR_KEY_DOES_NOT_EXIST".to_owned())).await;
    let data = TempDir::new().unwrap();
    let process = Process::start(data.path(), &scripted.url, &[]).await;
    let id = process.submit(&text_captcha()).await;
    let calls = || scripted.seen("/res.php").len() + scripted.seen("/in.php").len();
    let (account, urls) = tokio::join!(process.get("/v1/account"), async {
        // The registrar, the account, the list of URLs: all of them want to call.
        tokio::join!(process.get("/v1/pingbacks"), async {
            process.get(&format!("/v1/tasks/{id}?wait=1")).await;
            assert_eq!(calls(), 1);
            scripted.allow();
        })
    });
    assert_eq!((&account["balance"], &urls.0["code"]), (&Value::Null, &json!("provider_unavailable")));
    process.get(&format!("/v1/tasks/{id}?wait=2")).await;
    assert_eq!(calls(), 1);
}

#[tokio::test]
async fn a_proxy_is_sent_as_it_was_given_and_shown_nowhere() {
    let login = "proxyuser:pr0xy-p4ss@123.123.123.123:3128";
    let take = take();
    let scripted = polled(move |seen| match seen.path.as_str() {
        "/in.php" => take(),
        _ => Act::Reply("CAPCHA_NOT_READY".to_owned()),
    })
    .await;
    let data = TempDir::new().unwrap();
    let trace = [("PINGBOX_LOG__FILTER", "pingbox=trace,info")];
    let mut process = Process::start(data.path(), &scripted.url, &trace).await;
    let mut shown = Vec::new();
    for kind in ["recaptcha_v2", "raw"] {
        let mut body = json!({"type": kind, "googlekey": "x", "pageurl": "https://example.com/", "proxy": login, "proxytype": "SOCKS5"});
        if kind == "raw" {
            body["method"] = json!("userrecaptcha");
        }
        let id = process.submit(&body).await;
        shown.push(process.until(&id, |task| task["captcha_id"].is_string()).await.to_string());
    }
    for seen in scripted.seen("/in.php") {
        assert_eq!((&*seen.params["proxy"], &*seen.params["proxytype"]), (login, "SOCKS5"));
    }
    // A proxy that cannot be taken is not repeated in the refusal.
    let bad = json!({"type": "recaptcha_v2", "googlekey": "x", "pageurl": "https://example.com/", "proxy": "proxyuser:pr0xy-p4ss@", "proxytype": "SOCKS5"});
    let refused = process.http.post(format!("{}/v1/tasks", process.api)).json(&bad).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    shown.push(refused.text().await.unwrap());
    for path in ["/v1/tasks", "/v1/account", "/readyz", "/v1/stats"] {
        shown.push(process.get(path).await.to_string());
    }
    shown.push(
        process.http.get(format!("{}/metrics", process.api)).send().await.unwrap().text().await.unwrap(),
    );
    shown.extend_from_slice(process.server.logged());
    for text in shown {
        assert!(!text.contains("pr0xy-p4ss") && !text.contains("proxyuser"), "{text}");
    }
}

#[tokio::test]
async fn a_reply_that_breaks_off_or_never_comes_is_not_sent_again() {
    let scripted = Scripted::spawn(|seen| match seen.path.as_str() {
        "/in.php" => Act::BreakOff,
        _ => Act::Reply("OK|".to_owned()),
    })
    .await;
    let data = TempDir::new().unwrap();
    let process = Process::start(data.path(), &scripted.url, &[]).await;
    let id = process.submit(&text_captcha()).await;
    let task = process.until(&id, |task| task["status"] == "unconfirmed").await;
    assert!(task["reason"].is_string(), "{task}");
    process.get(&format!("/v1/tasks/{id}?wait=2")).await;
    assert_eq!(scripted.seen("/in.php").len(), 1);
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_any_more_is_heeded_all_the_same() {
    let scripted = Scripted::spawn(|_| Act::ReplyWhenAllowed("ERROR_KEY_DOES_NOT_EXIST".to_owned())).await;
    let data = TempDir::new().unwrap();
    let unregistered = [("PINGBOX_PINGBACK__REGISTER", "false")];
    let process = Process::start(data.path(), &scripted.url, &unregistered).await;
    let request = process.http.get(format!("{}/v1/pingbacks", process.api));
    assert!(request.timeout(std::time::Duration::from_millis(500)).send().await.is_err());
    scripted.until_seen("/res.php", 1).await;
    scripted.allow();
    let stopped = async {
        while process.get("/v1/account").await["backoff"]["res_php"]["stopped"] != true {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, stopped).await.expect("it is heeded");
    assert_eq!(scripted.seen("/res.php").len(), 1);
}

#[tokio::test]
async fn a_suspension_is_no_refusal_of_our_url() {
    let take = take();
    let scripted = Scripted::spawn(move |seen| match seen.params.get("action").map(String::as_str) {
        Some("get_pingback") => Act::Reply("OK|".to_owned()),
        Some("add_pingback") => Act::Reply("ERROR: 1003".to_owned()),
        _ => take(),
    })
    .await;
    let data = TempDir::new().unwrap();
    let process = Process::start(data.path(), &scripted.url, &[]).await;
    let suspended = async {
        loop {
            let account = process.get("/v1/account").await;
            if account["backoff"]["res_php"]["code"] == "ERROR: 1003"
                && account["registration"]["state"] != "pending"
            {
                return account;
            }
        }
    };
    let account = timeout(PATIENCE, suspended).await.expect("it is suspended");
    assert_eq!(
        (&account["answers"], &account["registration"]["state"]),
        (&json!("pingback"), &json!("unreachable"))
    );
    assert_eq!(account["backoff"]["in_php"]["code"], "ERROR: 1003");
}

#[tokio::test]
async fn a_web_servers_own_words_are_no_reply() {
    // A balance is a bare text, but not every bare text is one.
    let scripted = polled(|_| Act::Page(StatusCode::BAD_GATEWAY, "error code: 502")).await;
    let data = TempDir::new().unwrap();
    let process = Process::start(data.path(), &scripted.url, &[]).await;
    let account = process.get("/v1/account").await;
    assert_eq!(account["backoff"]["res_php"]["code"], "garbage", "{account}");
    // Only the one script is at fault.
    assert_eq!((&account["backoff"]["in_php"], &account["balance"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn a_connection_that_was_never_made_is_tried_again_at_once() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let data = TempDir::new().unwrap();
    let unregistered = [("PINGBOX_PINGBACK__REGISTER", "false")];
    let process = Process::start(data.path(), &format!("http://{address}"), &unregistered).await;
    let id = process.submit(&text_captcha()).await;
    let task = process.until(&id, |task| task["reason"].is_string()).await;
    assert_eq!(
        (&task["status"], &task["reason"]),
        (&json!("queued"), &json!("the provider cannot be reached"))
    );
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let reply = Router::new().fallback(async || "OK|70000000001");
    serve_on(listener, reply);
    let task = process.until(&id, |task| task["captcha_id"].is_string()).await;
    // What never left does not count as sent.
    assert_eq!(task["attempts"], 1);
}
