//! `pingbox backup`: a copy of the database, made beside a server that runs.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{SettingsArgs, print};
use crate::app::{self, BackedUp, BackupStep};
use crate::config::{Config, DatabaseUrl};
use crate::shutdown::Signals;

const HELP: &str = "It reads the file of database.url itself: run it with the settings of the server, and as its user. \
                    The server goes on meanwhile. How a backup is put back: docs/operations.md.";

/// The exit code for what makes no sense.
const USAGE: u8 = 2;

/// The arguments of `backup`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(super) struct BackupArgs {
    /// The file to write
    file: PathBuf,
    /// Replace the file if there is one
    #[arg(long)]
    force: bool,
    /// Print one JSON object at the end
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl BackupArgs {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        // Whether there is an API key matters to the server, not to its database.
        let config = Config::load(&self.settings.into_sources()?, true)?;
        let DatabaseUrl::Sqlite(from) = &config.database.url else {
            explain_postgres();
            return Ok(ExitCode::from(USAGE));
        };
        let (stop, at_once) = (CancellationToken::new(), CancellationToken::new());
        // There is nothing that it could read again, and nothing that a second signal would hurry.
        tokio::spawn(Signals::listen()?.watch(stop.clone(), at_once, watch::Sender::new(())));
        let started = Instant::now();
        let bar = bar();
        let mut told = |step| tell(&bar, step);
        let backed_up = app::back_up((from, &self.file), self.force, &stop, &mut told).await;
        bar.finish_and_clear();
        let (backed_up, seconds) = (backed_up?, started.elapsed().as_secs_f64());
        if self.json {
            let mut told = json!(backed_up);
            told["from"] = json!(from);
            told["seconds"] = json!(seconds);
            print(&format!("{told}\n"))?;
        } else {
            print(&in_words(&backed_up, seconds))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Shown where standard error is a terminal.
fn bar() -> ProgressBar {
    const STYLE: &str = "{msg:8} {wide_bar} {bytes} of {total_bytes}, {eta} left";
    let style = ProgressStyle::with_template(STYLE).expect("it is a template");
    ProgressBar::new(0).with_style(style).with_message("copying")
}

fn tell(bar: &ProgressBar, step: BackupStep) {
    match step {
        BackupStep::Copying { bytes, of } => {
            bar.set_length(of.max(bytes));
            bar.set_position(bytes);
        }
        BackupStep::Checking => bar.set_message("checking"),
    }
}

fn in_words(backed_up: &BackedUp, seconds: f64) -> String {
    let BackedUp { file, bytes, tasks, pingbacks, events, deliveries, .. } = backed_up;
    format!(
        "done: {} has {bytes} bytes, {tasks} tasks, {pingbacks} pingbacks, {events} events, {deliveries} deliveries; \
         copied and checked in {seconds:.1} s\n",
        file.display()
    )
}

#[expect(clippy::print_stderr, reason = "standard output is for what was done")]
fn explain_postgres() {
    eprintln!(
        "pingbox: the database of database.url is on PostgreSQL, which makes its own backups: run \
         `pg_dump --format=custom --file=pingbox.dump \"$DATABASE_URL\"`; docs/deploy.md says how one is put back"
    );
}
