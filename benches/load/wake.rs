//! From a pingback sent to the reply that its waiting caller receives.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Bench;
use crate::client::{self, BlockingConnection, Connection, Pingback};
use crate::machine;
use crate::program::Site;
use crate::report::Report;
use crate::stats::{Latencies, Runs, Spread};
use crate::tasks::{self, Taken};

/// Threads that send pingbacks, each one every `SENDERS`th. With 2,000 a second each has 16 ms for
/// one; when that is not enough the delay shows in the latency since the intended time.
const SENDERS: usize = 32;
/// How long the callers ask to wait.
pub(crate) const WAIT: Duration = Duration::from_secs(60);
/// The pingbacks must all have been sent by then.
const LONGEST_RUN: Duration = Duration::from_secs(40);
/// How long the server has to park the callers before the first pingback.
pub(crate) const SETTLE: Duration = Duration::from_secs(1);

/// What the callers call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Through {
    /// `GET /v1/tasks/{id}?wait=`
    Rest,
    /// `GET /res.php?action=get`, as SDKs do
    Compat,
}

impl Through {
    fn question(self, taken: Taken) -> String {
        match self {
            Self::Rest => format!("/v1/tasks/{}?wait={}", taken.task, WAIT.as_secs()),
            Self::Compat => format!("/res.php?key=any&action=get&id={}", taken.task),
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
        }
    }
}

/// When a pingback was to be sent, was sent, and was acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) index: usize,
    intended: Instant,
    pub(crate) written: Instant,
    acknowledged: Instant,
}

/// One run.
struct Round {
    woken: Latencies,
    woken_since_intended: Latencies,
    acknowledged: Latencies,
    disk: Latencies,
    load_average: String,
}

/// Picks one span out of a round.
type Of = fn(&Round) -> &Latencies;

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
    let spans: [(&str, Of); 3] = [
        ("pingback written to caller's reply read", |round| &round.woken),
        ("intended time to caller's reply read", |round| &round.woken_since_intended),
        ("pingback written to its 200 read", |round| &round.acknowledged),
    ];
    for (name, of) in spans {
        let (cells, figures) = span_row(&rounds, of);
        report.row(name, cells, figures);
    }
    let ratio = |round: &Round| round.woken.p50().as_secs_f64() / round.acknowledged.p50().as_secs_f64();
    let over = Runs::of(rounds.iter().map(ratio));
    report.note(format!("p50 of the caller over the p50 of the sender: {}", over.show(2)));
    let disk = Runs::of_micros(rounds.iter().map(|round| round.disk.p50()));
    report.note(format!("8 KiB write + fdatasync, p50 in µs before each run: {}", disk.show(0)));
    let loads: Vec<&str> = rounds.iter().map(|round| round.load_average.as_str()).collect();
    report.note(format!("Load average before each run: {}", loads.join(", ")));
    Ok(report)
}

fn span_row(rounds: &[Round], of: Of) -> (Vec<String>, Value) {
    let latencies = Spread::of(rounds.iter().map(of));
    let mut figures = json!({});
    latencies.write(&mut figures);
    (latencies.cells().into(), figures)
}

fn round(bench: &Bench) -> anyhow::Result<Round> {
    let load_average = machine::load_average()?;
    let disk = machine::probe_quiet_disk()?;
    let mut site = Site::new(bench)?;
    let program = site.start()?;
    let (sent, read) = bench.runtime.block_on(async {
        let tasks = tasks::prepare(program.api, bench.args.waiters).await?.tasks;
        let waiting = timeout(SETTLE + WAIT * 2, wait_all(bench, program.public, program.api, &tasks));
        waiting.await.context("the run did not end")?
    })?;
    program.stop()?;
    let since = |from: fn(&Sent) -> Instant, to: fn(&Sent, &[Instant]) -> Instant| {
        let took = sent.iter().map(|sent| to(sent, &read).saturating_duration_since(from(sent)));
        Latencies::of(took).context("nothing was sent")
    };
    Ok(Round {
        woken: since(|sent| sent.written, |sent, read| read[sent.index])?,
        woken_since_intended: since(|sent| sent.intended, |sent, read| read[sent.index])?,
        acknowledged: since(|sent| sent.written, |sent, _| sent.acknowledged)?,
        disk,
        load_average,
    })
}

/// Parks a caller for each task, answers them all, and sees that each got its own answer; when each
/// pingback was sent, and when each reply was read.
pub(crate) async fn wait_all(
    bench: &Bench,
    public: SocketAddr,
    api: SocketAddr,
    tasks: &[Taken],
) -> anyhow::Result<(Vec<Sent>, Vec<Instant>)> {
    let mut callers = JoinSet::new();
    let through = bench.args.through;
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
    let schedule =
        Schedule { captchas: tasks.iter().map(|taken| taken.captcha).collect(), rate: bench.args.rate };
    // If the callers fail, nobody wants to know.
    thread::spawn(move || drop(done.send(schedule.send_all(public))));
    let mut read = vec![Instant::now(); tasks.len()];
    while let Some(caller) = callers.join_next().await {
        let (index, at) = caller??;
        read[index] = at;
    }
    Ok((sent.await??, read))
}

/// What to answer, and how fast.
struct Schedule {
    captchas: Vec<u64>,
    rate: u64,
}

impl Schedule {
    /// Sends every pingback at its time, however long the others take.
    fn send_all(&self, public: SocketAddr) -> anyhow::Result<Vec<Sent>> {
        let connections: Vec<BlockingConnection> = (0..SENDERS.min(self.captchas.len()))
            .map(|_| BlockingConnection::open(public))
            .collect::<Result<_, _>>()?;
        let step = connections.len();
        let begin = Instant::now() + Duration::from_millis(20);
        thread::scope(|scope| {
            let senders: Vec<_> = connections
                .into_iter()
                .enumerate()
                .map(|(first, connection)| {
                    scope.spawn(move || self.send_every(step, first, begin, connection))
                })
                .collect();
            let mut all = Vec::new();
            for sender in senders {
                all.extend(sender.join().map_err(|_| anyhow::anyhow!("a sender panicked"))??);
            }
            Ok(all)
        })
    }

    fn send_every(
        &self,
        step: usize,
        first: usize,
        begin: Instant,
        mut connection: BlockingConnection,
    ) -> anyhow::Result<Vec<Sent>> {
        let mut sent = Vec::new();
        let mut pingback = Pingback::new(0);
        for (index, &captcha) in self.captchas.iter().enumerate().skip(first).step_by(step) {
            pingback.set(captcha);
            let nanos = 1_000_000_000 / self.rate * u64::try_from(index)?;
            let intended = begin + Duration::from_nanos(nanos);
            thread::sleep(intended.saturating_duration_since(Instant::now()));
            let written = Instant::now();
            let status = connection.exchange(pingback.request())?;
            ensure!(status == 200, "{status} to a pingback");
            sent.push(Sent { index, intended, written, acknowledged: Instant::now() });
        }
        Ok(sent)
    }
}
