//! From the start of the process to the first pingback on disk.

use anyhow::Context as _;
use serde_json::json;

use crate::Bench;
use crate::program::{Site, binary};
use crate::report::Report;
use crate::stats::Runs;

/// Starts of each kind.
const STARTS: usize = 7;

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Report> {
    let (mut fresh, mut existing) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let mut site = Site::new(bench)?;
        for starts in [&mut fresh, &mut existing] {
            let program = site.start()?;
            starts.push(program.took.as_secs_f64() * 1e3);
            program.stop()?;
        }
    }
    let size = std::fs::metadata(binary()).context("the program is missing")?.len();
    let title = format!("start: median of {STARTS} starts, ms");
    let mut report = Report::new(title, &["database", "start to first 200, ms"], bench.settings());
    for (name, starts) in [("new", fresh), ("existing", existing)] {
        let runs = Runs::of(starts);
        report.row(name, [runs.show(1)], json!({ "start_ms": runs.json() }));
    }
    report.note(format!("Size of the program: {size} bytes"));
    Ok(report)
}
