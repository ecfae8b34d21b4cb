//! Receivers that do not answer are left alone for a while.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::{Attempt, Delivery};
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
    /// How long a target must have failed before messages for it are given up on: what is old because pingbox was away has
    /// this long.
    pub(crate) patience: Duration,
}

impl Pauses {
    pub(crate) const STANDARD: Self = Self {
        first: Duration::from_secs(10),
        longest: Duration::from_secs(5 * 60),
        patience: Duration::from_secs(60 * 60),
    };
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
    /// The first of them.
    since: Instant,
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
    /// URLs of tasks share a target if only the host is the same: there a reply, whatever it says, is of one URL, and says
    /// that the host answers.
    fn of(attempt: &Attempt, is_of_one_url: bool) -> Self {
        match attempt {
            Attempt::Replied { .. } if !is_of_one_url => Self::Answers,
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

    /// Notes what came of trying the delivery. Whether the target was held, and failed again, and has failed for so long
    /// that what is old can be given up on.
    pub(super) fn note(
        &mut self,
        target: &Target,
        delivery: &Delivery,
        attempt: &Attempt,
        now: Instant,
    ) -> bool {
        self.note_of(target, delivery.id, &Sign::of(attempt, delivery.webhook.is_some()), now)
    }

    fn note_of(&mut self, target: &Target, delivery: i64, sign: &Sign, now: Instant) -> bool {
        match sign {
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
            Sign::Asks(pause) => self.fails(target, delivery, Some(*pause), now),
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
        let Pauses { first, longest, patience } = self.pauses;
        let new = || Failing { failures: 0, since: now, failed_at: now, hold: None };
        let failing = self.failing.entry(target.clone()).or_insert_with(new);
        failing.failures = failing.failures.saturating_add(1);
        failing.failed_at = now;
        match &mut failing.hold {
            None if failing.failures < MAX_FAILURES && asked.is_none() => false,
            None => {
                let until = now + asked.unwrap_or(first);
                failing.hold = Some(Hold { until, pause: first, probe: None });
                false
            }
            Some(hold) if hold.probe == Some(delivery) => {
                hold.pause = (hold.pause * 2).min(longest);
                hold.until = now + asked.unwrap_or(hold.pause);
                hold.probe = None;
                now - failing.since >= patience
            }
            // It was sent before the pause began.
            Some(hold) => {
                hold.until = hold.until.max(now + asked.unwrap_or_default());
                false
            }
        }
    }

    fn make_room(&mut self) {
        while self.failing.len() >= MAX_TARGETS {
            let oldest = self.failing.iter().min_by_key(|(_, failing)| failing.failed_at);
            let Some(oldest) = oldest.map(|(target, _)| target.clone()) else { return };
            self.failing.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TokenId;

    const FIRST: Duration = Duration::from_secs(10);
    const LONGEST: Duration = Duration::from_secs(300);

    fn target(owner: i64) -> Target {
        Target { receiver: "example.com:443".to_owned(), owner: TokenId::from_number(owner) }
    }

    fn replied(status: u16) -> Attempt {
        Attempt::Replied { status, pause: None }
    }

    fn asked(status: u16, secs: u64) -> Attempt {
        Attempt::Replied { status, pause: Some(Duration::from_secs(secs)) }
    }

    fn no_reply() -> Attempt {
        Attempt::Failed("no reply".to_owned())
    }

    /// A breaker, and the time there.
    struct Bench {
        breaker: Breaker,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            Self { breaker: Breaker::new(Pauses::STANDARD), now: Instant::now() }
        }

        /// One whose target 1 is held.
        fn held() -> Self {
            let mut bench = Self::new();
            for _ in 0..MAX_FAILURES {
                bench.note(&no_reply());
            }
            bench
        }

        /// Something that was sent before any pause.
        fn note(&mut self, attempt: &Attempt) -> bool {
            self.breaker.note_of(&target(1), 100, &Sign::of(attempt, true), self.now)
        }

        /// Sends what may be sent, and notes that.
        fn probe(&mut self, attempt: &Attempt) -> bool {
            assert!(self.lets_pass());
            self.breaker.start(&target(1), 1);
            self.breaker.note_of(&target(1), 1, &Sign::of(attempt, true), self.now)
        }

        fn lets_pass(&self) -> bool {
            let lets_pass = self.breaker.lets_pass(&target(1), self.now);
            assert_eq!(self.breaker.held(self.now).is_empty(), lets_pass);
            lets_pass
        }

        fn wait(&mut self, time: Duration) {
            self.now += time;
        }

        /// How long from here on nothing may be sent.
        fn pause(&self) -> Duration {
            self.breaker.next_end(self.now).map_or(Duration::ZERO, |end| end - self.now)
        }
    }

    #[test]
    fn five_failures_in_a_row_hold_a_target() {
        for failure in [no_reply(), replied(429), replied(500), replied(503), replied(599), asked(500, 60)] {
            let mut bench = Bench::new();
            for _ in 1..MAX_FAILURES {
                assert!(!bench.note(&failure) && bench.lets_pass(), "{failure:?}");
            }
            assert!(!bench.note(&failure) && !bench.lets_pass(), "{failure:?}");
            assert_eq!(bench.pause(), FIRST);
        }
    }

    #[test]
    fn a_receiver_that_answers_at_all_is_not_held() {
        for answer in [200, 204, 301, 404, 400, 410] {
            let mut bench = Bench::new();
            for _ in 0..2 * MAX_FAILURES {
                for _ in 1..MAX_FAILURES {
                    bench.note(&no_reply());
                }
                bench.note(&replied(answer));
            }
            assert!(bench.lets_pass(), "{answer}");
            assert_eq!(bench.breaker.failing.len(), 0);
        }
    }

    #[test]
    fn what_was_never_sent_says_nothing_of_the_receiver() {
        let unsent = [
            Attempt::Refused("a private address".to_owned()),
            Attempt::Postponed("busy"),
            Attempt::Hopeless("the answer was erased".to_owned()),
        ];
        for attempt in unsent {
            let mut bench = Bench::new();
            for _ in 0..2 * MAX_FAILURES {
                assert!(!bench.note(&attempt) && bench.lets_pass(), "{attempt:?}");
            }
            // It ends no row of failures either, and no pause.
            for _ in 1..MAX_FAILURES {
                bench.note(&no_reply());
            }
            bench.note(&attempt);
            bench.note(&no_reply());
            assert!(!bench.lets_pass(), "{attempt:?}");
            bench.wait(FIRST);
            assert!(!bench.probe(&attempt) && bench.lets_pass(), "the next one tries it");
            bench.probe(&no_reply());
            assert_eq!(bench.pause(), 2 * FIRST);
        }
    }

    #[test]
    fn after_the_pause_one_delivery_tries_the_receiver() {
        let mut bench = Bench::held();
        bench.wait(Duration::from_millis(9_999));
        assert!(!bench.lets_pass());
        bench.wait(Duration::from_millis(1));
        assert!(bench.lets_pass());
        bench.breaker.start(&target(1), 1);
        bench.wait(LONGEST);
        assert!(!bench.lets_pass() && bench.breaker.next_end(bench.now).is_none());
        bench.breaker.note_of(&target(1), 1, &Sign::Answers, bench.now);
        assert!(bench.lets_pass());
        assert_eq!(bench.breaker.failing.len(), 0);
    }

    #[test]
    fn every_further_pause_is_twice_as_long_up_to_five_minutes() {
        let mut bench = Bench::held();
        let mut pauses = Vec::new();
        for _ in 0..7 {
            pauses.push(bench.pause().as_secs());
            bench.wait(bench.pause());
            bench.probe(&no_reply());
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn a_pause_that_is_asked_for_begins_at_once_and_lasts_an_hour_at_most() {
        for (status, asks, kept) in [(429, 1, 1), (503, 120, 120), (429, 3600, 3600), (503, u64::MAX, 3600)] {
            let mut bench = Bench::new();
            assert!(!bench.note(&asked(status, asks)) && !bench.lets_pass());
            assert_eq!(bench.pause().as_secs(), kept);
            bench.wait(bench.pause());
            bench.probe(&asked(status, asks));
            assert_eq!(bench.pause().as_secs(), kept);
        }
        let mut bench = Bench::new();
        assert!(!bench.note(&asked(429, 0)) && bench.lets_pass(), "no pause is no wish for one");
    }

    #[test]
    fn what_was_sent_before_a_pause_neither_ends_it_nor_doubles_it() {
        let mut bench = Bench::held();
        bench.note(&replied(200));
        assert!(!bench.note(&no_reply()));
        assert_eq!((bench.lets_pass(), bench.pause()), (false, FIRST));
        bench.note(&asked(429, 60));
        assert_eq!(bench.pause().as_secs(), 60);
        bench.wait(Duration::from_secs(60));
        bench.breaker.start(&target(1), 1);
        bench.note(&replied(200));
        bench.note(&no_reply());
        assert!(!bench.lets_pass(), "the probe is still under way");
    }

    #[test]
    fn where_urls_share_a_target_only_a_host_that_does_not_reply_is_held() {
        for attempt in [replied(500), asked(429, 60), replied(503)] {
            assert!(matches!(Sign::of(&attempt, false), Sign::Answers), "{attempt:?}");
        }
        assert!(matches!(Sign::of(&no_reply(), false), Sign::Fails));
    }

    #[test]
    fn what_is_old_is_given_up_on_when_the_target_has_failed_for_an_hour() {
        let mut bench = Bench::held();
        let begun = bench.now;
        loop {
            bench.wait(bench.pause());
            let is_long = bench.now - begun >= Pauses::STANDARD.patience;
            assert_eq!(bench.probe(&no_reply()), is_long, "{:?}", bench.now - begun);
            if is_long {
                break;
            }
        }
    }

    #[test]
    fn owners_of_one_receiver_are_apart() {
        let bench = Bench::held();
        assert_eq!(bench.breaker.held(bench.now), [target(1)]);
        assert!(bench.breaker.lets_pass(&target(2), bench.now));
    }

    #[test]
    fn no_more_targets_are_known_than_there_is_room_for() {
        let mut bench = Bench::held();
        for owner in 0..i64::try_from(MAX_TARGETS).unwrap() {
            bench.wait(Duration::from_millis(1));
            bench.breaker.note_of(&target(1000 + owner), 1, &Sign::Fails, bench.now);
        }
        assert_eq!(bench.breaker.failing.len(), MAX_TARGETS);
        assert!(bench.lets_pass(), "the one that failed longest ago is forgotten");
    }
}
