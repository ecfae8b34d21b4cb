//! A backup is made under load, put back, and served from.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::database::Database;
use crate::failing::{Faults, NO_SPACE};
use crate::process::{Process, SECRET, never_solved, provider};
use crate::program::{PATIENCE, outcome, pingbox};
use crate::room::Room;
use crate::trial::Trial;

fn backup(data: &Path, arguments: &[&str]) -> Command {
    pingbox(data, &[&["backup"], arguments].concat())
}

/// Makes one, which has to succeed; what it says.
fn backed_up(data: &Path, arguments: &[&str]) -> Value {
    let (code, stdout, stderr) = outcome(&mut backup(data, &[arguments, &["--json"]].concat()));
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    stdout.parse().unwrap()
}

/// A folder in which the copy is the database.
fn restored(copy: &Path) -> TempDir {
    let data = TempDir::new().unwrap();
    std::fs::copy(copy, data.path().join("pingbox.db")).unwrap();
    data
}

/// Writers of one service, until they are told to stop: pingbacks of captchas that nobody knows.
struct Load {
    is_over: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    writers: JoinSet<()>,
}

impl Load {
    fn start(process: &Process, writers: u64) -> Self {
        let (is_over, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut load = Self { is_over, acknowledged, writers: JoinSet::new() };
        for writer in 0..writers {
            let (is_over, acknowledged) = (Arc::clone(&load.is_over), Arc::clone(&load.acknowledged));
            let (http, url) = (process.http.clone(), format!("{}/pingback/{SECRET}", process.public));
            load.writers.spawn(async move {
                for number in 0.. {
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    let form = [("id", format!("{}{number:09}", 100 + writer)), ("code", "a".repeat(200))];
                    let reply = http.post(&url).form(&form).send().await.unwrap();
                    assert_eq!(reply.status(), StatusCode::OK, "the writer goes on");
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        load
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    async fn end(mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.writers.join_next().await {
            ended.unwrap();
        }
    }
}

/// Solves some tasks; their answers by id.
async fn solved(trial: &Trial, count: usize) -> HashMap<String, String> {
    let mut answers = HashMap::new();
    for number in 0..count {
        let (id, captcha_id) = trial.submitted().await;
        let code = format!("answer {number}");
        assert_eq!(trial.pingback(&captcha_id, &code).await.status(), StatusCode::OK);
        answers.insert(id, code);
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_put_back_with_every_answer_and_another_feed() {
    let data = TempDir::new().unwrap();
    let mut trial = Trial::start(data.path(), &[]).await;
    let answers = solved(&trial, 20).await;
    let load = Load::start(&trial.process, 8);
    let some = async {
        while load.acknowledged() < 100 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, some).await.unwrap();
    let before = load.acknowledged();
    let (_, page) = trial.get("/v1/events?cursor=now").await;
    let cursor = page["cursor"].as_str().unwrap().to_owned();
    let told = in_background(backup(data.path(), &["copy.db", "--json"])).await;
    load.end().await;
    let copy = data.path().join("copy.db");
    assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(told["tasks"], json!(20), "{told}");
    assert!(told["pingbacks"].as_u64().unwrap() >= before, "{told}: {before} were acknowledged before");
    assert_eq!(left_over(data.path()), Vec::<String>::new());
    trial.process.server.kill();

    let data = restored(&copy);
    let (_sandbox, provider) = provider(never_solved()).await;
    let process = Process::start(data.path(), &provider, &[]).await;
    for (id, code) in answers {
        let task = process.get(&format!("/v1/tasks/{id}")).await;
        assert_eq!((&task["status"], &task["answer"]["text"]), (&json!("solved"), &json!(code)), "{task}");
    }
    // Nor is a task of the original taken for another one.
    let id = process.submit(&json!({"type": "text", "textcaptcha": "5 + 5?"})).await;
    assert!(id.parse::<u64>().unwrap() > 900_000_000, "{id}");
    // Numbers that the original has given to other events since are given again: no old cursor may lead there.
    let lost = process.http.get(format!("{}/v1/events?cursor={cursor}", process.api)).send().await.unwrap();
    assert_eq!(lost.status(), StatusCode::GONE);
    let lost: Value = lost.json().await.unwrap();
    assert_eq!(lost["code"], "cursor_expired");
    let page = process.get(&format!("/v1/events?cursor={}", lost["earliest_cursor"].as_str().unwrap())).await;
    assert_eq!(page["events"][0]["type"], "task.created", "{page}");
}

/// Runs a command beside what goes on; the JSON that it prints.
async fn in_background(mut command: Command) -> Value {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Files that a backup has begun and not finished.
fn left_over(folder: &Path) -> Vec<String> {
    let names =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains("partial")).collect()
}

#[tokio::test]
async fn a_backup_replaces_nothing_unless_it_is_told_to() {
    let data = TempDir::new().unwrap();
    let trial = Trial::start(data.path(), &[]).await;
    trial.submitted().await;
    let copy = data.path().join("copy.db");
    std::fs::write(&copy, "precious").unwrap();
    let (code, _, stderr) = outcome(&mut backup(data.path(), &["copy.db"]));
    assert_eq!(code, Some(1));
    assert!(stderr.contains("copy.db already: name another, or replace it with --force"), "{stderr}");
    assert_eq!(std::fs::read(&copy).unwrap(), b"precious");
    let told = backed_up(data.path(), &["copy.db", "--force"]);
    assert_eq!(
        (&told["tasks"], &told["bytes"]),
        (&json!(1), &json!(std::fs::metadata(&copy).unwrap().len()))
    );
}

#[tokio::test]
async fn a_backup_never_touches_the_files_of_the_database() {
    let data = TempDir::new().unwrap();
    let mut trial = Trial::start(data.path(), &[]).await;
    let (id, captcha_id) = trial.submitted().await;
    std::os::unix::fs::symlink(data.path().join("pingbox.db"), data.path().join("link.db")).unwrap();
    for name in ["pingbox.db", "pingbox.db-wal", "pingbox.db-shm", "pingbox.db.lock", "link.db"] {
        let (code, _, stderr) = outcome(&mut backup(data.path(), &[name, "--force"]));
        assert_eq!(code, Some(1), "{name}");
        assert!(stderr.contains("is in use by the database"), "{stderr}");
    }
    let (_, _, stderr) = outcome(&mut backup(data.path(), &["."]));
    assert!(stderr.contains("is a folder"), "{stderr}");
    // SQLite would take the log of an earlier database for the copy's own.
    std::fs::write(data.path().join("copy.db-wal"), "").unwrap();
    let (_, _, stderr) = outcome(&mut backup(data.path(), &["copy.db"]));
    assert!(stderr.contains("copy.db-wal, which would be taken for part of the copy"), "{stderr}");
    trial.works(&id, &captcha_id).await;
    trial.kill_and_inspect(data.path()).await;
}

#[tokio::test]
async fn a_backup_for_which_there_is_no_room_leaves_nothing_behind() {
    let Some(room) = Room::new(8) else { return };
    let data = TempDir::new().unwrap();
    let mut trial = Trial::start(data.path(), &[]).await;
    let (id, captcha_id) = trial.submitted().await;
    room.fill();
    let target = room.path().join("copy.db");
    let (code, _, stderr) = outcome(&mut room.inside(&backup(data.path(), &[target.to_str().unwrap()])));
    assert_eq!(code, Some(1));
    assert!(stderr.contains("no space is left on its disk: free some"), "{stderr}");
    assert_eq!(std::fs::read_dir(room.seen()).unwrap().count(), 1, "the filler is alone");
    trial.works(&id, &captcha_id).await;
}

/// Nobody is told of a backup that a power cut could take away.
#[tokio::test]
async fn a_backup_that_cannot_be_synced_is_none() {
    let Some(faults) = Faults::none() else { return };
    let data = TempDir::new().unwrap();
    let _trial = Trial::start(data.path(), &[]).await;
    faults.begin(&[("sync", ".partial", NO_SPACE)]);
    let (code, stdout, stderr) = outcome(backup(data.path(), &["copy.db"]).envs(faults.environment()));
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    assert!(!data.path().join("copy.db").exists());
    assert_eq!(left_over(data.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_backup_of_a_service_that_does_not_run_is_made_too() {
    let data = TempDir::new().unwrap();
    let trial = Trial::start(data.path(), &[]).await;
    trial.submitted().await;
    // What is in the log alone is part of it.
    trial.kill_and_inspect(data.path()).await;
    assert_eq!(backed_up(data.path(), &["copy.db"])["tasks"], json!(1));
    let data = restored(&data.path().join("copy.db"));
    assert_eq!(Database::of(data.path()).await.number("SELECT COUNT(*) FROM task").await, 1);
}

#[test]
fn a_database_on_postgresql_has_backups_of_its_own() {
    let data = TempDir::new().unwrap();
    let mut command = backup(data.path(), &["copy.db"]);
    command.env("PINGBOX_DATABASE__URL", "postgres://pingbox@127.0.0.1:9/pingbox");
    let (code, stdout, stderr) = outcome(&mut command);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(stderr.contains("pg_dump --format=custom --file="), "{stderr}");
}

/// By hand, for its figures: what a backup of a large database costs the writer beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it writes a gigabyte and takes minutes"]
async fn what_a_backup_costs() {
    const ROWS: &str = "INSERT INTO task (owner, type, status, priority, params, created_at, expires_at, captcha_id, answer,
            answered_at, via, erased)
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)
        SELECT 0, 'text', 'solved', 0, '[[\"textcaptcha\",\"2 + 2?\"]]', 4000000000000000, 4000000000000000, '7' || i,
            hex(randomblob(100)), 4000000000000000, 'pingback', 0 FROM n";
    let data = TempDir::new().unwrap();
    let trial = Trial::start(data.path(), &[]).await;
    trial.kill_and_inspect(data.path()).await;
    Database::of(data.path()).await.execute(ROWS).await;
    let trial = Trial::start(data.path(), &[]).await;
    let log = || std::fs::metadata(data.path().join("pingbox.db-wal")).unwrap().len() / 1024;
    let load = Load::start(&trial.process, 16);
    sleep(Duration::from_secs(2)).await;
    let mut last = (Instant::now(), load.acknowledged());
    let mut rate = |name: &str| {
        let (now, count) = (Instant::now(), load.acknowledged());
        let seconds = (now - last.0).as_secs_f64();
        let each = u32::try_from(count - last.1).unwrap();
        say(&format!(
            "{name}: {:.0} pingbacks/s for {seconds:.1} s, log {} KiB",
            f64::from(each) / seconds,
            log()
        ));
        last = (now, count);
    };
    rate("begin");
    sleep(Duration::from_secs(5)).await;
    rate("before");
    let told = in_background(backup(data.path(), &["copy.db", "--json"])).await;
    rate("during the backup");
    sleep(Duration::from_secs(5)).await;
    rate("after");
    say(&told.to_string());
    load.end().await;
}

#[expect(clippy::print_stdout, reason = "figures are for whoever asks for them")]
fn say(text: &str) {
    println!("{text}");
}
