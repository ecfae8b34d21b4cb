//! The program as a process of its own: started, asked, ended.
//!
//! Included with `#[path]` as `crate::program`, beside `crate::database`.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::database;
use crate::database::postgres::variable;

/// Nothing here takes this long unless it is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Of the right shape; no account has it.
pub(crate) const KEY: &str = "1abc234de56fab7c89012d34e56fa7b8";
pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// Where nothing listens.
pub(crate) const NOWHERE: &str = "http://127.0.0.1:9";

/// The program with these arguments, on free ports, with nothing of the tests' own environment. It is the one that
/// `PINGBOX_TEST_BINARY` names, if that is set: a release build, for figures.
pub(crate) fn pingbox(data: &Path, arguments: &[&str]) -> Command {
    let built = variable("PINGBOX_TEST_BINARY");
    let mut command = Command::new(built.as_deref().unwrap_or(env!("CARGO_BIN_EXE_pingbox")));
    command
        .args(arguments)
        .env_clear()
        .env("PINGBOX_PUBLIC__LISTEN", "127.0.0.1:0")
        .env("PINGBOX_API__LISTEN", "127.0.0.1:0")
        .env("PINGBOX_DATA__DIR", data)
        .current_dir(data);
    if arguments.first() == Some(&"serve")
        && let Some(url) = database::blocking_url(data)
    {
        command.env("PINGBOX_DATABASE__URL", url);
    }
    command
}

/// Runs a command that ends by itself.
fn run(command: &mut Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("{command:?} does not end");
        }
        std::thread::yield_now();
    }
    child.wait_with_output().unwrap()
}

/// Runs a command that ends by itself; exit code, standard output, standard error.
pub(crate) fn outcome(command: &mut Command) -> (Option<i32>, String, String) {
    let output = run(command);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A program that runs until it is told to end, killed when dropped.
pub(crate) struct Server {
    child: Child,
    lines: Receiver<String>,
    /// What it has logged so far.
    log: Vec<String>,
    /// The line that says it is ready.
    ready: Value,
}

impl Server {
    /// Starts it, and waits until it is ready.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut server = Self::starting(command);
        server.until_logged("is ready: ");
        server.ready = server.log.last().and_then(|line| line.parse().ok()).unwrap();
        server
    }

    /// One of which it is not known whether it will ever be ready.
    pub(crate) fn starting(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { child, lines, log: Vec::new(), ready: Value::Null }
    }

    pub(crate) fn url(&self, listener: &str) -> String {
        format!("http://{}", self.address(listener))
    }

    pub(crate) fn address(&self, listener: &str) -> String {
        self.ready[listener].as_str().unwrap().to_owned()
    }

    /// Where the emulated provider of `serve --sandbox` listens.
    pub(crate) fn emulation(&self) -> String {
        let entries = self.log.iter().filter_map(|line| line.parse::<Value>().ok());
        let mut urls = entries.filter_map(|entry| entry["base_url"].as_str().map(str::to_owned));
        urls.next().expect("it is named in the log").trim_end_matches('/').to_owned()
    }

    /// How much memory it has taken up at most, in bytes.
    pub(crate) fn most_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// How much memory it takes up, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// An amount of memory that the system tells, in bytes.
    fn status(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kib * 1024
    }

    /// Ends it at once, as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it logs a line with this text. It blocks the thread.
    pub(crate) fn until_logged(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("{text:?} is not logged: {:#?}", self.log)
            };
            self.log.push(line);
            if self.log.last().is_some_and(|line| line.contains(text)) {
                return;
            }
        }
    }

    /// All that was logged so far.
    pub(crate) fn logged(&mut self) -> &[String] {
        self.log.extend(self.lines.try_iter());
        &self.log
    }

    pub(crate) fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Sends SIGHUP.
    pub(crate) fn hang_up(&self) {
        self.send(Signal::HUP);
    }

    /// Sends SIGTERM; the exit code, and all that was logged.
    pub(crate) fn terminate(mut self) -> (Option<i32>, Vec<String>) {
        self.send(Signal::TERM);
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.log.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end: {:#?}", self.log),
            }
        }
        (self.child.wait().unwrap().code(), std::mem::take(&mut self.log))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended before.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) fn http() -> reqwest::Client {
    // The error says only that another test was first.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap()
}

pub(crate) async fn get(url: String) -> Value {
    http().get(url).send().await.unwrap().json().await.unwrap()
}

/// An address that nothing listens on, and that nobody is given: its port is below those that systems hand out by
/// themselves (Linux: from 32768, macOS: from 49152), and of this process alone, as far as chance goes.
pub(crate) async fn free_address() -> String {
    const PORTS: u32 = 16_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(97);
    for _ in 0..PORTS {
        let number = first.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)) % PORTS;
        let address = format!("127.0.0.1:{}", 16_500 + number);
        if TcpListener::bind(&address).await.is_ok() {
            return address;
        }
    }
    panic!("every port from 16500 on is taken");
}

pub(crate) fn emulation(data: &Path, knobs: &[&str]) -> Server {
    let arguments = [&["sandbox", "--listen", "127.0.0.1:0", "--no-limits"], knobs].concat();
    Server::start(&mut pingbox(data, &arguments))
}
