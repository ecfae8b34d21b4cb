//! The rule book: what the provider asks of its clients, and where they did not heed it.
//!
//! It is kept whether there are limits or not, since a client that waits as the API document says never
//! comes near them. It goes by what the client was told: turning a knob back does not take back the wait
//! that a refusal asked for.

mod book;
#[cfg(test)]
mod tests;
mod wait;

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

pub use self::book::BrokenRule;
use self::book::{Book, Rule};
use self::wait::{Bans, GRACE, Rate, TOLERANCE, Told};
use super::call::{Call, Script, Stop};
use super::captcha::Digest;
use super::limits::{
    MAX_REFUSALS, MAX_TURNS, NoSlot, REFUSAL_WINDOW, TURN_WINDOW, allowed_results, is_queue_too_long,
};
use super::reply::Code;
use super::task::Task;
use crate::model::Timestamp;

/// The wait between a captcha and the first question for its answer.
const FIRST_ASK: Duration = Duration::from_secs(5);
/// The same for reCAPTCHA V2 by token.
const FIRST_ASK_RECAPTCHA: Duration = Duration::from_secs(10);
/// The wait after `CAPCHA_NOT_READY`.
const NEXT_ASK: Duration = Duration::from_secs(5);
/// The wait after `ERROR_NO_SLOT_AVAILABLE`.
const AFTER_NO_SLOT: Duration = Duration::from_secs(5);
/// The wait after `ERROR_ZERO_BALANCE`.
const AFTER_ZERO_BALANCE: Duration = Duration::from_secs(60);
/// The wait after an HTML page.
const AFTER_PAGE: Duration = Duration::from_secs(5);
/// Refused keys that are remembered; past it the oldest is forgotten.
const MAX_KEYS: usize = 1000;

/// How much the account has asked of `res.php`, since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Requests to `res.php` with the right key, whatever they were answered.
    #[serde(rename = "res_php")]
    pub results: u64,
    /// Captchas that were taken.
    pub captchas: u64,
    /// The most requests to `res.php` for that many captchas: 20 for each, and 1200.
    pub allowed: u64,
}

/// What is remembered of a client's manners.
#[derive(Debug, Default)]
pub(super) struct Rules {
    book: Book,
    results: u64,
    captchas: u64,
    turns: Rate,
    no_slots: Rate,
    zero_balances: Rate,
    queue_refusals: u64,
    told_no_slot: Told,
    told_zero_balance: Told,
    in_pages: Told,
    res_pages: Told,
    bans: Bans,
    /// Digests of the keys that were refused, and when first.
    refused_keys: VecDeque<(Digest, Timestamp)>,
}

impl Rules {
    /// What was broken since the start, in the order in which that happened first.
    pub(super) fn broken(&self) -> Vec<BrokenRule> {
        self.book.list()
    }

    /// What was asked of `res.php` since the start.
    pub(super) fn usage(&self) -> Usage {
        Usage { results: self.results, captchas: self.captchas, allowed: allowed_results(self.captchas) }
    }

    /// A request arrives, with the right key or not.
    pub(super) fn arrived(&mut self, call: &Call, has_key: bool, now: Timestamp) {
        let script = call.script.name();
        if let Some(ban) = self.bans.ignored(call.address, has_key, now) {
            let after = format!("{script} was called {} after {}", seconds(ban.age(now)), ban.code);
            self.note(Rule::IgnoredBan, format!("{after}, a ban of {}", seconds(ban.span)), now);
        }
        if let Some(ago) = self.pages(call.script).ignored(AFTER_PAGE, now) {
            self.note_ignored(Rule::IgnoredPage, script, ago, "it answered an HTML page", now);
        }
        match call.script {
            _ if !has_key => {}
            Script::In => self.submission_arrived(now),
            Script::Res => self.result_arrived(now),
        }
    }

    fn submission_arrived(&mut self, now: Timestamp) {
        if self.turns.exceeds(MAX_TURNS, TURN_WINDOW, now) {
            let detail = format!("more than {MAX_TURNS} requests to in.php within {}", seconds(TURN_WINDOW));
            self.note(Rule::TooManyTurns, detail, now);
        }
        if let Some(ago) = self.told_no_slot.ignored(AFTER_NO_SLOT, now) {
            self.note_ignored(Rule::IgnoredNoSlot, "in.php", ago, "ERROR_NO_SLOT_AVAILABLE", now);
        }
        if let Some(ago) = self.told_zero_balance.ignored(AFTER_ZERO_BALANCE, now) {
            self.note_ignored(Rule::IgnoredZeroBalance, "in.php", ago, "ERROR_ZERO_BALANCE", now);
        }
    }

    fn result_arrived(&mut self, now: Timestamp) {
        self.results += 1;
        let Usage { results, captchas, allowed } = self.usage();
        if results > allowed {
            let detail =
                format!("{results} requests to res.php for {captchas} captchas, which allow {allowed}");
            self.note(Rule::TooManyResults, detail, now);
        }
    }

    /// The answer to a captcha is asked for, alone or among others.
    pub(super) fn asked(&mut self, id: u64, task: &Task, now: Timestamp) {
        let age = now.since(task.submitted_at);
        let least = if task.is_recaptcha { FIRST_ASK_RECAPTCHA } else { FIRST_ASK };
        let asked = |span| format!("captcha {id} was asked for {}", seconds(span));
        if age + TOLERANCE < least {
            let detail = format!("{} after it was taken, not {} or more", asked(age), seconds(least));
            self.note(Rule::AskedTooEarly, detail, now);
        }
        if !task.is_readable(now) {
            self.note(Rule::AskedAfter15Minutes, format!("{} after it was taken", asked(age)), now);
        }
        let since_not_ready = task.not_ready_at.map(|not_ready_at| now.since(not_ready_at));
        if let Some(ago) = since_not_ready.filter(|ago| *ago + TOLERANCE < NEXT_ASK) {
            let detail = format!("{} after CAPCHA_NOT_READY, not {} or more", asked(ago), seconds(NEXT_ASK));
            self.note(Rule::AskedAgainTooSoon, detail, now);
        }
    }

    /// A captcha was taken.
    pub(super) fn took(&mut self) {
        self.captchas += 1;
    }

    /// A captcha was refused for want of a slot.
    pub(super) fn count_no_slot(&mut self, cause: NoSlot, now: Timestamp) {
        if self.no_slots.exceeds(MAX_REFUSALS - 1, REFUSAL_WINDOW, now) {
            self.note_refusals("ERROR_NO_SLOT_AVAILABLE", now);
        }
        if cause == NoSlot::Queue {
            self.queue_refusals += 1;
            if is_queue_too_long(self.queue_refusals, self.captchas) {
                let (refusals, captchas) = (self.queue_refusals, self.captchas);
                let detail = format!("{refusals} times ERROR_NO_SLOT_AVAILABLE for {captchas} captchas");
                self.note(Rule::TooManyNoSlots, detail, now);
            }
        }
    }

    /// A captcha was refused for want of money.
    pub(super) fn count_zero_balance(&mut self, now: Timestamp) {
        if self.zero_balances.exceeds(MAX_REFUSALS - 1, REFUSAL_WINDOW, now) {
            self.note_refusals("ERROR_ZERO_BALANCE", now);
        }
    }

    /// A request got no further, which the client will know soon.
    pub(super) fn stopped(&mut self, call: &Call, stop: &Stop, now: Timestamp) {
        let code = match stop {
            Stop::Hang => return,
            Stop::Page(_) => {
                self.pages(call.script).tell(now);
                return;
            }
            Stop::Refused(code) => code,
        };
        self.bans.tell(code, call.address, now);
        if *code == Code::WRONG_USER_KEY || *code == Code::KEY_DOES_NOT_EXIST {
            self.refused_key(call.key(), now);
        }
        match call.script {
            Script::In if *code == Code::NO_SLOT_AVAILABLE => self.told_no_slot.tell(now),
            Script::In if *code == Code::ZERO_BALANCE => self.told_zero_balance.tell(now),
            _ => {}
        }
    }

    /// A key was refused as a wrong one, be it so or by a knob.
    fn refused_key(&mut self, key: &str, now: Timestamp) {
        let digest: Digest = Sha256::digest(key).into();
        let Some((_, first)) = self.refused_keys.iter().find(|(known, _)| *known == digest) else {
            if self.refused_keys.len() >= MAX_KEYS {
                self.refused_keys.pop_front();
            }
            self.refused_keys.push_back((digest, now));
            return;
        };
        let ago = now.since(*first);
        if ago > GRACE {
            let detail = format!("a key was sent again {} after it was refused", seconds(ago));
            self.note(Rule::WrongKeyAgain, detail, now);
        }
    }

    fn pages(&mut self, script: Script) -> &mut Told {
        match script {
            Script::In => &mut self.in_pages,
            Script::Res => &mut self.res_pages,
        }
    }

    fn note_ignored(&mut self, rule: Rule, script: &str, ago: Duration, told: &str, now: Timestamp) {
        self.note(rule, format!("{script} was called {} after {told}", seconds(ago)), now);
    }

    fn note_refusals(&mut self, code: &str, now: Timestamp) {
        let detail = format!("{MAX_REFUSALS} times {code} within {}", seconds(REFUSAL_WINDOW));
        self.note(Rule::TooManyRefusals, detail, now);
    }

    fn note(&mut self, rule: Rule, detail: String, now: Timestamp) {
        self.book.note(rule, detail, now);
    }
}

/// A span in words, to a tenth of a second.
fn seconds(span: Duration) -> String {
    let tenths = span.as_millis() / 100;
    match tenths % 10 {
        0 => format!("{} s", tenths / 10),
        rest => format!("{}.{rest} s", tenths / 10),
    }
}
