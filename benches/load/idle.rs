//! Memory: after the start, for each caller that waits, and after they have left.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::Bench;
use crate::client::{self, Connection};
use crate::machine::OTHER_FILES;
use crate::program::{Program, Site};
use crate::report::{Limit, Report};
use crate::stats::Runs;
use crate::tasks::{self, Taken};
use crate::wake::Through;

/// How long everything rests before memory is read.
const SETTLE: Duration = Duration::from_secs(2);
/// How long the program has to give memory back: its allocator takes some 10 s.
const LEAVE: Duration = Duration::from_secs(15);
/// Opening the connections must not take longer. `res.php` holds a caller for 30 s.
const DEADLINE: Duration = Duration::from_secs(100);

/// What the program is to need after the start, and for each caller that waits.
const MOST_RESIDENT_KIB: f64 = 20_480.0;
const MOST_BYTES: f64 = 8000.0;

/// Resident memory of the program, in bytes.
struct Memory {
    /// After the start and one pingback.
    fresh: u64,
    /// Started again, and asked for something once.
    before: u64,
    parked: u64,
    left: u64,
    /// Callers that waited.
    waiters: u64,
}

type Of = fn(&Memory) -> u64;

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Report> {
    let wanted = bench.args.idle_waiters;
    let rest = memory(bench, Through::Rest)?;
    let compat = memory(bench, Through::Compat)?;
    let waiters = rest.waiters;
    let title = format!("idle: {waiters} waiting callers, {} workers", bench.workers());
    let columns = ["memory", "through REST, bytes", "through res.php, bytes"];
    let mut report = Report::new(title, &columns, bench.settings());
    let rows: [(&str, Of); 6] = [
        ("resident after the start and one pingback", |memory| memory.fresh),
        ("resident before the callers came", |memory| memory.before),
        ("resident with all callers waiting", |memory| memory.parked),
        ("growth for each waiting caller", Memory::each),
        ("resident after they have left", |memory| memory.left),
        ("growth that stayed for each", Memory::kept),
    ];
    for (name, of) in rows {
        let bytes = [&rest, &compat].map(of);
        let figures = json!({ "rest_bytes": bytes[0], "compat_bytes": bytes[1], "waiters": waiters });
        report.row(name, bytes.map(|bytes| bytes.to_string()), figures);
    }
    let fresh = Runs::of([kib(rest.fresh)?]);
    report.goal("resident after the start, KiB", &fresh, Limit::AtMost(MOST_RESIDENT_KIB));
    for (name, memory) in [("REST", &rest), ("res.php", &compat)] {
        let each = Runs::of([f64::from(u32::try_from(memory.each())?)]);
        report.goal(&format!("bytes for each waiting caller, {name}"), &each, Limit::AtMost(MOST_BYTES));
    }
    if waiters < wanted {
        report.note(format!(
            "{waiters} callers, and not {wanted}, is what pingbox takes on a listener with {} open files",
            bench.open_files
        ));
    }
    Ok(report)
}

fn kib(bytes: u64) -> anyhow::Result<f64> {
    Ok(f64::from(u32::try_from(bytes / 1024)?))
}

impl Memory {
    fn each(&self) -> u64 {
        self.parked.saturating_sub(self.before) / self.waiters
    }

    fn kept(&self) -> u64 {
        self.left.saturating_sub(self.before) / self.waiters
    }
}

fn memory(bench: &Bench, through: Through) -> anyhow::Result<Memory> {
    let mut site = Site::new(bench)?;
    let program = site.start()?;
    let fresh = program.resident_bytes()?;
    let room = bench.open_files.saturating_sub(OTHER_FILES).min(bench.runtime.block_on(room(&program))?);
    let waiters = bench.args.idle_waiters.min(room.saturating_sub(OTHER_FILES));
    ensure!(waiters > 0, "no caller has room");
    let tasks = bench.runtime.block_on(tasks::prepare(program.api, waiters))?.tasks;
    // Started again, so that memory freed after the submissions is not taken for the waiters'.
    program.stop()?;
    let program = site.start()?;
    let [before, parked, left] = bench.runtime.block_on(async {
        let park = timeout(DEADLINE, park(&program, &tasks, through));
        park.await.context("the callers could not be parked")?
    })?;
    program.stop()?;
    Ok(Memory { fresh, before, parked, left, waiters })
}

/// Connections that pingbox takes on the listener of the API.
async fn room(program: &Program) -> anyhow::Result<u64> {
    let mut connection = Connection::open(program.api).await?;
    let reply = connection.exchange(&client::get("/metrics")).await?;
    let figures = std::str::from_utf8(reply.body)?;
    // Without labels in programs from before each listener had a limit of its own.
    let is_limit = |name: &str| {
        matches!(name, "pingbox_connections_limit" | r#"pingbox_connections_limit{listener="api"}"#)
    };
    let mut limits =
        figures.lines().filter_map(|line| line.rsplit_once(' ')).filter(|(name, _)| is_limit(name));
    let (_, value) = limits.next().context("no limit of connections")?;
    Ok(value.parse()?)
}

/// Parks a caller for each task; resident memory before, while they wait, and after they have left.
async fn park(program: &Program, tasks: &[Taken], through: Through) -> anyhow::Result<[u64; 3]> {
    // What the first request needs once is not the waiters'.
    Connection::open(program.api).await?.get_json("/v1/tasks?limit=1").await?;
    sleep(SETTLE).await;
    let before = program.resident_bytes()?;
    let mut callers = Vec::new();
    for taken in tasks {
        let mut connection = Connection::open(program.api).await?;
        connection.send(&client::get(&through.question(*taken))).await?;
        callers.push(connection);
    }
    sleep(SETTLE).await;
    let parked = program.resident_bytes()?;
    ensure!(callers.iter().all(Connection::is_silent), "a caller was answered or turned away");
    drop(callers);
    sleep(LEAVE).await;
    Ok([before, parked, program.resident_bytes()?])
}
