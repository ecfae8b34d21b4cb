//! From a pingback sent to the reply that its waiting caller receives.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Bench;
use crate::client::{self, Connection, ID_DIGITS, Pingback};
use crate::machine;
use crate::nchan::{self, Nchan};
use crate::program::Site;
use crate::report::{Limit, Report};
use crate::schedule::{Schedule, Sent};
use crate::stats::{Latencies, Runs, Spread, micros};
use crate::tasks::{self, Taken};

/// How long the callers ask to wait.
pub(crate) const WAIT: Duration = Duration::from_secs(60);
/// The pingbacks must all have been sent by then.
const LONGEST_RUN: Duration = Duration::from_secs(40);
/// How long the server has to park the callers before the first pingback.
pub(crate) const SETTLE: Duration = Duration::from_secs(1);

/// A p99 that callers are to have, in microseconds.
const LONGEST_P99: f64 = 1500.0;
/// What takes the place of the first captcha's ID with nchan.
const FIRST_MESSAGE: u64 = 30_000_000_000;

/// What the callers call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Through {
    /// `GET /v1/tasks/{id}?wait=`
    Rest,
    /// `GET /res.php?action=get`, as SDKs do
    Compat,
    /// Another server, for comparison
    #[value(skip)]
    Nchan,
}

impl Through {
    pub(crate) fn question(self, taken: Taken) -> String {
        match self {
            Self::Rest => format!("/v1/tasks/{}?wait={}", taken.task, WAIT.as_secs()),
            Self::Compat => format!("/res.php?key=any&action=get&id={}", taken.task),
            Self::Nchan => format!("{}/{:0ID_DIGITS$}", nchan::WAIT, taken.captcha),
        }
    }

    fn check(self, taken: Taken, body: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::Rest => tasks::check_answer(taken, &serde_json::from_slice(body)?),
            Self::Compat => {
                let own = format!("OK|{}", client::answer_to(taken.captcha));
                ensure!(body == own.as_bytes(), "task {} has another's answer", taken.task);
                Ok(())
            }
            Self::Nchan => {
                let own = client::message(taken.captcha);
                ensure!(body == own.as_bytes(), "a caller of nchan has another's message");
                Ok(())
            }
        }
    }

    fn schedule(self, tasks: &[Taken], rate: u64) -> Schedule {
        let captchas = tasks.iter().map(|taken| taken.captcha).collect();
        match self {
            Self::Rest | Self::Compat => {
                Schedule { captchas, rate, pingback: Pingback::new(FIRST_MESSAGE), status: 200 }
            }
            Self::Nchan => {
                let pingback = Pingback::below(nchan::PUBLISH, FIRST_MESSAGE);
                Schedule { captchas, rate, pingback, status: 201 }
            }
        }
    }
}

/// What was measured with one server in one run.
struct Spans {
    woken: Latencies,
    woken_since_intended: Latencies,
    acknowledged: Latencies,
}

/// One run.
struct Round {
    pingbox: Spans,
    nchan: Option<Spans>,
    /// With as many writes a second as there are pingbacks.
    disk_at_rate: Latencies,
    disk: Latencies,
    load_average: String,
}

impl Round {
    /// How the caller's median compares with that of a commit, and a wake-up from memory on the way there and back.
    fn over_floor(&self) -> Option<f64> {
        let floor = self.disk_at_rate.p50() + 2 * self.nchan.as_ref()?.woken.p50();
        Some(micros(self.pingbox.woken.p50()) / micros(floor))
    }

    fn over_nchan(&self, at: fn(&Latencies) -> Duration) -> Option<f64> {
        Some(micros(at(&self.pingbox.woken)) / micros(at(&self.nchan.as_ref()?.woken)))
    }

    fn over_sender(&self) -> f64 {
        micros(self.pingbox.woken.p50()) / micros(self.pingbox.acknowledged.p50())
    }
}

/// Picks one span out of a round, if it was measured.
type Of = fn(&Round) -> Option<&Latencies>;

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Report> {
    let (waiters, rate) = (bench.args.waiters, bench.args.rate);
    bench.ensure_files(waiters)?;
    let longest = LONGEST_RUN.as_secs();
    ensure!(waiters / rate < longest, "{waiters} waiters at {rate}/s take more than {longest} s");
    let rounds: Vec<Round> = (0..bench.args.runs).map(|_| round(bench)).collect::<Result<_, _>>()?;
    let title = format!(
        "wake: {waiters} callers waiting through {:?}, {rate} pingbacks/s, runs: {}, {} workers",
        bench.args.through,
        rounds.len(),
        bench.workers()
    );
    let mut report = Report::new(title, &["from … to …", "p50 µs", "p99 µs", "max µs"], bench.settings());
    let probe = format!("8 KiB written to on disk, {rate}/s");
    let spans: [(&str, Of); 6] = [
        ("pingback written to caller's reply read", |round| Some(&round.pingbox.woken)),
        ("intended time to caller's reply read", |round| Some(&round.pingbox.woken_since_intended)),
        ("pingback written to its 200 read", |round| Some(&round.pingbox.acknowledged)),
        ("nchan: message written to caller's reply read", |round| Some(&round.nchan.as_ref()?.woken)),
        ("nchan: intended time to caller's reply read", |round| {
            Some(&round.nchan.as_ref()?.woken_since_intended)
        }),
        (&probe, |round| Some(&round.disk_at_rate)),
    ];
    for (name, of) in spans {
        let runs: Vec<&Latencies> = rounds.iter().filter_map(of).collect();
        if !runs.is_empty() {
            let latencies = Spread::of(&runs);
            let mut figures = json!({});
            latencies.write(&mut figures);
            report.row(name, latencies.cells(), figures);
        }
    }
    add_notes(&mut report, &rounds, rate);
    Ok(report)
}

fn add_notes(report: &mut Report, rounds: &[Round], rate: u64) {
    if let Some(over) = ratios(rounds, Round::over_floor) {
        let what = format!("p50 of the caller over that of fdatasync at {rate}/s + 2 x that of nchan");
        report.goal(&what, &over, Limit::AtMost(1.0));
    } else {
        report.note(nchan::MISSING);
    }
    let p99 = Runs::of_micros(rounds.iter().map(|round| round.pingbox.woken.p99()));
    report.goal("p99 of the caller in µs", &p99, Limit::AtMost(LONGEST_P99));
    let over = Runs::of(rounds.iter().map(Round::over_sender));
    report.goal("p50 of the caller over that of the sender", &over, Limit::AtMost(1.1));
    for (quantile, at) in [("p50", Latencies::p50 as fn(&Latencies) -> Duration), ("p99", Latencies::p99)] {
        if let Some(over) = ratios(rounds, |round| round.over_nchan(at)) {
            report.note(format!("{quantile} of the caller over that of nchan's: {}", over.show(1)));
        }
    }
    let disk: Vec<&Latencies> = rounds.iter().map(|round| &round.disk).collect();
    let loads: Vec<&str> = rounds.iter().map(|round| round.load_average.as_str()).collect();
    report.machine(&disk, &loads);
}

/// Of the rounds that have one.
fn ratios(rounds: &[Round], ratio: impl Fn(&Round) -> Option<f64>) -> Option<Runs> {
    let ratios: Vec<f64> = rounds.iter().filter_map(ratio).collect();
    (!ratios.is_empty()).then(|| Runs::of(ratios))
}

fn round(bench: &Bench) -> anyhow::Result<Round> {
    let load_average = machine::load_average()?;
    let disk = machine::probe_quiet_disk()?;
    let disk_at_rate = machine::probe_disk_at(bench.args.rate)?;
    let nchan = Nchan::start(bench)?.map(|nchan| wake_by_nchan(bench, &nchan)).transpose()?;
    let mut site = Site::new(bench)?;
    let program = site.start()?;
    let (sent, read) = bench.runtime.block_on(async {
        let tasks = tasks::prepare(program.api, bench.args.waiters).await?.tasks;
        let waiting = timeout(SETTLE + WAIT * 2, wait_all(bench, program.public, program.api, &tasks));
        waiting.await.context("the run did not end")?
    })?;
    program.stop()?;
    Ok(Round { pingbox: Spans::of(&sent, &read)?, nchan, disk_at_rate, disk, load_average })
}

/// As many callers, waiting for messages as long as pingbacks, which come as fast.
fn wake_by_nchan(bench: &Bench, nchan: &Nchan) -> anyhow::Result<Spans> {
    let message = |task| Taken { task, captcha: FIRST_MESSAGE + task };
    let messages: Vec<Taken> = (0..bench.args.waiters).map(message).collect();
    let waiting = wait_through(bench, Through::Nchan, [nchan.address; 2], &messages);
    let (sent, read) = bench.runtime.block_on(async {
        timeout(SETTLE + WAIT * 2, waiting).await.context("the run with nchan did not end")?
    })?;
    Spans::of(&sent, &read)
}

impl Spans {
    fn of(sent: &[Sent], read: &[Instant]) -> anyhow::Result<Self> {
        let since = |from: fn(&Sent) -> Instant, to: fn(&Sent, &[Instant]) -> Instant| {
            let took = sent.iter().map(|sent| to(sent, read).saturating_duration_since(from(sent)));
            Latencies::of(took).context("nothing was sent")
        };
        Ok(Self {
            woken: since(|sent| sent.written, |sent, read| read[sent.index])?,
            woken_since_intended: since(|sent| sent.intended, |sent, read| read[sent.index])?,
            acknowledged: since(|sent| sent.written, |sent, _| sent.acknowledged)?,
        })
    }
}

/// Parks a caller for each task, answers them all, and sees that each got its own answer; when each
/// pingback was sent, and when each reply was read.
pub(crate) async fn wait_all(
    bench: &Bench,
    public: SocketAddr,
    api: SocketAddr,
    tasks: &[Taken],
) -> anyhow::Result<(Vec<Sent>, Vec<Instant>)> {
    wait_through(bench, bench.args.through, [public, api], tasks).await
}

async fn wait_through(
    bench: &Bench,
    through: Through,
    [public, api]: [SocketAddr; 2],
    tasks: &[Taken],
) -> anyhow::Result<(Vec<Sent>, Vec<Instant>)> {
    let mut callers = JoinSet::new();
    for (index, &taken) in tasks.iter().enumerate() {
        let mut connection = Connection::open(api).await?;
        connection.send(&client::get(&through.question(taken))).await?;
        callers.spawn(async move {
            let reply = connection.receive().await?;
            let read = Instant::now();
            ensure!(reply.status == 200, "{} to a waiting caller", reply.status);
            through.check(taken, reply.body)?;
            anyhow::Ok((index, read))
        });
    }
    tokio::time::sleep(SETTLE).await;
    ensure!(callers.try_join_next().is_none(), "a caller did not wait");
    let (done, sent) = oneshot::channel();
    let schedule = through.schedule(tasks, bench.args.rate);
    // If the callers fail, nobody wants to know.
    thread::spawn(move || drop(done.send(schedule.send_all(public))));
    let mut read = vec![Instant::now(); tasks.len()];
    while let Some(caller) = callers.join_next().await {
        let (index, at) = caller??;
        read[index] = at;
    }
    Ok((sent.await??, read))
}
