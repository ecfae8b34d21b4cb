//! All that the emulated provider remembers, behind one lock.

use serde::Serialize;
use serde_json::{Map, Value};

use super::account::Account;
use super::call::{Call, Script, Stop};
use super::deliver::Pingback;
use super::fate::Fate;
use super::journal::Journal;
use super::knobs::Knobs;
use super::limits::Limits;
use super::outbox::Outbox;
use super::question::Questions;
use super::random::Random;
use super::registry::Registry;
use super::reply::Code;
use super::rules::Rules;
use super::task::{Outcome, Second, Tasks};
use crate::model::{Secret, Timestamp};

/// What happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Captchas that were taken.
    pub submitted: u64,
    /// Captchas that were taken although one with the same content was there and had not failed: the
    /// same image or question, or the same parameters of a token. The client may have had to.
    pub sent_twice: u64,
    /// Captchas that were solved, and charged.
    pub solved: u64,
    /// Captchas that ended with an error code, and cost nothing.
    pub failed: u64,
    /// Pingbacks that got a 2xx.
    pub pingbacks_delivered: u64,
    /// Pingbacks that got another status, or no reply in time.
    pub pingbacks_refused: u64,
    /// Pingbacks that were not sent: a knob says so, or too many waited.
    pub pingbacks_lost: u64,
    /// Complaints that were accepted.
    pub reported_bad: u64,
    /// Confirmations that were accepted.
    pub reported_good: u64,
}

/// The state of the emulation. Functions take the time, and never wait.
#[derive(Debug)]
pub(super) struct State {
    pub(super) key: Secret,
    pub(super) knobs: Knobs,
    pub(super) account: Account,
    pub(super) limits: Limits,
    pub(super) rules: Rules,
    pub(super) tasks: Tasks,
    pub(super) registry: Registry,
    pub(super) journal: Journal,
    pub(super) counters: Counters,
    pub(super) outbox: Outbox,
    /// What waits for a person.
    pub(super) questions: Questions,
    submit_draws: Random,
    result_draws: Random,
}

impl State {
    /// A fresh account with this key. Ids start anywhere; draws follow the knobs' seed.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub(super) fn new(key: Secret, knobs: Knobs) -> Result<Self, getrandom::Error> {
        let (submit_draws, result_draws) = draws(knobs.seed)?;
        Ok(Self {
            key,
            account: Account::with_balance(knobs.balance),
            knobs,
            limits: Limits::default(),
            rules: Rules::default(),
            tasks: Tasks::new(Random::from_os()?),
            registry: Registry::default(),
            journal: Journal::default(),
            counters: Counters::default(),
            outbox: Outbox::default(),
            questions: Questions::default(),
            submit_draws,
            result_draws,
        })
    }

    /// The knobs, with what is left on the account.
    pub(super) fn knobs(&self) -> Knobs {
        Knobs { balance: self.account.balance, ..self.knobs.clone() }
    }

    /// Turns the knobs, and sets the balance. A new seed starts its draws anew.
    pub(super) fn set_knobs(&mut self, knobs: Knobs) {
        if let Some(seed) = knobs.seed.filter(|_| knobs.seed != self.knobs.seed) {
            (self.submit_draws, self.result_draws) = seeded(seed);
        }
        self.account.balance = knobs.balance;
        self.knobs = knobs;
    }

    /// Turns the knobs that are named, and leaves the others.
    ///
    /// # Errors
    /// When a name or a value is wrong; nothing is turned then.
    pub(super) fn merge_knobs(&mut self, given: Map<String, Value>) -> Result<(), serde_json::Error> {
        let mut all = serde_json::to_value(self.knobs())?;
        if let Value::Object(all) = &mut all {
            all.extend(given);
        }
        self.set_knobs(serde_json::from_value(all)?);
        Ok(())
    }

    /// Notes a call, draws its fate, and checks who calls, and how often.
    pub(super) fn admit(&mut self, call: &mut Call, now: Timestamp) -> Result<Fate, Stop> {
        self.journal.add(call.script.path(), std::mem::take(&mut call.loggable), now);
        self.advance(now);
        let has_key = self.key.matches(call.key());
        self.rules.arrived(call, has_key, now);
        if has_key && call.script == Script::Res {
            self.note_asked(&call.parameters, now);
        }
        let draws = match call.script {
            Script::In => &mut self.submit_draws,
            Script::Res => &mut self.result_draws,
        };
        let fate = Fate::draw(&self.knobs, draws);
        if let Some(status) = fate.page {
            return Err(Stop::Page(status));
        }
        if fate.hang {
            return Err(Stop::Hang);
        }
        if self.knobs.limits {
            self.limits.check_address(call.address, now)?;
        }
        if !has_key {
            return Err(self.refuse_key(call, now).into());
        }
        if self.knobs.limits {
            match call.script {
                Script::In => self.limits.count_turn(now)?,
                Script::Res => self.limits.count_result(now)?,
            }
        }
        Ok(fate)
    }

    fn refuse_key(&mut self, call: &Call, now: Timestamp) -> Code {
        if self.knobs.limits {
            self.limits.count_wrong_key(call.address, now);
        }
        if call.key().chars().count() == 32 { Code::KEY_DOES_NOT_EXIST } else { Code::WRONG_USER_KEY }
    }

    /// Finishes what is due and forgets what is old.
    pub(super) fn advance(&mut self, now: Timestamp) {
        while let Some(id) = self.tasks.pop_due(now) {
            if let Some(pingback) = self.finish(id, None, now) {
                self.post(pingback);
            }
        }
        self.outbox.advance(now);
        while let Some(task) = self.tasks.pop_forgotten(now) {
            if !task.finished {
                self.account.release(task.price);
            }
        }
    }

    /// Ends a captcha, as planned or as `by_hand` says, and charges it. The pingback, if one is to be
    /// sent at once; `None` also when there is no such captcha, or it was finished before.
    pub(super) fn finish(&mut self, id: u64, by_hand: Option<Outcome>, now: Timestamp) -> Option<Pingback> {
        self.questions.remove(id);
        let task = self.tasks.get_mut(id).filter(|task| !task.finished)?;
        task.finished = true;
        if let Some(outcome) = by_hand {
            task.outcome = outcome;
        }
        let (target, late, digest, price) = (task.pingback.take(), task.late, task.digest, task.price);
        let (first, has_failed) = (task.outcome.as_str().to_owned(), task.has_failed());
        let second = task.second.take().map(|second| match second {
            Second::Duplicate => first.clone(),
            Second::Wrong(code) => code,
        });
        if has_failed {
            self.counters.failed += 1;
            self.account.release(price);
            self.tasks.forget_content(&digest);
        } else {
            self.counters.solved += 1;
            self.account.charge(price);
        }
        let rate = (self.knobs.rate && !has_failed).then_some(price);
        let codes = [first].into_iter().chain(second).collect();
        let pingback = Pingback { url: target?, id, codes, rate };
        let Some(late) = late else {
            return Some(pingback);
        };
        if !self.outbox.hold(pingback, now.after(late)) {
            self.counters.pingbacks_lost += 1;
        }
        None
    }

    /// Leaves a pingback to be sent, after those that wait.
    pub(super) fn post(&mut self, pingback: Pingback) {
        if !self.outbox.post(pingback) {
            self.counters.pingbacks_lost += 1;
        }
    }
}

fn draws(seed: Option<u64>) -> Result<(Random, Random), getrandom::Error> {
    match seed {
        Some(seed) => Ok(seeded(seed)),
        None => Ok((Random::from_os()?, Random::from_os()?)),
    }
}

/// Two series, so that how often a caller asks for results does not shift the fate of captchas.
fn seeded(seed: u64) -> (Random, Random) {
    (Random::from_seed(seed), Random::from_seed(!seed))
}
