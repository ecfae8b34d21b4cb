//! Callers that poll, as SDKs do: the provider hears nothing of it.
//!
//! The long form is run by hand, for its figures:
//! `cargo test --release --test api -- --ignored --nocapture two_hundred_callers`

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pingbox::sandbox::Knobs;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::Scripts;
use crate::harness::{PATIENCE, TestApp};

/// Callers, each with one captcha after another, and how often they poll.
struct Run {
    callers: usize,
    time: Duration,
    interval: Duration,
    submit_interval: &'static str,
    knobs: Knobs,
}

/// What one caller has seen.
#[derive(Default)]
struct Seen {
    solved: u64,
    polls: u64,
    longest: Duration,
}

impl Run {
    /// Fails unless every caller gets its own answers, and the provider is never asked for one; the
    /// figures, for people.
    async fn check(self) -> String {
        let app =
            TestApp::with(self.knobs.clone(), &[("PINGBOX_PROVIDER__SUBMIT_INTERVAL", self.submit_interval)])
                .await;
        let number = Arc::new(AtomicU64::new(0));
        let until = Instant::now() + self.time;
        let mut callers = JoinSet::new();
        for _ in 0..self.callers {
            let (scripts, number, interval) = (Scripts::of(&app), Arc::clone(&number), self.interval);
            callers.spawn(async move {
                let mut seen = Seen::default();
                while Instant::now() < until {
                    let number = number.fetch_add(1, Ordering::Relaxed);
                    solve(&scripts, number, interval, &mut seen).await;
                }
                seen
            });
        }
        let mut all = Seen::default();
        while let Some(seen) = callers.join_next().await {
            let seen = seen.unwrap();
            all.solved += seen.solved;
            all.polls += seen.polls;
            all.longest = all.longest.max(seen.longest);
        }
        let requests = serde_json::to_value(app.sandbox.requests()).unwrap();
        let is_get = |request: &&Value| {
            request["parameters"]["action"].as_str().is_some_and(|action| action.starts_with("get"))
                && request["parameters"]["action"] != "get_pingback"
        };
        assert_eq!(requests.as_array().unwrap().iter().filter(is_get).count(), 0, "the provider was polled");
        assert_eq!(app.sandbox.broken_rules(), [], "rules were broken");
        let counters = app.sandbox.counters();
        assert_eq!((counters.submitted, counters.sent_twice), (all.solved, 0));
        format!(
            "{} callers for {:?}: {} captchas solved, each with its own answer; {} requests to our res.php, the \
             longest took {:?}; the provider saw 0 gets, and {} requests to res.php in all",
            self.callers,
            self.time,
            all.solved,
            all.polls,
            all.longest,
            app.sandbox.usage().results,
        )
    }
}

/// Submits a captcha and polls until it is solved, as an SDK does.
async fn solve(scripts: &Scripts, number: u64, interval: Duration, seen: &mut Seen) {
    let key = format!("KEY-{number:08}");
    let form = [("method", "funcaptcha"), ("publickey", key.as_str()), ("pageurl", "https://example.com/")];
    let reply = scripts.submit(&form).await;
    let id = reply.strip_prefix("OK|").unwrap_or_else(|| panic!("{reply}"));
    let given_up = Instant::now() + PATIENCE * 5;
    loop {
        assert!(Instant::now() < given_up, "{id} is never solved");
        sleep(interval).await;
        let asked = Instant::now();
        let reply = scripts.ask(&[("action", "get"), ("id", id)]).await;
        seen.longest = seen.longest.max(asked.elapsed());
        seen.polls += 1;
        match reply.strip_prefix("OK|") {
            Some(answer) => {
                assert!(answer.contains(&key), "{answer} is not the answer to {number}");
                seen.solved += 1;
                return;
            }
            None => assert_eq!(reply, "CAPCHA_NOT_READY"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_poll_us_and_nobody_polls_the_provider() {
    let run = Run {
        callers: 30,
        time: Duration::from_secs(4),
        interval: Duration::from_millis(200),
        submit_interval: "60ms",
        knobs: Knobs { delay_ms: 200, delay_spread_ms: 2000, ..Knobs::default() },
    };
    println!("{}", run.check().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes more than a minute; it is for its figures"]
async fn two_hundred_callers_poll_every_second_for_a_minute() {
    let run = Run {
        callers: 200,
        time: Duration::from_secs(60),
        interval: Duration::from_secs(1),
        submit_interval: "100ms",
        knobs: Knobs { delay_ms: 3000, delay_spread_ms: 6000, ..Knobs::default() },
    };
    println!("{}", run.check().await);
}
