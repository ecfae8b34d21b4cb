//! What is wrong with a configuration, and where it stands.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nothing was given.
    Default,
    /// The sandbox takes the place of what was given.
    Sandbox,
    /// A line of the configuration file.
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// The environment variable of this name.
    Environment(String),
    /// The flag of this name, without the dashes in front.
    Flag(String),
    /// The contents of a file.
    Contents {
        /// The file with the value in it.
        path: PathBuf,
        /// Where that file was named.
        named_by: Box<Self>,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Sandbox => f.write_str("sandbox"),
            Self::File { path, line } => write!(f, "{} line {line}", path.display()),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::Flag(name) => write!(f, "--{name}"),
            Self::Contents { path, named_by } => {
                write!(f, "{named_by}, file {}", path.display())
            }
        }
    }
}

/// One thing to put right. It never shows a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, as it was written; `None` when a whole file is meant.
    pub key: Option<String>,
    /// Where it stands; `None` when it is missing.
    pub origin: Option<Origin>,
    /// What would be right.
    pub text: String,
}

impl Problem {
    pub(super) fn new(key: impl Into<String>, origin: &Origin, text: impl Into<String>) -> Self {
        Self { key: Some(key.into()), origin: Some(origin.clone()), text: text.into() }
    }

    /// `key` is needed, and nothing gave it.
    pub(super) fn missing(key: impl Into<String>, text: impl Into<String>) -> Self {
        Self { key: Some(key.into()), origin: None, text: text.into() }
    }

    /// Something is wrong with a place as a whole.
    pub(super) fn at(origin: Origin, text: impl Into<String>) -> Self {
        Self { key: None, origin: Some(origin), text: text.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.key, &self.origin) {
            (Some(key), Some(origin)) => write!(f, "{key} ({origin}): ")?,
            (Some(key), None) => write!(f, "{key} (not set): ")?,
            (None, Some(origin)) => write!(f, "{origin}: ")?,
            (None, None) => {}
        }
        f.write_str(&self.text)
    }
}

/// All that is wrong with a configuration, at once; it prints one problem a line.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", report(.0))]
pub struct ConfigErrors(Vec<Problem>);

impl ConfigErrors {
    /// `Ok` when there are no problems.
    pub(super) fn unless_empty(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self(problems)) }
    }

    /// The problems; at least one.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl From<Problem> for ConfigErrors {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

fn report(problems: &[Problem]) -> String {
    let count = problems.len();
    let mut text = match count {
        1 => "the configuration has a problem:".to_owned(),
        _ => format!("the configuration has {count} problems:"),
    };
    for problem in problems {
        text.push_str("\n  ");
        text.push_str(&problem.to_string());
    }
    text
}
