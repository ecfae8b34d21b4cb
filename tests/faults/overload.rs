//! More pingbacks than can be stored: what is over is refused at once, the rest goes on, and it ends with the load.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::database::Database;
use crate::failing::Faults;
use crate::figures::{Latencies, mib, per_second, say};
use crate::process::{Process, SECRET, never_solved, provider};
use crate::program::PATIENCE;
use crate::sender::{connect, exchange, may_open, pingback};

/// Where pingbacks come from.
const SENDER: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Connections with which it is as fast as it gets.
const BUSY: u32 = 512;
/// Connections that together ask for more than its queue holds, 4,096.
const TOO_MANY: u32 = 7000;
/// A disk so slow that any machine has time to spare; and connections that together ask for more than is written soon.
const SLOW: Duration = Duration::from_millis(200);
const TOO_MANY_FOR_SLOW: u32 = 2500;
/// Pingbacks of no task that are kept.
const SINK: usize = 100_000;
/// The least of its speed that has to be left.
const LEFT: f64 = 0.5;

/// What came of the pingbacks of some time.
#[derive(Debug, Default)]
struct Outcome {
    taken: Vec<Duration>,
    refused: Vec<Duration>,
    /// Until the last reply.
    lasted: Duration,
}

impl Outcome {
    /// Pingbacks taken a second.
    fn speed(&self) -> f64 {
        per_second(self.taken.len(), self.lasted)
    }

    fn show(&self) -> String {
        let taken = Latencies::of(self.taken.clone()).show();
        let refused = Latencies::of(self.refused.clone()).show();
        let refusals = per_second(self.refused.len(), self.lasted);
        format!("{:.0}/s taken ({taken}), {refusals:.0}/s refused ({refused})", self.speed())
    }
}

/// What all senders share.
#[derive(Clone)]
struct Sending {
    to: SocketAddr,
    numbers: Arc<AtomicU64>,
    until: Instant,
    /// From the start of one request of a connection to that of its next.
    interval: Duration,
}

impl Sending {
    /// Pingbacks one after another, after this wait, until the time is over.
    async fn send(self, wait: Duration) -> io::Result<Outcome> {
        let mut outcome = Outcome::default();
        sleep(wait).await;
        let mut stream = connect(SENDER, self.to).await;
        while Instant::now() < self.until {
            let captcha_id = 10_000_000_000 + self.numbers.fetch_add(1, Ordering::Relaxed);
            let request = pingback(&captcha_id.to_string(), &format!("answer-to-{captcha_id}"));
            let begun = Instant::now();
            match timeout(PATIENCE, exchange(&mut stream, &request)).await?? {
                200 => outcome.taken.push(begun.elapsed()),
                503 => outcome.refused.push(begun.elapsed()),
                other => return Err(io::Error::other(format!("the reply is {other}"))),
            }
            sleep(self.interval.saturating_sub(begun.elapsed())).await;
        }
        Ok(outcome)
    }

    /// Sends on so many connections at a time, which do not begin all at once.
    async fn load(self, connections: u32) -> Outcome {
        let (begun, mut senders) = (Instant::now(), JoinSet::new());
        for number in 0..connections {
            senders.spawn(self.clone().send(self.interval * number / connections));
        }
        let mut all = Outcome::default();
        while let Some(outcome) = senders.join_next().await {
            let Outcome { taken, refused, .. } = outcome.unwrap().expect("each request is answered");
            all.taken.extend(taken);
            all.refused.extend(refused);
        }
        all.lasted = begun.elapsed();
        all
    }
}

/// Waits until it is ready and takes a pingback; how long that took.
async fn recovery(process: &Process) -> Duration {
    let begun = Instant::now();
    let recovered = async {
        let ready = format!("{}/readyz", process.api);
        while process.http.get(&ready).send().await.unwrap().status() != StatusCode::OK {}
        while process.pingback(&format!("/pingback/{SECRET}"), "1", "afterwards").await != StatusCode::OK {}
    };
    timeout(PATIENCE, recovered).await.expect("it recovers");
    begun.elapsed()
}

/// Overloads a program with this environment by so many connections. `slow_down` is called once it is ready.
async fn is_overloaded(
    environment: &[(&str, &str)],
    slow_down: impl FnOnce(),
    too_many: u32,
    time: Duration,
) {
    let data = TempDir::new().unwrap();
    let (_, provider) = provider(never_solved()).await;
    let mut process = Process::start(data.path(), &provider, environment).await;
    slow_down();
    let to: SocketAddr = process.server.address("public").parse().unwrap();
    // Whoever has shown the secret may have as many connections as there are.
    assert_eq!(process.pingback(&format!("/pingback/{SECRET}"), "1", "before").await, StatusCode::OK);
    let sending =
        Sending { to, numbers: Arc::default(), until: Instant::now() + time, interval: Duration::ZERO };
    let peak = sending.clone().load(BUSY).await;
    let interval = Duration::from_secs_f64(f64::from(too_many) / (2.0 * peak.speed()));
    let memory = process.server.memory();
    let over = Sending { until: Instant::now() + time, interval, ..sending }.load(too_many).await;
    let recovered = recovery(&process).await;
    say(&format!("as fast as it gets: {}", peak.show()));
    say(&format!("asked for twice as many: {}", over.show()));
    say(&format!(
        "ready again after {recovered:.1?}; resident before {} MiB, at most {} MiB",
        mib(memory),
        mib(process.server.most_memory())
    ));
    assert!(peak.refused.is_empty() && !over.refused.is_empty(), "only what is too much is refused");
    let left = over.speed() / peak.speed();
    assert!(left > LEFT, "it takes {left:.2} of what it takes otherwise");
    process.server.kill();
    check_stored(data.path(), peak.taken.len() + over.taken.len()).await;
}

/// All that was taken is there, as far as the sink goes; and hardly anything that was refused.
async fn check_stored(data: &Path, taken: usize) {
    let mut database = Database::of(data).await;
    assert!(database.is_whole().await);
    let rows: Vec<(String, String)> = database.rows("SELECT captcha_id, code FROM pingback").await;
    // Two of them are ours.
    assert!(rows.len() >= (taken + 2).min(SINK), "{} of {taken} pingbacks are there", rows.len());
    for (captcha_id, code) in rows.iter().filter(|(captcha_id, _)| captcha_id != "1") {
        assert_eq!(*code, format!("answer-to-{captcha_id}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_twice_the_load_it_refuses_what_is_too_much_and_recovers() {
    let Some(faults) = Faults::none().filter(|_| may_open(6000)) else { return };
    let slow_down = || faults.slow("sync", "-wal", SLOW);
    is_overloaded(&faults.environment(), slow_down, TOO_MANY_FOR_SLOW, Duration::from_secs(4)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute, and the whole machine; it is for its figures"]
async fn under_twice_the_load_for_long() {
    if may_open(16_000) {
        is_overloaded(&[], || {}, TOO_MANY, Duration::from_secs(20)).await;
    }
}
