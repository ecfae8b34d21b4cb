//! How far a run is: counted, and drawn on a terminal.

use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use crate::model::Price;

/// Counts, and a bar where standard error is a terminal.
pub(super) struct Progress {
    bar: ProgressBar,
    started: Instant,
    skipped: usize,
    solved: usize,
    pub(super) failed: usize,
    spent_nanos: i64,
}

impl Progress {
    pub(super) fn new(files: usize, skipped: usize) -> Self {
        const STYLE: &str = "{wide_bar} {pos} of {len} files, {per_sec}, {msg}, {eta} left";
        let style = ProgressStyle::with_template(STYLE).expect("it is a template");
        let bar = ProgressBar::new(files as u64).with_style(style);
        let progress = Self { bar, started: Instant::now(), skipped, solved: 0, failed: 0, spent_nanos: 0 };
        progress.draw();
        progress
    }

    /// One file more has an answer, or will have none.
    pub(super) fn count(&mut self, is_solved: bool) {
        if is_solved {
            self.solved += 1;
        } else {
            self.failed += 1;
        }
        self.bar.inc(1);
        self.draw();
    }

    /// A task cost this much.
    pub(super) fn pay(&mut self, price: Option<&str>) {
        let price = price.and_then(|price| price.parse::<Price>().ok());
        self.spent_nanos = self.spent_nanos.saturating_add(price.map_or(0, |price| price.nanos()));
    }

    /// Does something to the terminal while the bar is not on it.
    pub(super) fn aside<T>(&self, act: impl FnOnce() -> T) -> T {
        self.bar.suspend(act)
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }

    fn spent(&self) -> String {
        Price::from_nanos(self.spent_nanos).as_str().to_owned()
    }

    fn draw(&self) {
        self.bar.set_message(format!(
            "{} solved, {} failed, {} spent",
            self.solved,
            self.failed,
            self.spent()
        ));
    }

    /// The last word, with so many files that are left.
    pub(super) fn summary(&self, left: usize) -> String {
        let mut parts = vec![format!("{} solved", self.solved), format!("{} failed", self.failed)];
        if self.skipped > 0 {
            parts.push(format!("{} were solved before", self.skipped));
        }
        parts.push(format!("{} spent", self.spent()));
        let seconds = self.started.elapsed().as_secs_f64();
        let more = if left > 0 {
            format!("; {left} not ready: the same command again goes on with them")
        } else {
            String::new()
        };
        format!("{} in {seconds:.1} s{more}", parts.join(", "))
    }
}
