//! `pingbox copy`: moves a deployment from a SQLite file to PostgreSQL.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{SettingsArgs, print};
use crate::app::{self, Copied, Step};
use crate::config::{Config, CopyEnds, CopyFlags, Log};
use crate::shutdown::Signals;
use crate::telemetry;

const HELP: &str = "Stop the server first. What was broken off goes on when the same command is run again; until it \
                    is done, no server starts on the new database.";

/// What is logged beside the progress.
const FILTER: &str = "pingbox=warn";

/// The arguments of `copy`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(super) struct CopyArgs {
    /// The file to copy, `sqlite://PATH`; by default the one of the configuration
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// The database to copy to, `postgres://…`, without a password: other users see arguments
    #[arg(long, value_name = "URL", conflicts_with = "to_file")]
    to: Option<String>,
    /// A file with the URL to copy to; by default it is database.url, with its variables and file
    #[arg(long, value_name = "FILE")]
    to_file: Option<PathBuf>,
    /// Print one JSON object at the end
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl CopyArgs {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        // Whether there is an API key matters to the server, not to its database.
        let config = Config::load(&self.settings.into_sources()?, true)?;
        let flags = CopyFlags {
            from: self.from.as_deref(),
            to: self.to.as_deref(),
            to_file: self.to_file.as_deref(),
        };
        let ends = CopyEnds::new(&config, flags)?;
        telemetry::start(&Log { filter: FILTER.to_owned(), ..config.log })?;
        let file = ends.from.display().to_string();
        let (stop, at_once) = (CancellationToken::new(), CancellationToken::new());
        // There is nothing that it could read again.
        tokio::spawn(Signals::listen()?.watch(stop.clone(), at_once.clone(), watch::Sender::new(())));
        let started = Instant::now();
        let mut progress = Progress::new(self.json);
        let mut told = |step| progress.tell(step);
        let copied = tokio::select! {
            copied = app::copy(ends, &stop, &mut told) => Some(copied),
            () = at_once.cancelled() => None,
        };
        progress.end();
        let Some(copied) = copied.transpose()? else { return Ok(ExitCode::FAILURE) };
        let seconds = started.elapsed().as_secs_f64();
        if self.json {
            let mut told = json!({ "from": file, "seconds": seconds });
            let object = told.as_object_mut().expect("it is one");
            object.extend(json!(copied).as_object().cloned().unwrap_or_default());
            print(&format!("{told}\n"))?;
        } else {
            print(&in_words(&copied, &file, seconds))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A bar on a terminal; else a line for each table, unless all is told at the end.
enum Progress {
    Bar(ProgressBar),
    Lines { verb: &'static str },
    Nothing,
}

impl Progress {
    fn new(is_silent: bool) -> Self {
        const STYLE: &str = "{prefix:9} {msg:14} {wide_bar} {human_pos} of {human_len} rows, {eta} left";
        let style = ProgressStyle::with_template(STYLE).expect("it is a template");
        let bar = ProgressBar::new(0).with_style(style);
        // It is hidden where standard error is no terminal, or one that cannot draw.
        if !bar.is_hidden() {
            return Self::Bar(bar);
        }
        if is_silent { Self::Nothing } else { Self::Lines { verb: "" } }
    }

    fn tell(&mut self, step: Step) {
        match (self, step) {
            (Self::Bar(bar), Step::Copying { rows, done }) => begin(bar, "copying", rows, done),
            (Self::Bar(bar), Step::Comparing { rows }) => begin(bar, "comparing", rows, 0),
            (Self::Bar(bar), Step::Rows { table, rows }) => {
                bar.set_message(table);
                bar.inc(rows);
            }
            (Self::Lines { verb }, Step::Copying { .. }) => *verb = "copied",
            (Self::Lines { verb }, Step::Comparing { .. }) => *verb = "compared",
            (Self::Lines { verb }, Step::Table { table, rows }) => {
                // Whoever reads no more of it still wants the copy.
                drop(print(&format!("{verb} {table}: {}\n", rows_in_words(rows))));
            }
            (Self::Bar(_), Step::Table { .. })
            | (Self::Lines { .. }, Step::Rows { .. })
            | (Self::Nothing, _) => {}
        }
    }

    fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn begin(bar: &ProgressBar, what: &'static str, rows: u64, done: u64) {
    bar.set_length(rows);
    bar.set_position(done);
    bar.set_prefix(what);
    // What was done before says nothing of how fast it is.
    bar.reset_eta();
}

fn rows_in_words(rows: u64) -> String {
    if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") }
}

fn in_words(copied: &Copied, file: &str, seconds: f64) -> String {
    let (rows, tables) = (rows_in_words(copied.rows), copied.tables.len());
    let replaced = match copied.texts_with_nul {
        0 => String::new(),
        texts => format!(
            "in {texts} of the texts NUL characters are replaced by U+FFFD: PostgreSQL does not take them\n"
        ),
    };
    format!(
        "done: {rows} in {tables} tables are the same in both databases, after {seconds:.1} s\n{replaced}\
         next: set database.url to the new database, and start pingbox with the same data.dir\n\
         keep {file} as a backup; no server is to use it any more\n"
    )
}
