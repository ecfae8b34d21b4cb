//! The start with a lot of tasks in the file.

use std::path::Path;
use std::time::Instant;

use reqwest::StatusCode;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};
use tempfile::TempDir;

use crate::figures::{Latencies, mib, say};
use crate::process::{Process, SECRET, never_solved, provider};

/// Starts that are measured.
const STARTS: usize = 5;

/// Stores tasks as the service would have by now: one in a thousand is open, the others were solved a minute ago.
async fn fill(data: &Path, tasks: u32) {
    let url = format!("sqlite://{}", data.join("pingbox.db").display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let fill = format!(
        "PRAGMA synchronous = OFF;
         CREATE TEMP TABLE number AS
             WITH RECURSIVE number (n, at) AS (
                 SELECT 1, CAST(unixepoch('subsec') * 1000000 AS INTEGER)
                 UNION ALL SELECT n + 1, at FROM number WHERE n < {tasks})
             SELECT n, at, n % 1000 = 0 AS is_open FROM number;
         BEGIN;
         INSERT INTO task (owner, type, status, tag, priority, params, captcha_id, answer, via, price, attempts,
                           created_at, sent_at, submitted_at, answered_at, expires_at, due_at)
         SELECT 0, 'text', iif(is_open, 'submitted', 'solved'), 'page-' || n % 50, 0,
                '[[\"textcaptcha\",\"What is ' || n || '?\"]]', 10000000000 + n, iif(is_open, NULL, 'answer ' || n),
                iif(is_open, NULL, 'pingback'), '0.001', 1, at - 60000000, at - 60000000, at - 60000000,
                iif(is_open, NULL, at - 1000000 - n % 50000000), at + 900000000, iif(is_open, at + 600000000, NULL)
         FROM number ORDER BY n;
         INSERT INTO event (type, time, owner, task_id, captcha_id, attempts, submitted_at)
         SELECT 'task.submitted', at, 0, n, 10000000000 + n, 1, at FROM number;
         INSERT INTO event (type, time, owner, task_id, captcha_id, attempts, submitted_at)
         SELECT 'task.solved', at, 0, n, 10000000000 + n, 1, at FROM number WHERE NOT is_open;
         COMMIT;
         PRAGMA wal_checkpoint(TRUNCATE);"
    );
    sqlx::raw_sql(AssertSqlSafe(fill)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// It starts, takes an answer to an open task, and knows an old one.
async fn starts_with(tasks: u32) {
    let data = TempDir::new().unwrap();
    let (_, provider) = provider(never_solved()).await;
    let path = format!("/pingback/{SECRET}");
    let mut empty = Vec::new();
    for number in 0..STARTS {
        let begun = Instant::now();
        let mut process = Process::start(data.path(), &provider, &[]).await;
        assert_eq!(process.pingback(&path, &format!("9{number}"), "Friday").await, StatusCode::OK);
        empty.push(begun.elapsed());
        process.server.kill();
    }
    fill(data.path(), tasks).await;
    let (mut full, mut memory) = (Vec::new(), 0);
    for number in 1..=STARTS {
        let begun = Instant::now();
        let mut process = Process::start(data.path(), &provider, &[]).await;
        let open = number * 1000;
        let captcha_id = (10_000_000_000 + open).to_string();
        assert_eq!(process.pingback(&path, &captcha_id, "Friday").await, StatusCode::OK);
        full.push(begun.elapsed());
        memory = process.server.memory();
        for (id, answer) in [(open, "Friday"), (1, "answer 1")] {
            let task = process.get(&format!("/v1/tasks/{id}")).await;
            assert_eq!(
                (&task["status"], &task["answer"]["text"]),
                (&json!("solved"), &json!(answer)),
                "{task}"
            );
        }
        process.server.kill();
    }
    let size = std::fs::metadata(data.path().join("pingbox.db")).unwrap().len();
    say(&format!("start to the first pingback on disk, new: {}", Latencies::of(empty).show()));
    say(&format!(
        "with {tasks} tasks in {} MiB: {}; resident {} MiB",
        mib(size),
        Latencies::of(full).show(),
        mib(memory)
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_starts_with_a_hundred_thousand_tasks() {
    starts_with(100_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "makes a file of half a gigabyte; it is for its figures"]
async fn it_starts_with_a_million_tasks() {
    starts_with(1_000_000).await;
}
