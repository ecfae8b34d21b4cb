//! Databases on PostgreSQL for tests: on the server that `PINGBOX_TEST_POSTGRES_URL` names, else on one of this
//! process's own, which ends with it, however it ends.
//!
//! The URL's user must be allowed to create databases. Those made there stay: whether a test of some other machine
//! still uses one cannot be told from here. Their names begin with `pingbox_test_`.
//!
//! Included with `#[path]` by each test binary, as `postgres`.

use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::sync::{OnceCell, oneshot};
use tokio::time::timeout;

/// How long starting, stopping and each statement may take. It is a second at most, and a busy machine is slower.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Settings of a server that loses data with the machine, but not when it is killed.
pub(crate) const FORGETFUL: &[&str] = &["fsync = off", "full_page_writes = off", "autovacuum = off"];

/// Settings of every server. Nothing of it lies outside its folder.
const SETTINGS: &[&str] = &[
    "listen_addresses = '127.0.0.1'",
    "unix_socket_directories = ''",
    "dynamic_shared_memory_type = mmap",
    "shared_buffers = 64MB",
    "max_connections = 500",
];

/// Runs each line of its input in a folder of its own, and replies with its status, after the end of the log where
/// it failed. Its input ends with the test process: then it ends the server and deletes the folder.
const SUPERVISOR: &str = r#"
trap '' HUP INT TERM PIPE
PATH=$1:$PATH
folder=$(mktemp -d "${TMPDIR:-/tmp}/pingbox-postgres.XXXXXX") && cd "$folder" || exit
# ext4 is slow to create files near where many were deleted minutes ago, as by the run before: begin elsewhere.
chattr +T . 2>/dev/null
data=$(mktemp -d data.XXXXXX)
while read -r line; do
    eval "$line" </dev/null >>log 2>&1
    status=$?
    [ $status -eq 0 ] || tail -n 20 log
    echo "status $status"
done
pg_ctl -D $data -w -t 30 -m immediate stop >/dev/null 2>&1
cd / && rm -rf "$folder"
"#;

/// The URL of a new, empty database for one test; `None` where there is no PostgreSQL, which is said once.
/// It takes about 7 MB of disk until the process ends.
///
/// # Panics
/// When there is none and `CI=true`, or when PostgreSQL fails.
pub(crate) async fn database() -> Option<String> {
    static SERVER: OnceCell<Result<Option<Server>, String>> = OnceCell::const_new();
    let server = SERVER.get_or_init(|| async {
        match variable("PINGBOX_TEST_POSTGRES_URL") {
            Some(url) => Ok(Some(Server::named(url))),
            None => Server::start(FORGETFUL).await,
        }
    });
    match server.await {
        Ok(Some(server)) => Some(server.create_database().await),
        Ok(None) => None,
        Err(error) => panic!("{error}"),
    }
}

/// A server, ended when dropped if it was started here.
pub(crate) struct Server {
    /// Leads to the database from which others are made.
    url: String,
    supervisor: Option<Arc<Mutex<Supervisor>>>,
    /// Whether copying a database may flush everything: it is faster where that costs nothing.
    copies_files: bool,
}

impl Server {
    fn named(url: String) -> Self {
        Self { url, supervisor: None, copies_files: false }
    }

    /// Starts one with these settings beside the usual, on a port that it keeps. `None` where PostgreSQL is not
    /// installed.
    pub(crate) async fn start(settings: &[&str]) -> Result<Option<Self>, String> {
        let supervisor = match installed() {
            Ok((programs, user)) => Supervisor::spawn(&programs, user).map_err(|error| error.to_string())?,
            Err(reason) => {
                skip(&reason);
                return Ok(None);
            }
        };
        let mut server = Self {
            url: String::new(),
            supervisor: Some(Arc::new(Mutex::new(supervisor))),
            copies_files: settings == FORGETFUL,
        };
        // Text sorts by its bytes; a named server shows whether anything relies on that.
        server.run("initdb -D $data -U postgres -A trust -E UTF8 --locale=C --no-sync").await?;
        for setting in SETTINGS.iter().chain(settings) {
            server.run(&format!("echo \"{setting}\" >>$data/postgresql.conf")).await?;
        }
        let mut outcome = Err("no port is free".to_owned());
        // Somebody else may be faster on the same port.
        for _ in 0..5 {
            let Some(port) = free_port() else { break };
            server.url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
            server.run(&format!("echo 'port = {port}' >>$data/postgresql.conf")).await?;
            outcome = server.run("pg_ctl -D $data -l log -w -t 30 start").await;
            if outcome.is_ok() {
                break;
            }
        }
        outcome.map(|()| Some(server))
    }

    /// Runs a line of shell in the folder of the server, where `$data` is its data and `log` its log; what was
    /// logged when it fails.
    pub(crate) async fn run(&self, line: &str) -> Result<(), String> {
        let supervisor = self.supervisor.clone().expect("only what was started here is restarted");
        let (sender, receiver) = oneshot::channel();
        let text = line.to_owned();
        // A thread of its own: the runtime of a test would wait for it at its end.
        std::thread::spawn(move || {
            let outcome = supervisor.lock().unwrap_or_else(PoisonError::into_inner).run(&text);
            // Nobody listens when the test has ended.
            drop(sender.send(outcome));
        });
        match timeout(PATIENCE, receiver).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(format!("PostgreSQL: {line}: {error}")),
            Ok(Err(_)) | Err(_) => Err(format!("PostgreSQL: {line}: no reply in time")),
        }
    }

    /// Makes an empty database; its URL.
    pub(crate) async fn create_database(&self) -> String {
        static MADE: AtomicU32 = AtomicU32::new(0);
        // The process id is not unique: on a named server other machines have theirs.
        let (number, process) = (MADE.fetch_add(1, Ordering::Relaxed), std::process::id());
        let name = format!("pingbox_test_{process}_{number}_{:08x}", random() >> 32);
        let create = async {
            let mut connection = self.connect().await;
            let copies_files = self.copies_files && connection.server_version_num() >= Some(150_000);
            // On two cores: 24 ms each, with `wal_log` 36 ms and 4 MB of log each.
            let strategy = if copies_files { "STRATEGY file_copy" } else { "" };
            let create = format!(r#"CREATE DATABASE "{name}" TEMPLATE template0 {strategy}"#);
            // The name is ours, and a name cannot be a parameter.
            sqlx::query(AssertSqlSafe(create))
                .execute(&mut connection)
                .await
                .expect("databases can be created");
            // It is made, however the connection ends.
            drop(connection.close().await);
        };
        timeout(PATIENCE, create).await.expect("a database is created in time");
        self.url(&name)
    }

    /// A connection beside those of the test.
    pub(crate) async fn connect(&self) -> PgConnection {
        let connection =
            timeout(PATIENCE, PgConnection::connect(&self.url)).await.expect("connected in time");
        connection.unwrap_or_else(|error| panic!("no connection to PostgreSQL: {error}"))
    }

    /// The URL with this database in place of its own.
    pub(crate) fn url(&self, database: &str) -> String {
        let (address, query) = match self.url.split_once('?') {
            Some((address, query)) => (address, format!("?{query}")),
            None => (&*self.url, String::new()),
        };
        let host = address.find("://").map_or(0, |at| at + "://".len());
        let path = address[host..].find('/').map_or(address.len(), |at| host + at);
        format!("{}/{database}{query}", &address[..path])
    }
}

struct Supervisor {
    process: Child,
    /// Closed to end it.
    commands: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
}

impl Supervisor {
    fn spawn(programs: &Path, user: Option<(u32, u32)>) -> io::Result<Self> {
        let mut command = Command::new("sh");
        command.arg("-c").arg(SUPERVISOR).arg("sh").arg(programs).env("LC_ALL", "C");
        if let Some((user, group)) = user {
            // Where root keeps its temporary files others may have no access.
            command.uid(user).gid(group).env_remove("TMPDIR");
        }
        // Out of reach of Ctrl-C, and of `timeout`; and whoever reads our output is not to wait for it.
        command.current_dir("/").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn()?;
        let commands = process.stdin.take();
        let replies = BufReader::new(process.stdout.take().expect("it is a pipe"));
        Ok(Self { process, commands, replies })
    }

    /// Runs a line; what it wrote when it fails.
    fn run(&mut self, line: &str) -> Result<(), String> {
        let sent = self.commands.as_mut().map(|commands| writeln!(commands, "{line}"));
        if !matches!(sent, Some(Ok(()))) {
            return Err("the supervisor has ended".to_owned());
        }
        let mut log = String::new();
        for reply in self.replies.by_ref().lines().map_while(Result::ok) {
            match reply.strip_prefix("status ") {
                Some("0") => return Ok(()),
                Some(status) => return Err(format!("status {status}\n{log}")),
                None => log = log + &reply + "\n",
            }
        }
        Err(format!("the supervisor has ended\n{log}"))
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        drop(self.commands.take());
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Where the programs are, and whom they run as if not as we do; else why there is no server.
fn installed() -> Result<(PathBuf, Option<(u32, u32)>), String> {
    let has_server = |folder: &PathBuf| folder.join("initdb").exists() && folder.join("postgres").exists();
    let configured = Command::new("pg_config").arg("--bindir").output().ok();
    let configured =
        configured.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end()));
    let programs = configured.filter(has_server).or_else(|| newest_of_debian(&has_server));
    let programs = programs.ok_or("no initdb where `pg_config --bindir` says, nor in /usr/lib/postgresql")?;
    if !rustix::process::geteuid().is_root() {
        return Ok((programs, None));
    }
    // PostgreSQL refuses to run as root.
    let user = user("postgres").or_else(|| user("nobody"));
    let user = user.ok_or("PostgreSQL does not run as root, and there is no user `postgres` or `nobody`")?;
    Ok((programs, Some(user)))
}

fn newest_of_debian(has_server: &impl Fn(&PathBuf) -> bool) -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(Result::ok);
    let version = |folder: &std::fs::DirEntry| folder.file_name().to_str()?.parse::<u32>().ok();
    let versions = versions.filter_map(|folder| Some((version(&folder)?, folder.path().join("bin"))));
    versions.filter(|(_, programs)| has_server(programs)).max().map(|(_, programs)| programs)
}

/// The ids of a user and its group.
fn user(name: &str) -> Option<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let fields =
        users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|user| user[0] == name)?;
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}

/// A port below those that systems hand out by themselves (Linux: from 32768, macOS: from 49152): nobody is given it
/// while the server restarts.
fn free_port() -> Option<u16> {
    let first = u16::try_from(random() % 4000).expect("it is below 4000");
    let mut ports = (0..4000).map(|offset| 12_000 + (first + offset) % 4000);
    ports.find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
}

fn random() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// Says once that there is no PostgreSQL, or fails where there has to be.
fn skip(reason: &str) {
    static SAID: Once = Once::new();
    let required = variable("CI").is_some_and(|value| value == "true");
    assert!(
        !required,
        "no PostgreSQL: {reason}; install 14 or later (Debian: apt-get install postgresql), \
         or name a server in PINGBOX_TEST_POSTGRES_URL"
    );
    // Past the capture of what tests print. If it cannot be said, nobody reads it.
    SAID.call_once(|| drop(writeln!(io::stderr(), "tests on PostgreSQL are skipped: {reason}")));
}

#[expect(clippy::disallowed_methods, reason = "it says where tests run, not how the service does")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
