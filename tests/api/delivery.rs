//! Webhooks, end to end: from a solved captcha to the receiver of its caller.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pingbox::model::EventKind;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::database::{Database, is_on_postgres};
use crate::harness::{PATIENCE, SECRET, TestApp, never_solved, solved_at_once, text_captcha};
use crate::process::{Process, provider, serve_on};
use crate::program::free_address;

const LOOPBACK: (&str, &str) = ("PINGBOX_WEBHOOKS__ALLOW_PRIVATE", "127.0.0.1/32");

/// Answers 200 to everything; what it heard.
fn receiver(listener: TcpListener) -> mpsc::Receiver<(HeaderMap, String)> {
    let (sender, heard) = mpsc::channel(100);
    let handle = move |headers: HeaderMap, body: String| async move {
        sender.send((headers, body)).await.unwrap();
    };
    serve_on(listener, axum::Router::new().fallback(handle));
    heard
}

async fn next(heard: &mut mpsc::Receiver<(HeaderMap, String)>) -> (HeaderMap, String) {
    timeout(PATIENCE, heard.recv()).await.expect("it is called").unwrap()
}

/// The message, if it is signed with the secret of the token that the tests use.
async fn verified(data: &Path, headers: &HeaderMap, body: &str) -> Value {
    let secret = Database::of(data).await.text("SELECT secret FROM signing_secret").await;
    Webhook::new(&secret).unwrap().verify(body.as_bytes(), headers).unwrap();
    body.parse().unwrap()
}

fn captcha_with(webhook_url: &str) -> Value {
    let mut captcha = text_captcha();
    captcha["webhook_url"] = json!(webhook_url);
    captcha
}

#[tokio::test]
async fn the_url_of_a_task_is_told_its_answer_signed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook?a=b", listener.local_addr().unwrap());
    let mut heard = receiver(listener);
    let app = TestApp::with(solved_at_once(), &[LOOPBACK]).await;
    let (status, task) = app.post(&captcha_with(&url)).await;
    assert_eq!(status, StatusCode::CREATED, "{task}");
    let (headers, body) = next(&mut heard).await;
    let body = verified(app.data(), &headers, &body).await;
    let task = app.task(task["id"].as_str().unwrap()).await;
    assert_eq!((&body["type"], &body["data"]), (&json!(EventKind::Solved), &task));
    // The provider is told nothing of it.
    assert!(!serde_json::to_string(&app.sandbox.requests()).unwrap().contains("/hook"));
}

#[tokio::test]
async fn a_webhook_does_not_reach_pingbox_itself() {
    let app = TestApp::with(never_solved(), &[LOOPBACK]).await;
    for listener in [&app.api, &app.public] {
        let (status, task) = app.post(&captcha_with(listener)).await;
        assert_eq!(status, StatusCode::CREATED, "{task}");
        let id = task["id"].as_str().unwrap();
        let task = app.until(id, |task| task["captcha_id"].is_string()).await;
        app.pingback(task["captcha_id"].as_str().unwrap(), "Friday").await;
    }
    let refused = "SELECT COUNT(*) FROM delivery WHERE last_error = 'the receiver is pingbox itself'";
    let all = async {
        while app.number(refused).await < 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, all).await.expect("both are refused");
}

/// The header of a request whose reply never comes.
async fn webhook_id(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    let whole = async {
        loop {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
            let text = String::from_utf8_lossy(&request).into_owned();
            if let Some((head, _)) = text.split_once("\r\n\r\n") {
                let headers: HashMap<_, _> = head.lines().filter_map(|line| line.split_once(": ")).collect();
                return headers["webhook-id"].to_owned();
            }
        }
    };
    timeout(PATIENCE, whole).await.expect("it is called")
}

#[tokio::test]
async fn a_kill_between_the_commit_of_an_answer_and_its_delivery_loses_no_message() {
    let data = TempDir::new().unwrap();
    let (_, provider) = provider(never_solved()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut process = Process::start(data.path(), &provider, &[LOOPBACK]).await;
    let id = process.submit(&captcha_with(&format!("http://{address}/"))).await;
    let task = process.until(&id, |task| task["captcha_id"].is_string()).await;
    let url = format!("/pingback/{SECRET}");
    let captcha_id = task["captcha_id"].as_str().unwrap();
    assert_eq!(process.pingback(&url, captcha_id, "Friday").await, StatusCode::OK);
    let (mut stuck, _) = timeout(PATIENCE, listener.accept()).await.expect("it is called").unwrap();
    let first = webhook_id(&mut stuck).await;
    process.server.kill();
    drop((stuck, listener));
    if is_on_postgres(data.path()) {
        // The claim of who was killed is over.
        Database::of(data.path()).await.execute("UPDATE delivery SET claimed_until = 0").await;
    }

    let mut heard = receiver(TcpListener::bind(address).await.unwrap());
    let _process = Process::start(data.path(), &provider, &[LOOPBACK]).await;
    let (headers, body) = next(&mut heard).await;
    assert_eq!(headers["webhook-id"], first);
    let body = verified(data.path(), &headers, &body).await;
    assert_eq!((&body["data"]["id"], &body["data"]["answer"]["text"]), (&json!(id), &json!("Friday")));
}

#[tokio::test]
async fn a_kill_while_nobody_listens_yet_loses_no_message() {
    let data = TempDir::new().unwrap();
    let (_, provider) = provider(never_solved()).await;
    let address = free_address().await;
    let mut process = Process::start(data.path(), &provider, &[LOOPBACK]).await;
    let id = process.submit(&captcha_with(&format!("http://{address}/"))).await;
    let task = process.until(&id, |task| task["captcha_id"].is_string()).await;
    let url = format!("/pingback/{SECRET}");
    assert_eq!(process.pingback(&url, task["captcha_id"].as_str().unwrap(), "Friday").await, StatusCode::OK);
    process.server.kill();

    let mut heard = receiver(TcpListener::bind(&address).await.unwrap());
    let _process = Process::start(data.path(), &provider, &[LOOPBACK]).await;
    let (_, body) = next(&mut heard).await;
    assert_eq!(body.parse::<Value>().unwrap()["data"]["id"], json!(id));
}

/// Has so many tasks solved whose URL this is, and waits until all of it is told.
async fn tell(process: &Process, data: &Path, tasks: usize, webhook_url: &str) {
    for _ in 0..tasks {
        let id = process.submit(&captcha_with(webhook_url)).await;
        let task = process.until(&id, |task| task["captcha_id"].is_string()).await;
        let url = format!("/pingback/{SECRET}");
        process.pingback(&url, task["captcha_id"].as_str().unwrap(), "Friday").await;
    }
    let mut database = Database::of(data).await;
    let waiting = "SELECT COUNT(*) FROM delivery WHERE status = 'waiting'";
    let all = async { while database.number(waiting).await > 0 {} };
    timeout(PATIENCE, all).await.expect("all of it is told");
}

/// Answers 200 and a body of 1 GiB, for as long as that is read; how much of all of them was sent.
fn flood(listener: TcpListener) -> Arc<AtomicU64> {
    let sent = Arc::<AtomicU64>::default();
    let total = Arc::clone(&sent);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let total = Arc::clone(&total);
            tokio::spawn(async move {
                webhook_id(&mut stream).await;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1_u64 << 30);
                stream.write_all(head.as_bytes()).await.unwrap();
                let part = [b'x'; 16 * 1024];
                for _ in 0..(1 << 30) / part.len() {
                    if stream.write_all(&part).await.is_err() {
                        return;
                    }
                    total.fetch_add(part.len() as u64, Ordering::Relaxed);
                }
            });
        }
    });
    sent
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_of_a_gibibyte_take_up_no_memory() {
    const TASKS: usize = 64;
    let data = TempDir::new().unwrap();
    let (_, provider) = provider(never_solved()).await;
    let process = Process::start(data.path(), &provider, &[LOOPBACK]).await;
    let (brisk, flooding) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let url = |listener: &TcpListener| format!("http://{}/", listener.local_addr().unwrap());
    let (brisk_url, flooding_url) = (url(&brisk), url(&flooding));
    let _heard = receiver(brisk);
    tell(&process, data.path(), TASKS, &brisk_url).await;
    let before = process.server.most_memory();
    let sent = flood(flooding);
    tell(&process, data.path(), TASKS, &flooding_url).await;
    let after = process.server.most_memory();
    let sent = sent.load(Ordering::Relaxed);
    println!(
        "{TASKS} replies of 1 GiB: {sent} bytes sent, at most {before} bytes of memory before, {after} after"
    );
    assert!(after - before < 16 << 20, "{before} bytes before, {after} after");
    assert!(sent < (TASKS as u64) << 24, "{sent}");
}
