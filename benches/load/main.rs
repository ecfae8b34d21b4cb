//! The load harness: runs the real program against a provider that takes everything and answers
//! nothing, and measures what callers and senders see. `docs/performance.md` explains the figures.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `client` | a lean HTTP/1.1 client, and the pingbacks it sends |
//! | `program` | pingbox as a child process |
//! | `peer` | servers within this process: the mute provider, and what pingbox is compared with |
//! | `nchan` | nginx with nchan, if it is installed: the same comparison for what is in memory |
//! | `senders` | connections that send one request after another |
//! | `schedule` | pingbacks that are sent at fixed times |
//! | `planned` | the same by one thread: more of them, or those that become known only as it goes |
//! | `loudspeaker` | an event feed that stores nothing, which pingbox's is compared with |
//! | `audience` | the readers of the event feed, and what they have to be told |
//! | `stream` | a reader of the event feed |
//! | `filled` | a database with many ended tasks |
//! | `tasks` | tasks made ready to be answered, and read back |
//! | `machine` | the disk and the processor at the time |
//! | `stats` | latencies, and medians of several runs |
//! | `report` | tables and JSON |
//! | `ingest`, `submit`, `wake`, `idle`, `start`, `feed`, `growth`, `mixed`, `replicas` | the measurements |

mod audience;
mod client;
#[path = "../../tests/support/cluster.rs"]
#[expect(dead_code, reason = "tests use the rest")]
mod cluster;
mod feed;
mod filled;
mod growth;
mod idle;
mod ingest;
mod loudspeaker;
mod machine;
mod mixed;
mod nchan;
mod peer;
mod planned;
#[path = "../../tests/support/postgres.rs"]
#[expect(dead_code, reason = "tests use the rest")]
mod postgres;
mod program;
mod replicas;
mod report;
mod schedule;
mod senders;
mod start;
mod stats;
mod stream;
mod submit;
mod tasks;
mod wake;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{CommandFactory as _, Parser, ValueEnum};
use serde_json::{Map, Value, json};
use tokio::runtime;

use self::report::Report;
use self::wake::Through;

/// The most connections, waiters and pingbacks a second that can be asked for.
const MOST: u64 = 100_000;
/// The most stored tasks that can be asked for.
const MOST_TASKS: u64 = 100_000_000;

/// Measures pingbox on this machine. Give no measurement to see this help.
#[derive(Debug, Parser)]
#[command(name = "cargo bench --bench load --")]
struct Args {
    /// What to measure
    #[arg(value_enum)]
    what: Option<What>,
    /// ingest, submit: keep-alive connections that send
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=MOST))]
    connections: u64,
    /// ingest, submit, feed, growth, mixed: how long each is measured in each run
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// All but idle and start: how often everything is measured, by turns; medians are shown
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    runs: u64,
    /// wake: callers that wait, each on a connection of its own
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=MOST))]
    waiters: u64,
    /// wake: pingbacks a second
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=MOST))]
    rate: u64,
    /// wake: what the callers call
    #[arg(long, value_enum, default_value_t = Through::Rest)]
    through: Through,
    /// idle: callers that wait, as far as the limit of open files allows
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=MOST))]
    idle_waiters: u64,
    /// feed: readers of the event feed, each on a connection of its own
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=MOST))]
    readers: u64,
    /// feed: pingbacks a second, each of which is an event for every reader
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..=MOST))]
    feed_rate: u64,
    /// growth, start: ended tasks in the database that is compared with an empty one; each takes up to 1 kB of disk
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=MOST_TASKS))]
    tasks: u64,
    /// mixed: tasks that are under way at a time
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=MOST))]
    under_way: u64,
    /// Worker threads of pingbox and of the servers it is compared with [default: one a core]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: Option<u16>,
    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// What `cargo bench` passes to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Durable pingbacks a second, beside a server that stores nothing and a naive one
    Ingest,
    /// Tasks stored a second, beside the same two servers
    Submit,
    /// From a pingback sent to its waiting caller's reply received
    Wake,
    /// Memory after the start, and for each waiting caller
    Idle,
    /// From the start of the process to the first pingback on disk, also with many stored tasks; size of the program
    Start,
    /// From a pingback's time until every reader of the event feed has its event
    Feed,
    /// What many stored tasks cost: ingest, wake, start and memory beside an empty database. Its own time is a minute
    /// for each million; not among "all"
    Growth,
    /// Everything at once: tasks submitted, answered, waited for, read from the feed
    Mixed,
    /// Several replicas on one PostgreSQL database: pingbacks a second, callers at another replica, a crash of the one
    /// that leads. Needs Debian's package postgresql, or the like; not among "all"
    Replicas,
    /// All of these
    All,
}

/// What every measurement needs.
struct Bench {
    args: Args,
    /// Drives all clients, on the main thread.
    runtime: runtime::Runtime,
    /// Connections that this process may open.
    open_files: u64,
}

type Measure = fn(&Bench) -> anyhow::Result<Report>;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let Some(what) = args.what else {
        Args::command().print_help()?;
        return Ok(());
    };
    let open_files = machine::raise_open_files();
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let bench = Bench { args, runtime, open_files };
    let mut figures = Map::new();
    if cfg!(debug_assertions) {
        report::say("This is a debug build: its figures mean nothing.\n");
    }
    let machine = machine::describe()?;
    report::say(&machine.to_string());
    figures.insert("machine".to_owned(), serde_json::to_value(&machine)?);
    let binary = program::binary();
    report::say(&format!("Measured is {}\n", binary.display()));
    figures.insert("program".to_owned(), json!(binary));
    let measures: [(What, &str, Measure); 9] = [
        (What::Ingest, "ingest", ingest::measure),
        (What::Submit, "submit", submit::measure),
        (What::Wake, "wake", wake::measure),
        (What::Idle, "idle", idle::measure),
        (What::Start, "start", start::measure),
        (What::Feed, "feed", feed::measure),
        (What::Growth, "growth", growth::measure),
        (What::Mixed, "mixed", mixed::measure),
        (What::Replicas, "replicas", replicas::measure),
    ];
    let is_wanted =
        |of: What| what == of || (what == What::All && !matches!(of, What::Growth | What::Replicas));
    for (_, name, measure) in measures.into_iter().filter(|(of, ..)| is_wanted(*of)) {
        let report = measure(&bench).with_context(|| format!("{name} failed"))?;
        report::say(&report.to_string());
        figures.insert(name.to_owned(), report.into_json());
    }
    bench.write_json(figures)
}

impl Bench {
    fn write_json(&self, figures: Map<String, Value>) -> anyhow::Result<()> {
        let Some(path) = &self.args.json else { return Ok(()) };
        let text = serde_json::to_string_pretty(&Value::Object(figures))?;
        std::fs::write(path, text + "\n").with_context(|| format!("could not write {}", path.display()))
    }

    fn workers(&self) -> usize {
        self.args.workers.map_or_else(machine::cores, usize::from)
    }

    fn seconds(&self) -> Duration {
        Duration::from_secs(self.args.seconds)
    }

    /// Fails unless this process can hold so many connections.
    fn ensure_files(&self, connections: u64) -> anyhow::Result<()> {
        let free = self.open_files.saturating_sub(machine::OTHER_FILES);
        ensure!(connections <= free, "{connections} connections, but open files are limited to {free}");
        Ok(())
    }

    fn settings(&self) -> Value {
        let Args { connections, seconds, runs, waiters, rate, readers, feed_rate, tasks, under_way, .. } =
            &self.args;
        json!({ "connections": connections, "seconds": seconds, "runs": runs, "waiters": waiters,
                "rate": rate, "readers": readers, "feed_rate": feed_rate, "tasks": tasks,
                "under_way": under_way, "workers": self.workers() })
    }
}
