//! What a measurement found, as a table for people and as JSON.

use std::fmt;

use serde_json::{Value, json};

use crate::stats::{Latencies, Runs};

/// One measurement's figures.
#[derive(Debug)]
pub(crate) struct Report {
    title: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
    notes: Vec<String>,
    goals: Vec<Value>,
    json: Vec<Value>,
    settings: Value,
}

/// How a figure is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

impl Report {
    pub(crate) fn new(title: impl Into<String>, columns: &[&str], settings: Value) -> Self {
        let columns = columns.iter().map(|&name| name.to_owned()).collect();
        let title = title.into();
        let (rows, notes, goals, json) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { title, columns, rows, notes, goals, json, settings }
    }

    /// A line of the table, and the same figures in full.
    pub(crate) fn row(&mut self, name: &str, cells: impl IntoIterator<Item = String>, mut figures: Value) {
        self.rows.push(std::iter::once(name.to_owned()).chain(cells).collect());
        figures["name"] = json!(name);
        self.json.push(figures);
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// What is aimed at, and whether the median is there.
    pub(crate) fn goal(&mut self, what: &str, value: &Runs, limit: Limit) {
        let (sign, limit, reached) = match limit {
            Limit::AtMost(most) => ('≤', most, value.median() <= most),
            Limit::AtLeast(least) => ('≥', least, value.median() >= least),
        };
        let digits = if limit < 100.0 { 2 } else { 0 };
        let verdict = if reached { "reached" } else { "missed" };
        self.note(format!("Goal {verdict}: {what} {sign} {limit}: {}", value.show(digits)));
        self.goals.push(json!({ "goal": what, "limit": limit, "value": value.json(), "reached": reached }));
    }

    /// What the disk and the machine were doing.
    pub(crate) fn machine(&mut self, disk: &[&Latencies], load_averages: &[&str]) {
        let disk = Runs::of_micros(disk.iter().map(|probe| probe.p50()));
        self.note(format!("8 KiB write + fdatasync, p50 in µs before each run: {}", disk.show(0)));
        if disk.max() > 1.5 * disk.min() {
            self.note("The disk was unsteady (1.5x between runs): measure again on a quiet machine");
        }
        self.note(format!("Load average before each run: {}", load_averages.join(", ")));
    }

    pub(crate) fn into_json(self) -> Value {
        json!({ "settings": self.settings, "figures": self.json, "goals": self.goals, "notes": self.notes })
    }

    fn widths(&self) -> Vec<usize> {
        let lines = || self.rows.iter().chain([&self.columns]);
        (0..self.columns.len())
            .map(|column| {
                lines()
                    .filter_map(|line| line.get(column))
                    .map(|cell| cell.chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        writeln!(f, "## {}\n", self.title)?;
        for line in [&self.columns, &rule].into_iter().chain(&self.rows) {
            for (cell, width) in line.iter().zip(&widths) {
                write!(f, "| {cell:width$} ")?;
            }
            writeln!(f, "|")?;
        }
        writeln!(f)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "- {note}"))
    }
}

#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}
