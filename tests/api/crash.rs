//! The process is killed: what was acknowledged is there afterwards.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pingbox::sandbox::{Knobs, Sandbox, Settings, Share};
use serde_json::{Value, json};
use sqlx::{Connection as _, Row as _};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::harness::{PATIENCE, SECRET, never_solved};

const KILLS: u32 = 20;
const POSTERS: usize = 16;
const TASKS: usize = 64;

/// The real program, killed when dropped.
struct Process {
    child: Child,
    public: String,
    api: String,
}

impl Process {
    async fn start(data: &Path, provider: &str, http: &reqwest::Client) -> Self {
        let (public, api) = (free_port().await, free_port().await);
        let child = Command::new(env!("CARGO_BIN_EXE_pingbox"))
            .arg("serve")
            .env_clear()
            .env("PINGBOX_PUBLIC__LISTEN", &public)
            .env("PINGBOX_PUBLIC__URL", format!("http://{public}"))
            .env("PINGBOX_API__LISTEN", &api)
            .env("PINGBOX_PINGBACK__SECRET", SECRET)
            .env("PINGBOX_PROVIDER__BASE_URL", provider)
            .env("PINGBOX_PROVIDER__API_KEY", pingbox::sandbox::DEFAULT_KEY)
            .env("PINGBOX_PROVIDER__SUBMIT_INTERVAL", "0ms")
            .env("PINGBOX_DATA__DIR", data)
            .env("PINGBOX_LOG__FILTER", "error")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let process = Self { child, public: format!("http://{public}"), api: format!("http://{api}") };
        let ready = async {
            while !http
                .get(format!("{}/readyz", process.api))
                .send()
                .await
                .is_ok_and(|reply| reply.status().is_success())
            {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, ready).await.expect("it starts");
        process
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have been killed before.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

async fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

/// A provider in this process: it outlives the kills. Nobody runs its deliveries.
async fn provider(knobs: Knobs) -> (Sandbox, String) {
    let sandbox = Sandbox::new(Settings { knobs, ..Settings::default() }).unwrap();
    let served = sandbox.clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper_util::service::TowerToHyperService::new(served.router());
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service);
            tokio::spawn(async move { connection.await.is_ok() });
        }
    });
    (sandbox, format!("http://{address}"))
}

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
    let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
    let ledger = Ledger::default();
    let mut task_of = HashMap::new();
    for kill in 0..KILLS {
        let mut process = Process::start(data.path(), &provider, &http).await;
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
        process.kill();
        timeout(PATIENCE, posters.join_all()).await.expect("the posters see the end");
    }
    let acknowledged = ledger.lock().unwrap().clone();
    assert!(acknowledged.len() > TASKS, "only {} acknowledged", acknowledged.len());
    let process = Process::start(data.path(), &provider, &http).await;
    check_tasks(&process, &http, &acknowledged, &task_of).await;
    drop(process);
    check_parked(&data.path().join("pingbox.db"), &acknowledged, &task_of).await;
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
    path: &Path,
    acknowledged: &HashMap<String, String>,
    task_of: &HashMap<String, String>,
) {
    let mut database =
        sqlx::SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    let rows = sqlx::query("SELECT captcha_id, code FROM pingback").fetch_all(&mut database).await.unwrap();
    let parked: HashMap<String, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(parked.len(), rows.len(), "no captcha ID is parked twice");
    for (captcha_id, code) in acknowledged.iter().filter(|(captcha_id, _)| !task_of.contains_key(*captcha_id))
    {
        assert_eq!(parked.get(captcha_id), Some(code), "{captcha_id}");
    }
    let check = sqlx::query("PRAGMA integrity_check").fetch_one(&mut database).await.unwrap();
    assert_eq!(check.get::<String, _>(0), "ok");
}

#[tokio::test]
async fn a_task_that_was_being_sent_at_a_kill_is_unconfirmed_and_not_sent_again() {
    let data = TempDir::new().unwrap();
    let (sandbox, provider) = provider(never_solved()).await;
    let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
    let mut process = Process::start(data.path(), &provider, &http).await;
    // Registered by now, or soon: only what is submitted is to hang.
    let registered = async {
        while !sandbox.requests().iter().any(|request| format!("{request:?}").contains("add_pingback")) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, registered).await.expect("it registers");
    sandbox.set_knobs(Knobs { hang: Share::ALWAYS, ..never_solved() });
    let body = json!({"type": "text", "textcaptcha": "?"});
    let submitted = http.post(format!("{}/v1/tasks", process.api)).json(&body).send().await.unwrap();
    assert_eq!(submitted.status(), reqwest::StatusCode::CREATED);
    let sent =
        || sandbox.requests().iter().filter(|request| format!("{request:?}").contains("in.php")).count();
    let arrived = async {
        while sent() == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, arrived).await.expect("it is sent");
    process.kill();
    sandbox.set_knobs(never_solved());

    let process = Process::start(data.path(), &provider, &http).await;
    let path = format!("{}/v1/tasks/1?wait=2", process.api);
    let task: Value = http.get(path).send().await.unwrap().json().await.unwrap();
    assert_eq!((&task["status"], &task["attempts"]), (&json!("unconfirmed"), &json!(1)), "{task}");
    assert_eq!(sent(), 1);
}
