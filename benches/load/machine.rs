//! The machine, and how fast its disk is at the moment.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;

use crate::stats::Latencies;

/// Open files of this process that are not connections.
pub(crate) const OTHER_FILES: u64 = 64;
/// Where everything is stored: on the disk of the build folder. A folder for temporary files may be
/// in memory, where a commit costs nothing.
pub(crate) const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");
/// The unit of times in /proc, which Linux shows as hundredths of a second whatever its own is.
const MILLIS_PER_TICK: u64 = 10;
/// What a small commit writes.
const PROBE_BYTES: usize = 8 * 1024;
/// Writes of one probe: a fraction of a second on a fast disk, half a minute on a very slow one.
const PROBE_WRITES: u64 = 500;
/// How long a probe with a rate takes at most, on a disk that keeps up.
const LONGEST_PROBE: Duration = Duration::from_secs(5);
/// Places that the probe overwrites in turn.
const PROBE_PLACES: u64 = 128;
/// Probes until the disk is taken as it is.
const MOST_PROBES: u32 = 10;

/// What the figures hold for.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cores: usize,
    kernel: String,
    file_system: String,
    load_average: String,
    release_build: bool,
}

pub(crate) fn describe() -> anyhow::Result<Machine> {
    fs::create_dir_all(FOLDER).with_context(|| format!("could not create {FOLDER}"))?;
    Ok(Machine {
        cores: cores(),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        file_system: file_system(Path::new(FOLDER))?,
        load_average: load_average()?,
        release_build: !cfg!(debug_assertions),
    })
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, kernel, file_system, load_average, .. } = self;
        writeln!(
            f,
            "{cores} cores shared with the clients, Linux {kernel}, {file_system}, load {load_average}"
        )?;
        if file_system == "tmpfs" {
            writeln!(f, "The build folder is in memory: nothing here is durable, and the figures flatter.")?;
        }
        Ok(())
    }
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Of the last minute.
pub(crate) fn load_average() -> io::Result<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}

/// Time that the threads of a process have run, in user space and in the kernel.
pub(crate) fn processor_time(process: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name of the program comes before, in parentheses, and may hold anything.
    let (_, fields) = stat.rsplit_once(')').context("no name in the state of the process")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks = ticks.sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * MILLIS_PER_TICK))
}

/// The type of the file system that a folder is on.
fn file_system(folder: &Path) -> io::Result<String> {
    let folder = folder.canonicalize()?;
    let mounts = fs::read_to_string("/proc/mounts")?;
    let holding = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (at, kind) = (fields.nth(1)?, fields.next()?);
        folder.starts_with(at).then_some((at.len(), kind))
    });
    Ok(holding.max_by_key(|(length, _)| *length).map_or("unknown", |(_, kind)| kind).to_owned())
}

/// How fast the disk is once it has come to rest: after a build, or a run, it is still busy with what
/// was left behind.
pub(crate) fn probe_quiet_disk() -> anyhow::Result<Latencies> {
    let mut last = probe_disk()?;
    for _ in 1..MOST_PROBES {
        sleep(Duration::from_secs(1));
        let next = probe_disk()?;
        let is_steady = next.p50() * 4 > last.p50() * 3 && last.p50() * 4 > next.p50() * 3;
        last = next;
        if is_steady {
            break;
        }
    }
    Ok(last)
}

/// How long it takes to overwrite 8 KiB and have the disk confirm it, again and again.
fn probe_disk() -> anyhow::Result<Latencies> {
    probe(PROBE_WRITES, Duration::ZERO)
}

/// The same with so many writes a second: a disk, and cores, that rest between are slower.
pub(crate) fn probe_disk_at(rate: u64) -> anyhow::Result<Latencies> {
    let most = rate.saturating_mul(LONGEST_PROBE.as_secs());
    probe(PROBE_WRITES.min(most), Duration::from_nanos(1_000_000_000 / rate))
}

/// So many writes, each not before its time.
fn probe(writes: u64, interval: Duration) -> anyhow::Result<Latencies> {
    let named = tempfile::NamedTempFile::new_in(FOLDER)?;
    let file = OpenOptions::new().write(true).open(named.path())?;
    let block = [0x5a; PROBE_BYTES];
    let offset = |write: u64| write % PROBE_PLACES * u64::try_from(PROBE_BYTES).unwrap_or(0);
    for place in 0..PROBE_PLACES {
        file.write_all_at(&block, offset(place))?;
    }
    file.sync_all()?;
    let mut took = Latencies::default();
    let mut due = Instant::now();
    for write in 0..writes {
        sleep(due.saturating_duration_since(Instant::now()));
        due += interval;
        let begun = Instant::now();
        file.write_all_at(&block, offset(write))?;
        file.sync_data()?;
        took.record(begun.elapsed());
    }
    Ok(took)
}

/// Memory of a process that is not swapped or paged out.
pub(crate) fn resident_bytes(process: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// Allows this process as many open files as the system does; how many that are.
pub(crate) fn raise_open_files() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    if raised.is_ok() { maximum } else { current }.unwrap_or(u64::MAX)
}
