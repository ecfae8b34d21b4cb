//! Pingbacks a second, each on disk before it is acknowledged.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Bench;
use crate::client::{Connection, Pingback};
use crate::machine::{self, FOLDER, load_average};
use crate::peer::Peer;
use crate::program::Site;
use crate::report::Report;
use crate::stats::{Latencies, Runs, Spread, micros, rate};
use crate::tasks::{self, Taken};

/// Tasks made ready for one run of `matched`.
const MATCHED_TASKS: u64 = 20_000;
/// Acknowledged answers that are read back after it.
const SAMPLE: usize = 1000;
/// Captcha IDs that no task has begin here.
const FIRST_UNMATCHED: u64 = 60_000_000_000;
/// How long a server is warmed up.
const WARM_UP: Duration = Duration::from_millis(300);
/// How much longer than asked a run may take.
const GRACE: Duration = Duration::from_secs(30);

/// The captcha IDs to send.
pub(crate) enum Ids {
    New(AtomicU64),
    Given { ids: Vec<u64>, next: AtomicUsize },
}

impl Ids {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::New(AtomicU64::new(FIRST_UNMATCHED)))
    }

    pub(crate) fn given(ids: Vec<u64>) -> Arc<Self> {
        Arc::new(Self::Given { ids, next: AtomicUsize::new(0) })
    }

    fn next(&self) -> Option<u64> {
        match self {
            Self::New(next) => Some(next.fetch_add(1, Ordering::Relaxed)),
            Self::Given { ids, next } => ids.get(next.fetch_add(1, Ordering::Relaxed)).copied(),
        }
    }
}

/// What one server did in one run.
#[derive(Debug, Default)]
pub(crate) struct Load {
    elapsed: Duration,
    latencies: Latencies,
    pub(crate) acknowledged: Vec<u64>,
    /// Pingbacks that were not answered with 200.
    pub(crate) refused: usize,
}

/// One server's figures in one run.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub(crate) rate: f64,
    pub(crate) latencies: Latencies,
    refused: usize,
}

/// One run of everything, by turns.
struct Round {
    forgetful: Figures,
    naive: Figures,
    unmatched: Figures,
    matched: Figures,
    disk: Latencies,
    load_average: String,
    /// Tasks a second that were stored, and then sent to the provider.
    submitted: f64,
    sent: f64,
}

/// Picks one server out of a round.
type Of = fn(&Round) -> &Figures;

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Report> {
    bench.ensure_files(bench.args.connections)?;
    let rounds: Vec<Round> = (0..bench.args.runs).map(|_| round(bench)).collect::<Result<_, _>>()?;
    let title = format!(
        "ingest: {} connections, {} x {} s, {} workers",
        bench.args.connections,
        rounds.len(),
        bench.args.seconds,
        bench.workers()
    );
    let columns = ["server", "pingbacks/s", "p50 µs", "p99 µs", "max µs", "x no storage", "x naive"];
    let mut report = Report::new(title, &columns, bench.settings());
    let servers: [(&str, Of); 4] = [
        ("axum, stores nothing", |round| &round.forgetful),
        ("naive axum + SqlitePool(5)", |round| &round.naive),
        ("pingbox, unmatched", |round| &round.unmatched),
        ("pingbox, matched", |round| &round.matched),
    ];
    for (name, of) in servers {
        let (cells, figures) = server_row(&rounds, of);
        report.row(name, cells, figures);
    }
    add_notes(&mut report, &rounds);
    Ok(report)
}

fn server_row(rounds: &[Round], of: Of) -> (Vec<String>, Value) {
    let ratio = |to: Of| Runs::of(rounds.iter().map(|round| of(round).rate / to(round).rate));
    let rate = Runs::of(rounds.iter().map(|round| of(round).rate));
    let latencies = Spread::of(rounds.iter().map(|round| &of(round).latencies));
    let (ceiling, naive) = (ratio(|round| &round.forgetful), ratio(|round| &round.naive));
    let refused: usize = rounds.iter().map(|round| of(round).refused).sum();
    let ratios = [format!("{:.2}", ceiling.median()), format!("{:.1}", naive.median())];
    let cells = [rate.show(0)].into_iter().chain(latencies.cells()).chain(ratios);
    let mut figures = json!({ "per_second": rate.json(), "over_no_storage": ceiling.json(),
        "over_naive": naive.json(), "refused": refused });
    latencies.write(&mut figures);
    (cells.collect(), figures)
}

fn add_notes(report: &mut Report, rounds: &[Round]) {
    let disk = Runs::of_micros(rounds.iter().map(|round| round.disk.p50()));
    report.note(format!("8 KiB write + fdatasync, p50 in µs before each run: {}", disk.show(0)));
    if disk.max() > 1.5 * disk.min() {
        report.note("The disk was unsteady (1.5x between runs): measure again on a quiet machine");
    }
    let loads: Vec<&str> = rounds.iter().map(|round| round.load_average.as_str()).collect();
    report.note(format!("Load average before each run: {}", loads.join(", ")));
    let submitted = Runs::of(rounds.iter().map(|round| round.submitted));
    let sent = Runs::of(rounds.iter().map(|round| round.sent));
    report.note(format!(
        "Tasks/s stored: {}; stored and sent to the provider: {}",
        submitted.show(0),
        sent.show(0)
    ));
    let p99 = |figures: &Figures| micros(figures.latencies.p99());
    let over = Runs::of(rounds.iter().map(|round| p99(&round.unmatched) / p99(&round.forgetful)));
    report.note(format!("p99 of unmatched over the p99 of no storage: {}", over.show(1)));
    let over = Runs::of(
        rounds.iter().map(|round| micros(round.unmatched.latencies.p50()) / micros(round.disk.p50())),
    );
    report.note(format!("p50 of unmatched over that of the disk: {}", over.show(1)));
    let refused: usize = rounds.iter().map(|round| round.naive.refused).sum();
    if refused > 0 {
        report.note(format!("The naive server refused {refused} pingbacks"));
    }
}

fn round(bench: &Bench) -> anyhow::Result<Round> {
    let load_average = load_average()?;
    let disk = machine::probe_quiet_disk()?;
    let forgetful = {
        let peer = Peer::forgetful(bench.workers())?;
        figures(&warm_and_run(bench, &[peer.address])?)?
    };
    let naive = {
        let folder = tempfile::Builder::new().prefix("load-").tempdir_in(FOLDER)?;
        let peer = Peer::naive(folder.path(), bench.workers())?;
        figures(&warm_and_run(bench, &[peer.address])?)?
    };
    let unmatched = {
        let mut site = Site::new(bench)?;
        let program = site.start()?;
        let load = warm_and_run(bench, &[program.public])?;
        ensure!(load.refused == 0, "pingbox refused {} unmatched pingbacks", load.refused);
        program.stop()?;
        figures(&load)?
    };
    let mut site = Site::new(bench)?;
    let program = site.start()?;
    let prepared = bench.runtime.block_on(tasks::prepare(program.api, MATCHED_TASKS))?;
    let ids = Ids::given(prepared.tasks.iter().map(|taken| taken.captcha).collect());
    let load = run(bench, &[program.public], &ids, bench.seconds())?;
    ensure!(load.refused == 0, "pingbox refused {} matched pingbacks", load.refused);
    bench.runtime.block_on(check_sample(program.api, &prepared.tasks, &load))?;
    program.stop()?;
    let count = prepared.tasks.len();
    let (submitted, sent) = (rate(count, prepared.submitting), rate(count, prepared.sending));
    Ok(Round { forgetful, naive, unmatched, matched: figures(&load)?, disk, load_average, submitted, sent })
}

impl Bench {
    pub(crate) fn seconds(&self) -> Duration {
        Duration::from_secs(self.args.seconds)
    }
}

pub(crate) fn figures(load: &Load) -> anyhow::Result<Figures> {
    ensure!(!load.latencies.is_empty(), "no pingback was acknowledged");
    let latencies = load.latencies.clone();
    Ok(Figures { rate: rate(load.acknowledged.len(), load.elapsed), latencies, refused: load.refused })
}

/// Sends new captcha IDs for as long as asked; what the first moments show is left out.
pub(crate) fn warm_and_run(bench: &Bench, addresses: &[SocketAddr]) -> anyhow::Result<Load> {
    let ids = Ids::new();
    run(bench, addresses, &ids, WARM_UP)?;
    run(bench, addresses, &ids, bench.seconds())
}

/// Sends one pingback after another on every connection, until the time or the captcha IDs are
/// used up. The connections are divided between the addresses.
pub(crate) fn run(
    bench: &Bench,
    addresses: &[SocketAddr],
    ids: &Arc<Ids>,
    time: Duration,
) -> anyhow::Result<Load> {
    let run = async {
        let mut connections = Vec::new();
        for (_, address) in (0..bench.args.connections).zip(addresses.iter().cycle()) {
            connections.push(Connection::open(*address).await?);
        }
        let begun = Instant::now();
        let mut senders = JoinSet::new();
        for connection in connections {
            senders.spawn(send(connection, Arc::clone(ids), begun + time));
        }
        let mut whole = Load::default();
        while let Some(load) = senders.join_next().await {
            let load = load??;
            whole.latencies.merge(&load.latencies);
            whole.acknowledged.extend(load.acknowledged);
            whole.refused += load.refused;
        }
        whole.elapsed = begun.elapsed();
        anyhow::Ok(whole)
    };
    bench.runtime.block_on(async { timeout(time + GRACE, run).await.context("the run did not end")? })
}

async fn send(mut connection: Connection, ids: Arc<Ids>, end: Instant) -> anyhow::Result<Load> {
    let mut load = Load::default();
    let mut pingback = Pingback::new(FIRST_UNMATCHED);
    loop {
        if Instant::now() >= end {
            return Ok(load);
        }
        let Some(id) = ids.next() else { return Ok(load) };
        pingback.set(id);
        let begun = Instant::now();
        let status = connection.exchange(pingback.request()).await?.status;
        if status == 200 {
            load.latencies.record(begun.elapsed());
            load.acknowledged.push(id);
        } else {
            load.refused += 1;
        }
    }
}

/// Reads some of the acknowledged answers back, from all of the run.
pub(crate) async fn check_sample(api: SocketAddr, tasks: &[Taken], load: &Load) -> anyhow::Result<()> {
    let acknowledged: std::collections::HashSet<u64> = load.acknowledged.iter().copied().collect();
    let answered: Vec<Taken> =
        tasks.iter().copied().filter(|taken| acknowledged.contains(&taken.captcha)).collect();
    let step = (answered.len() / SAMPLE).max(1);
    let sample: Vec<Taken> = answered.into_iter().step_by(step).take(SAMPLE).collect();
    tasks::check_answers(api, &sample).await.context("an acknowledged answer is not there")
}
