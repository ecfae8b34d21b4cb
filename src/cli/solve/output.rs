//! Where the answers go: a line each, on its way before the next one is made.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::csv;
use crate::cli::print;

/// The form of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// File, tab, answer; files that failed are told on standard error
    Text,
    /// Comma-separated values with a head
    Csv,
    /// A JSON object a line
    Jsonl,
}

/// What became of a file.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Row {
    pub(super) file: String,
    /// That of the task; `refused` where the server did not take the file, `unreadable` where it could not be read.
    pub(super) status: String,
    pub(super) answer: Option<String>,
    pub(super) error: Option<String>,
    /// The task's.
    pub(super) id: Option<String>,
    pub(super) price: Option<String>,
}

const HEAD: [&str; 6] = ["file", "status", "answer", "error", "id", "price"];
const SOLVED: &str = "solved";

impl Row {
    /// A file of which there is no task.
    pub(super) fn without_task(file: String, status: &str, error: String) -> Self {
        Self { file, status: status.to_owned(), answer: None, error: Some(error), id: None, price: None }
    }

    /// The line; `None` where the format has none for it.
    fn line(&self, format: Format) -> Option<String> {
        let or_empty = |text: &Option<String>| text.clone().unwrap_or_default();
        match format {
            Format::Text => {
                let one_line = |text: &str| text.replace(['\t', '\n', '\r'], " ");
                let answer = self.answer.as_ref()?;
                Some(format!("{}\t{}\n", one_line(&self.file), one_line(answer)))
            }
            Format::Csv => {
                let [answer, error, id, price] =
                    [&self.answer, &self.error, &self.id, &self.price].map(or_empty);
                Some(csv::record(&[&self.file, &self.status, &answer, &error, &id, &price]))
            }
            Format::Jsonl => Some(format!("{}\n", serde_json::json!(self))),
        }
    }
}

/// Standard output, or a file that is added to.
pub(super) struct Output {
    format: Format,
    file: Option<File>,
    /// Whether the head of the table is still to come.
    wants_head: bool,
}

impl Output {
    pub(super) fn stdout(format: Format) -> Self {
        Self { format, file: None, wants_head: format == Format::Csv }
    }

    /// The file, locked, and which files it says are solved. A line that was cut off is taken out.
    pub(super) fn resume(path: &Path, format: Option<Format>) -> anyhow::Result<(Self, HashSet<String>)> {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        let format = match (format, ending.as_deref()) {
            (Some(format), _) => format,
            (None, Some("csv")) => Format::Csv,
            (None, Some("jsonl")) => Format::Jsonl,
            (None, _) => bail!("{} ends in neither .csv nor .jsonl: say which with --format", path.display()),
        };
        let name = path.display();
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = opened.with_context(|| format!("cannot write {name}"))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                bail!("another pingbox solve is writing {name}: wait until it ends")
            }
            // Some file systems have no locks.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).with_context(|| format!("cannot read {name}"))?;
        let (done, whole) = solved(&bytes, format).with_context(|| {
            format!("{name} holds something other than what this command writes: name another --output")
        })?;
        file.set_len(whole as u64).with_context(|| format!("cannot write {name}"))?;
        file.seek(SeekFrom::End(0)).with_context(|| format!("cannot write {name}"))?;
        let wants_head = format == Format::Csv && whole == 0;
        Ok((Self { format, file: Some(file), wants_head }, done))
    }

    /// Writes the row, and does not keep any of it back.
    pub(super) fn write(&mut self, row: &Row) -> anyhow::Result<()> {
        if self.wants_head {
            self.put(&csv::record(&HEAD))?;
            self.wants_head = false;
        }
        match row.line(self.format) {
            Some(line) => self.put(&line),
            None => Ok(()),
        }
    }

    fn put(&mut self, text: &str) -> anyhow::Result<()> {
        match &mut self.file {
            Some(file) => file.write_all(text.as_bytes()).context("cannot write the answers"),
            None => print(text),
        }
    }
}

/// The files that are solved according to this text, and how many bytes of it are whole lines;
/// `None` when it is not ours.
fn solved(bytes: &[u8], format: Format) -> Option<(HashSet<String>, usize)> {
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let text = str::from_utf8(&bytes[..end]).ok()?;
    let (mut rest, mut solved, mut is_head) = (text, HashSet::new(), format == Format::Csv);
    while let Some((line, after)) = rest.split_once('\n') {
        let after = match format {
            Format::Text => {
                solved.insert(line.split_once('\t')?.0.to_owned());
                after
            }
            Format::Jsonl => {
                let row: Row = serde_json::from_str(line).ok()?;
                if row.status == SOLVED {
                    solved.insert(row.file);
                }
                after
            }
            Format::Csv => {
                // What is cut off within quotes has line ends too.
                let Some((fields, after)) = csv::first(rest) else { break };
                let fields: [String; 6] = fields.try_into().ok()?;
                if is_head && fields != HEAD {
                    return None;
                }
                let [file, status, ..] = fields;
                if status == SOLVED {
                    solved.insert(file);
                }
                is_head = false;
                after
            }
        };
        rest = after;
    }
    let whole = text.len() - rest.len();
    // A file of which no line is ours is not ours to cut.
    (whole > 0 || bytes.is_empty()).then_some((solved, whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(file: &str, answer: Option<&str>) -> Row {
        let status = if answer.is_some() { "solved" } else { "failed" };
        let error = answer.is_none().then(|| "ERROR_CAPTCHA_UNSOLVABLE: why".to_owned());
        let answer = answer.map(str::to_owned);
        Row { file: file.to_owned(), status: status.to_owned(), answer, error, id: None, price: None }
    }

    const ALL: [Format; 3] = [Format::Text, Format::Csv, Format::Jsonl];

    #[test]
    fn wherever_a_kill_cuts_the_whole_lines_count_and_no_more() {
        for format in ALL {
            let head = if format == Format::Csv { csv::record(&HEAD) } else { String::new() };
            let first = head + &row("a.png", Some("x,1")).line(format).unwrap();
            let second = row("b, \"c\".png", Some("two\nlines")).line(format).unwrap();
            let text = format!("{first}{second}");
            for end in first.len()..text.len() {
                let (done, whole) = solved(&text.as_bytes()[..end], format).unwrap();
                assert_eq!((done.len(), whole), (1, first.len()), "{format:?} {end}");
            }
            let (done, whole) = solved(text.as_bytes(), format).unwrap();
            assert_eq!((done.contains("b, \"c\".png"), whole), (true, text.len()));
        }
    }

    #[test]
    fn a_file_that_failed_is_not_done() {
        for format in [Format::Csv, Format::Jsonl] {
            let head = if format == Format::Csv { csv::record(&HEAD) } else { String::new() };
            let text = head + &row("a.png", None).line(format).unwrap();
            assert_eq!(solved(text.as_bytes(), format), Some((HashSet::new(), text.len())));
        }
    }

    #[test]
    fn a_file_of_something_else_is_left_alone() {
        for format in ALL {
            for text in ["no line end", "words\n", "a,b,c\nd,e,f\n", "{\"a\":1}\n"] {
                assert_eq!(solved(text.as_bytes(), format), None, "{format:?} {text}");
            }
            assert_eq!(solved(b"\xff\xfe\n", format), None);
        }
    }
}
