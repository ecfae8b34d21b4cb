//! Pauses that the provider asked for: told, stored, explained, ended.

use std::sync::atomic::Ordering;

use tracing::{error, info, warn};

use super::{Account, SHORT_OF_MONEY};
use crate::model::{Backoff, Cause, ErrorCode, Gate, Hold, Remedy, Script};

impl Account {
    /// Tells and stores a change of the pauses.
    pub(super) async fn changed(&self, before: &Backoff, after: &Backoff) {
        log_change(before, after);
        self.tell_change();
        self.0.is_saved.store(false, Ordering::Release);
        self.save().await;
    }

    /// Stores the pauses, if they have changed since they were stored. Whoever changes them does so at once;
    /// the reconciler tries again what failed.
    pub(crate) async fn save(&self) {
        let _turn = self.0.saving.lock().await;
        if self.0.is_saved.swap(true, Ordering::AcqRel) {
            return;
        }
        let backoff = self.backoff();
        if let Err(error) = self.0.ingest.store_backoff(backoff).await {
            self.0.is_saved.store(false, Ordering::Release);
            warn!(%error, "Could not store the pauses that the provider asked for: {error}");
        }
    }

    /// An operator has acted: everything is tried again, one request at first.
    pub(crate) async fn resume(&self) {
        let before = {
            let mut state = self.state();
            let before = state.backoff.clone();
            state.backoff.resume();
            before
        };
        self.0.is_proven.store(false, Ordering::Release);
        info!("An operator had pingbox go on sending");
        self.changed(&before, &Backoff::default()).await;
    }

    /// What every submission is refused with at the moment, where waiting does not mend it: an empty balance, a
    /// wrong key, a refused address.
    pub(crate) fn refusal(&self) -> Option<ErrorCode> {
        if !matches!(self.gate(Script::In), Gate::Until(_) | Gate::Stopped) {
            return None;
        }
        let code = self.state().backoff.hold(Script::In)?.cause.code()?.clone();
        let is_refusal = code.as_str() == ErrorCode::ZERO_BALANCE || code.remedy() == Remedy::Operator;
        is_refusal.then_some(code)
    }

    /// Why queued tasks wait, if they do.
    pub(crate) fn why_tasks_wait(&self) -> Option<String> {
        let state = self.state();
        match state.backoff.hold(Script::In) {
            Some(Hold { cause, until: None, .. }) => Some(stopped(cause)),
            Some(hold) => Some(hold.cause.to_string()),
            None => state.is_short_of_money.then(|| SHORT_OF_MONEY.to_owned()),
        }
    }
}

pub(super) fn stopped(cause: &Cause) -> String {
    format!(
        "{cause}. Nothing is sent until the key changes or an operator has acted: `pingbox doctor --resume`"
    )
}

/// Once per change, not once per request.
fn log_change(before: &Backoff, after: &Backoff) {
    for script in Script::ALL {
        let name = script.as_str();
        let (before, after) = (before.hold(script), after.hold(script));
        if before.map(|hold| &hold.cause) == after.map(|hold| &hold.cause) {
            continue;
        }
        match after {
            None => info!(script = name, "The provider takes requests to {name} again"),
            Some(Hold { cause, until: None, .. }) => {
                error!(
                    script = name,
                    code = cause.as_str(),
                    "{name} is not called any more: {}",
                    stopped(cause)
                );
            }
            Some(Hold { cause, until: Some(until), .. }) => {
                warn!(script = name, code = cause.as_str(), %until, "{name} is not called until {until}: {cause}");
            }
        }
    }
}
