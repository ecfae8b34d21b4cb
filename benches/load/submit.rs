//! Tasks a second that callers submit, each on disk before the reply.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use serde_json::json;

use crate::Bench;
use crate::client::{self, Connection, Reply};
use crate::machine::{self, FOLDER, load_average};
use crate::peer::Peer;
use crate::program::{Program, Site};
use crate::report::{Limit, Report};
use crate::senders::{self, Figures, Requests, figures, row, warm_and_send};
use crate::stats::{Latencies, Runs};
use crate::tasks;

/// Acknowledged tasks that are read back.
const SAMPLE: usize = 1000;
/// What a machine of two cores is to store a second.
const GOAL: f64 = 20_000.0;

/// The same task, again and again.
struct Submissions(Arc<[u8]>);

impl Submissions {
    fn new() -> Self {
        Self(client::post("/v1/tasks", "application/json", tasks::RECAPTCHA).into())
    }
}

impl Requests for Submissions {
    fn next(&mut self) -> Option<&[u8]> {
        Some(&self.0)
    }

    fn accepted(&mut self, reply: &Reply<'_>) -> anyhow::Result<Option<u64>> {
        match reply.status {
            201 => {
                let created: Created<'_> = serde_json::from_slice(reply.body)?;
                Ok(Some(created.id.parse().context("an ID that is no number")?))
            }
            503 => Ok(None),
            other => bail!("{other} to a new task"),
        }
    }
}

/// What counts of the reply.
#[derive(Deserialize)]
struct Created<'a> {
    id: &'a str,
}

/// One run of everything, by turns.
struct Round {
    forgetful: Figures,
    naive: Figures,
    kept: Figures,
    sending: Figures,
    /// Tasks that the provider had taken when the last one of `sending` was stored.
    sent: f64,
    disk: Latencies,
    load_average: String,
}

/// Picks one server out of a round.
type Of = fn(&Round) -> &Figures;

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Report> {
    bench.ensure_files(bench.args.connections)?;
    let rounds: Vec<Round> = (0..bench.args.runs).map(|_| round(bench)).collect::<Result<_, _>>()?;
    let mut report = senders::report(bench, "submit", rounds.len());
    let servers: [(&str, Of); 4] = [
        ("axum, stores nothing", |round| &round.forgetful),
        ("naive axum + SqlitePool(5)", |round| &round.naive),
        ("pingbox, kept back", |round| &round.kept),
        ("pingbox, sent meanwhile", |round| &round.sending),
    ];
    let all = |of: Of| rounds.iter().map(of).collect::<Vec<_>>();
    for (name, of) in servers {
        let (cells, figures) = row(&all(of), &all(|round| &round.forgetful), &all(|round| &round.naive));
        report.row(name, cells, figures);
    }
    let rates = Runs::of(rounds.iter().map(|round| round.kept.rate));
    report.goal("tasks stored a second, kept back", &rates, Limit::AtLeast(GOAL));
    let sent = Runs::of(rounds.iter().map(|round| round.sent));
    report.note(format!("Tasks that the provider took meanwhile: {}", sent.show(0)));
    let refused: usize = rounds.iter().map(|round| round.naive.refused).sum();
    if refused > 0 {
        report.note(format!("The naive server refused {refused} tasks"));
    }
    let disk: Vec<&Latencies> = rounds.iter().map(|round| &round.disk).collect();
    let loads: Vec<&str> = rounds.iter().map(|round| round.load_average.as_str()).collect();
    report.machine(&disk, &loads);
    Ok(report)
}

fn round(bench: &Bench) -> anyhow::Result<Round> {
    let load_average = load_average()?;
    let disk = machine::probe_quiet_disk()?;
    let forgetful = {
        let peer = Peer::forgetful_of_tasks(bench.workers())?;
        figures(&warm_and_send(bench, &[peer.address], Submissions::new)?)?
    };
    let naive = {
        let folder = tempfile::Builder::new().prefix("load-").tempdir_in(FOLDER)?;
        let peer = Peer::naive_with_tasks(folder.path(), bench.workers())?;
        figures(&warm_and_send(bench, &[peer.address], Submissions::new)?)?
    };
    let (kept, _) = submit(bench, Site::keeping_tasks(bench)?)?;
    let (sending, sent) = submit(bench, Site::new(bench)?)?;
    Ok(Round { forgetful, naive, kept, sending, sent, disk, load_average })
}

/// Submits to pingbox, and reads back what it acknowledged; also how many tasks it has sent by then.
fn submit(bench: &Bench, mut site: Site) -> anyhow::Result<(Figures, f64)> {
    let program = site.start()?;
    let load = warm_and_send(bench, &[program.api], Submissions::new)?;
    ensure!(load.refused == 0, "pingbox refused {} tasks", load.refused);
    let different: HashSet<u64> = load.acknowledged.iter().copied().collect();
    ensure!(different.len() == load.acknowledged.len(), "two tasks have the same ID");
    let sent = bench.runtime.block_on(async {
        let sent = count_sent(&program).await?;
        let step = (load.acknowledged.len() / SAMPLE).max(1);
        let sample: Vec<u64> = load.acknowledged.iter().copied().step_by(step).take(SAMPLE).collect();
        tasks::check_open(program.api, &sample, "recaptcha_v2").await?;
        anyhow::Ok(sent)
    })?;
    program.stop()?;
    Ok((figures(&load)?, sent))
}

async fn count_sent(program: &Program) -> anyhow::Result<f64> {
    let stats = Connection::open(program.api).await?.get_json("/v1/stats").await?;
    let submitted = stats["by_status"].get("submitted").unwrap_or(&json!(0)).as_f64();
    submitted.context("no number of submitted tasks")
}
