//! What was called, and what came of it: for metrics.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::model::{Cause, Script, Signal};
use crate::provider::{ProviderError, Reply};

/// Kinds of calls that are told apart; past it they are counted as `other`. The provider's codes are not
/// ours to bound.
const MAX_KINDS: usize = 200;

/// Requests that were sent, counted by what they were and what came of them.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<BTreeMap<Call, u64>>);

/// A kind of request, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Call {
    /// `in.php` or `res.php`.
    pub(crate) script: &'static str,
    /// `submit`, or the `action` of `res.php`.
    pub(crate) action: String,
    /// `ok`, a code, or the word for no reply.
    pub(crate) outcome: String,
}

impl Tally {
    /// Counts one.
    pub(super) fn note(
        &self,
        script: Script,
        action: &str,
        result: &Result<Reply, ProviderError>,
        signal: &Signal,
    ) {
        let outcome = match (result, signal) {
            (Ok(Reply::Error(code)), _) => code.as_str(),
            (_, Signal::Trouble(cause)) => Cause::as_str(cause),
            (_, Signal::Welcome) => "ok",
        };
        let call = Call { script: script.as_str(), action: action.to_owned(), outcome: outcome.to_owned() };
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !calls.contains_key(&call);
        let call = if is_new && calls.len() >= MAX_KINDS {
            Call { outcome: "other".to_owned(), ..call }
        } else {
            call
        };
        *calls.entry(call).or_default() += 1;
    }

    /// Everything that was counted.
    pub(crate) fn calls(&self) -> Vec<(Call, u64)> {
        let calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.iter().map(|(call, count)| (call.clone(), *count)).collect()
    }
}
