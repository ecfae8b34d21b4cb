//! From a pingback's time until every reader of the event feed has read its event.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::Bench;
use crate::audience::{Heard, Plan};
use crate::loudspeaker;
use crate::machine;
use crate::program::{Program, Site};
use crate::report::{Limit, Report};
use crate::stats::{Latencies, Runs, Spread, micros};
use crate::tasks;

/// Captcha IDs that no task has begin here.
const FIRST_UNMATCHED: u64 = 60_000_000_000;
/// A p99 that readers are to have, in microseconds.
const LONGEST_P99: f64 = 50_000.0;

/// Whose events they are, and which pingbacks make them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Of no task, to a server that stores nothing.
    Forgotten,
    /// Of no task.
    Unmatched,
    /// Each solves a task.
    Matched,
}

/// Kinds by turns, and what they are called.
const KINDS: [(Kind, &str); 3] = [
    (Kind::Forgotten, "axum, stores nothing"),
    (Kind::Unmatched, "pingback.unmatched"),
    (Kind::Matched, "task.solved"),
];

/// One run of one kind.
struct Round {
    heard: Heard,
    /// Events that were read, by all readers together.
    delivered: u32,
    elapsed: Duration,
    /// How long this process kept a processor busy.
    harness: Duration,
    /// pingbox itself, unless it is not what is measured.
    program: Option<Cost>,
    before: Before,
}

/// The machine before a run.
struct Before {
    disk: Latencies,
    load_average: String,
}

/// What a run took of the machine.
#[derive(Clone, Copy, Debug)]
struct Cost {
    busy: Duration,
    resident_kib: u32,
}

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Report> {
    let (readers, rate) = (bench.args.readers, bench.args.feed_rate);
    bench.ensure_files(readers)?;
    let mut rounds: [Vec<Round>; 3] = Default::default();
    for _ in 0..bench.args.runs {
        for ((kind, _), rounds) in KINDS.into_iter().zip(&mut rounds) {
            rounds.push(round(bench, kind, rate)?);
        }
    }
    let title = format!(
        "feed: {readers} readers, {rate} events/s, {} x {} s, {} workers",
        bench.args.runs,
        bench.args.seconds,
        bench.workers()
    );
    let columns = [
        "event",
        "p50 µs",
        "p99 µs",
        "max µs",
        "a second",
        "at once",
        "pingbox µs",
        "harness µs",
        "MiB",
        "x p99",
    ];
    let mut report = Report::new(title, &columns, bench.settings());
    for ((_, name), of_kind) in KINDS.into_iter().zip(&rounds) {
        let (cells, figures) = row(of_kind, &rounds[0]);
        report.row(name, cells, figures);
    }
    report
        .note("Latencies: from the time at which a pingback should have been written to each reader's read");
    report.note("A second: events that were read, by all readers together; at once: those of one read");
    report.note(
        "Processor time is for each event that a reader has read: pingbox's with that of the pingbacks,",
    );
    report.note("the harness's with what sends, all that reads, and the server that stores nothing");
    add_goals(&mut report, bench, &rounds)?;
    let before: Vec<&Before> = rounds.iter().flatten().map(|round| &round.before).collect();
    let disk: Vec<&Latencies> = before.iter().map(|before| &before.disk).collect();
    let loads: Vec<&str> = before.iter().map(|before| before.load_average.as_str()).collect();
    report.machine(&disk, &loads);
    Ok(report)
}

fn row(rounds: &[Round], forgotten: &[Round]) -> (Vec<String>, Value) {
    let runs = |value: fn(&Round) -> f64| Runs::of(rounds.iter().map(value));
    let latencies = Spread::of(&rounds.iter().map(|round| &round.heard.latencies).collect::<Vec<_>>());
    let per_second = runs(|round| f64::from(round.delivered) / round.elapsed.as_secs_f64());
    let at_once = runs(|round| f64::from(round.delivered) / f64::from(round.heard.reads));
    let own = runs(|round| micros(round.harness) / f64::from(round.delivered));
    let pairs = rounds.iter().zip(forgotten);
    let over = Runs::of(pairs.map(|(round, least)| round.p99() / least.p99()));
    let mut figures = json!({ "per_second": per_second.json(), "at_once": at_once.json(),
        "harness_us_per_event": own.json(), "p99_over_no_storage": over.json() });
    latencies.write(&mut figures);
    let mut of_program = ["-".to_owned(), "-".to_owned()];
    let costs = || rounds.iter().filter_map(|round| Some((round.program?, f64::from(round.delivered))));
    if costs().next().is_some() {
        let each = Runs::of(costs().map(|(cost, delivered)| micros(cost.busy) / delivered));
        let resident = Runs::of(costs().map(|(cost, _)| f64::from(cost.resident_kib)));
        figures["pingbox_us_per_event"] = each.json();
        figures["resident_kib"] = resident.json();
        of_program = [each.show(2), format!("{:.1}", resident.median() / 1024.0)];
    }
    let [each, resident] = of_program;
    let at_once = format!("{:.1}", at_once.median());
    let cells = [per_second.show(0), at_once, each, own.show(2), resident, format!("{:.1}", over.median())];
    (latencies.cells().into_iter().chain(cells).collect(), figures)
}

fn add_goals(report: &mut Report, bench: &Bench, rounds: &[Vec<Round>; 3]) -> anyhow::Result<()> {
    let mut is_reached = true;
    for ((_, name), of_kind) in KINDS.into_iter().zip(rounds).skip(1) {
        let p99 = Runs::of(of_kind.iter().map(Round::p99));
        report.goal(&format!("p99 of {name} in µs"), &p99, Limit::AtMost(LONGEST_P99));
        is_reached &= p99.median() <= LONGEST_P99;
    }
    if !is_reached {
        report.note(reached_at(bench)?);
    }
    Ok(())
}

/// The rate at which the goal is reached: half of it is tried, and half of that, until it is.
fn reached_at(bench: &Bench) -> anyhow::Result<String> {
    let rates = std::iter::successors(Some(bench.args.feed_rate / 2), |rate| Some(rate / 2));
    for rate in rates.take_while(|rate| *rate > 0) {
        let p99 = round(bench, Kind::Unmatched, rate)?.p99();
        if p99 <= LONGEST_P99 {
            return Ok(format!("It is reached with {rate} unmatched pingbacks/s: p99 {p99:.0} µs"));
        }
    }
    Ok("It is not reached at any rate".to_owned())
}

impl Round {
    fn p99(&self) -> f64 {
        micros(self.heard.latencies.p99())
    }
}

fn round(bench: &Bench, kind: Kind, rate: u64) -> anyhow::Result<Round> {
    let before = Before { load_average: machine::load_average()?, disk: machine::probe_quiet_disk()? };
    let count = rate * bench.args.seconds;
    if kind == Kind::Forgotten {
        let peer = loudspeaker::start(bench.workers())?;
        return hear(bench, &plan(kind, FIRST_UNMATCHED, count, rate)?, [peer.address; 2], before);
    }
    let mut site = Site::new(bench)?;
    let program = site.start()?;
    let first = if kind == Kind::Matched { prepare(bench, &program, count)? } else { FIRST_UNMATCHED };
    let busy = program.processor_time()?;
    let plan = plan(kind, first, count, rate)?;
    let mut round = hear(bench, &plan, [program.public, program.api], before)?;
    let busy = program.processor_time()?.saturating_sub(busy);
    round.program = Some(Cost { busy, resident_kib: u32::try_from(program.resident_bytes()? / 1024)? });
    program.stop()?;
    Ok(round)
}

fn plan(kind: Kind, first_captcha: u64, count: u64, rate: u64) -> anyhow::Result<Plan> {
    let kind = if kind == Kind::Matched { "task.solved" } else { "pingback.unmatched" };
    Ok(Plan { first_captcha, count: usize::try_from(count)?, rate, kind })
}

/// Has so many tasks ready to be solved; the first of their captcha IDs, which follow each other.
fn prepare(bench: &Bench, program: &Program, count: u64) -> anyhow::Result<u64> {
    let tasks = bench.runtime.block_on(tasks::prepare(program.api, count))?.tasks;
    let captchas = || tasks.iter().map(|taken| taken.captcha);
    let (first, last) = captchas().min().zip(captchas().max()).context("no tasks")?;
    ensure!(last - first == count - 1, "the provider was sent a task twice");
    Ok(first)
}

fn hear(bench: &Bench, plan: &Plan, servers: [SocketAddr; 2], before: Before) -> anyhow::Result<Round> {
    let own = || machine::processor_time(std::process::id());
    let (busy, begun) = (own()?, Instant::now());
    let heard = bench.runtime.block_on(plan.run(bench, servers))?;
    let delivered = u32::try_from(bench.args.readers * u64::try_from(plan.count)?)?;
    let harness = own()?.saturating_sub(busy);
    Ok(Round { heard, delivered, elapsed: begun.elapsed(), harness, program: None, before })
}
