//! From a pingback's time until every reader of the event feed has read its event.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Bench;
use crate::client::answer_to;
use crate::loudspeaker;
use crate::machine;
use crate::planned::{Planned, Sender};
use crate::program::{Program, Site};
use crate::report::{Limit, Report};
use crate::stats::{Latencies, Runs, Spread, micros};
use crate::stream::{Buffer, Stream, Told};
use crate::tasks;

/// Captcha IDs that no task has begin here.
const FIRST_UNMATCHED: u64 = 60_000_000_000;
/// Every reader parses one event in so many, and compares its answer; of all of them it looks at the number
/// and the captcha ID.
const PARSED: usize = 1009;
/// A p99 that readers are to have, in microseconds.
const LONGEST_P99: f64 = 50_000.0;
/// How long pingbox has for the readers before the first pingback.
const SETTLE: Duration = Duration::from_millis(300);
/// How much longer than asked the readers may take.
const GRACE: Duration = Duration::from_secs(30);

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

/// The pingbacks of a run: their captcha IDs follow each other, and so do their times.
#[derive(Clone, Debug)]
struct Plan {
    first_captcha: u64,
    count: usize,
    begin: Instant,
    rate: u64,
}

/// One run of one kind.
struct Round {
    latencies: Latencies,
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

/// Kinds by turns, and what they are called.
const KINDS: [(Kind, &str); 3] = [
    (Kind::Forgotten, "axum, stores nothing"),
    (Kind::Unmatched, "pingback.unmatched"),
    (Kind::Matched, "task.solved"),
];

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Report> {
    let (readers, rate) = (bench.args.readers, bench.args.feed_rate);
    bench.ensure_files(readers)?;
    let mut rounds: [Vec<Round>; 3] = Default::default();
    for _ in 0..bench.args.runs {
        for ((kind, _), rounds) in KINDS.into_iter().zip(&mut rounds) {
            rounds.push(round(bench, kind)?);
        }
    }
    let title = format!(
        "feed: {readers} readers, {rate} events/s, {} x {} s, {} workers",
        bench.args.runs,
        bench.args.seconds,
        bench.workers()
    );
    let columns =
        ["event", "p50 µs", "p99 µs", "max µs", "read/s", "pingbox µs/read", "harness", "resident", "x p99"];
    let mut report = Report::new(title, &columns, bench.settings());
    for ((_, name), of_kind) in KINDS.into_iter().zip(&rounds) {
        let (cells, figures) = row(of_kind, &rounds[0]);
        report.row(name, cells, figures);
    }
    report
        .note("Latencies: from the time at which a pingback should have been written to each reader's read");
    report.note(
        "µs/read: processor time for each event that a reader has read. pingbox's has the pingbacks in it;",
    );
    report.note("the harness's has what sends, all that reads, and the server that stores nothing");
    for ((_, name), of_kind) in KINDS.into_iter().zip(&rounds).skip(1) {
        let p99 = Runs::of_micros(of_kind.iter().map(|round| round.latencies.p99()));
        report.goal(&format!("p99 of {name} in µs"), &p99, Limit::AtMost(LONGEST_P99));
    }
    let before: Vec<&Before> = rounds.iter().flatten().map(|round| &round.before).collect();
    let disk: Vec<&Latencies> = before.iter().map(|before| &before.disk).collect();
    let loads: Vec<&str> = before.iter().map(|before| before.load_average.as_str()).collect();
    report.machine(&disk, &loads);
    Ok(report)
}

fn row(rounds: &[Round], forgotten: &[Round]) -> (Vec<String>, Value) {
    let runs = |value: fn(&Round) -> f64| Runs::of(rounds.iter().map(value));
    let latencies = Spread::of(&rounds.iter().map(|round| &round.latencies).collect::<Vec<_>>());
    let rate = runs(|round| f64::from(round.delivered) / round.elapsed.as_secs_f64());
    let own = runs(|round| micros(round.harness) / f64::from(round.delivered));
    let p99 = |round: &Round| micros(round.latencies.p99());
    let over = Runs::of(rounds.iter().zip(forgotten).map(|(round, least)| p99(round) / p99(least)));
    let mut figures = json!({ "per_second": rate.json(), "harness_us_per_event": own.json(),
        "p99_over_no_storage": over.json() });
    latencies.write(&mut figures);
    let mut of_program = ["-".to_owned(), "-".to_owned()];
    let costs = || rounds.iter().filter_map(|round| Some((round.program?, f64::from(round.delivered))));
    if costs().next().is_some() {
        let each = Runs::of(costs().map(|(cost, delivered)| micros(cost.busy) / delivered));
        let resident = Runs::of(costs().map(|(cost, _)| f64::from(cost.resident_kib)));
        figures["pingbox_us_per_event"] = each.json();
        figures["resident_kib"] = resident.json();
        of_program = [each.show(2), format!("{:.1} MiB", resident.median() / 1024.0)];
    }
    let [each, resident] = of_program;
    let cells = [rate.show(0), each, own.show(2), resident, format!("{:.1}", over.median())];
    (latencies.cells().into_iter().chain(cells).collect(), figures)
}

fn round(bench: &Bench, kind: Kind) -> anyhow::Result<Round> {
    let before = Before { load_average: machine::load_average()?, disk: machine::probe_quiet_disk()? };
    if kind == Kind::Forgotten {
        let peer = loudspeaker::start(bench.workers())?;
        let plan = Plan::new(bench, FIRST_UNMATCHED)?;
        return plan.round(bench, kind, [peer.address, peer.address], before);
    }
    let mut site = Site::new(bench)?;
    let program = site.start()?;
    let plan = Plan::for_program(bench, kind, &program)?;
    let busy = program.processor_time()?;
    let mut round = plan.round(bench, kind, [program.public, program.api], before)?;
    let busy = program.processor_time()?.saturating_sub(busy);
    round.program = Some(Cost { busy, resident_kib: u32::try_from(program.resident_bytes()? / 1024)? });
    program.stop()?;
    Ok(round)
}

impl Plan {
    fn new(bench: &Bench, first_captcha: u64) -> anyhow::Result<Self> {
        let rate = bench.args.feed_rate;
        let count = usize::try_from(rate * bench.args.seconds)?;
        Ok(Self { first_captcha, count, begin: Instant::now(), rate })
    }

    /// Has tasks ready if it takes some.
    fn for_program(bench: &Bench, kind: Kind, program: &Program) -> anyhow::Result<Self> {
        if kind != Kind::Matched {
            return Self::new(bench, FIRST_UNMATCHED);
        }
        let count = bench.args.feed_rate * bench.args.seconds;
        let tasks = bench.runtime.block_on(tasks::prepare(program.api, count))?.tasks;
        let captchas = || tasks.iter().map(|taken| taken.captcha);
        let (first, last) = captchas().min().zip(captchas().max()).context("no tasks")?;
        ensure!(last - first == count - 1, "the provider was sent a task twice");
        Self::new(bench, first)
    }

    fn round(
        &self,
        bench: &Bench,
        kind: Kind,
        addresses: [SocketAddr; 2],
        before: Before,
    ) -> anyhow::Result<Round> {
        let (busy, begun) = (machine::processor_time(std::process::id())?, Instant::now());
        let latencies = bench.runtime.block_on(self.run(bench, kind, addresses))?;
        Ok(Round {
            latencies,
            delivered: u32::try_from(bench.args.readers * u64::try_from(self.count)?)?,
            elapsed: begun.elapsed(),
            harness: machine::processor_time(std::process::id())?.saturating_sub(busy),
            program: None,
            before,
        })
    }

    /// When the pingback with this index is to be sent.
    fn at(&self, index: usize) -> Instant {
        let nanos = u128::try_from(index).unwrap_or(0) * 1_000_000_000 / u128::from(self.rate);
        self.begin + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Which pingback an event is of.
    fn index(&self, event: Told<'_>) -> Option<usize> {
        let index = usize::try_from(event.captcha()?.checked_sub(self.first_captcha)?).ok()?;
        (index < self.count).then_some(index)
    }

    /// Sends all of it, and sees that each reader gets all of it; what each event took to each reader.
    async fn run(
        &self,
        bench: &Bench,
        kind: Kind,
        [public, api]: [SocketAddr; 2],
    ) -> anyhow::Result<Latencies> {
        let mut streams = Vec::new();
        for _ in 0..bench.args.readers {
            streams.push(Stream::open(api, kind.event()).await?);
        }
        let plan = Arc::new(Self { begin: Instant::now() + SETTLE, ..self.clone() });
        let sender = Sender::open(public)?;
        let (done, sent) = oneshot::channel();
        let planned = Arc::clone(&plan);
        // If the readers fail, nobody wants to know.
        thread::spawn(move || drop(done.send(sender.send_all(planned.pingbacks()))));
        let buffer = Arc::new(Buffer::new());
        let mut readers = JoinSet::new();
        for stream in streams {
            let reader = Reader::new(&plan, kind);
            readers.spawn(reader.read_all(stream, Arc::clone(&buffer)));
        }
        let all = async {
            let mut latencies = Latencies::default();
            while let Some(reader) = readers.join_next().await {
                latencies.merge(&reader??);
            }
            anyhow::Ok(latencies)
        };
        let latencies = timeout(SETTLE + bench.seconds() + GRACE, all).await;
        sent.await??;
        latencies.context("not every reader got every event in time")?
    }

    fn pingbacks(&self) -> impl Iterator<Item = Planned> {
        let captchas = self.first_captcha..;
        (0..self.count).zip(captchas).map(|(index, captcha)| Planned { captcha, at: self.at(index) })
    }
}

impl Kind {
    fn event(self) -> &'static str {
        match self {
            Self::Forgotten | Self::Unmatched => "pingback.unmatched",
            Self::Matched => "task.solved",
        }
    }
}

/// One who reads all events, and sees that none is missing, comes twice or out of order.
#[derive(Debug)]
struct Reader {
    plan: Arc<Plan>,
    kind: Kind,
    seen: Vec<bool>,
    left: usize,
    last: u64,
    latencies: Latencies,
}

impl Reader {
    fn new(plan: &Arc<Plan>, kind: Kind) -> Self {
        let (seen, left) = (vec![false; plan.count], plan.count);
        Self { plan: Arc::clone(plan), kind, seen, left, last: 0, latencies: Latencies::default() }
    }

    async fn read_all(mut self, mut stream: Stream, buffer: Arc<Buffer>) -> anyhow::Result<Latencies> {
        while self.left > 0 {
            let mut now = None;
            stream.read(&buffer, |event| self.take(event, *now.get_or_insert_with(Instant::now))).await?;
        }
        Ok(self.latencies)
    }

    fn take(&mut self, event: Told<'_>, now: Instant) -> anyhow::Result<()> {
        ensure!(event.number > self.last, "event {} came after event {}", event.number, self.last);
        self.last = event.number;
        let index = self.plan.index(event).context("an event of another captcha")?;
        ensure!(!self.seen[index], "the event of pingback {index} came twice");
        self.seen[index] = true;
        self.left -= 1;
        self.latencies.record(now.saturating_duration_since(self.plan.at(index)));
        if index.is_multiple_of(PARSED) {
            self.parse(event, index)?;
        }
        Ok(())
    }

    fn parse(&self, event: Told<'_>, index: usize) -> anyhow::Result<()> {
        let captcha = self.plan.first_captcha + u64::try_from(index)?;
        let json: Value = serde_json::from_slice(event.json)?;
        ensure!(json["type"] == self.kind.event(), "an event of type {}", json["type"]);
        ensure!(json["data"]["answer"]["text"] == answer_to(captcha), "the event of another answer");
        Ok(())
    }
}
