//! What many stored tasks cost: the same figures with an empty database and with a filled one.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use tokio::time::timeout;

use crate::Bench;
use crate::filled::{self, Filling};
use crate::ingest::{self, Ids};
use crate::machine;
use crate::program::{Program, Site};
use crate::report::{Limit, Report};
use crate::senders::{self, Figures};
use crate::stats::{Latencies, Runs, micros};
use crate::tasks;
use crate::wake::{self, SETTLE, WAIT};

/// Tasks made ready for one run of `matched`.
const MATCHED_TASKS: u64 = 20_000;
/// How often `wake` is measured in each run: together they have some thousand latencies.
const WAKES: u64 = 3;
/// How long the first moments of a run are.
const WARM_UP: Duration = Duration::from_millis(300);
/// How long the program rests before its memory is read.
const REST: Duration = Duration::from_secs(2);
/// Captcha IDs that no task has begin here, and are further apart than one run can send.
const FIRST_UNMATCHED: u64 = 60_000_000_000;
const UNMATCHED_OF_A_RUN: u64 = 100_000_000;

/// One of the two databases. It is used in all runs, so that the other tasks in it are as many as in the other one.
struct Side {
    site: Site,
    filling: Option<Filling>,
    rounds: Vec<Round>,
}

/// One run with one of them.
struct Round {
    unmatched: Figures,
    matched: Figures,
    woken: Latencies,
    start: Duration,
    resident_kib: u32,
    disk: Latencies,
    load_average: String,
}

/// A figure of a run.
type Of = fn(&Round) -> f64;

/// What is aimed at.
#[derive(Clone, Copy, Debug)]
enum Goal {
    None,
    /// Of the figure with the filled database to that with the empty one.
    Ratio(Limit),
    /// Of the figure with the filled database.
    Filled(Limit),
}

const FIGURES: [(&str, Of, Goal); 8] = [
    ("unmatched pingbacks/s", |round| round.unmatched.rate, Goal::Ratio(Limit::AtLeast(0.9))),
    ("unmatched, p99 µs", |round| micros(round.unmatched.latencies.p99()), Goal::None),
    ("matched pingbacks/s", |round| round.matched.rate, Goal::Ratio(Limit::AtLeast(0.9))),
    ("matched, p99 µs", |round| micros(round.matched.latencies.p99()), Goal::None),
    ("wake since the intended time, p50 µs", |round| micros(round.woken.p50()), Goal::None),
    (
        "wake since the intended time, p99 µs",
        |round| micros(round.woken.p99()),
        Goal::Ratio(Limit::AtMost(1.2)),
    ),
    ("start to first 200, µs", |round| micros(round.start), Goal::Filled(Limit::AtMost(100_000.0))),
    (
        "resident after the start, KiB",
        |round| f64::from(round.resident_kib),
        Goal::Filled(Limit::AtMost(20_480.0)),
    ),
];

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Report> {
    let Bench { args, .. } = bench;
    bench.ensure_files(args.connections.max(args.waiters))?;
    let mut empty = Side::new(bench, 0)?;
    let mut full = Side::new(bench, args.tasks)?;
    for run in 0..args.runs {
        for side in [&mut empty, &mut full] {
            let round = side.round(bench, run)?;
            side.rounds.push(round);
        }
    }
    let filling = full.filling.context("it was filled")?;
    filling.see_untouched(bench, &full.site)?;
    let title = format!(
        "growth: 0 and {} stored tasks; {} connections, {} x {} s; {} waiters at {}/s; {} workers",
        args.tasks,
        args.connections,
        args.runs,
        args.seconds,
        args.waiters,
        args.rate,
        bench.workers()
    );
    let many = format!("{} tasks", args.tasks);
    let mut report = Report::new(title, &["figure", "0 tasks", &many, "ratio"], bench.settings());
    for (name, of, goal) in FIGURES {
        let [none, some] = [&empty, &full].map(|side| Runs::of(side.rounds.iter().map(of)));
        let pairs = empty.rounds.iter().zip(&full.rounds);
        let ratio = Runs::of(pairs.map(|(none, some)| of(some) / of(none)));
        let figures = json!({ "empty": none.json(), "filled": some.json(), "ratio": ratio.json() });
        report.row(name, [none.show(0), some.show(0), ratio.show(2)], figures);
        let (what, value) = match goal {
            Goal::None => continue,
            Goal::Ratio(limit) => (format!("{name}, over those of the empty database"), (ratio, limit)),
            Goal::Filled(limit) => (format!("{name}, with {many}"), (some, limit)),
        };
        report.goal(&what, &value.0, value.1);
    }
    add_notes(&mut report, filling, [&empty, &full]);
    Ok(report)
}

fn add_notes(report: &mut Report, filling: Filling, sides: [&Side; 2]) {
    let Filling { bytes, took, .. } = filling;
    let (megabytes, seconds) = (bytes / 1_000_000, took.as_secs());
    report.note(format!("The filled database has {megabytes} MB and was filled in {seconds} s"));
    report.note("Retention erased and deleted none of it meanwhile; the database is in the system's cache");
    let rounds: Vec<&Round> = sides.into_iter().flat_map(|side| &side.rounds).collect();
    let disk: Vec<&Latencies> = rounds.iter().map(|round| &round.disk).collect();
    let loads: Vec<&str> = rounds.iter().map(|round| round.load_average.as_str()).collect();
    report.machine(&disk, &loads);
}

impl Side {
    fn new(bench: &Bench, tasks: u64) -> anyhow::Result<Self> {
        let mut site = Site::new(bench)?;
        let filling = if tasks > 0 {
            Some(filled::fill(bench, &mut site, tasks)?)
        } else {
            // So that both exist when they are measured.
            site.start()?.stop()?;
            None
        };
        Ok(Self { site, filling, rounds: Vec::new() })
    }

    fn round(&mut self, bench: &Bench, run: u64) -> anyhow::Result<Round> {
        let load_average = machine::load_average()?;
        let disk = machine::probe_quiet_disk()?;
        let program = self.site.start()?;
        let start = program.took;
        sleep(REST);
        let resident_kib = u32::try_from(program.resident_bytes()? / 1024)?;
        let woken = bench.runtime.block_on(woken(bench, &program))?;
        let matched = matched(bench, &program)?;
        let unmatched = unmatched(bench, &program, run)?;
        program.stop()?;
        // A full sink is trimmed while the next run is measured.
        filled::empty_sink(bench, &self.site)?;
        Ok(Round { unmatched, matched, woken, start, resident_kib, disk, load_average })
    }
}

async fn woken(bench: &Bench, program: &Program) -> anyhow::Result<Latencies> {
    let mut latencies = Latencies::default();
    for _ in 0..WAKES {
        let tasks = tasks::prepare(program.api, bench.args.waiters).await?.tasks;
        let waiting = wake::wait_all(bench, program.public, program.api, &tasks);
        let (sent, read) = timeout(SETTLE + WAIT * 2, waiting).await.context("the run did not end")??;
        for sent in sent {
            latencies.record(read[sent.index].saturating_duration_since(sent.intended));
        }
    }
    Ok(latencies)
}

fn matched(bench: &Bench, program: &Program) -> anyhow::Result<Figures> {
    let tasks = bench.runtime.block_on(tasks::prepare(program.api, MATCHED_TASKS))?.tasks;
    let ids = Ids::given(tasks.iter().map(|taken| taken.captcha).collect());
    let load = ingest::run(bench, &[program.public], &ids, bench.seconds())?;
    ensure!(load.refused == 0, "pingbox refused {} matched pingbacks", load.refused);
    bench.runtime.block_on(ingest::check_sample(program.api, &tasks, &load))?;
    senders::figures(&load)
}

fn unmatched(bench: &Bench, program: &Program, run: u64) -> anyhow::Result<Figures> {
    let first = FIRST_UNMATCHED + run * UNMATCHED_OF_A_RUN;
    let ids = Arc::new(Ids::New(AtomicU64::new(first)));
    ingest::run(bench, &[program.public], &ids, WARM_UP)?;
    let load = ingest::run(bench, &[program.public], &ids, bench.seconds())?;
    ensure!(load.refused == 0, "pingbox refused {} unmatched pingbacks", load.refused);
    senders::figures(&load)
}
