//! `solve`, `get` and `completions`: what they print and write, their exit codes, and what a kill costs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::harness::{PATIENCE, reply, text_captcha};
use crate::program::{NOWHERE, get, http, outcome, pingbox};
use crate::served::Served;

const IMAGES: [&str; 3] = ["captcha-01-x7k2p.png", "captcha-05-ab4yg.png", "captcha-07-kettle.jpg"];
/// Longer than any test: captchas of it are solved by hand.
const NEVER: &str = "60m";

/// A service, and images beside it.
fn with_images(knobs: &[&str]) -> Served {
    let served = Served::start(knobs, &[]);
    fs::create_dir(served.path("images")).unwrap();
    for image in IMAGES {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(image);
        fs::copy(from, served.path("images").join(image)).unwrap();
    }
    served
}

impl Served {
    fn path(&self, name: &str) -> PathBuf {
        self.data.path().join(name)
    }

    async fn tasks(&self) -> Vec<Value> {
        get(self.server.url("api") + "/v1/tasks").await["tasks"].as_array().unwrap().clone()
    }

    /// Waits until the provider has so many tasks, and answers each of them.
    async fn solve_by_hand(&self, count: usize) {
        let is_sent = |task: &&Value| task["captcha_id"].is_string();
        let sent = async {
            loop {
                let tasks = self.tasks().await;
                if tasks.iter().filter(is_sent).count() == count {
                    return tasks;
                }
            }
        };
        for task in timeout(PATIENCE, sent).await.expect("they are sent") {
            let body = json!({"id": task["captcha_id"], "answer": "by hand"});
            let solve = http().post(self.server.emulation() + "/sandbox/solve").json(&body);
            // Those of before are answered already.
            let status = solve.send().await.unwrap().status();
            assert!([StatusCode::NO_CONTENT, StatusCode::CONFLICT].contains(&status), "{status}");
        }
    }
}

/// The lines in an order of their own: answers come in any.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[tokio::test]
async fn each_file_of_a_folder_comes_with_its_answer() {
    let served = with_images(&["--delay", "0"]);
    let (code, text, explanation) =
        served.outcome(&["solve", "images", "--tag", "mine", "--field", "numeric=0"]);
    assert_eq!(code, Some(0), "{explanation}");
    let tasks = served.tasks().await;
    assert_eq!((tasks.len(), &tasks[0]["tag"], &tasks[0]["type"]), (3, &json!("mine"), &json!("image")));
    let lines = sorted(&text);
    assert_eq!(lines.len(), 3, "{text}");
    for (line, image) in lines.iter().zip(IMAGES) {
        let (file, answer) = line.split_once('\t').unwrap();
        assert_eq!(file, format!("images/{image}"));
        assert!(tasks.iter().any(|task| task["answer"]["text"] == answer), "{line}");
    }
    assert!(explanation.contains("3 solved, 0 failed"), "{explanation}");
}

#[tokio::test]
async fn after_a_kill_nothing_is_submitted_twice_and_no_answer_is_lost() {
    let served = with_images(&["--delay", NEVER]);
    for output in ["answers.csv", "answers.jsonl"] {
        let before = served.tasks().await.len();
        let line = ["solve", "images", "--output", output, "--tag", output];
        let mut child = served.command(&line).stderr(Stdio::null()).spawn().unwrap();
        let sent = async { while served.tasks().await.len() < before + 3 {} };
        timeout(PATIENCE, sent).await.expect("they are submitted");
        child.kill().unwrap();
        child.wait().unwrap();

        let mut again = served.command(&line).stderr(Stdio::null()).spawn().unwrap();
        served.solve_by_hand(before + 3).await;
        assert_eq!(again.wait().unwrap().code(), Some(0));
        assert_eq!(served.tasks().await.len(), before + 3, "each is submitted once");

        let written = fs::read_to_string(served.path(output)).unwrap();
        for image in IMAGES {
            let lines: Vec<_> = written.lines().filter(|line| line.contains(image)).collect();
            assert!(lines.len() == 1 && lines[0].contains("by hand"), "{written}");
        }
        let (code, _, explanation) = served.outcome(&line);
        assert_eq!(code, Some(0));
        assert!(explanation.contains("3 were solved before"), "{explanation}");
        assert_eq!(fs::read_to_string(served.path(output)).unwrap(), written);
    }
}

#[tokio::test]
async fn a_bad_file_does_not_stop_the_others() {
    let served = with_images(&["--delay", "0"]);
    fs::write(served.path("words.png"), "not an image").unwrap();
    let good = format!("images/{}", IMAGES[0]);
    let (code, text, explanation) = served.outcome(&["solve", "missing.png", "words.png", &good, "--json"]);
    assert_eq!(code, Some(1), "{explanation}");
    let rows: Vec<Value> = text.lines().map(|line| line.parse().unwrap()).collect();
    let status = |file: &str| &rows.iter().find(|row| row["file"] == file).unwrap()["status"];
    assert_eq!(status("missing.png"), "unreadable");
    assert_eq!(status("words.png"), "refused");
    assert_eq!(status(&good), "solved");
    assert!(
        explanation.contains("words.png: ") && explanation.contains("1 solved, 2 failed"),
        "{explanation}"
    );
}

#[tokio::test]
async fn what_failed_is_tried_again_by_the_next_run() {
    let served = with_images(&["--delay", "0", "--unsolvable", "1"]);
    let line = ["solve", "images", "--output", "answers.csv"];
    let (code, _, explanation) = served.outcome(&line);
    assert_eq!(code, Some(1));
    assert!(explanation.contains("ERROR_CAPTCHA_UNSOLVABLE"), "{explanation}");
    served.turn(json!({"unsolvable": 0})).await;
    let (code, _, explanation) = served.outcome(&line);
    assert_eq!(code, Some(0), "{explanation}");
    assert_eq!(served.tasks().await.len(), 6);
}

#[test]
fn what_is_not_ready_in_time_exits_with_3() {
    let served = with_images(&["--delay", NEVER]);
    let (code, text, explanation) = served.outcome(&["solve", "images", "--timeout", "1"]);
    assert_eq!((code, text.as_str()), (Some(3), ""), "{explanation}");
    assert!(explanation.contains("3 not ready"), "{explanation}");
}

#[test]
fn without_a_server_no_file_is_read() {
    let data = TempDir::new().unwrap();
    let (code, _, explanation) =
        outcome(pingbox(data.path(), &["solve", "a.png"]).env("PINGBOX_SERVER", NOWHERE));
    assert_eq!(code, Some(1));
    assert!(explanation.contains("set PINGBOX_SERVER"), "{explanation}");
    assert_eq!(explanation.lines().count(), 1, "{explanation}");
}

#[test]
fn a_file_of_something_else_is_not_written_to() {
    let served = with_images(&["--delay", "0"]);
    fs::write(served.path("mine.csv"), "a,b\n1,2\n").unwrap();
    let (code, _, explanation) = served.outcome(&["solve", "images", "--output", "mine.csv"]);
    assert_eq!(code, Some(1));
    assert!(explanation.contains("name another --output"), "{explanation}");
    assert_eq!(fs::read_to_string(served.path("mine.csv")).unwrap(), "a,b\n1,2\n");
}

#[test]
fn a_line_of_solve_or_get_that_makes_no_sense_exits_with_2() {
    let data = TempDir::new().unwrap();
    for line in [
        &["solve"][..],
        &["solve", "a.png", "--type", "text"],
        &["solve", "a.png", "--field", "numeric"],
        &["solve", "a.png", "--concurrency", "0"],
        &["solve", "a.png", "--json", "--format", "csv"],
        &["get"],
        &["get", "first"],
        &["get", "1", "--wait=long"],
        &["completions", "cmd"],
    ] {
        assert_eq!(outcome(&mut pingbox(data.path(), line)).0, Some(2), "{line:?}");
    }
}

#[tokio::test]
async fn get_tells_an_answer_a_failure_and_a_wait_apart() {
    let served = with_images(&["--delay", NEVER]);
    let submit = http().post(served.server.url("api") + "/v1/tasks").json(&text_captcha());
    reply(submit).await;
    for line in [&["get", "1"][..], &["get", "1", "--wait=1"]] {
        let (code, text, explanation) = served.outcome(line);
        assert_eq!((code, text.as_str()), (Some(3), ""), "{explanation}");
        assert!(explanation.contains("no answer yet"), "{explanation}");
    }
    let mut waiting = served.command(&["get", "1", "--wait"]).stdout(Stdio::piped()).spawn().unwrap();
    served.solve_by_hand(1).await;
    assert_eq!(waiting.wait().unwrap().code(), Some(0));
    assert_eq!(served.outcome(&["get", "1"]).1, "by hand\n");
    let (code, json, _) = served.outcome(&["get", "1", "--json"]);
    assert_eq!((code, &json.parse::<Value>().unwrap()["answer"]["text"]), (Some(0), &json!("by hand")));
    served.turn(json!({"delay_ms": 0, "unsolvable": 1})).await;
    reply(http().post(served.server.url("api") + "/v1/tasks").json(&text_captcha())).await;
    let (code, text, explanation) = served.outcome(&["get", "2", "--wait"]);
    assert_eq!((code, text.as_str()), (Some(1), ""));
    assert!(explanation.contains("ERROR_CAPTCHA_UNSOLVABLE"), "{explanation}");
    assert_eq!(served.outcome(&["get", "3"]).0, Some(1), "there is no such task");
}

#[test]
fn each_shell_gets_a_script_that_knows_the_commands() {
    let data = TempDir::new().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        // It is longer than a pipe holds.
        let output = pingbox(data.path(), &["completions", shell]).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains("solve") && script.contains("concurrency"), "{shell}");
    }
}

#[test]
fn help_of_all_commands() {
    // The short one: the settings, which --help lists too, have a test of their own.
    const LINES: [&[&str]; 21] = [
        &[],
        &["solve"],
        &["get"],
        &["doctor"],
        &["completions"],
        &["sandbox"],
        &["token"],
        &["token", "create"],
        &["token", "list"],
        &["token", "revoke"],
        &["config"],
        &["config", "init"],
        &["config", "print"],
        &["config", "check"],
        &["tls"],
        &["tls", "ca"],
        &["backup"],
        &["copy"],
        &["healthcheck"],
        &["openapi"],
        &["serve"],
    ];
    for line in LINES {
        let (code, text, _) = outcome(&mut pingbox(Path::new("."), &[line, &["-h"]].concat()));
        assert_eq!(code, Some(0));
        insta::assert_snapshot!([&["help"][..], line].concat().join("_"), text);
    }
}
