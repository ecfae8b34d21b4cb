//! Replicas that share a PostgreSQL database.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::Bench;
use crate::client::Connection;
use crate::cluster::{Cluster, Durability};
use crate::ingest::{self, Ids};
use crate::machine::{self, load_average};
use crate::peer::Peer;
use crate::program::{Program, Shared, Site};
use crate::report::Report;
use crate::senders::{Figures, figures};
use crate::stats::{Latencies, Runs, Spread};
use crate::tasks;
use crate::wake::{self, SETTLE, WAIT};

/// Replicas, where there are several.
const REPLICAS: usize = 3;
/// Tasks made ready for one run of `matched`.
const MATCHED_TASKS: u64 = 20_000;
/// Callers that wait, and the pingbacks for them a second.
const WAITERS: u64 = 500;
/// Crashes of the replica that leads.
const CRASHES: usize = 5;
/// How long another may take to lead; 5 s is the contract.
const LEAD_DEADLINE: Duration = Duration::from_secs(20);
/// Nobody listens there.
const NOWHERE: &str = "postgres://nobody@127.0.0.1:9/nothing";

/// One run of everything, by turns.
struct Round {
    naive: Figures,
    one: [Figures; 2],
    several: [Figures; 2],
    disk: Latencies,
    load_average: String,
}

type Of = fn(&Round) -> &Figures;

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Report> {
    bench.ensure_files(bench.args.connections)?;
    let cluster = bench.runtime.block_on(Cluster::start(Durability::On)).context("PostgreSQL is missing")?;
    let rounds: Vec<Round> =
        (0..bench.args.runs).map(|_| round(bench, &cluster)).collect::<Result<_, _>>()?;
    let title = format!(
        "replicas on PostgreSQL: {} connections, {} x {} s, {} workers each",
        bench.args.connections,
        rounds.len(),
        bench.args.seconds,
        bench.workers()
    );
    let columns = ["server", "pingbacks/s", "p50 µs", "p99 µs", "max µs", "x one INSERT a commit"];
    let mut report = Report::new(title, &columns, bench.settings());
    let servers: [(&str, Of); 5] = [
        ("naive axum + PgPool(16), one INSERT a commit", |round| &round.naive),
        ("1 replica, unmatched", |round| &round.one[0]),
        ("1 replica, matched", |round| &round.one[1]),
        ("3 replicas, unmatched", |round| &round.several[0]),
        ("3 replicas, matched", |round| &round.several[1]),
    ];
    for (name, of) in servers {
        let (cells, figures) = row(&rounds, of);
        report.row(name, cells, figures);
    }
    let disk = Runs::of_micros(rounds.iter().map(|round| round.disk.p50()));
    report.note(format!("8 KiB write + fdatasync, p50 in µs before each run: {}", disk.show(0)));
    let loads: Vec<&str> = rounds.iter().map(|round| round.load_average.as_str()).collect();
    report.note(format!("Load average before each run: {}", loads.join(", ")));
    for (what, is_heard) in [("heard by NOTIFY", true), ("NOTIFY suppressed", false)] {
        let woken = woken(bench, &cluster, is_heard)?;
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|quantile| woken.at(quantile).as_secs_f64() * 1e3);
        report.note(format!(
            "Pingback at one replica until the caller at another has its answer, ms, {what}: p50 {p50:.1}, p99 \
             {p99:.1}, max {max:.1} ({WAITERS} callers)"
        ));
    }
    let taken = Runs::of(crashes(bench, &cluster)?.into_iter().map(|took| took.as_secs_f64()));
    report.note(format!(
        "Crash of the replica that leads until another leads, s, {CRASHES} times: {}",
        taken.show(2)
    ));
    Ok(report)
}

fn row(rounds: &[Round], of: Of) -> (Vec<String>, Value) {
    let rate = Runs::of(rounds.iter().map(|round| of(round).rate));
    let latencies = Spread::of(&rounds.iter().map(|round| &of(round).latencies).collect::<Vec<_>>());
    let over = Runs::of(rounds.iter().map(|round| of(round).rate / round.naive.rate));
    let cells = [rate.show(0)].into_iter().chain(latencies.cells()).chain([format!("{:.2}", over.median())]);
    let mut figures = json!({ "per_second": rate.json(), "over_naive": over.json() });
    latencies.write(&mut figures);
    (cells.collect(), figures)
}

fn round(bench: &Bench, cluster: &Cluster) -> anyhow::Result<Round> {
    let load_average = load_average()?;
    let disk = machine::probe_quiet_disk()?;
    let naive = {
        let peer = Peer::naive_on_server(&database(bench, cluster), bench.workers())?;
        figures(&ingest::warm_and_run(bench, &[peer.address])?)?
    };
    let one = ingest(bench, cluster, 1)?;
    let several = ingest(bench, cluster, REPLICAS)?;
    Ok(Round { naive, one, several, disk, load_average })
}

fn database(bench: &Bench, cluster: &Cluster) -> String {
    bench.runtime.block_on(cluster.create_database())
}

/// So many replicas on a new database.
fn start(
    bench: &Bench,
    cluster: &Cluster,
    count: usize,
    is_heard: bool,
) -> anyhow::Result<(Site, Vec<Program>)> {
    let listen_url = (!is_heard).then(|| NOWHERE.to_owned());
    let mut site = Site::on_server(bench, Shared { url: database(bench, cluster), listen_url })?;
    let programs = (0..count).map(|_| site.start()).collect::<Result<_, _>>()?;
    Ok((site, programs))
}

/// Pingbacks that belong to no task, and pingbacks that each settle one, sent to all the replicas.
fn ingest(bench: &Bench, cluster: &Cluster, count: usize) -> anyhow::Result<[Figures; 2]> {
    let addresses = |programs: &[Program]| programs.iter().map(|program| program.public).collect::<Vec<_>>();
    let (_site, programs) = start(bench, cluster, count, true)?;
    let unmatched = ingest::warm_and_run(bench, &addresses(&programs))?;
    ensure!(unmatched.refused == 0, "{} unmatched pingbacks were refused", unmatched.refused);
    programs.into_iter().try_for_each(Program::stop)?;

    let (_site, programs) = start(bench, cluster, count, true)?;
    let prepared = bench.runtime.block_on(tasks::prepare(programs[0].api, MATCHED_TASKS))?;
    let ids = Ids::given(prepared.tasks.iter().map(|taken| taken.captcha).collect());
    let matched = ingest::run(bench, &addresses(&programs), &ids, bench.seconds())?;
    ensure!(matched.refused == 0, "{} matched pingbacks were refused", matched.refused);
    bench.runtime.block_on(ingest::check_sample(programs[0].api, &prepared.tasks, &matched))?;
    programs.into_iter().try_for_each(Program::stop)?;
    Ok([figures(&unmatched)?, figures(&matched)?])
}

/// Callers wait at one replica, their pingbacks come to another.
fn woken(bench: &Bench, cluster: &Cluster, is_heard: bool) -> anyhow::Result<Latencies> {
    let (_site, programs) = start(bench, cluster, 2, is_heard)?;
    let (sent, read) = bench.runtime.block_on(async {
        let tasks = tasks::prepare(programs[0].api, WAITERS).await?.tasks;
        let waiting = wake::wait_all(bench, programs[0].public, programs[1].api, &tasks);
        timeout(SETTLE + WAIT * 2, waiting).await.context("the run did not end")?
    })?;
    programs.into_iter().try_for_each(Program::stop)?;
    let took = sent.iter().map(|sent| read[sent.index].saturating_duration_since(sent.written));
    Latencies::of(took).context("nothing was sent")
}

/// From a crash of the replica that leads until another says that it does.
fn crashes(bench: &Bench, cluster: &Cluster) -> anyhow::Result<Vec<Duration>> {
    let (mut site, mut programs) = start(bench, cluster, 2, true)?;
    let mut took = Vec::new();
    for _ in 0..CRASHES {
        let api: Vec<SocketAddr> = programs.iter().map(|program| program.api).collect();
        let leader = bench.runtime.block_on(leader(&api))?;
        programs.remove(leader).kill()?;
        let begun = Instant::now();
        bench.runtime.block_on(self::leader(&[programs[0].api]))?;
        took.push(begun.elapsed());
        programs.push(site.start()?);
    }
    programs.into_iter().try_for_each(Program::stop)?;
    Ok(took)
}

/// Which of them leads, once one does.
async fn leader(api: &[SocketAddr]) -> anyhow::Result<usize> {
    let found = async {
        loop {
            for (index, address) in api.iter().enumerate() {
                let state = Connection::open(*address).await?.get_json("/readyz").await?;
                if state["replicas"].as_str().is_some_and(|text| text.starts_with("this one leads")) {
                    return Ok(index);
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LEAD_DEADLINE, found).await.context("nobody leads")?
}
