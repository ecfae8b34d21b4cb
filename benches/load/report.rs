//! What a measurement found, as a table for people and as JSON.

use std::fmt;

use serde_json::{Value, json};

/// One measurement's figures.
#[derive(Debug)]
pub(crate) struct Report {
    title: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
    notes: Vec<String>,
    json: Vec<Value>,
    settings: Value,
}

impl Report {
    pub(crate) fn new(title: impl Into<String>, columns: &[&str], settings: Value) -> Self {
        let columns = columns.iter().map(|&name| name.to_owned()).collect();
        Self { title: title.into(), columns, rows: Vec::new(), notes: Vec::new(), json: Vec::new(), settings }
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

    pub(crate) fn into_json(self) -> Value {
        json!({ "settings": self.settings, "figures": self.json, "notes": self.notes })
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
