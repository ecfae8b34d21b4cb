//! Many tasks against a provider that loses, repeats and hurries pingbacks, and is busy or broken now and
//! then: every task ends as it should, no rule of the provider is broken, nothing is paid for twice.
//!
//! The long forms are run by hand, for their figures:
//! `cargo test --release --test api -- --ignored --nocapture two_thousand`

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pingbox::sandbox::{Amount, DEFAULT_KEY, Knobs, Share};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::harness::{PATIENCE, TestApp, base64, never_solved, solved_at_once};

/// Tasks that one request reads.
const PAGE: usize = 500;

/// One run: how many tasks, and how the provider treats them.
struct Run {
    tasks: usize,
    interval: &'static str,
    knobs: Knobs,
    /// Where our URL seems to be; elsewhere than here it cannot be registered.
    public_url: Option<&'static str>,
    /// From one burst of trouble to the next; each lasts for a tenth of it.
    bursts: Option<Duration>,
    patience: Duration,
}

fn share(share: f64) -> Share {
    Share::try_from(share).unwrap()
}

/// A provider with the faults of the contract, and captchas that take 1 to 4 s.
fn faulty() -> Knobs {
    Knobs {
        delay_ms: 1000,
        delay_spread_ms: 3000,
        lost: share(0.2),
        duplicate: share(0.05),
        early: share(0.05),
        unsolvable: share(0.03),
        seed: Some(7),
        ..Knobs::default()
    }
}

/// The SHA-256 of what is to be solved, as files of answers have it.
fn hex(content: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(content).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// A captcha like no other, and the answer that is its own.
fn captcha(number: usize) -> (Value, String, String) {
    match number % 4 {
        0 | 1 => {
            let mut gif = b"GIF89a\x78\x00\x28\x00".to_vec();
            gif.extend(format!("{number:0200}").bytes());
            let body = json!({"type": "image", "body": base64(&gif), "tag": number.to_string()});
            (body, hex(&gif), format!("image{number}"))
        }
        2 => {
            let text = format!("What is {number}?");
            let body = json!({"type": "text", "textcaptcha": text, "tag": number.to_string()});
            (body, hex(text.as_bytes()), format!("a|number|{number}"))
        }
        _ => {
            let body = json!({
                "type": "funcaptcha", "publickey": format!("KEY-{number}"), "pageurl": "https://example.com/",
                "tag": number.to_string(),
            });
            // The sandbox makes this one up, around the key.
            (body, "0".repeat(64), format!("KEY-{number}"))
        }
    }
}

/// Turns the provider bad for a tenth of the time: full, and broken, by turns.
async fn trouble(sandbox: pingbox::sandbox::Sandbox, every: Duration) {
    loop {
        for busy in [true, false] {
            sleep(every * 9 / 10).await;
            let good = sandbox.knobs();
            let bad = if busy {
                Knobs { no_slot: Share::ALWAYS, ..good.clone() }
            } else {
                Knobs { html_5xx: Share::ALWAYS, ..good.clone() }
            };
            sandbox.set_knobs(bad);
            sleep(every / 10).await;
            let now = sandbox.knobs();
            sandbox.set_knobs(Knobs { balance: now.balance, ..good });
        }
    }
}

impl Run {
    /// Runs it, and fails unless all is as it should be; the figures, for people.
    async fn check(self) -> String {
        let folder = TempDir::new().unwrap();
        let answers: BTreeMap<String, String> =
            (0..self.tasks).map(captcha).map(|(_, digest, answer)| (digest, answer)).collect();
        let file = folder.path().join("answers.json");
        std::fs::write(&file, serde_json::to_string(&answers).unwrap()).unwrap();
        let mut environment = vec![("PINGBOX_PROVIDER__SUBMIT_INTERVAL", self.interval)];
        environment.extend(self.public_url.map(|url| ("PINGBOX_PUBLIC__URL", url)));
        let app = TestApp::with_answers(self.knobs.clone(), &environment, &file).await;
        let begun = Instant::now();
        let troubles = self.bursts.map(|every| tokio::spawn(trouble(app.sandbox.clone(), every)));
        let mut ids = Vec::new();
        for number in 0..self.tasks {
            let (status, task) = app.post(&captcha(number).0).await;
            assert_eq!(status, StatusCode::CREATED, "{task}");
            ids.push(task["id"].as_str().unwrap().to_owned());
        }
        let ended = tokio::time::timeout(self.patience, ended(&app, &ids));
        let (tasks, lowest) = ended.await.expect("all of them end");
        let took = begun.elapsed();
        if let Some(troubles) = troubles {
            troubles.abort();
        }
        // What is asked below is not the service's doing.
        let (usage, rules, counters) =
            (app.sandbox.usage(), app.sandbox.broken_rules(), app.sandbox.counters());
        app.sandbox.set_knobs(Knobs { limits: false, html_5xx: Share::NEVER, ..self.knobs.clone() });
        let mut ways = BTreeMap::new();
        for task in &tasks {
            *ways.entry(check_task(&app, task).await).or_insert(0) += 1;
        }
        assert_eq!(rules, [], "the client broke rules");
        assert_eq!((counters.submitted, counters.sent_twice), (self.tasks as u64, 0));
        let attempts: u64 = tasks.iter().map(|task| task["attempts"].as_u64().unwrap()).sum();
        format!(
            "{} tasks in {took:.0?}: {ways:?}\nin.php: {attempts} requests, {} taken, {} twice; rules broken: 0\n\
             res.php: {} requests, {:.3} for each task, allowed {}; the credit was never below {lowest} of 1200",
            self.tasks,
            counters.submitted,
            counters.sent_twice,
            usage.results,
            f64::from(u32::try_from(usage.results).unwrap()) / f64::from(u32::try_from(self.tasks).unwrap()),
            usage.allowed,
        )
    }
}

/// The tasks once all of them have ended, and the least that was left of the credit meanwhile.
async fn ended(app: &TestApp, ids: &[String]) -> (Vec<Value>, i64) {
    let (mut tasks, mut lowest) = (Vec::new(), 1200);
    for page in ids.chunks(PAGE) {
        loop {
            let (_, list) = app.get(&format!("/v1/tasks?ids={}&until=all&wait=1", page.join(","))).await;
            lowest = lowest.min(app.number("SELECT COALESCE(MIN(calls), 1200) FROM credit").await);
            let Value::Array(list) = list["tasks"].clone() else { panic!("{list}") };
            if list.iter().all(|task| task["answered_at"].is_string()) {
                tasks.extend(list);
                break;
            }
        }
    }
    (tasks, lowest)
}

/// Fails unless the task ended as the provider says, with its own answer; how it ended.
async fn check_task(app: &TestApp, task: &Value) -> String {
    let number: usize = task["tag"].as_str().unwrap().parse().unwrap();
    let via = task["via"].as_str().unwrap_or("nothing");
    let query =
        [("key", DEFAULT_KEY), ("action", "get"), ("id", task["captcha_id"].as_str().expect("it was taken"))];
    let url = format!("{}/res.php", app.provider);
    let word = app.http.get(url).query(&query).send().await.unwrap().text().await.unwrap();
    match task["status"].as_str().unwrap() {
        "solved" => {
            let text = task["answer"]["text"].as_str().unwrap();
            assert_eq!(word, format!("OK|{text}"), "{task}");
            assert!(text.contains(&captcha(number).2), "{text} is not the answer to {number}");
            format!("solved via {via}")
        }
        "failed" => {
            assert_eq!(
                (task["error"]["code"].as_str().unwrap(), word.as_str()),
                (word.as_str(), "ERROR_CAPTCHA_UNSOLVABLE")
            );
            format!("unsolvable via {via}")
        }
        other => panic!("{other}: {task}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_task_ends_with_its_own_answer_while_the_provider_misbehaves() {
    let run = Run {
        tasks: 60,
        interval: "60ms",
        knobs: faulty(),
        public_url: None,
        bursts: Some(Duration::from_secs(4)),
        patience: Duration::from_secs(120),
    };
    println!("{}", run.check().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_any_pingback_every_task_ends_with_its_own_answer_all_the_same() {
    let run = Run {
        tasks: 60,
        interval: "60ms",
        knobs: Knobs { lost: Share::ALWAYS, ..faulty() },
        public_url: Some("https://192.0.2.1"),
        bursts: Some(Duration::from_secs(4)),
        patience: Duration::from_secs(120),
    };
    println!("{}", run.check().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes five minutes; it is for its figures"]
async fn two_thousand_tasks_with_faults() {
    let run = Run {
        tasks: 2000,
        interval: "100ms",
        knobs: faulty(),
        public_url: None,
        bursts: Some(Duration::from_secs(20)),
        patience: Duration::from_secs(900),
    };
    println!("{}", run.check().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes five minutes; it is for its figures"]
async fn two_thousand_tasks_without_pingbacks() {
    let run = Run {
        tasks: 2000,
        interval: "100ms",
        knobs: Knobs { lost: Share::ALWAYS, ..faulty() },
        public_url: Some("https://192.0.2.1"),
        bursts: Some(Duration::from_secs(20)),
        patience: Duration::from_secs(900),
    };
    println!("{}", run.check().await);
}

#[tokio::test]
async fn without_money_one_task_a_minute_asks_and_nothing_is_lost() {
    let empty = Knobs { balance: Amount::from_micros(0), limits: true, ..never_solved() };
    let app = TestApp::with(empty, &[]).await;
    // The first finds out, before there are others.
    let mut ids = vec![app.submit().await];
    app.until(&ids[0], |task| task["reason"].is_string()).await;
    for _ in 1..20 {
        ids.push(app.submit().await);
    }
    app.until(&ids[19], |task| task["reason"].is_string()).await;
    assert_eq!(app.submissions().len(), 1);
    let asked_at = |index: usize| app.submissions()[index]["at_us"].as_i64().unwrap();
    let again = async {
        while app.submissions().len() < 2 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    // Money comes while everybody waits.
    app.sandbox.set_knobs(Knobs { limits: true, ..solved_at_once() });
    tokio::time::timeout(Duration::from_secs(60) + PATIENCE, again).await.expect("it asks again");
    assert!(asked_at(1) - asked_at(0) >= 60_000_000, "{} us", asked_at(1) - asked_at(0));
    let path = format!("/v1/tasks?ids={}&until=all&wait=15", ids.join(","));
    let (_, list) = app.get(&path).await;
    assert!(list["tasks"].as_array().unwrap().iter().all(|task| task["status"] == "solved"), "{list}");
    assert_eq!((app.sandbox.counters().submitted, app.sandbox.broken_rules().len()), (20, 0));
}
