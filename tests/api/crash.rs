//! The process is killed: what was acknowledged is there afterwards.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pingbox::sandbox::{Knobs, Share};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::database::{Database, is_on_postgres};
use crate::harness::{PATIENCE, SECRET, never_solved};
use crate::process::{Process, provider, submissions};
use crate::program::http;
use crate::scripted::{Act, Scripted};

const KILLS: u32 = 20;
const POSTERS: usize = 16;
const TASKS: usize = 64;

/// Submits tasks and waits until the provider has taken them; captcha IDs by task id.
async fn submit(process: &Process, http: &reqwest::Client) -> HashMap<String, String> {
    let mut ids = Vec::new();
    for number in 0..TASKS {
        let body = json!({"type": "text", "textcaptcha": format!("{number}?")});
        let task: Value = http
            .post(format!("{}/v1/tasks", process.api))
            .json(&body)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        ids.push(task["id"].as_str().unwrap().to_owned());
    }
    let path = format!("{}/v1/tasks?ids={}", process.api, ids.join(","));
    let taken = async {
        loop {
            let list: Value = http.get(&path).send().await.unwrap().json().await.unwrap();
            let pairs = list["tasks"].as_array().unwrap().iter().filter_map(|task| {
                Some((task["id"].as_str()?.to_owned(), task["captcha_id"].as_str()?.to_owned()))
            });
            let taken: HashMap<_, _> = pairs.collect();
            if taken.len() == TASKS {
                return taken;
            }
        }
    };
    timeout(PATIENCE, taken).await.expect("all are taken")
}

/// What was acknowledged: codes by captcha ID.
type Ledger = Arc<Mutex<HashMap<String, String>>>;

/// Posts pingbacks until the process is gone: first those of the tasks, then unknown ones.
async fn post(http: reqwest::Client, url: String, ledger: Ledger, mut captcha_ids: Vec<String>, poster: u64) {
    for number in 0_u64.. {
        let captcha_id = captcha_ids.pop().unwrap_or_else(|| format!("9{poster:03}{number:09}"));
        let code = format!("answer to {captcha_id}");
        let form = [("id", &captcha_id), ("code", &code)];
        match http.post(&url).form(&form).send().await {
            Ok(reply) if reply.status().is_success() => {
                ledger.lock().unwrap().insert(captcha_id, code);
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_pingback_survives_twenty_kills() {
    let data = TempDir::new().unwrap();
    let (_, provider) = provider(never_solved()).await;
    let http = http();
    let ledger = Ledger::default();
    let mut task_of = HashMap::new();
    for kill in 0..KILLS {
        let mut process = Process::start(data.path(), &provider, &[]).await;
        let submitted = submit(&process, &http).await;
        let captcha_ids: Vec<String> = submitted.values().cloned().collect();
        task_of.extend(submitted.into_iter().map(|(id, captcha_id)| (captcha_id, id)));
        let url = format!("{}/pingback/{SECRET}", process.public);
        let mut posters = JoinSet::new();
        for (poster, own) in (0..).zip(captcha_ids.chunks(TASKS / POSTERS)) {
            let own_number = u64::from(kill) * 100 + poster;
            posters.spawn(post(
                http.clone(),
                url.clone(),
                Arc::clone(&ledger),
                own.to_vec(),
                own_number % 1000,
            ));
        }
        // The moment of the kill differs from round to round.
        tokio::time::sleep(Duration::from_millis(5 + u64::from(kill * kill * 37 % 200))).await;
        process.server.kill();
        timeout(PATIENCE, posters.join_all()).await.expect("the posters see the end");
    }
    let acknowledged = ledger.lock().unwrap().clone();
    assert!(acknowledged.len() > TASKS, "only {} acknowledged", acknowledged.len());
    let process = Process::start(data.path(), &provider, &[]).await;
    check_tasks(&process, &http, &acknowledged, &task_of).await;
    drop(process);
    check_parked(data.path(), &acknowledged, &task_of).await;
}

/// Every acknowledged answer to a task is read back over the API.
async fn check_tasks(
    process: &Process,
    http: &reqwest::Client,
    acknowledged: &HashMap<String, String>,
    task_of: &HashMap<String, String>,
) {
    for (captcha_id, code) in acknowledged {
        let Some(id) = task_of.get(captcha_id) else { continue };
        let task: Value =
            http.get(format!("{}/v1/tasks/{id}", process.api)).send().await.unwrap().json().await.unwrap();
        assert_eq!((&task["status"], &task["answer"]["text"]), (&json!("solved"), &json!(code)), "{task}");
    }
}

/// Every other acknowledged pingback is in the database, once, and the database is whole.
async fn check_parked(
    data: &Path,
    acknowledged: &HashMap<String, String>,
    task_of: &HashMap<String, String>,
) {
    let mut database = Database::of(data).await;
    let rows: Vec<(String, String)> = database.rows("SELECT captcha_id, code FROM pingback").await;
    let parked: HashMap<_, _> = rows.iter().cloned().collect();
    assert_eq!(parked.len(), rows.len(), "no captcha ID is parked twice");
    for (captcha_id, code) in acknowledged.iter().filter(|(captcha_id, _)| !task_of.contains_key(*captcha_id))
    {
        assert_eq!(parked.get(captcha_id), Some(code), "{captcha_id}");
    }
    assert!(database.is_whole().await);
}

/// No URL is registered, so that `in.php` is the first that is called.
const UNREGISTERED: (&str, &str) = ("PINGBOX_PINGBACK__REGISTER", "false");

/// One that the provider works on for 300 s before it gives up.
fn slow_captcha() -> Value {
    json!({"type": "recaptcha_v2", "googlekey": "x", "pageurl": "https://example.com/"})
}

/// The give-up time of every unconfirmed task is over.
async fn let_time_pass(data: &Path) {
    Database::of(data).await.execute("UPDATE task SET due_at = 0 WHERE status = 'unconfirmed'").await;
}

/// Where others may be sending it, its sender counts as gone only when no request can take that long any more.
async fn let_its_sender_be_missed(data: &Path) {
    if is_on_postgres(data) {
        let sql = "UPDATE task SET sent_at = sent_at - 120000000 WHERE status = 'submitting'";
        Database::of(data).await.execute(sql).await;
    }
}

/// What was killed in the middle of sending a task starts again: nobody knows whether it arrived, so it is
/// sent again only after its give-up time, and once.
async fn is_unconfirmed_then_sent_once(data: &Path) {
    let (sandbox, provider) = provider(never_solved()).await;
    let_its_sender_be_missed(data).await;
    let mut process = Process::start(data, &provider, &[UNREGISTERED]).await;
    process.until("1", |task| task["status"] != "submitting").await;
    let task = process.get("/v1/tasks/1?wait=2").await;
    assert_eq!((&task["status"], &task["attempts"]), (&json!("unconfirmed"), &json!(1)), "{task}");
    assert_eq!(submissions(&sandbox).len(), 0);
    process.server.kill();
    let_time_pass(data).await;
    let process = Process::start(data, &provider, &[UNREGISTERED]).await;
    let task = process.until("1", |task| task["captcha_id"].is_string()).await;
    assert_eq!((&task["status"], &task["attempts"]), (&json!("submitted"), &json!(2)), "{task}");
    assert_eq!((submissions(&sandbox).len(), sandbox.counters().submitted), (1, 1));
}

#[tokio::test]
async fn a_kill_before_the_request_went_out_loses_no_task() {
    // Its queue of connections is full: the kernel lets no further one through.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(connection) = timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        queue.push(connection.unwrap());
    }
    let data = TempDir::new().unwrap();
    let mut process = Process::start(data.path(), &format!("http://{address}"), &[UNREGISTERED]).await;
    let id = process.submit(&slow_captcha()).await;
    process.until(&id, |task| task["status"] == "submitting").await;
    process.server.kill();
    is_unconfirmed_then_sent_once(data.path()).await;
}

#[tokio::test]
async fn a_kill_after_the_request_went_out_neither_loses_nor_repeats_it() {
    let data = TempDir::new().unwrap();
    let (sandbox, provider) = provider(Knobs { hang: Share::ALWAYS, ..never_solved() }).await;
    let mut process = Process::start(data.path(), &provider, &[UNREGISTERED]).await;
    process.submit(&slow_captcha()).await;
    let arrived = async {
        while submissions(&sandbox).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, arrived).await.expect("it is sent");
    process.server.kill();
    is_unconfirmed_then_sent_once(data.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_between_the_reply_and_its_commit_is_healed_by_the_pingback() {
    let data = TempDir::new().unwrap();
    let scripted = Scripted::spawn(|seen| match seen.path.as_str() {
        "/in.php" => Act::ReplyWhenAllowed("OK|70000000001".to_owned()),
        _ => Act::Reply("OK".to_owned()),
    })
    .await;
    let per_task = [
        UNREGISTERED,
        ("PINGBOX_PINGBACK__URL_MODE", "per_task"),
        ("PINGBOX_LOG__FILTER", "info,pingbox::dispatcher=debug"),
    ];
    let mut process = Process::start(data.path(), &scripted.url, &per_task).await;
    process.submit(&slow_captcha()).await;
    scripted.until_seen("/in.php", 1).await;
    // The reply comes while nobody can write.
    let mut other = Database::of(data.path()).await;
    other.lock().await;
    scripted.allow();
    process.server.until_logged("The provider took a task");
    process.server.kill();
    other.unlock().await;

    let_its_sender_be_missed(data.path()).await;
    let process = Process::start(data.path(), &scripted.url, &per_task).await;
    process.until("1", |task| task["status"] != "submitting").await;
    let task = process.get("/v1/tasks/1?wait=2").await;
    assert_eq!((&task["status"], &task["captcha_id"]), (&json!("unconfirmed"), &Value::Null), "{task}");
    let url = scripted.seen("/in.php")[0].params["pingback"].clone();
    assert_eq!(process.pingback(&url, "70000000001", "Friday").await, StatusCode::OK);
    let task = process.get("/v1/tasks/1").await;
    assert_eq!((&task["status"], &task["captcha_id"]), (&json!("solved"), &json!("70000000001")), "{task}");
    assert_eq!(scripted.seen("/in.php").len(), 1);
}

#[tokio::test]
async fn a_kill_after_the_commit_forgets_no_captcha_id() {
    let data = TempDir::new().unwrap();
    let (sandbox, provider) = provider(never_solved()).await;
    let mut process = Process::start(data.path(), &provider, &[UNREGISTERED]).await;
    let id = process.submit(&slow_captcha()).await;
    let before = process.until(&id, |task| task["captcha_id"].is_string()).await;
    process.server.kill();
    let process = Process::start(data.path(), &provider, &[UNREGISTERED]).await;
    let task = process.get(&format!("/v1/tasks/{id}?wait=2")).await;
    assert_eq!((&task["status"], &task["captcha_id"]), (&json!("submitted"), &before["captcha_id"]));
    assert_eq!(submissions(&sandbox).len(), 1);
}
