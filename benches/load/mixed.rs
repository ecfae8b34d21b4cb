//! Everything at once: tasks are submitted, sent to a provider that answers each, waited for and read from the
//! feed, while the metrics are read too.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use memchr::memmem;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Bench;
use crate::client::{self, Connection};
use crate::machine;
use crate::peer;
use crate::planned::{Planned, Sender};
use crate::program::{Program, Site};
use crate::report::Report;
use crate::stats::{Latencies, Runs, Spread, rate};
use crate::stream::{Buffer, Stream};
use crate::tasks::{self, Taken, number};

/// From the moment at which the provider takes a captcha to its pingback. People take a thousand times as long; it
/// is short so that the tasks under way keep pingbox busy.
const SOLVING: Duration = Duration::from_millis(20);
/// The first captcha ID that the provider gives.
const FIRST_CAPTCHA: u64 = 20_000_000_000;
/// Readers of the event feed.
const READERS: u64 = 5;
/// How often the metrics are read.
const SCRAPE_INTERVAL: Duration = Duration::from_secs(1);
/// Stands in a question before the number of the task that asks it.
const MARK: &str = "What comes after no. ";
/// How much longer than asked a run may take.
const GRACE: Duration = Duration::from_secs(60);

/// One run.
struct Round {
    per_second: f64,
    woken: Latencies,
    whole: Latencies,
    scraped: Latencies,
    resident_kib: u32,
    /// Processors that pingbox, and this process, kept busy.
    program: f64,
    harness: f64,
    disk: Latencies,
    load_average: String,
}

/// What the provider has taken: of which question, and when its pingback is due.
struct Book {
    taken: Mutex<Vec<(u64, Instant)>>,
    /// `None` is the end.
    planned: mpsc::Sender<Option<Planned>>,
}

/// What callers have seen.
#[derive(Default)]
struct Seen {
    tasks: usize,
    /// From the time at which a pingback should have been sent to its caller's reply read.
    woken: Latencies,
    /// From before the task was submitted.
    whole: Latencies,
}

type Of = fn(&Round) -> &Latencies;

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Report> {
    let under_way = bench.args.under_way;
    bench.ensure_files(under_way + READERS)?;
    let rounds: Vec<Round> = (0..bench.args.runs).map(|_| round(bench)).collect::<Result<_, _>>()?;
    let title = format!(
        "mixed: {under_way} tasks under way, solved in {} ms, {READERS} readers, {} x {} s, {} workers",
        SOLVING.as_millis(),
        rounds.len(),
        bench.args.seconds,
        bench.workers()
    );
    let mut report = Report::new(title, &["from … to …", "p50 µs", "p99 µs", "max µs"], bench.settings());
    let spans: [(&str, Of); 3] = [
        ("intended time of the pingback to caller's reply read", |round| &round.woken),
        ("task submitted to caller's reply read", |round| &round.whole),
        ("metrics asked for to read", |round| &round.scraped),
    ];
    for (name, of) in spans {
        let latencies = Spread::of(&rounds.iter().map(of).collect::<Vec<_>>());
        let mut figures = json!({});
        latencies.write(&mut figures);
        report.row(name, latencies.cells(), figures);
    }
    add_notes(&mut report, &rounds);
    Ok(report)
}

fn add_notes(report: &mut Report, rounds: &[Round]) {
    let runs = |value: fn(&Round) -> f64| Runs::of(rounds.iter().map(value));
    report.note(format!("Tasks completed/s: {}", runs(|round| round.per_second).show(0)));
    report.note(format!(
        "Processors busy with pingbox: {}, with the harness: {}",
        runs(|round| round.program).show(2),
        runs(|round| round.harness).show(2)
    ));
    let resident = runs(|round| f64::from(round.resident_kib) / 1024.0);
    report.note(format!("Resident memory at the end, MiB: {}", resident.show(1)));
    let disk: Vec<&Latencies> = rounds.iter().map(|round| &round.disk).collect();
    let loads: Vec<&str> = rounds.iter().map(|round| round.load_average.as_str()).collect();
    report.machine(&disk, &loads);
}

fn round(bench: &Bench) -> anyhow::Result<Round> {
    let load_average = machine::load_average()?;
    let disk = machine::probe_quiet_disk()?;
    let (planned, pingbacks) = mpsc::channel();
    let book = Arc::new(Book { taken: Mutex::default(), planned });
    let taker = Arc::clone(&book);
    let mut site = Site::with_provider(bench, peer::provider(move |request| taker.take(request)))?;
    let program = site.start()?;
    let before = (program.processor_time()?, machine::processor_time(std::process::id())?);
    let begun = Instant::now();
    let (seen, scraped) = bench.runtime.block_on(async {
        let run = run(bench, &program, &book, pingbacks);
        timeout(bench.seconds() + GRACE, run).await.context("the run did not end")?
    })?;
    let elapsed = begun.elapsed();
    let busy = |after: Duration, before: Duration| after.saturating_sub(before).div_duration_f64(elapsed);
    let round = Round {
        per_second: rate(seen.tasks, elapsed),
        woken: seen.woken,
        whole: seen.whole,
        scraped,
        resident_kib: u32::try_from(program.resident_bytes()? / 1024)?,
        program: busy(program.processor_time()?, before.0),
        harness: busy(machine::processor_time(std::process::id())?, before.1),
        disk,
        load_average,
    };
    program.stop()?;
    Ok(round)
}

/// One run, until every task is answered, and every reader of the feed has seen that.
async fn run(
    bench: &Bench,
    program: &Program,
    book: &Arc<Book>,
    pingbacks: mpsc::Receiver<Option<Planned>>,
) -> anyhow::Result<(Seen, Latencies)> {
    let sender = Sender::open(program.public)?;
    let (done, sent) = oneshot::channel();
    // If the callers fail, nobody wants to know.
    let planned = pingbacks.into_iter().map_while(|planned| planned);
    thread::spawn(move || drop(done.send(sender.send_all(planned))));
    let buffer = Arc::new(Buffer::new());
    let (total, totals) = watch::channel(None);
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        let stream = Stream::open(program.api, "task.solved").await?;
        readers.spawn(read_until(stream, Arc::clone(&buffer), totals.clone()));
    }
    let scraping = tokio::spawn(scrape(program.api, totals));
    let end = Instant::now() + bench.seconds();
    let mut callers = JoinSet::new();
    for caller in 0..bench.args.under_way {
        callers.spawn(submit_until(program.api, Arc::clone(book), caller, end));
    }
    let mut whole = Seen::default();
    while let Some(seen) = callers.join_next().await {
        let seen = seen??;
        whole.tasks += seen.tasks;
        whole.woken.merge(&seen.woken);
        whole.whole.merge(&seen.whole);
    }
    let taken = book.lock().len();
    ensure!(taken == whole.tasks, "{} tasks were submitted, but the provider was sent {taken}", whole.tasks);
    book.planned.send(None)?;
    total.send(Some(whole.tasks))?;
    while let Some(reader) = readers.join_next().await {
        reader??;
    }
    sent.await??;
    Ok((whole, scraping.await??))
}

/// Submits one task after another, and waits for its answer.
async fn submit_until(api: SocketAddr, book: Arc<Book>, caller: u64, end: Instant) -> anyhow::Result<Seen> {
    let mut connection = Connection::open(api).await?;
    let mut seen = Seen::default();
    while Instant::now() < end {
        // No two tasks ask the same.
        let question = caller * 1_000_000 + u64::try_from(seen.tasks)?;
        let body = json!({ "type": "text", "textcaptcha": format!("{MARK}{question}?") }).to_string();
        let begun = Instant::now();
        let reply = connection.exchange(&client::post("/v1/tasks", "application/json", &body)).await?;
        ensure!(reply.status == 201, "{} to a new task", reply.status);
        let created: Value = serde_json::from_slice(reply.body)?;
        let task = number(&created["id"]).context("a task without id")?;
        let reply = connection.exchange(&client::get(&format!("/v1/tasks/{task}?wait=60"))).await?;
        let read = Instant::now();
        ensure!(reply.status == 200, "{} to a waiting caller", reply.status);
        let solved: Value = serde_json::from_slice(reply.body)?;
        let captcha = number(&solved["captcha_id"]).context("a task was not sent")?;
        tasks::check_answer(Taken { task, captcha }, &solved)?;
        let (asked, due) = book.find(captcha).context("a captcha that the provider does not know")?;
        ensure!(asked == question, "task {task} asked {question}, and was answered {asked}");
        seen.tasks += 1;
        seen.woken.record(read.saturating_duration_since(due));
        seen.whole.record(read.duration_since(begun));
    }
    Ok(seen)
}

/// Reads the feed until each of the tasks is solved in it, once, in order.
async fn read_until(
    mut stream: Stream,
    buffer: Arc<Buffer>,
    mut total: watch::Receiver<Option<usize>>,
) -> anyhow::Result<()> {
    let mut solved = HashSet::new();
    let mut last = 0;
    while total.borrow_and_update().is_none_or(|total| solved.len() < total) {
        let read = stream.read(&buffer, |event| {
            ensure!(event.number > last, "event {} came after event {last}", event.number);
            last = event.number;
            let captcha = event.captcha().context("an event without captcha")?;
            ensure!(solved.insert(captcha), "captcha {captcha} was solved twice");
            Ok(())
        });
        tokio::select! {
            read = read => read?,
            changed = total.changed() => changed?,
        }
    }
    Ok(())
}

/// Reads the metrics until it is over; how long each took.
async fn scrape(api: SocketAddr, mut total: watch::Receiver<Option<usize>>) -> anyhow::Result<Latencies> {
    let mut connection = Connection::open(api).await?;
    let mut latencies = Latencies::default();
    loop {
        let begun = Instant::now();
        let reply = connection.exchange(&client::get("/metrics")).await?;
        latencies.record(begun.elapsed());
        ensure!(reply.status == 200, "{} to a look at the metrics", reply.status);
        ensure!(memmem::find(reply.body, b"pingbox_build_info").is_some(), "no metrics");
        if timeout(SCRAPE_INTERVAL, total.changed()).await.is_ok() {
            return Ok(latencies);
        }
    }
}

impl Book {
    /// Takes the question in a request of `in.php`; its captcha ID.
    fn take(&self, request: &[u8]) -> u64 {
        let request = String::from_utf8_lossy(request).replace('+', " ").replace("%20", " ");
        let question = request.split(MARK).nth(1).unwrap_or_default();
        let digits = question.split(|char: char| !char.is_ascii_digit()).next().unwrap_or_default();
        // None of ours is 0 without a digit: the caller finds another's question.
        let question = digits.parse().unwrap_or(u64::MAX);
        let at = Instant::now() + SOLVING;
        let mut taken = self.lock();
        let captcha = FIRST_CAPTCHA + u64::try_from(taken.len()).unwrap_or(0);
        taken.push((question, at));
        // Under the lock, so that they are planned in order. Without a sender the run has failed already.
        self.planned.send(Some(Planned { captcha, at })).ok();
        captcha
    }

    fn find(&self, captcha: u64) -> Option<(u64, Instant)> {
        let index = usize::try_from(captcha.checked_sub(FIRST_CAPTCHA)?).ok()?;
        self.lock().get(index).copied()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(u64, Instant)>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
