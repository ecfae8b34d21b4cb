//! From the start of the process to the first pingback on disk.

use anyhow::Context as _;
use serde_json::json;

use crate::Bench;
use crate::filled;
use crate::program::{Site, binary};
use crate::report::{Limit, Report};
use crate::stats::Runs;

/// What a start with many tasks is to take.
const LONGEST_MS: f64 = 100.0;
/// Starts of each kind.
const STARTS: usize = 7;

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Report> {
    let (mut fresh, mut existing, mut full) = (Vec::new(), Vec::new(), Vec::new());
    let mut filled_site = Site::new(bench)?;
    let filling = filled::fill(bench, &mut filled_site, bench.args.tasks)?;
    for _ in 0..STARTS {
        let mut site = Site::new(bench)?;
        for starts in [&mut fresh, &mut existing] {
            starts.push(start(&mut site)?);
        }
        full.push(start(&mut filled_site)?);
    }
    let size = std::fs::metadata(binary()).context("the program is missing")?.len();
    let title = format!("start: median of {STARTS} starts, ms");
    let mut report = Report::new(title, &["database", "start to first 200, ms"], bench.settings());
    let with_tasks = format!("with {} tasks, {} MB", filling.tasks, filling.bytes / 1_000_000);
    let full = Runs::of(full);
    for (name, runs) in [("new", &Runs::of(fresh)), ("existing", &Runs::of(existing)), (&with_tasks, &full)] {
        report.row(name, [runs.show(1)], json!({ "start_ms": runs.json() }));
    }
    report.goal(&format!("ms {with_tasks}"), &full, Limit::AtMost(LONGEST_MS));
    report.note(format!("Size of the program: {size} bytes"));
    Ok(report)
}

/// Starts the program and ends it; in ms.
fn start(site: &mut Site) -> anyhow::Result<f64> {
    let program = site.start()?;
    let took = program.took.as_secs_f64() * 1e3;
    program.stop()?;
    Ok(took)
}
