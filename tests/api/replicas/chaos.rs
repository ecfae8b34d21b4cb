//! Replicas are killed, their connections cut, and the database is restarted, while captchas are submitted and
//! answered.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::fleet::{Fleet, REPLICAS, say};
use crate::database::cluster::{Durability, Shutdown};

/// Callers that submit one captcha after another.
const SUBMITTERS: u64 = 3;
/// Senders of pingbacks that belong to no task.
const SENDERS: u64 = 4;
/// How long after the last fault what is left may take: a task whose sender was killed is sent again after 120 s, and
/// its give-up time of 90 s.
const LONGEST_REST: Duration = Duration::from_secs(300);

fn random(below: u64) -> u64 {
    u64::from(getrandom::u32().unwrap()) % below
}

/// One of the replicas.
fn any() -> usize {
    usize::try_from(random(REPLICAS as u64)).unwrap()
}

/// What was promised, to be compared in the end.
#[derive(Default)]
struct Ledger {
    /// Captcha IDs of pingbacks that were answered with 200 and belong to no task.
    unmatched: Vec<u64>,
    /// Captcha IDs of answers that were answered with 200.
    answered: HashMap<String, Instant>,
    /// Tasks that a caller has the id of.
    tasks: Vec<String>,
    /// From an answer's 200 to the reply of who waited for it: whether something was broken on purpose meanwhile.
    woken: Vec<(Duration, bool)>,
    /// When something was broken.
    faults: Vec<Instant>,
}

/// How often what was broken.
#[derive(Debug, Default)]
#[expect(dead_code, reason = "for people to read")]
struct Broken {
    time: Duration,
    kills: u32,
    /// Times that all connections to PostgreSQL were cut.
    cuts: u32,
    /// Of PostgreSQL.
    restarts: u32,
    /// Of PostgreSQL, as by a power cut.
    crashes: u32,
}

struct Chaos {
    fleet: Fleet,
    ledger: Mutex<Ledger>,
    is_over: AtomicBool,
    numbers: AtomicU64,
}

impl Chaos {
    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }

    /// Submits until it is accepted, wherever that is; then waits for the answer.
    async fn submit(self: Arc<Self>) {
        let mut waiting = JoinSet::new();
        while self.goes_on() {
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            let body = json!({"type": "text", "textcaptcha": format!("chaos {number}")});
            let id = loop {
                let url = self.fleet.api(any(), "/v1/tasks");
                let request = self.fleet.http.post(url).header("Idempotency-Key", number.to_string());
                let Ok(reply) = request.json(&body).send().await else { continue };
                if !reply.status().is_success() {
                    sleep(Duration::from_millis(50)).await;
                    continue;
                }
                let Ok(task) = reply.json::<Value>().await else { continue };
                break task["id"].as_str().unwrap().to_owned();
            };
            self.ledger.lock().await.tasks.push(id.clone());
            waiting.spawn(Arc::clone(&self).wait(id));
            sleep(Duration::from_millis(300)).await;
        }
        waiting.join_all().await;
    }

    /// Waits at one replica after another until the task has ended, or everything is over.
    async fn wait(self: Arc<Self>, id: String) {
        let path = format!("/v1/tasks/{id}?wait=10");
        loop {
            let asked = Instant::now();
            let task = self.fleet.get(any(), &path).await.unwrap_or_default();
            if task["status"] == "solved" {
                let captcha_id = task["captcha_id"].as_str().unwrap();
                assert_eq!(task["answer"]["text"], answer_to(captcha_id), "its own answer");
                let mut ledger = self.ledger.lock().await;
                // It may be read before its sender has read the 200.
                if let Some(&at) = ledger.answered.get(captcha_id).filter(|at| asked < **at) {
                    let begun = at - Duration::from_secs(3);
                    let is_disturbed = ledger.faults.iter().any(|fault| *fault > begun);
                    ledger.woken.push((at.elapsed(), is_disturbed));
                }
                return;
            }
            assert!(
                task.is_null()
                    || !["failed", "expired", "cancelled"].iter().any(|end| task["status"] == *end),
                "{task}"
            );
            if !self.goes_on() {
                return;
            }
        }
    }

    /// Answers what the provider has taken, until each answer was acknowledged.
    async fn answer(self: Arc<Self>) {
        let (mut known, mut answering) = (HashSet::new(), JoinSet::new());
        loop {
            let pending = self.fleet.sandbox.pending();
            for captcha_id in pending.into_iter().filter(|id| known.insert(id.clone())) {
                let chaos = Arc::clone(&self);
                answering.spawn(async move {
                    sleep(Duration::from_millis(200 + random(400))).await;
                    let (captcha_id, answer) = (captcha_id.to_string(), answer_to(captcha_id.as_str()));
                    chaos.until_acknowledged(&captcha_id, &answer).await;
                    chaos.ledger.lock().await.answered.insert(captcha_id, Instant::now());
                });
            }
            while answering.try_join_next().is_some() {}
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends pingbacks that no task waits for.
    async fn send(self: Arc<Self>, sender: u64) {
        let mut captcha_id = (sender + 1) * 10_000_000_000_000;
        while self.goes_on() {
            captcha_id += 1;
            self.until_acknowledged(&captcha_id.to_string(), "nobody's").await;
            self.ledger.lock().await.unmatched.push(captcha_id);
            sleep(Duration::from_millis(15)).await;
        }
    }

    async fn until_acknowledged(&self, captcha_id: &str, code: &str) {
        while self.fleet.pingback(any(), captcha_id, code).await != Some(StatusCode::OK) {
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Breaks something every few seconds; how often it did each.
    async fn break_things(&self, time: Duration) -> Broken {
        let (begun, mut broken) = (Instant::now(), Broken { time, ..Broken::default() });
        while begun.elapsed() < time {
            sleep(Duration::from_millis(2_000 + random(2_000))).await;
            self.ledger.lock().await.faults.push(Instant::now());
            let kind = random(8);
            match kind {
                0..4 => {
                    let index = if kind < 2 { any() } else { self.fleet.leader().await };
                    self.fleet.kill(index);
                    broken.kills += 1;
                    sleep(Duration::from_millis(random(1_500))).await;
                    self.fleet.launch(index).await;
                }
                4..6 => {
                    self.fleet.cluster.terminate_backends().await;
                    broken.cuts += 1;
                }
                6 => {
                    self.fleet.cluster.restart(Shutdown::Fast).await;
                    broken.restarts += 1;
                }
                _ => {
                    self.fleet.cluster.restart(Shutdown::Immediate).await;
                    broken.crashes += 1;
                }
            }
            self.ledger.lock().await.faults.push(Instant::now());
        }
        broken
    }
}

fn answer_to(captcha_id: &str) -> String {
    format!("answer to {captcha_id}")
}

/// The texts that `in.php` was sent, and how often.
fn sent(fleet: &Fleet) -> HashMap<String, usize> {
    let mut sent = HashMap::new();
    for request in fleet.submissions() {
        *sent.entry(request["parameters"]["textcaptcha"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    sent
}

/// Nothing that was acknowledged is lost, whatever breaks for so long.
async fn nothing_is_lost(time: Duration, waits_for_all: bool) {
    let Some(fleet) = Fleet::start(Durability::On, true).await else { return };
    let url = fleet.url.clone();
    let chaos = Arc::new(Chaos {
        fleet,
        ledger: Mutex::default(),
        is_over: AtomicBool::new(false),
        numbers: AtomicU64::new(0),
    });
    let mut working = JoinSet::new();
    for _ in 0..SUBMITTERS {
        working.spawn(Arc::clone(&chaos).submit());
    }
    for sender in 0..SENDERS {
        working.spawn(Arc::clone(&chaos).send(sender));
    }
    let provider = tokio::spawn(Arc::clone(&chaos).answer());
    let broken = chaos.break_things(time).await;
    chaos.is_over.store(true, Ordering::Relaxed);
    while let Some(ended) = working.join_next().await {
        ended.unwrap();
    }
    let mut database = PgConnection::connect(&url).await.unwrap();
    until_settled(&mut database, waits_for_all).await;
    provider.abort();

    let ledger = chaos.ledger.lock().await;
    let kept = check_unmatched(&mut database, &ledger).await;
    let found = check_tasks(&mut database, &ledger, &sent(&chaos.fleet)).await;
    assert!(!waits_for_all || found.open == 0, "{} tasks have not ended", found.open);
    for captcha_id in ledger.answered.keys() {
        let is_there = found.answered.contains(captcha_id) || kept.contains(captcha_id);
        assert!(is_there, "the answer to {captcha_id} was acknowledged, and is lost");
    }
    report(&broken, &ledger, &found, &chaos.fleet);
}

/// Waits until nothing is under way any more, but for what is in doubt if that is not to be waited for.
async fn until_settled(database: &mut PgConnection, waits_for_all: bool) {
    const OPEN: &str = "SELECT COUNT(*) FROM task
        WHERE answered_at IS NULL AND ($1 OR status NOT IN ('submitting', 'unconfirmed'))";
    let settled = async {
        while sqlx::query(OPEN).bind(waits_for_all).fetch_one(&mut *database).await.unwrap().get::<i64, _>(0)
            > 0
        {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(LONGEST_REST, settled).await.expect("what is left ends");
}

/// Each that was acknowledged is there, once; all that is kept without a task.
async fn check_unmatched(database: &mut PgConnection, ledger: &Ledger) -> HashSet<String> {
    let rows = sqlx::query("SELECT captcha_id FROM pingback WHERE task_id IS NULL");
    let rows = rows.fetch_all(database).await.unwrap();
    let kept: HashSet<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(kept.len(), rows.len(), "none is kept twice");
    for captcha_id in &ledger.unmatched {
        assert!(kept.contains(&captcha_id.to_string()), "{captcha_id} was acknowledged, and is lost");
    }
    kept
}

/// What became of the tasks.
struct Found {
    tasks: usize,
    /// Captcha IDs of those that are solved.
    answered: HashSet<String>,
    open: usize,
    /// Those that were sent more than once, after it was in doubt whether the first had arrived.
    twice: usize,
}

/// Each submission is one task, with its own answer, and was sent once unless that was in doubt.
async fn check_tasks(database: &mut PgConnection, ledger: &Ledger, sent: &HashMap<String, usize>) -> Found {
    const TASKS: &str = "SELECT status, captcha_id, answer, params,
            EXISTS (SELECT FROM event WHERE task_id = task.id AND type = 'task.unconfirmed') AS was_in_doubt
        FROM task";
    let rows = sqlx::query(TASKS).fetch_all(database).await.unwrap();
    assert_eq!(rows.len(), ledger.tasks.len(), "each submission is one task");
    let mut found = Found { tasks: rows.len(), answered: HashSet::new(), open: 0, twice: 0 };
    for row in &rows {
        let params: Value = serde_json::from_str(row.get("params")).unwrap();
        let mut texts = params.as_array().unwrap().iter().filter(|pair| pair[0] == "textcaptcha");
        let count = sent.get(texts.next().unwrap()[1].as_str().unwrap()).copied().unwrap_or(0);
        if count > 1 {
            found.twice += 1;
            assert!(row.get::<bool, _>("was_in_doubt"), "{params} was sent {count} times without need");
        }
        if row.get::<&str, _>("status") == "solved" {
            let captcha_id: String = row.get("captcha_id");
            assert_eq!(row.get::<String, _>("answer"), answer_to(&captcha_id));
            found.answered.insert(captcha_id);
        } else {
            found.open += 1;
        }
    }
    found
}

/// The figures, for whoever runs it by hand.
fn report(broken: &Broken, ledger: &Ledger, found: &Found, fleet: &Fleet) {
    let mut starts: Vec<i64> =
        fleet.submissions().iter().map(|request| request["at_us"].as_i64().unwrap()).collect();
    starts.sort_unstable();
    let gaps: Vec<i64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let close = gaps.iter().filter(|gap| **gap < 100_000).count();
    say(&format!("{broken:?}"));
    say(&format!(
        "{} tasks, {} of them in doubt still, {} sent twice after doubt; {} answers and {} unmatched pingbacks \
         acknowledged, none lost; in.php: {} requests, the closest {} µs apart, {close} closer than 100 ms",
        found.tasks,
        found.open,
        found.twice,
        ledger.answered.len(),
        ledger.unmatched.len(),
        starts.len(),
        gaps.iter().min().unwrap_or(&0),
    ));
    for (what, disturbed) in [("undisturbed", false), ("near a fault", true)] {
        let took = ledger.woken.iter().filter(|(_, by)| *by == disturbed).map(|(took, _)| *took);
        let mut took: Vec<Duration> = took.collect();
        took.sort_unstable();
        let Some(longest) = took.last() else { continue };
        let at = |permille: usize| took[(took.len() - 1) * permille / 1000];
        let (count, half, nearly_all) = (took.len(), at(500), at(990));
        say(&format!(
            "woken after the 200, {what}: {count} callers, p50 {half:?}, p99 {nearly_all:?}, longest {longest:?}"
        ));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_while_replicas_and_the_database_break() {
    nothing_is_lost(Duration::from_secs(20), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes ten minutes"]
async fn five_minutes_of_chaos() {
    nothing_is_lost(Duration::from_secs(300), true).await;
}
