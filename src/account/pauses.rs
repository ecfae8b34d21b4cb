//! Pauses that the provider asked for: told, stored, explained, ended.

use std::sync::atomic::Ordering;

use tracing::{error, info, warn};

use super::{Account, SHORT_OF_MONEY};
use crate::model::{Backoff, Cause, ErrorCode, Gate, Hold, Remedy, Script, Signal, Timestamp};
use crate::provider::Route;

impl Account {
    /// Tells and stores a change of the pauses.
    pub(super) async fn changed(&self, before: &Backoff, after: &Backoff) {
        log_change(before, after, self.0.provider.route());
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
        let (before, after) = {
            let state = self.state();
            (state.stored.clone(), state.backoff.clone())
        };
        match self.0.ingest.change_backoff(before, after.clone()).await {
            Ok(changed) => {
                // What changed here meanwhile is a change of what was stored.
                self.state().stored = after;
                self.adopt(changed);
            }
            Err(error) => {
                self.0.is_saved.store(false, Ordering::Release);
                if !error.is_told() {
                    warn!(%error, "Could not store the pauses that the provider asked for: {error}");
                }
            }
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
        self.forget_balance_question();
        info!("An operator had pingbox go on sending");
        self.changed(&before, &Backoff::default()).await;
    }

    /// What every submission is refused with at the moment, where waiting does not mend it: an empty balance, a
    /// wrong key, a refused address.
    pub(crate) fn refusal(&self) -> Option<ErrorCode> {
        let state = self.state();
        if !matches!(state.backoff.gate(Script::In, Timestamp::now()), Gate::Until(_) | Gate::Stopped) {
            return None;
        }
        let code = state.backoff.hold(Script::In)?.cause.code()?.clone();
        let is_refusal = code.as_str() == ErrorCode::ZERO_BALANCE || code.remedy() == Remedy::Operator;
        is_refusal.then_some(code)
    }

    /// A request of ours came back to us, as its [`LoopMark`](crate::provider::LoopMark) shows: nothing is
    /// sent until the next start, or until an operator has acted. On disk when this returns.
    pub(crate) async fn found_loop(&self) {
        let (before, after) = {
            let mut state = self.state();
            let before = state.backoff.clone();
            state.backoff.note(Script::In, Signal::Trouble(Cause::Loop), 0, Timestamp::now());
            (before, state.backoff.clone())
        };
        if before != after {
            self.changed(&before, &after).await;
        }
    }

    /// Why queued tasks wait, if they do.
    pub(crate) fn why_tasks_wait(&self) -> Option<String> {
        let state = self.state();
        match state.backoff.hold(Script::In) {
            Some(hold) => Some(explained(hold, self.0.provider.route())),
            None => state.is_short_of_money.then(|| SHORT_OF_MONEY.to_owned()),
        }
    }
}

/// What a pause means, and what an operator can do about one that does not end by itself.
pub(super) fn explained(hold: &Hold, route: &Route) -> String {
    let cause = &hold.cause;
    match (cause, hold.until) {
        (Cause::OwnAddress, _) => {
            format!("{cause}: {}. Nothing is sent there; it is looked up again by itself", route.remedy())
        }
        (Cause::Loop, _) => format!(
            "{cause}: {}. Nothing is sent until pingbox is started again or an operator has acted: `pingbox doctor \
             --resume`",
            route.remedy()
        ),
        (_, None) => format!(
            "{cause}. Nothing is sent until the key changes or an operator has acted: `pingbox doctor --resume`"
        ),
        (_, Some(_)) => cause.to_string(),
    }
}

/// Once per change, not once per request.
pub(super) fn log_change(before: &Backoff, after: &Backoff, route: &Route) {
    let mut is_loop_told = false;
    for script in Script::ALL {
        let name = script.as_str();
        let (before, after) = (before.hold(script), after.hold(script));
        if before.map(|hold| &hold.cause) == after.map(|hold| &hold.cause) {
            continue;
        }
        match after {
            None => info!(script = name, "The provider takes requests to {name} again"),
            // It concerns both scripts, and an operator in either case.
            Some(hold) if hold.cause.is_loop() => {
                if !std::mem::replace(&mut is_loop_told, true) {
                    let why = explained(hold, route);
                    error!(code = hold.cause.as_str(), "The provider is not called: {why}");
                }
            }
            Some(hold @ Hold { cause, until: None, .. }) => {
                let why = explained(hold, route);
                error!(script = name, code = cause.as_str(), "{name} is not called any more: {why}");
            }
            Some(Hold { cause, until: Some(until), .. }) => {
                warn!(script = name, code = cause.as_str(), %until, "{name} is not called until {until}: {cause}");
            }
        }
    }
}
