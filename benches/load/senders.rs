//! Connections that each send one request after another: as many as a server can take.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Bench;
use crate::client::{Connection, Reply};
use crate::report::Report;
use crate::stats::{Latencies, Runs, Spread, rate};

/// How long a server is warmed up.
const WARM_UP: Duration = Duration::from_millis(300);
/// How much longer than asked a run may take.
const GRACE: Duration = Duration::from_secs(30);
/// What the cells of a line are.
const COLUMNS: [&str; 7] = ["server", "requests/s", "p50 µs", "p99 µs", "max µs", "x no storage", "x naive"];

/// What one connection sends.
pub(crate) trait Requests: Send + 'static {
    /// The next request; `None` when there is none left.
    fn next(&mut self) -> Option<&[u8]>;

    /// Which captcha or task the last request was about; `None` when it was refused.
    ///
    /// # Errors
    /// When no server may reply like that.
    fn accepted(&mut self, reply: &Reply<'_>) -> anyhow::Result<Option<u64>>;
}

/// What one server did in one run.
#[derive(Debug, Default)]
pub(crate) struct Load {
    elapsed: Duration,
    latencies: Latencies,
    /// The captchas or tasks of the requests that were accepted.
    pub(crate) acknowledged: Vec<u64>,
    pub(crate) refused: usize,
}

/// One server's figures in one run.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub(crate) rate: f64,
    pub(crate) latencies: Latencies,
    pub(crate) refused: usize,
}

/// Sends for as long as asked; what the first moments show is left out.
pub(crate) fn warm_and_send<R: Requests>(
    bench: &Bench,
    addresses: &[SocketAddr],
    requests: impl Fn() -> R,
) -> anyhow::Result<Load> {
    send(bench, addresses, &requests, WARM_UP)?;
    send(bench, addresses, &requests, bench.seconds())
}

/// Sends one request after another on every connection, until the time or the requests are used up.
/// The connections are divided between the addresses.
pub(crate) fn send<R: Requests>(
    bench: &Bench,
    addresses: &[SocketAddr],
    requests: impl Fn() -> R,
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
            senders.spawn(send_on(connection, requests(), begun + time));
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

async fn send_on<R: Requests>(
    mut connection: Connection,
    mut requests: R,
    end: Instant,
) -> anyhow::Result<Load> {
    let mut load = Load::default();
    while Instant::now() < end {
        let Some(request) = requests.next() else { break };
        let begun = Instant::now();
        let reply = connection.exchange(request).await?;
        let took = begun.elapsed();
        match requests.accepted(&reply)? {
            Some(id) => {
                load.latencies.record(took);
                load.acknowledged.push(id);
            }
            None => load.refused += 1,
        }
    }
    Ok(load)
}

/// # Errors
/// When nothing was accepted.
pub(crate) fn figures(load: &Load) -> anyhow::Result<Figures> {
    ensure!(!load.latencies.is_empty(), "nothing was acknowledged");
    let latencies = load.latencies.clone();
    Ok(Figures { rate: rate(load.acknowledged.len(), load.elapsed), latencies, refused: load.refused })
}

/// An empty table for what servers did in so many runs.
pub(crate) fn report(bench: &Bench, name: &str, runs: usize) -> Report {
    let (connections, seconds, workers) = (bench.args.connections, bench.args.seconds, bench.workers());
    let title = format!("{name}: {connections} connections, {runs} x {seconds} s, {workers} workers");
    Report::new(title, &COLUMNS, bench.settings())
}

/// One server's line under [`COLUMNS`]: its rates are divided by the references' of the same run.
pub(crate) fn row(runs: &[&Figures], no_storage: &[&Figures], naive: &[&Figures]) -> (Vec<String>, Value) {
    let over =
        |other: &[&Figures]| Runs::of(runs.iter().zip(other).map(|(own, other)| own.rate / other.rate));
    let (over_no_storage, over_naive) = (over(no_storage), over(naive));
    let rate = Runs::of(runs.iter().map(|run| run.rate));
    let latencies = Spread::of(&runs.iter().map(|run| &run.latencies).collect::<Vec<_>>());
    let refused: usize = runs.iter().map(|run| run.refused).sum();
    let ratios = [format!("{:.2}", over_no_storage.median()), format!("{:.1}", over_naive.median())];
    let cells = [rate.show(0)].into_iter().chain(latencies.cells()).chain(ratios);
    let mut figures = json!({ "per_second": rate.json(), "over_no_storage": over_no_storage.json(),
        "over_naive": over_naive.json(), "refused": refused });
    latencies.write(&mut figures);
    (cells.collect(), figures)
}
