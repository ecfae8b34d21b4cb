//! The process is killed again and again while many write: what was acknowledged is there, once.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pingbox::sandbox::Sandbox;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::figures::{Latencies, say};
use crate::ledger::Ledger;
use crate::process::{Process, SECRET, never_solved, provider};
use crate::program::{PATIENCE, http};

/// Those that submit, those that answer what was submitted, those that send what belongs to no task.
const WRITERS: [usize; 3] = [20, 28, 16];
/// What one round may add, so that the file of a long run does not grow without end. Beyond it, pingbacks are repeated.
const TASKS_A_ROUND: usize = 400;
const UNMATCHED_A_ROUND: usize = 300;
/// The shortest that a round lasts, and the longest.
const ROUND_MS: [u32; 2] = [20, 800];

/// What the writers of a round share.
struct Round {
    number: u32,
    api: String,
    pingbacks: String,
    http: reqwest::Client,
    ledger: Arc<Mutex<Ledger>>,
    sandbox: Sandbox,
    submitted: AtomicUsize,
    unmatched: AtomicUsize,
    /// Captcha IDs that wait for their answer, and those that were once among them.
    waiting: Mutex<(Vec<String>, HashSet<String>)>,
}

impl Round {
    /// Submits until the process is gone.
    async fn submit(self: Arc<Self>) {
        loop {
            let number = self.submitted.fetch_add(1, Ordering::Relaxed);
            if number >= TASKS_A_ROUND {
                return;
            }
            let tag = format!("{}-{number}", self.number);
            let body = json!({"type": "text", "textcaptcha": format!("What is {tag}?"), "tag": tag});
            let sent = self.http.post(format!("{}/v1/tasks", self.api)).json(&body).send().await;
            let Ok(reply) = sent else { return };
            if !reply.status().is_success() {
                continue;
            }
            // What is cut in the middle was not acknowledged.
            let Ok(task) = reply.json::<Value>().await else { return };
            self.ledger.lock().unwrap().tasks.insert(tag, task["id"].as_str().unwrap().to_owned());
        }
    }

    /// The next captcha ID that the provider gave to somebody.
    fn taken(&self) -> Option<String> {
        let mut waiting = self.waiting.lock().unwrap();
        if waiting.0.is_empty() {
            for id in self.sandbox.pending() {
                if waiting.1.insert(id.to_string()) {
                    waiting.0.push(id.to_string());
                }
            }
        }
        waiting.0.pop()
    }

    /// Answers what the provider has taken until the process is gone. Each pingback comes twice.
    async fn answer(self: Arc<Self>) {
        loop {
            let Some(captcha_id) = self.taken() else {
                // Somebody has to see that it is gone.
                if self.http.get(format!("{}/livez", self.api)).send().await.is_err() {
                    return;
                }
                sleep(Duration::from_millis(2)).await;
                continue;
            };
            for _ in 0..2 {
                if self.post(&captcha_id).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Sends pingbacks of no task until the process is gone.
    async fn send(self: Arc<Self>) {
        loop {
            let number = self.unmatched.fetch_add(1, Ordering::Relaxed) % UNMATCHED_A_ROUND;
            if self.post(&format!("9{:05}{number:06}", self.number)).await.is_err() {
                return;
            }
        }
    }

    async fn post(&self, captcha_id: &str) -> reqwest::Result<()> {
        let code = format!("answer to {captcha_id}");
        let form = [("id", captcha_id), ("code", &code)];
        let reply = self.http.post(&self.pingbacks).form(&form).send().await?;
        if reply.status().is_success() {
            self.ledger.lock().unwrap().answers.insert(captcha_id.to_owned(), code);
        }
        Ok(())
    }
}

/// Writes for a while, and kills the process.
async fn round(number: u32, mut process: Process, sandbox: &Sandbox, ledger: &Arc<Mutex<Ledger>>) {
    let round = Arc::new(Round {
        number,
        api: process.api.clone(),
        pingbacks: format!("{}/pingback/{SECRET}", process.public),
        http: http(),
        ledger: Arc::clone(ledger),
        sandbox: sandbox.clone(),
        submitted: AtomicUsize::new(0),
        unmatched: AtomicUsize::new(0),
        waiting: Mutex::default(),
    });
    let mut writers = JoinSet::new();
    let [submitting, answering, sending] = WRITERS;
    for _ in 0..submitting {
        writers.spawn(Arc::clone(&round).submit());
    }
    for _ in 0..answering {
        writers.spawn(Arc::clone(&round).answer());
    }
    for _ in 0..sending {
        writers.spawn(Arc::clone(&round).send());
    }
    let [shortest, longest] = ROUND_MS;
    let moment = shortest + getrandom::u32().unwrap() % (longest - shortest);
    sleep(Duration::from_millis(moment.into())).await;
    process.server.kill();
    timeout(PATIENCE, writers.join_all()).await.expect("the writers see the end");
}

/// Starts it; how long it took until a pingback was on disk.
async fn start(data: &Path, provider: &str) -> (Process, Duration) {
    let begun = Instant::now();
    let process = Process::start(data, provider, &[]).await;
    let path = format!("/pingback/{SECRET}");
    assert!(process.pingback(&path, "8", "the first").await.is_success());
    (process, begun.elapsed())
}

async fn nothing_is_lost(kills: u32) {
    let data = TempDir::new().unwrap();
    let (sandbox, provider) = provider(never_solved()).await;
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let (mut starts, mut held) = (Vec::new(), None);
    for kill in 0..kills {
        let (process, took) = start(data.path(), &provider).await;
        starts.push(took);
        round(kill, process, &sandbox, &ledger).await;
        // All of it takes long where there is a lot.
        if kills < 20 || (kill + 1) % 20 == 0 {
            let acknowledged = std::mem::take(&mut *ledger.lock().unwrap());
            held = Some(acknowledged.check(data.path()).await);
            *ledger.lock().unwrap() = acknowledged;
        }
    }
    // What the crash left behind is taken up again, and still there.
    let (mut process, took) = start(data.path(), &provider).await;
    starts.push(took);
    process.server.kill();
    let acknowledged = std::mem::take(&mut *ledger.lock().unwrap());
    let after = acknowledged.check(data.path()).await;
    let writers: usize = WRITERS.iter().sum();
    let written = (acknowledged.tasks.len(), acknowledged.answers.len(), after.solved);
    assert!(written.0 > 10 && written.1 > 10 && written.2 > 0, "hardly anything was written: {written:?}");
    say(&format!(
        "{kills} kills under {writers} writers: {} tasks and {} answers acknowledged, all there once; {after:?}, \
         before the last start {held:?}; sent to the provider twice: {}",
        acknowledged.tasks.len(),
        acknowledged.answers.len(),
        sandbox.counters().sent_twice,
    ));
    say(&format!("start to the first pingback on disk: {}", Latencies::of(starts).show()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_five_kills_under_load() {
    nothing_is_lost(5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes several minutes"]
async fn what_was_acknowledged_survives_two_hundred_kills_under_load() {
    nothing_is_lost(200).await;
}
