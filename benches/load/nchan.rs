//! nginx with nchan, which hands messages from publishers to subscribers: what pingbox is compared
//! with where it is installed. It keeps everything in memory.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use crate::Bench;
use crate::client::BlockingConnection;
use crate::machine::{self, FOLDER};
use crate::program::free_port;

/// What is said where it is not installed.
pub(crate) const MISSING: &str =
    "nchan is left out: it is not installed (Debian: apt-get install nginx-light libnginx-mod-nchan)";
/// Below this path each captcha has a channel of its own. 201 says that somebody waited, 202 that nobody did.
pub(crate) const PUBLISH: &str = "/publish";
/// The same for 1,000 channels, which keep the last message each: it may be used for long.
pub(crate) const PUBLISH_LAST: &str = "/last";
/// A `GET` below it waits for what is published.
pub(crate) const WAIT: &str = "/wait";
/// Where packages and builds put the program and the module.
const PROGRAMS: [&str; 3] = ["/usr/sbin", "/usr/bin", "/usr/local/sbin"];
const MODULES: [&str; 3] = ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules"];
/// Connections for which it sets memory aside.
const MOST_CONNECTIONS: u64 = 65_536;
/// How long the start may take.
const START_DEADLINE: Duration = Duration::from_secs(10);
/// How often a port that does not answer yet is tried.
const RETRY: Duration = Duration::from_millis(5);

/// The running server. It ends when this is dropped.
pub(crate) struct Nchan {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Gone after the server.
    _folder: TempDir,
}

impl Nchan {
    /// One process, which is its worker. `None` where nginx or its module is not installed.
    pub(crate) fn start(bench: &Bench) -> anyhow::Result<Option<Self>> {
        let (Some(program), Some(module)) = (found(PROGRAMS, "nginx"), found(MODULES, "ngx_nchan_module.so"))
        else {
            return Ok(None);
        };
        let folder = tempfile::Builder::new().prefix("nchan-").tempdir_in(FOLDER)?;
        let address = free_port()?;
        let settings = folder.path().join("nginx.conf");
        fs::write(&settings, configuration(&module, address, bench.open_files.min(MOST_CONNECTIONS)))?;
        let log = folder.path().join("stderr.log");
        let child = Command::new(&program)
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(&settings)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| format!("could not start {}", program.display()))?;
        let mut nchan = Self { child, address, _folder: folder };
        nchan.wait_ready().with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
        Ok(Some(nchan))
    }

    fn wait_ready(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < START_DEADLINE {
            match BlockingConnection::open(self.address) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error).context("could not connect to nginx"),
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("nginx ended at once: {status}");
            }
            sleep(RETRY);
        }
        bail!("nginx was not ready after {START_DEADLINE:?}")
    }

    /// Memory of the process that is not swapped or paged out.
    #[expect(dead_code, reason = "for what callers cost that wait, beside pingbox's")]
    pub(crate) fn resident_bytes(&self) -> anyhow::Result<u64> {
        machine::resident_bytes(self.child.id())
    }
}

impl Drop for Nchan {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The first of the places that has this file.
fn found(places: [&str; 3], file: &str) -> Option<PathBuf> {
    places.iter().map(|place| Path::new(place).join(file)).find(|path| path.is_file())
}

/// Without a master process there is one process to end. What it would put below the system's folders is in its own.
fn configuration(module: &Path, address: SocketAddr, connections: u64) -> String {
    let module = module.display();
    format!(
        r#"load_module "{module}";
daemon off;
master_process off;
worker_processes 1;
pid nginx.pid;
error_log stderr error;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    nchan_shared_memory_size 512m;
    nchan_message_buffer_length 1;
    nchan_message_timeout 60s;
    server {{
        listen {address} backlog=4096;
        location ~ ^{PUBLISH}/(\d+)$ {{ nchan_publisher; nchan_channel_id $1; }}
        location ~ ^{PUBLISH_LAST}/\d*(\d\d\d)$ {{ nchan_publisher; nchan_channel_id last$1; }}
        location ~ ^{WAIT}/(\d+)$ {{ nchan_subscriber longpoll; nchan_channel_id $1; }}
    }}
}}
"#
    )
}
