//! One thing that the doctor looked at.

use serde::Serialize;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// What was looked at.
    name: &'static str,
    result: Finding,
    reason: String,
    /// What to do about it.
    remedy: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Finding {
    Ok,
    /// Good to know; it needs nobody.
    Note,
    /// Somebody has to act.
    Fail,
}

impl Check {
    pub(super) fn ok(name: &'static str, reason: impl Into<String>) -> Self {
        Self { name, result: Finding::Ok, reason: reason.into(), remedy: None }
    }

    pub(super) fn note(name: &'static str, reason: impl Into<String>) -> Self {
        Self { name, result: Finding::Note, reason: reason.into(), remedy: None }
    }

    pub(super) fn fail(name: &'static str, reason: impl Into<String>, remedy: &str) -> Self {
        Self { name, result: Finding::Fail, reason: reason.into(), remedy: None }.with(remedy)
    }

    /// The same with what to do about it.
    pub(super) fn with(self, remedy: &str) -> Self {
        Self { remedy: Some(remedy.to_owned()), ..self }
    }

    pub(super) fn is_failure(&self) -> bool {
        self.result == Finding::Fail
    }

    /// The line for people.
    pub(super) fn line(&self) -> String {
        let result = match self.result {
            Finding::Ok => "ok",
            Finding::Note => "note",
            Finding::Fail => "fail",
        };
        let remedy = self.remedy.as_ref().map(|remedy| format!(" -> {remedy}")).unwrap_or_default();
        format!("{result:<4}  {:<12}  {}{remedy}\n", self.name, self.reason)
    }
}
