//! The system's clock is set while the service runs: nothing ends early or late, nothing is lost or repeated.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use pingbox::model::Timestamp;
use pingbox::sandbox::{Knobs, Sandbox, Settings, Share};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::database::postgres::variable;
use crate::figures::say;
use crate::process::{Process, SECRET, serve};
use crate::program::PATIENCE;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// How far off it may be by the time it is read.
const CLOSE: i64 = 60;
/// The pause after a page in place of a reply, less what a busy machine may take from between two requests.
const PAUSE: Duration = Duration::from_millis(4800);

/// The library that shows a program another time; `None`, and a word on it, where it is missing.
///
/// # Panics
/// When it is missing and `CI=true`.
fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().filter_map(Result::ok);
    let found =
        folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.exists());
    if found.is_none() {
        let text = "libfaketime is missing (Debian: apt-get install faketime)";
        assert!(variable("CI").as_deref() != Some("true"), "{text}");
        say(&format!("skipped: {text}"));
    }
    found
}

/// The service under a clock that can be set, and all it works with.
struct Scene {
    process: Process,
    sandbox: Sandbox,
    /// Where the library reads how far the clock is off.
    offset: PathBuf,
    receiver: String,
    /// Tries by id of the task.
    told: Arc<Mutex<HashMap<String, u32>>>,
    /// Sent to see the clock.
    pingbacks: AtomicU32,
    end: CancellationToken,
    _data: TempDir,
}

/// As the provider usually is: it watches its rules.
fn usual() -> Knobs {
    Knobs { delay_ms: 1500, ..Knobs::default() }
}

impl Scene {
    async fn open() -> Option<Self> {
        let library = library()?;
        let data = TempDir::new().unwrap();
        let offset = data.path().join("offset");
        std::fs::write(&offset, "+0").unwrap();
        let sandbox = Sandbox::new(Settings { knobs: usual(), ..Settings::default() }).unwrap();
        let (provider, end) = (serve(sandbox.router()).await, CancellationToken::new());
        tokio::spawn(sandbox.clone().run(end.clone()));
        let told = Arc::<Mutex<HashMap<String, u32>>>::default();
        let receiver = serve(receiver(Arc::clone(&told))).await;
        let environment = [
            ("LD_PRELOAD", library.to_str().unwrap()),
            ("FAKETIME_TIMESTAMP_FILE", offset.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
            ("PINGBOX_PROVIDER__SUBMIT_INTERVAL", "100ms"),
            ("PINGBOX_WEBHOOKS__ALLOW_PRIVATE", "127.0.0.0/8"),
        ];
        let process = Process::start(data.path(), &provider, &environment).await;
        Some(Self {
            process,
            sandbox,
            offset,
            receiver,
            told,
            pingbacks: AtomicU32::new(0),
            end,
            _data: data,
        })
    }

    /// Sets the clock to so many seconds off; the service sees it.
    async fn set_clock(&self, seconds: i64) {
        // At once, so that nobody reads a half.
        let next = self.offset.with_extension("next");
        std::fs::write(&next, format!("{seconds:+}")).unwrap();
        std::fs::rename(next, &self.offset).unwrap();
        let seen = async {
            while (self.time_of_event().await - Timestamp::now().as_secs() - seconds).abs() > CLOSE {
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(PATIENCE, seen).await.expect("the service sees the clock that was set");
    }

    /// In seconds since 1970: events have the time of the system, which is that of the database here.
    async fn time_of_event(&self) -> i64 {
        let cursor = self.process.get("/v1/events?cursor=now").await["cursor"].clone();
        let number = self.pingbacks.fetch_add(1, Ordering::Relaxed);
        let path = format!("/pingback/{SECRET}");
        assert!(self.process.pingback(&path, &format!("9{number}"), "nobody's").await.is_success());
        let path = format!("/v1/events?cursor={}&types=pingback.unmatched", cursor.as_str().unwrap());
        let list = self.process.get(&path).await;
        list["events"][0]["time"].as_str().unwrap().parse::<Timestamp>().unwrap().as_secs()
    }

    /// A task whose end the receiver is told of.
    async fn submit(&self, text: &str) -> String {
        let url = format!("{}/told", self.receiver);
        self.process.submit(&json!({"type": "text", "textcaptcha": text, "webhook_url": url})).await
    }

    async fn solved(&self, id: &str) {
        let task = self.process.until(id, |task| !task["answered_at"].is_null()).await;
        assert_eq!(task["status"], "solved", "{task}");
    }

    /// The clock is set from one offset to another while a task is solved, a caller waits, a pause runs and a message
    /// is to be sent again.
    async fn step(&self, name: &str, to: i64) {
        let cursor = self.process.get("/v1/events?cursor=now").await["cursor"].clone();
        let before = self.submit(&format!("{name}, before")).await;
        // It is not solved in time to be seen here.
        self.process.until(&before, |task| task["captcha_id"].is_string()).await;
        self.sandbox.set_knobs(Knobs { delay_ms: 60_000, ..usual() });
        let open = self.submit(&format!("{name}, never")).await;
        self.process.until(&open, |task| task["captcha_id"].is_string()).await;
        // The first try to tell of it fails.
        self.solved(&before).await;
        self.sandbox.set_knobs(Knobs { html_5xx: Share::ALWAYS, ..usual() });
        let paused = self.submit(&format!("{name}, paused")).await;
        self.process.until(&paused, |task| task["reason"].is_string()).await;

        self.set_clock(to).await;
        self.sandbox.set_knobs(usual());
        let after = self.submit(&format!("{name}, after")).await;
        let asked = Instant::now();
        let task = self.process.get(&format!("/v1/tasks/{open}?wait=2")).await;
        assert_eq!(task["status"], "submitted", "what is open stays open: {task}");
        let waited = asked.elapsed();
        assert!(waited >= Duration::from_secs(2) && waited < PATIENCE / 2, "it waited for {waited:.1?}");
        for id in [&paused, &after] {
            self.solved(id).await;
        }
        self.was_paused(&format!("{name}, paused"));
        self.were_told(&[&before, &paused, &after]).await;
        self.were_listed(&cursor, &[&before, &paused, &after]).await;
    }

    /// The task was sent again only after the pause.
    fn was_paused(&self, text: &str) {
        let requests = serde_json::to_value(self.sandbox.requests()).unwrap();
        let sent = requests
            .as_array()
            .unwrap()
            .iter()
            .filter(|request| request["parameters"]["textcaptcha"] == text);
        let times: Vec<i64> = sent.map(|request| request["at_us"].as_i64().unwrap()).collect();
        assert!(times.len() >= 2, "it was not sent again");
        for pair in times.windows(2) {
            let pause = Duration::from_micros((pair[1] - pair[0]).unsigned_abs());
            assert!(pause >= PAUSE, "it was sent again after {pause:.1?}");
        }
    }

    /// The receiver, which refuses the first message of each, was told of them once more.
    async fn were_told(&self, ids: &[&String]) {
        let tries = || {
            ids.iter().map(|id| self.told.lock().unwrap().get(*id).copied().unwrap_or(0)).collect::<Vec<_>>()
        };
        let told = async {
            while tries().iter().any(|tries| *tries < 2) {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, told).await.expect("the receiver is told again");
        // Whatever would be a storm has begun.
        sleep(Duration::from_secs(1)).await;
        assert_eq!(tries(), [2, 2, 2], "each is told of twice");
    }

    /// From the cursor on, the end of each is there once.
    async fn were_listed(&self, cursor: &Value, ids: &[&String]) {
        let path = format!("/v1/events?cursor={}&types=task.solved&limit=100", cursor.as_str().unwrap());
        let list = self.process.get(&path).await;
        let listed =
            list["events"].as_array().unwrap().iter().map(|event| event["data"]["id"].as_str().unwrap());
        let listed: Vec<&str> = listed.collect();
        for id in ids {
            assert_eq!(listed.iter().filter(|listed| **listed == id.as_str()).count(), 1, "{id}: {listed:?}");
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

/// Refuses the first message about each task.
fn receiver(told: Arc<Mutex<HashMap<String, u32>>>) -> Router {
    Router::new().fallback(async move |body: Bytes| {
        let message: Value = serde_json::from_slice(&body).unwrap();
        let mut told = told.lock().unwrap();
        let tries = told.entry(message["data"]["id"].as_str().unwrap().to_owned()).or_default();
        *tries += 1;
        if *tries == 1 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
    })
}

/// The clock is set to one offset after another.
async fn nothing_ends_early_or_late(offsets: &[i64]) {
    let Some(mut scene) = Scene::open().await else { return };
    for (number, offset) in (1..).zip(offsets) {
        scene.step(&format!("step {number}"), *offset).await;
        if number == 1 {
            scene.process.server.until_logged("The system's clock was set ");
        }
    }
    assert_eq!(scene.sandbox.broken_rules(), [], "no rule of the provider is broken");
    assert_eq!(scene.sandbox.counters().sent_twice, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_forward_and_back_ends_nothing_early_or_late() {
    nothing_ends_early_or_late(&[HOUR, -DAY]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes two minutes"]
async fn a_clock_that_is_set_by_an_hour_and_a_day_both_ways_ends_nothing_early_or_late() {
    nothing_ends_early_or_late(&[HOUR, 0, -HOUR, 0, DAY, 0, -DAY, 0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "waits two minutes for what must not happen"]
async fn a_day_that_is_taken_back_erases_no_answer() {
    let Some(scene) = Scene::open().await else { return };
    let id = scene.submit("What is kept for a day?").await;
    scene.solved(&id).await;
    scene.set_clock(DAY + HOUR).await;
    // There is a look for what is old every minute.
    sleep(Duration::from_secs(130)).await;
    scene.set_clock(0).await;
    let task = scene.process.get(&format!("/v1/tasks/{id}")).await;
    assert!(task["answer"]["text"].is_string(), "{task}");
}
