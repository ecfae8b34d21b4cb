//! A message to a receiver of a caller's, until it is delivered or given up on.

use std::str::FromStr;
use std::time::Duration;

use super::{EventKind, TaskId, Timestamp, TokenId};

/// The longest pause that a receiver can ask for by `Retry-After`.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// Attempts that a message has in any case, also if it is old because pingbox was away.
const FEWEST_ATTEMPTS: u32 = 5;
/// How long what was postponed waits.
const POSTPONED: Duration = Duration::from_secs(5);
/// The longest text about a failure, in characters.
const MAX_ERROR_CHARS: usize = 200;

/// One message to one receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its number.
    pub id: i64,
    /// What it tells.
    pub kind: EventKind,
    /// The task that it tells of, if it is one.
    pub task: Option<TaskId>,
    /// The number of the event that it tells; `None`: it tells how the task ended in the provider's own form.
    pub event: Option<i64>,
    /// The webhook that it goes to; `None`: it goes to a URL that the task carries.
    pub webhook: Option<i64>,
    /// Who submitted the task, or subscribed.
    pub owner: TokenId,
    /// The receiver: host and port, and of a webhook `#` and its number, because one URL of a host may fail while others
    /// do not.
    pub receiver: String,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// How often it was tried.
    pub attempts: u32,
    /// The HTTP status of the last attempt, if there was a reply.
    pub last_status: Option<u16>,
    /// What came of the last attempt, if it failed.
    pub last_error: Option<String>,
    /// When it came to be.
    pub created_at: Timestamp,
    /// When its attempts began: anew with each replay.
    pub started_at: Timestamp,
    /// When `due_at` was set.
    pub planned_at: Timestamp,
    /// While it waits: not tried before this time.
    pub due_at: Timestamp,
    /// When it was delivered or given up on.
    pub ended_at: Option<Timestamp>,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryStatus {
    /// It is tried, or tried again, when it is due.
    Waiting,
    /// The receiver has it.
    Delivered,
    /// It is not tried any more.
    Dead,
}

impl DeliveryStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Delivered, Self::Dead];

    /// The name, as the database reads it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}

impl FromStr for DeliveryStatus {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(())
    }
}

/// What came of trying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The receiver replied.
    Replied {
        /// The HTTP status.
        status: u16,
        /// The pause that it asks for.
        pause: Option<Duration>,
    },
    /// There was no reply, for this reason.
    Failed(String),
    /// Nothing was sent, because we do not call there, for this reason.
    Refused(String),
    /// Nothing was sent, because we were too busy: no attempt.
    Postponed(&'static str),
    /// There can never be one, for this reason.
    Hopeless(String),
}

/// When a failed attempt is repeated.
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    /// How long to wait after the first, the second, … attempt; after the last there is none.
    pub waits: &'static [Duration],
    /// How long after the first one there may be another, whatever pauses the receiver asks for.
    pub longest: Duration,
}

impl Retries {
    /// Up to 24 hours in all, also when every wait is spread to its longest.
    pub const STANDARD: Self = Self {
        waits: &[
            Duration::from_secs(5),
            Duration::from_secs(30),
            Duration::from_secs(2 * 60),
            Duration::from_secs(10 * 60),
            Duration::from_secs(30 * 60),
            Duration::from_secs(60 * 60),
            Duration::from_secs(2 * 60 * 60),
            Duration::from_secs(4 * 60 * 60),
            Duration::from_secs(6 * 60 * 60),
            Duration::from_secs(6 * 60 * 60),
        ],
        longest: Duration::from_secs(24 * 60 * 60),
    };

    /// The wait after so many attempts, spread by a random number over 80 to 120 %, so that what failed
    /// together does not come back together; `None`: no more.
    fn wait(&self, attempts: u32, random: u32) -> Option<Duration> {
        let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
        self.waits.get(index).map(|wait| *wait * (800 + random % 401) / 1000)
    }
}

impl Delivery {
    /// Notes what came of an attempt: any 2xx delivers it, 410 ends it, everything else is tried again as
    /// `retries` says, or later if the receiver asks for that.
    pub fn attempted(&mut self, attempt: &Attempt, retries: &Retries, random: u32, now: Timestamp) {
        if let Attempt::Postponed(reason) = attempt {
            self.last_error = Some((*reason).to_owned());
            (self.planned_at, self.due_at) = (now, now.after(POSTPONED));
            return;
        }
        self.attempts += 1;
        self.last_status = match attempt {
            Attempt::Replied { status, .. } => Some(*status),
            Attempt::Failed(_) | Attempt::Refused(_) | Attempt::Postponed(_) | Attempt::Hopeless(_) => None,
        };
        self.last_error = describe(attempt);
        let pause = match attempt {
            Attempt::Replied { status: 200..=299, .. } => return self.end(DeliveryStatus::Delivered, now),
            Attempt::Replied { status: 410, .. } | Attempt::Hopeless(_) => {
                return self.end(DeliveryStatus::Dead, now);
            }
            Attempt::Replied { pause, .. } => pause.unwrap_or_default().min(LONGEST_PAUSE),
            Attempt::Failed(_) | Attempt::Refused(_) | Attempt::Postponed(_) => Duration::ZERO,
        };
        let last = self.started_at.after(retries.longest);
        match retries.wait(self.attempts, random).map(|wait| now.after(wait.max(pause))) {
            Some(due_at) if due_at <= last || self.attempts < FEWEST_ATTEMPTS => {
                (self.planned_at, self.due_at) = (now, due_at);
            }
            _ => self.end(DeliveryStatus::Dead, now),
        }
    }

    /// The receiver's host and port.
    #[must_use]
    pub fn host(&self) -> &str {
        self.receiver.split_once('#').map_or(self.receiver.as_str(), |(host, _)| host)
    }

    fn end(&mut self, status: DeliveryStatus, now: Timestamp) {
        self.status = status;
        self.ended_at = Some(now);
    }
}

fn describe(attempt: &Attempt) -> Option<String> {
    let text = match attempt {
        Attempt::Replied { status: 200..=299, .. } => return None,
        Attempt::Replied { status: status @ 300..=399, .. } => {
            format!("the receiver answered {status}: redirects are not followed")
        }
        Attempt::Replied { status: 410, .. } => "the receiver answered 410: it wants no more".to_owned(),
        Attempt::Replied { status, .. } => format!("the receiver answered {status}"),
        Attempt::Failed(text) | Attempt::Refused(text) | Attempt::Hopeless(text) => {
            text.chars().take(MAX_ERROR_CHARS).collect()
        }
        Attempt::Postponed(text) => (*text).to_owned(),
    };
    Some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);
    /// Spreads a wait by nothing.
    const MIDDLE: u32 = 200;
    /// Makes it as long as it may be.
    const LONGEST: u32 = 400;

    fn delivery() -> Delivery {
        Delivery {
            id: 1,
            kind: EventKind::Solved,
            task: TaskId::new(1),
            event: None,
            webhook: None,
            owner: TokenId::LOCAL,
            receiver: "example.com:80".to_owned(),
            status: DeliveryStatus::Waiting,
            attempts: 0,
            last_status: None,
            last_error: None,
            created_at: NOW,
            started_at: NOW,
            planned_at: NOW,
            due_at: NOW,
            ended_at: None,
        }
    }

    fn replied(status: u16) -> Attempt {
        Attempt::Replied { status, pause: None }
    }

    fn after(attempts: &[Attempt]) -> Delivery {
        let mut delivery = delivery();
        for attempt in attempts {
            delivery.attempted(attempt, &Retries::STANDARD, MIDDLE, NOW);
        }
        delivery
    }

    #[test]
    fn any_2xx_delivers() {
        for status in [200, 201, 202, 204, 226, 299] {
            let delivery = after(&[replied(503), replied(status)]);
            assert_eq!((delivery.status, delivery.attempts), (DeliveryStatus::Delivered, 2));
            assert_eq!((delivery.last_status, delivery.last_error), (Some(status), None));
            assert_eq!(delivery.ended_at, Some(NOW));
        }
    }

    #[test]
    fn everything_else_is_tried_again_but_410_and_what_is_hopeless() {
        for status in [100, 199, 300, 302, 308, 400, 401, 404, 409, 411, 429, 500, 503, 599] {
            let delivery = after(&[replied(status)]);
            assert_eq!((delivery.status, delivery.ended_at), (DeliveryStatus::Waiting, None), "{status}");
            assert!(delivery.last_error.unwrap().contains(&status.to_string()));
        }
        for attempt in [replied(410), Attempt::Hopeless("the answer is gone".to_owned())] {
            let delivery = after(&[attempt]);
            assert_eq!((delivery.status, delivery.ended_at), (DeliveryStatus::Dead, Some(NOW)));
        }
    }

    #[test]
    fn what_was_postponed_is_no_attempt() {
        let delivery = after(&vec![Attempt::Postponed("busy"); 100]);
        assert_eq!((delivery.status, delivery.attempts), (DeliveryStatus::Waiting, 0));
        assert_eq!((delivery.due_at.since(NOW).as_secs(), delivery.last_error.as_deref()), (5, Some("busy")));
    }

    #[test]
    fn the_waits_grow_and_end_within_a_day() {
        let mut delivery = delivery();
        let mut waits = Vec::new();
        while delivery.status == DeliveryStatus::Waiting {
            delivery.attempted(&Attempt::Failed("timed out".to_owned()), &Retries::STANDARD, MIDDLE, NOW);
            waits.push(delivery.due_at.since(NOW).as_secs());
        }
        assert_eq!(waits[..4], [5, 30, 120, 600]);
        assert_eq!(delivery.attempts, 11);
        assert_eq!((delivery.status, delivery.ended_at), (DeliveryStatus::Dead, Some(NOW)));
        let longest: Duration = Retries::STANDARD.waits.iter().map(|wait| *wait * 6 / 5).sum();
        assert!(longest <= Duration::from_secs(24 * 60 * 60));
    }

    #[test]
    fn a_pause_that_is_asked_for_is_kept_up_to_an_hour() {
        for (asked, kept) in [(1, 5), (5, 5), (120, 120), (3600, 3600), (3601, 3600), (u64::MAX, 3600)] {
            let pause = Some(Duration::from_secs(asked));
            let delivery = after(&[Attempt::Replied { status: 429, pause }]);
            assert_eq!(delivery.due_at.since(NOW).as_secs(), kept, "{asked}");
        }
    }

    #[test]
    fn nothing_is_tried_after_a_day_whatever_the_receiver_asks_for() {
        let mut delivery = delivery();
        let pause = Some(Duration::from_secs(3600));
        let mut now = NOW;
        while delivery.status == DeliveryStatus::Waiting {
            delivery.attempted(&Attempt::Replied { status: 429, pause }, &Retries::STANDARD, LONGEST, now);
            assert!(delivery.due_at.since(NOW) <= Duration::from_secs(24 * 60 * 60));
            now = delivery.due_at;
        }
        assert_eq!(delivery.attempts, 10);
    }

    #[test]
    fn what_is_old_from_the_first_has_five_attempts_all_the_same() {
        let mut delivery = delivery();
        let late = NOW.after(Duration::from_secs(48 * 60 * 60));
        while delivery.status == DeliveryStatus::Waiting {
            delivery.attempted(&replied(500), &Retries::STANDARD, MIDDLE, late);
        }
        assert_eq!(delivery.attempts, 5);
    }

    #[test]
    fn a_long_text_about_a_failure_is_cut() {
        let delivery = after(&[Attempt::Failed("ü".repeat(5000))]);
        assert_eq!(delivery.last_error.unwrap().chars().count(), 200);
    }

    proptest! {
        #[test]
        fn a_wait_is_spread_over_80_to_120_percent(attempts in 1_u32..=10, random in any::<u32>()) {
            let exact = Retries::STANDARD.waits[attempts as usize - 1];
            let wait = Retries::STANDARD.wait(attempts, random).unwrap();
            prop_assert!(wait >= exact * 4 / 5 && wait <= exact * 6 / 5, "{:?} of {:?}", wait, exact);
        }
    }
}
