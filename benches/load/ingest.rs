//! Pingbacks a second, each on disk before it is acknowledged.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::Bench;
use crate::client::{Pingback, Reply};
use crate::machine::{self, FOLDER, load_average};
use crate::nchan::{self, Nchan};
use crate::peer::Peer;
use crate::program::Site;
use crate::report::Report;
use crate::senders::{self, Figures, Load, Requests, figures, row};
use crate::stats::{Latencies, Runs, micros, rate};
use crate::tasks::{self, Taken};

/// Tasks made ready for one run of `matched`.
const MATCHED_TASKS: u64 = 20_000;
/// Acknowledged answers that are read back after it.
const SAMPLE: usize = 1000;
/// Captcha IDs that no task has begin here.
const FIRST_UNMATCHED: u64 = 60_000_000_000;

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

/// Pingbacks, each about another captcha.
struct Pingbacks {
    ids: Arc<Ids>,
    last: u64,
    pingback: Pingback,
    accepted: RangeInclusive<u16>,
}

impl Pingbacks {
    /// As pingbox takes them, and its peers.
    fn to_pingbox(ids: &Arc<Ids>) -> Self {
        let pingback = Pingback::new(FIRST_UNMATCHED);
        Self { ids: Arc::clone(ids), last: FIRST_UNMATCHED, pingback, accepted: 200..=200 }
    }
}

impl Requests for Pingbacks {
    fn next(&mut self) -> Option<&[u8]> {
        self.last = self.ids.next()?;
        self.pingback.set(self.last);
        Some(self.pingback.request())
    }

    fn accepted(&mut self, reply: &Reply<'_>) -> anyhow::Result<Option<u64>> {
        Ok(self.accepted.contains(&reply.status).then_some(self.last))
    }
}

/// One run of everything, by turns.
struct Round {
    forgetful: Figures,
    nchan: Option<Figures>,
    naive: Figures,
    unmatched: Figures,
    matched: Figures,
    disk: Latencies,
    load_average: String,
    /// Tasks a second that were stored, and then sent to the provider.
    submitted: f64,
    sent: f64,
}

/// Picks one server out of a round, if it was there.
type Of = fn(&Round) -> Option<&Figures>;

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Report> {
    bench.ensure_files(bench.args.connections)?;
    let rounds: Vec<Round> = (0..bench.args.runs).map(|_| round(bench)).collect::<Result<_, _>>()?;
    let mut report = senders::report(bench, "ingest", rounds.len());
    let servers: [(&str, Of); 5] = [
        ("axum, stores nothing", |round| Some(&round.forgetful)),
        ("nchan publish, in memory", |round| round.nchan.as_ref()),
        ("naive axum + SqlitePool(5)", |round| Some(&round.naive)),
        ("pingbox, unmatched", |round| Some(&round.unmatched)),
        ("pingbox, matched", |round| Some(&round.matched)),
    ];
    let all = |of: Of| rounds.iter().filter_map(of).collect::<Vec<_>>();
    let (no_storage, naive) = (all(|round| Some(&round.forgetful)), all(|round| Some(&round.naive)));
    for (name, of) in servers {
        let runs = all(of);
        if !runs.is_empty() {
            let (cells, figures) = row(&runs, &no_storage, &naive);
            report.row(name, cells, figures);
        }
    }
    add_notes(&mut report, &rounds);
    Ok(report)
}

fn add_notes(report: &mut Report, rounds: &[Round]) {
    if rounds.iter().any(|round| round.nchan.is_none()) {
        report.note(nchan::MISSING);
    }
    let disk: Vec<&Latencies> = rounds.iter().map(|round| &round.disk).collect();
    let loads: Vec<&str> = rounds.iter().map(|round| round.load_average.as_str()).collect();
    report.machine(&disk, &loads);
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
    let nchan = Nchan::start(bench)?.map(|nchan| publish(bench, &nchan)).transpose()?;
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
    Ok(Round {
        forgetful,
        nchan,
        naive,
        unmatched,
        matched: figures(&load)?,
        disk,
        load_average,
        submitted,
        sent,
    })
}

/// Sends new captcha IDs for as long as asked; what the first moments show is left out.
pub(crate) fn warm_and_run(bench: &Bench, addresses: &[SocketAddr]) -> anyhow::Result<Load> {
    let ids = Ids::new();
    senders::warm_and_send(bench, addresses, || Pingbacks::to_pingbox(&ids))
}

/// Sends these captcha IDs, each once, for as long as asked or until they are used up.
pub(crate) fn run(
    bench: &Bench,
    addresses: &[SocketAddr],
    ids: &Arc<Ids>,
    time: Duration,
) -> anyhow::Result<Load> {
    senders::send(bench, addresses, || Pingbacks::to_pingbox(ids), time)
}

/// Has nchan take the same, for nobody.
fn publish(bench: &Bench, nchan: &Nchan) -> anyhow::Result<Figures> {
    let ids = Ids::new();
    let load = senders::warm_and_send(bench, &[nchan.address], || Pingbacks {
        pingback: Pingback::below(nchan::PUBLISH_LAST, FIRST_UNMATCHED),
        accepted: 201..=202,
        ..Pingbacks::to_pingbox(&ids)
    })?;
    ensure!(load.refused == 0, "nchan refused {} messages", load.refused);
    figures(&load)
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
