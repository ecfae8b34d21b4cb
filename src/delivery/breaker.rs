//! Receivers that do not answer are left alone for a while.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::Attempt;
use crate::store::Target;

/// Failures in a row after which a target is held.
const MAX_FAILURES: u32 = 5;
/// The longest pause that a receiver can ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);
/// Targets that are known to fail. When there are more, the one that failed longest ago is forgotten: it is called as
/// if nothing had happened.
const MAX_TARGETS: usize = 4096;

/// How long a target is held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pauses {
    /// At first.
    pub(crate) first: Duration,
    /// At most: each further pause is twice as long.
    pub(crate) longest: Duration,
}

impl Pauses {
    pub(crate) const STANDARD: Self =
        Self { first: Duration::from_secs(10), longest: Duration::from_secs(5 * 60) };
}

/// Which targets fail. A target that fails again and again is held: nothing is sent to it, then one delivery tries
/// it again, and the pause ends or gets longer. It is of this process alone: after the start everything is tried.
#[derive(Debug)]
pub(super) struct Breaker {
    pauses: Pauses,
    failing: HashMap<Target, Failing>,
}

/// A target whose last attempt failed.
#[derive(Debug)]
struct Failing {
    /// In a row.
    failures: u32,
    failed_at: Instant,
    hold: Option<Hold>,
}

#[derive(Debug)]
struct Hold {
    until: Instant,
    /// The pause that failures have brought about; the receiver may ask for another.
    pause: Duration,
    /// The delivery that tries whether the receiver answers again.
    probe: Option<i64>,
}

impl Hold {
    fn lets_pass(&self, now: Instant) -> bool {
        self.probe.is_none() && self.until <= now
    }
}

/// What an attempt says of the receiver.
enum Sign {
    Answers,
    Fails,
    /// It asks for a pause.
    Asks(Duration),
    Nothing,
}

impl Sign {
    fn of(attempt: &Attempt) -> Self {
        match attempt {
            Attempt::Replied { status: 429 | 503, pause: Some(pause) } if !pause.is_zero() => {
                Self::Asks((*pause).min(LONGEST_ASKED))
            }
            Attempt::Replied { status: 429 | 500.., .. } | Attempt::Failed(_) => Self::Fails,
            Attempt::Replied { .. } => Self::Answers,
            Attempt::Refused(_) | Attempt::Postponed(_) | Attempt::Hopeless(_) => Self::Nothing,
        }
    }
}

impl Breaker {
    pub(super) fn new(pauses: Pauses) -> Self {
        Self { pauses, failing: HashMap::new() }
    }

    /// The targets that nothing is sent to.
    pub(super) fn held(&self, now: Instant) -> Vec<Target> {
        let is_held = |failing: &Failing| failing.hold.as_ref().is_some_and(|hold| !hold.lets_pass(now));
        self.failing
            .iter()
            .filter(|(_, failing)| is_held(failing))
            .map(|(target, _)| target.clone())
            .collect()
    }

    /// Whether this delivery may be tried: every one, one, or none. `start` it then.
    pub(super) fn lets_pass(&self, target: &Target, now: Instant) -> bool {
        let hold = self.failing.get(target).and_then(|failing| failing.hold.as_ref());
        hold.is_none_or(|hold| hold.lets_pass(now))
    }

    /// The delivery is being tried.
    pub(super) fn start(&mut self, target: &Target, delivery: i64) {
        if let Some(hold) = self.failing.get_mut(target).and_then(|failing| failing.hold.as_mut()) {
            hold.probe = Some(delivery);
        }
    }

    /// When the next pause ends, if one is still to end.
    pub(super) fn next_end(&self, now: Instant) -> Option<Instant> {
        let holds = self.failing.values().filter_map(|failing| failing.hold.as_ref());
        holds.filter(|hold| hold.probe.is_none() && hold.until > now).map(|hold| hold.until).min()
    }

    /// Notes what came of trying the delivery. Whether the target failed, and is held.
    pub(super) fn note(&mut self, target: &Target, delivery: i64, attempt: &Attempt, now: Instant) -> bool {
        match Sign::of(attempt) {
            Sign::Answers => {
                self.answers(target, delivery);
                false
            }
            Sign::Nothing => {
                if let Some(hold) = self.hold_of(target, delivery) {
                    hold.probe = None;
                }
                false
            }
            Sign::Fails => self.fails(target, delivery, None, now),
            Sign::Asks(pause) => self.fails(target, delivery, Some(pause), now),
        }
    }

    /// The hold that this delivery probes.
    fn hold_of(&mut self, target: &Target, delivery: i64) -> Option<&mut Hold> {
        self.failing.get_mut(target)?.hold.as_mut().filter(|hold| hold.probe == Some(delivery))
    }

    /// While a target is held, what was sent before says nothing: only the probe ends that.
    fn answers(&mut self, target: &Target, delivery: i64) {
        let is_held = self.failing.get(target).is_some_and(|failing| failing.hold.is_some());
        if !is_held || self.hold_of(target, delivery).is_some() {
            self.failing.remove(target);
        }
    }

    fn fails(&mut self, target: &Target, delivery: i64, asked: Option<Duration>, now: Instant) -> bool {
        if !self.failing.contains_key(target) {
            self.make_room();
        }
        let Pauses { first, longest } = self.pauses;
        let new = || Failing { failures: 0, failed_at: now, hold: None };
        let failing = self.failing.entry(target.clone()).or_insert_with(new);
        failing.failures = failing.failures.saturating_add(1);
        failing.failed_at = now;
        match &mut failing.hold {
            None if failing.failures < MAX_FAILURES && asked.is_none() => return false,
            None => {
                let until = now + asked.unwrap_or(first);
                failing.hold = Some(Hold { until, pause: first, probe: None });
            }
            Some(hold) if hold.probe == Some(delivery) => {
                hold.pause = (hold.pause * 2).min(longest);
                hold.until = now + asked.unwrap_or(hold.pause);
                hold.probe = None;
            }
            // It was sent before the pause began.
            Some(hold) => hold.until = hold.until.max(now + asked.unwrap_or_default()),
        }
        true
    }

    fn make_room(&mut self) {
        while self.failing.len() >= MAX_TARGETS {
            let oldest = self.failing.iter().min_by_key(|(_, failing)| failing.failed_at);
            let Some(oldest) = oldest.map(|(target, _)| target.clone()) else { return };
            self.failing.remove(&oldest);
        }
    }
}
