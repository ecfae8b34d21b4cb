//! Tasks that wait for an answer, made through the API as callers make them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::client::{self, Connection};

/// A submission as SDKs send them most. Its answer is overdue, and asked for, half a minute after it was sent.
pub(crate) const RECAPTCHA: &str = r#"{"type":"recaptcha_v2","googlekey":"6Le-wvkSAAAAAPBMRTvw0Q4Muexq9bi0DJwx_mJ-","pageurl":"https://shop.example/account/login?next=%2Forders"}"#;
/// Tasks that are submitted at a time.
const SUBMITTERS: usize = 64;
/// Tasks that one request reads.
const PAGE: usize = 500;
/// How long the provider's IDs may take to be known.
const SENT_DEADLINE: Duration = Duration::from_secs(120);

/// A task that the provider has taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) task: u64,
    pub(crate) captcha: u64,
}

/// Tasks that are ready to be answered, and how long it took to get there.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) tasks: Vec<Taken>,
    /// Until all were on disk.
    pub(crate) submitting: Duration,
    /// Until the provider had them all, and their IDs were on disk.
    pub(crate) sending: Duration,
}

/// Submits `count` captchas, and waits until the provider has taken them.
pub(crate) async fn prepare(api: SocketAddr, count: u64) -> anyhow::Result<Prepared> {
    let begun = Instant::now();
    let left = Arc::new(AtomicU64::new(count));
    let mut submitters = JoinSet::new();
    for _ in 0..SUBMITTERS {
        submitters.spawn(submit_until_none(api, Arc::clone(&left)));
    }
    let mut ids = Vec::new();
    while let Some(submitted) = submitters.join_next().await {
        ids.extend(submitted??);
    }
    ids.sort_unstable();
    let submitting = begun.elapsed();
    let mut connection = Connection::open(api).await?;
    let mut tasks = Vec::new();
    for page in ids.chunks(PAGE) {
        tasks.extend(wait_taken(&mut connection, page, begun).await?);
    }
    Ok(Prepared { tasks, submitting, sending: begun.elapsed() })
}

async fn submit_until_none(api: SocketAddr, left: Arc<AtomicU64>) -> anyhow::Result<Vec<u64>> {
    let request = client::post("/v1/tasks", "application/json", RECAPTCHA);
    let mut connection = Connection::open(api).await?;
    let mut ids = Vec::new();
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
        let reply = connection.exchange(&request).await?;
        ensure!(reply.status == 201, "{} to a new task", reply.status);
        ids.push(number(&serde_json::from_slice::<Value>(reply.body)?["id"]).context("a task without id")?);
    }
    Ok(ids)
}

async fn wait_taken(connection: &mut Connection, ids: &[u64], begun: Instant) -> anyhow::Result<Vec<Taken>> {
    loop {
        let tasks = read(connection, ids).await?;
        let taken: Vec<Taken> = tasks
            .iter()
            .filter_map(|task| {
                Some(Taken { task: number(&task["id"])?, captcha: number(&task["captcha_id"])? })
            })
            .collect();
        if taken.len() == ids.len() {
            return Ok(taken);
        }
        ensure!(begun.elapsed() < SENT_DEADLINE, "the provider was not sent all tasks in {SENT_DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn read(connection: &mut Connection, ids: &[u64]) -> anyhow::Result<Vec<Value>> {
    let ids: Vec<String> = ids.iter().map(u64::to_string).collect();
    let mut reply = connection.get_json(&format!("/v1/tasks?ids={}", ids.join(","))).await?;
    match reply["tasks"].take() {
        Value::Array(tasks) => Ok(tasks),
        _ => anyhow::bail!("no list of tasks"),
    }
}

/// Fails unless each of these tasks is there, of this type, and waits for its answer.
pub(crate) async fn check_open(api: SocketAddr, ids: &[u64], kind: &str) -> anyhow::Result<()> {
    let mut connection = Connection::open(api).await?;
    for page in ids.chunks(PAGE) {
        let tasks = read(&mut connection, page).await?;
        ensure!(tasks.len() == page.len(), "{} of {} tasks were found", tasks.len(), page.len());
        for (id, task) in page.iter().zip(&tasks) {
            ensure!(number(&task["id"]) == Some(*id), "asked for task {id}, got another");
            ensure!(task["type"] == kind, "task {id} is of type {}", task["type"]);
            let is_open = matches!(task["status"].as_str(), Some("queued" | "submitting" | "submitted"));
            ensure!(is_open, "task {id} is {}", task["status"]);
        }
    }
    Ok(())
}

/// Fails unless each of these tasks is solved, with its own answer.
pub(crate) async fn check_answers(api: SocketAddr, answered: &[Taken]) -> anyhow::Result<()> {
    let mut connection = Connection::open(api).await?;
    for page in answered.chunks(PAGE) {
        let ids: Vec<u64> = page.iter().map(|taken| taken.task).collect();
        let tasks = read(&mut connection, &ids).await?;
        ensure!(tasks.len() == page.len(), "{} of {} tasks were found", tasks.len(), page.len());
        for (taken, task) in page.iter().zip(&tasks) {
            check_answer(*taken, task)?;
        }
    }
    Ok(())
}

/// Fails unless the task is this one, solved with its own answer.
pub(crate) fn check_answer(taken: Taken, task: &Value) -> anyhow::Result<()> {
    let Taken { task: id, captcha } = taken;
    ensure!(number(&task["id"]) == Some(id), "asked for task {id}, got another");
    ensure!(task["status"] == "solved", "task {id} was acknowledged, but is {}", task["status"]);
    ensure!(task["answer"]["text"] == client::answer_to(captcha), "task {id} has another's answer");
    Ok(())
}

/// A number that JSON carries as text.
pub(crate) fn number(value: &Value) -> Option<u64> {
    value.as_str()?.parse().ok()
}
