//! When an answer that has not come is asked for. The provider counts every question, forgets a
//! captcha after 15 minutes, and wants to be left alone at first.

use std::time::Duration;

use super::{CaptchaType, Timestamp};

/// No question is sooner after the captcha was taken, nor after the question before it: "make 5
/// seconds timeout" (API document).
pub const SHORTEST_WAIT: Duration = Duration::from_secs(5);
/// When the last question is planned. The provider forgets a captcha after 15 minutes.
const LAST: Duration = Duration::from_secs(13 * 60 + 30);
/// Past this age nothing is asked any more, not even what got no reply: the age counts from a reply that may
/// have taken half a minute, and so may the one to the question.
pub const TOO_LATE: Duration = Duration::from_secs(14 * 60);
/// When the provider has forgotten a captcha.
pub const FORGOTTEN: Duration = Duration::from_secs(15 * 60);
/// The shortest time after which a pingback counts as overdue.
const OVERDUE: Duration = Duration::from_secs(10);
/// Between questions about a captcha that the provider must have given up on.
const AFTER_GIVE_UP: Duration = Duration::from_secs(60);

/// How answers are expected to come, and so how eagerly they are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// By pingback: asked for when it is overdue. Nine of ten captchas of the type are solved in
    /// `typical` time.
    Overdue {
        /// The 90th percentile of the type's solve times.
        typical: Duration,
    },
    /// Nobody sends pingbacks: asked for again and again, the slower the less credit is left.
    Polling {
        /// What [`Terms::CALLS`](super::Terms::CALLS) leaves.
        credit: u32,
    },
}

impl Pace {
    /// When a captcha that the provider took at `taken_at` is asked for next. `None`: never again,
    /// or not before `expires_at`, when there is nothing left to ask for.
    #[must_use]
    pub fn next(
        self,
        kind: CaptchaType,
        taken_at: Timestamp,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let age = now.since(taken_at);
        // A captcha that was just taken has not been asked for.
        let earliest = if age.is_zero() { SHORTEST_WAIT } else { age.saturating_add(SHORTEST_WAIT) };
        let next = match self {
            Self::Overdue { typical } => overdue(kind, typical, earliest),
            Self::Polling { credit } => Some(polling(kind, credit, age)),
        };
        let next = next.into_iter().chain([LAST]).filter(|next| *next >= earliest && *next <= LAST).min();
        // The end of the task's own time deserves a question, and so a wait before it.
        let end = expires_at.since(taken_at);
        let at_end = (end >= earliest && end < TOO_LATE).then_some(end);
        let next = match next {
            Some(next) if next.saturating_add(SHORTEST_WAIT) <= end => Some(next),
            Some(next) if next < end => at_end.or(Some(next)),
            _ => at_end,
        };
        next.map(|age| taken_at.after(age))
    }
}

/// When a question that got no reply is asked again; `None`: it is too late for that.
#[must_use]
pub fn retry(taken_at: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let at = now.after(SHORTEST_WAIT);
    (at.since(taken_at) < TOO_LATE).then_some(at)
}

/// The first of the moments at which a pingback is overdue that is not before `earliest`.
fn overdue(kind: CaptchaType, typical: Duration, earliest: Duration) -> Option<Duration> {
    let give_up = kind.give_up_time();
    let first = typical.saturating_mul(3) / 2;
    [first.clamp(OVERDUE, give_up), give_up].into_iter().find(|moment| *moment >= earliest)
}

fn polling(kind: CaptchaType, credit: u32, age: Duration) -> Duration {
    let first = kind.first_wait();
    if age < first {
        return first;
    }
    let gap = match credit {
        // Twenty questions are allowed for each captcha: near the end of the credit they get rare.
        _ if age > kind.give_up_time() => AFTER_GIVE_UP,
        800.. => SHORTEST_WAIT,
        400..800 => SHORTEST_WAIT * 2,
        100..400 => SHORTEST_WAIT * 4,
        _ => SHORTEST_WAIT * 12,
    };
    age + gap
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TAKEN: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
    const NEVER: Timestamp = Timestamp::from_micros(i64::MAX);

    fn at(seconds: u64) -> Timestamp {
        TAKEN.after(Duration::from_secs(seconds))
    }

    /// The ages in seconds at which a captcha that is never solved is asked for.
    fn asked(pace: Pace, kind: CaptchaType, expires_at: Timestamp) -> Vec<u64> {
        let mut ages = Vec::new();
        let mut now = TAKEN;
        while let Some(next) = pace.next(kind, TAKEN, expires_at, now) {
            now = next;
            ages.push(now.since(TAKEN).as_secs());
        }
        ages
    }

    #[test]
    fn an_overdue_answer_is_asked_for_at_last_three_times() {
        let typical = Pace::Overdue { typical: Duration::from_secs(20) };
        assert_eq!(asked(typical, CaptchaType::Image, NEVER), [30, 90, 810]);
        assert_eq!(asked(typical, CaptchaType::RecaptchaV2, NEVER), [30, 300, 810]);
        let quick = Pace::Overdue { typical: Duration::from_secs(1) };
        assert_eq!(asked(quick, CaptchaType::Text, NEVER), [10, 90, 810]);
        let slow = Pace::Overdue { typical: Duration::from_secs(200) };
        assert_eq!(asked(slow, CaptchaType::Text, NEVER), [90, 810]);
    }

    #[test]
    fn polling_begins_with_the_documents_waits_and_goes_on_every_five_seconds() {
        let rich = Pace::Polling { credit: 1200 };
        assert_eq!(asked(rich, CaptchaType::Image, NEVER)[..4], [5, 10, 15, 20]);
        for kind in [CaptchaType::RecaptchaV2, CaptchaType::Funcaptcha, CaptchaType::Keycaptcha] {
            assert_eq!(asked(rich, kind, NEVER)[..3], [20, 25, 30], "{kind}");
        }
        let poor = Pace::Polling { credit: 50 };
        assert_eq!(asked(poor, CaptchaType::Image, NEVER)[..3], [5, 65, 125]);
    }

    #[test]
    fn the_end_of_the_tasks_time_is_the_last_moment_to_ask() {
        let pace = Pace::Overdue { typical: Duration::from_secs(20) };
        assert_eq!(asked(pace, CaptchaType::Image, at(60)), [30, 60]);
        assert_eq!(asked(pace, CaptchaType::Image, at(33)), [33]);
        assert_eq!(asked(pace, CaptchaType::Image, at(3)), [0_u64; 0]);
        let polling = Pace::Polling { credit: 1200 };
        assert_eq!(asked(polling, CaptchaType::Image, at(17)), [5, 10, 17]);
    }

    fn pace() -> impl Strategy<Value = Pace> {
        prop_oneof![
            (0_u64..100_000).prop_map(|secs| Pace::Overdue { typical: Duration::from_secs(secs) }),
            (0_u32..=1200).prop_map(|credit| Pace::Polling { credit }),
        ]
    }

    proptest! {
        #[test]
        fn nothing_is_asked_too_early_too_often_or_after_15_minutes(
            kind in 0..CaptchaType::ALL.len(),
            expires_in in 0_u64..90_000,
            turns in proptest::collection::vec((pace(), 0_u64..60_000, any::<bool>()), 1..300),
        ) {
            let kind = CaptchaType::ALL[kind];
            let expires_at = at(expires_in);
            let (mut now, mut last): (Timestamp, Option<Timestamp>) = (TAKEN, None);
            for (pace, delay_ms, lost) in turns {
                let next = match (lost, last) {
                    (true, Some(_)) => retry(TAKEN, now),
                    _ => pace.next(kind, TAKEN, expires_at, now),
                };
                let Some(next) = next else { break };
                prop_assert!(next.since(TAKEN) >= SHORTEST_WAIT);
                prop_assert!(last.is_none_or(|last| next.since(last) >= SHORTEST_WAIT));
                prop_assert!(next.since(TAKEN) < FORGOTTEN);
                // The question itself may be late: whoever asks looks at `TOO_LATE`.
                now = next.after(Duration::from_millis(delay_ms));
                last = Some(now);
            }
        }
    }
}
