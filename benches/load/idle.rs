//! Memory: after the start, and for each caller that waits.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::Bench;
use crate::client::{self, Connection};
use crate::machine::OTHER_FILES;
use crate::program::{Program, Site};
use crate::report::Report;
use crate::tasks::{self, Taken};

/// How long everything rests before memory is read.
const SETTLE: Duration = Duration::from_secs(2);
/// Opening the connections must not take longer.
const DEADLINE: Duration = Duration::from_secs(100);

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Report> {
    // pingbox gives each of its two listeners half of its open files.
    let room = bench.open_files.saturating_sub(OTHER_FILES) / 2;
    let count = bench.args.idle_waiters.min(room.saturating_sub(OTHER_FILES));
    let mut site = Site::new(bench)?;
    let program = site.start()?;
    let fresh = program.resident_bytes()?;
    let tasks = bench.runtime.block_on(tasks::prepare(program.api, count))?.tasks;
    // Started again, so that memory freed after the submissions is not taken for the waiters'.
    program.stop()?;
    let program = site.start()?;
    let (before, parked) = bench.runtime.block_on(async {
        timeout(DEADLINE, park(&program, &tasks)).await.context("the callers could not be parked")?
    })?;
    program.stop()?;
    let title = format!("idle: {count} waiting callers, {} workers", bench.workers());
    let mut report = Report::new(title, &["memory", "bytes"], bench.settings());
    let each = parked.saturating_sub(before) / count;
    for (name, bytes) in [
        ("resident after the start and one pingback", fresh),
        ("resident before the callers came", before),
        ("resident with all callers waiting", parked),
        ("growth for each waiting caller", each),
    ] {
        report.row(name, [bytes.to_string()], json!({ "bytes": bytes, "waiters": count }));
    }
    if count < bench.args.idle_waiters {
        report.note(format!("The limit of {} open files allows {count} callers", bench.open_files));
    }
    Ok(report)
}

/// Parks a caller for each task; resident memory before and after.
async fn park(program: &Program, tasks: &[Taken]) -> anyhow::Result<(u64, u64)> {
    // What the first request needs once is not the waiters'.
    Connection::open(program.api).await?.get_json("/v1/tasks?limit=1").await?;
    sleep(SETTLE).await;
    let before = program.resident_bytes()?;
    let mut callers = Vec::new();
    for taken in tasks {
        let mut connection = Connection::open(program.api).await?;
        connection.send(&client::get(&format!("/v1/tasks/{}?wait=300", taken.task))).await?;
        callers.push(connection);
    }
    sleep(SETTLE).await;
    let parked = program.resident_bytes()?;
    ensure!(callers.iter().all(Connection::is_silent), "a caller was answered or turned away");
    Ok((before, parked))
}
