//! pingbox as a child process, with a data folder and a provider of its own.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use axum::Router;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::Bench;
use crate::client::{BlockingConnection, Pingback, SECRET};
use crate::machine::{self, FOLDER};
use crate::peer::{self, Peer};
use crate::postgres::variable;

/// Names another program to measure than the one that was built with the harness.
const OTHER_BINARY: &str = "PINGBOX_LOAD_BINARY";
/// The first ID of the pingbacks that find out whether the program is ready.
const FIRST_READY_ID: u64 = 10_000_000_000;
/// How long the start may take.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How long the end may take; the contract says 10 s.
const STOP_DEADLINE: Duration = Duration::from_secs(12);
/// How often a port that does not answer yet is tried.
const RETRY: Duration = Duration::from_micros(100);

/// A place to run the program in, once or several times.
pub(crate) struct Site {
    folder: TempDir,
    provider: Peer,
    workers: usize,
    starts: u64,
    submit_interval: &'static str,
    /// Where the program keeps everything, if not in a SQLite file.
    server: Option<Shared>,
}

/// A PostgreSQL database that several programs share.
pub(crate) struct Shared {
    pub(crate) url: String,
    /// Where they hear of each other, if not there.
    pub(crate) listen_url: Option<String>,
}

/// The running program. It ends when this is dropped.
pub(crate) struct Program {
    child: Child,
    pub(crate) public: SocketAddr,
    pub(crate) api: SocketAddr,
    /// From the start of the process to the first pingback that was answered with 200.
    pub(crate) took: Duration,
}

impl Site {
    pub(crate) fn new(bench: &Bench) -> anyhow::Result<Self> {
        Self::with_provider(bench, peer::mute_provider())
    }

    /// One whose provider does what the harness wants.
    pub(crate) fn with_provider(bench: &Bench, provider: Router) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("load-").tempdir_in(FOLDER)?;
        let provider = Peer::start(provider, 1)?;
        let (workers, submit_interval) = (bench.workers(), "0ms");
        Ok(Self { folder, provider, workers, starts: 0, submit_interval, server: None })
    }

    /// One whose program sends the provider a task a minute, which is none.
    pub(crate) fn keeping_tasks(bench: &Bench) -> anyhow::Result<Self> {
        Ok(Self { submit_interval: "60s", ..Self::new(bench)? })
    }

    /// One whose programs share a database on a server.
    pub(crate) fn on_server(bench: &Bench, server: Shared) -> anyhow::Result<Self> {
        Ok(Self { server: Some(server), ..Self::new(bench)? })
    }

    /// The SQLite file, once the program has been started.
    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("data/pingbox.db")
    }

    /// Starts the program, and waits until it has stored a pingback.
    pub(crate) fn start(&mut self) -> anyhow::Result<Program> {
        let (public, api) = (free_port()?, free_port()?);
        let log = self.folder.path().join("stderr.log");
        let ready = Pingback::new(FIRST_READY_ID + self.starts);
        self.starts += 1;
        let binary = binary();
        let mut command = Command::new(&binary);
        command
            .arg("serve")
            .env_clear()
            .envs([("PINGBOX_PINGBACK__SECRET", SECRET), ("PINGBOX_LOG__FILTER", "warn")])
            .env("PINGBOX_PUBLIC__LISTEN", public.to_string())
            .env("PINGBOX_PUBLIC__URL", format!("http://{public}"))
            .env("PINGBOX_API__LISTEN", api.to_string())
            .env("PINGBOX_PROVIDER__BASE_URL", format!("http://{}", self.provider.address))
            .env("PINGBOX_PROVIDER__API_KEY", "0123456789abcdef".repeat(2))
            .env("PINGBOX_PROVIDER__SUBMIT_INTERVAL", self.submit_interval)
            .env("PINGBOX_DATA__DIR", self.folder.path().join("data"))
            .envs(self.server.iter().map(|server| ("PINGBOX_DATABASE__URL", &server.url)))
            .envs(
                self.server
                    .iter()
                    .flat_map(|server| &server.listen_url)
                    .map(|url| ("PINGBOX_DATABASE__LISTEN_URL", url)),
            )
            .env("PINGBOX_COMPAT__HOLD", "30s")
            .env("TOKIO_WORKER_THREADS", self.workers.to_string())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?);
        let begun = Instant::now();
        let child = command.spawn().with_context(|| format!("could not start {}", binary.display()))?;
        let mut program = Program { child, public, api, took: Duration::ZERO };
        program.wait_ready(&ready, begun).with_context(|| tail(&log))?;
        program.took = begun.elapsed();
        Ok(program)
    }
}

impl Program {
    /// The port opens before anything is served, so the first request waits in the kernel's queue.
    fn wait_ready(&mut self, ready: &Pingback, begun: Instant) -> anyhow::Result<()> {
        while begun.elapsed() < START_DEADLINE {
            match BlockingConnection::open(self.public) {
                Ok(mut connection) => {
                    let status = connection.exchange(ready.request())?;
                    ensure!(status == 200, "the first pingback was answered with {status}");
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error).context("could not connect"),
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("pingbox ended at once: {status}");
            }
            sleep(RETRY);
        }
        bail!("pingbox was not ready after {START_DEADLINE:?}")
    }

    /// Memory of the process that is not swapped or paged out.
    pub(crate) fn resident_bytes(&self) -> anyhow::Result<u64> {
        machine::resident_bytes(self.child.id())
    }

    /// Time that its threads have run.
    pub(crate) fn processor_time(&self) -> anyhow::Result<Duration> {
        machine::processor_time(self.child.id())
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks the program to end, and waits until it has.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let begun = Instant::now();
        while begun.elapsed() < STOP_DEADLINE {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "pingbox ended with {status}");
                return Ok(());
            }
            sleep(Duration::from_millis(5));
        }
        bail!("pingbox did not end within {STOP_DEADLINE:?}")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The program under test.
pub(crate) fn binary() -> PathBuf {
    variable(OTHER_BINARY).unwrap_or_else(|| env!("CARGO_BIN_EXE_pingbox").to_owned()).into()
}

/// One that was free a moment ago.
pub(crate) fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}

/// The end of what the program logged.
fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(10)..];
    format!("pingbox did not start; its log ends with:\n{}", last.join("\n"))
}
