//! The captchas that were taken, until they are forgotten.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::time::Duration;

use url::Url;

use super::account::Amount;
use super::captcha::Digest;
use super::random::Random;
use super::reply::Code;
use crate::model::Timestamp;

/// How long an answer can be read and complained about after its captcha was submitted.
pub(super) const READABLE: Duration = Duration::from_mins(15);
/// When a captcha is forgotten: later than [`READABLE`], so that a late complaint is told from one
/// about an id that never was.
const FORGOTTEN: Duration = Duration::from_mins(30);
/// The most captchas that are remembered; past it the oldest is forgotten.
const MAX_TASKS: usize = 200_000;

/// How a captcha ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Answer(String),
    Failure(Code),
}

impl Outcome {
    /// What an answer text means: a failure if it is an error code as a whole.
    pub(super) fn from_text(text: String) -> Self {
        Code::in_answer(&text).map_or(Self::Answer(text), Self::Failure)
    }

    /// The text on the wire.
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Answer(answer) => answer,
            Self::Failure(code) => code.as_str(),
        }
    }
}

/// One captcha.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) submitted_at: Timestamp,
    /// Of its content.
    pub(super) digest: Digest,
    /// Whether it is reCAPTCHA V2 by token, which takes longer.
    pub(super) is_recaptcha: bool,
    /// What it costs if it is solved.
    pub(super) price: Amount,
    /// How it ended, or will end unless somebody solves it by hand.
    pub(super) outcome: Outcome,
    pub(super) finished: bool,
    /// When its answer was last asked for and was not there.
    pub(super) not_ready_at: Option<Timestamp>,
    pub(super) reported: bool,
    /// Where the answer goes; `None` if no pingback is to be sent.
    pub(super) pingback: Option<Url>,
    /// How long after the answer it goes there.
    pub(super) late: Option<Duration>,
    /// A pingback that follows the first: the same again, or another answer.
    pub(super) second: Option<Second>,
}

/// A second pingback for one captcha.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Second {
    Duplicate,
    Wrong(String),
}

impl Task {
    /// Whether its answer can still be read and complained about.
    pub(super) fn is_readable(&self, now: Timestamp) -> bool {
        now.since(self.submitted_at) <= READABLE
    }

    /// Whether it ended with an error code.
    pub(super) fn has_failed(&self) -> bool {
        self.finished && matches!(self.outcome, Outcome::Failure(_))
    }
}

/// All captchas by id, and when those that wait are due.
#[derive(Debug)]
pub(super) struct Tasks {
    by_id: BTreeMap<u64, Task>,
    /// How many captchas with this content are remembered and have not failed.
    contents: HashMap<Digest, u32>,
    due: BinaryHeap<Reverse<(Timestamp, u64)>>,
    last_id: u64,
    steps: Random,
}

impl Tasks {
    /// No captchas yet; ids start from a random point of 11 digits.
    pub(super) fn new(mut random: Random) -> Self {
        Self {
            by_id: BTreeMap::new(),
            contents: HashMap::new(),
            due: BinaryHeap::new(),
            last_id: 20_000_000_000 + random.next() % 60_000_000_000,
            steps: random,
        }
    }

    /// Remembers a captcha and gives it an id, larger than all before. It is not due yet.
    pub(super) fn add(&mut self, task: Task) -> u64 {
        self.last_id += 1 + u64::from(self.steps.below(9));
        *self.contents.entry(task.digest).or_default() += 1;
        self.by_id.insert(self.last_id, task);
        self.last_id
    }

    /// Has [`Tasks::pop_due`] give out this id at `due`.
    pub(super) fn schedule(&mut self, id: u64, due: Timestamp) {
        self.due.push(Reverse((due, id)));
    }

    /// The id that is due the longest, once.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<u64> {
        if self.next_due()? > now {
            return None;
        }
        self.due.pop().map(|Reverse((_, id))| id)
    }

    /// When the next captcha is due.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.due.peek().map(|Reverse((due, _))| *due)
    }

    /// Takes out one captcha that is too old, or one too many.
    pub(super) fn pop_forgotten(&mut self, now: Timestamp) -> Option<Task> {
        let oldest = self.by_id.first_entry()?;
        let is_old = now.since(oldest.get().submitted_at) > FORGOTTEN;
        if !is_old && self.by_id.len() <= MAX_TASKS {
            return None;
        }
        let (_, task) = self.by_id.pop_first()?;
        if !task.has_failed() {
            self.forget_content(&task.digest);
        }
        Some(task)
    }

    /// Whether a captcha with this content is remembered that has not failed.
    pub(super) fn has_content(&self, digest: &Digest) -> bool {
        self.contents.contains_key(digest)
    }

    /// One captcha with this content has failed, so it may well be sent again.
    pub(super) fn forget_content(&mut self, digest: &Digest) {
        if let Some(count) = self.contents.get_mut(digest) {
            *count -= 1;
            if *count == 0 {
                self.contents.remove(digest);
            }
        }
    }

    /// The captcha with this id.
    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Task> {
        self.by_id.get_mut(&id)
    }

    /// The ids of captchas that are not finished, oldest first.
    pub(super) fn waiting(&self) -> impl Iterator<Item = u64> {
        self.by_id.iter().filter(|(_, task)| !task.finished).map(|(id, _)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(submitted_at: Timestamp) -> Task {
        Task {
            submitted_at,
            digest: [7; 32],
            is_recaptcha: false,
            price: Amount::default(),
            outcome: Outcome::from_text("x".to_owned()),
            finished: false,
            not_ready_at: None,
            reported: false,
            pingback: None,
            late: None,
            second: None,
        }
    }

    #[test]
    fn ids_have_11_digits_and_rise_in_small_steps() {
        let mut tasks = Tasks::new(Random::from_seed(5));
        let ids: Vec<u64> = (0..100).map(|_| tasks.add(task(Timestamp::from_micros(0)))).collect();
        assert!(ids.iter().all(|id| id.to_string().len() == 11));
        assert!(ids.windows(2).all(|pair| (1..10).contains(&(pair[1] - pair[0]))));
        assert_ne!(Tasks::new(Random::from_seed(6)).last_id, Tasks::new(Random::from_seed(7)).last_id);
    }

    #[test]
    fn tasks_come_due_in_order_and_once() {
        let at = Timestamp::from_micros;
        let mut tasks = Tasks::new(Random::from_seed(5));
        tasks.schedule(2, at(20));
        tasks.schedule(1, at(10));
        assert_eq!(tasks.pop_due(at(9)), None);
        assert_eq!(tasks.next_due(), Some(at(10)));
        assert_eq!(
            (tasks.pop_due(at(30)), tasks.pop_due(at(30)), tasks.pop_due(at(30))),
            (Some(1), Some(2), None)
        );
    }

    #[test]
    fn the_oldest_are_forgotten_by_age_and_by_number() {
        let mut tasks = Tasks::new(Random::from_seed(5));
        let now = Timestamp::from_micros(0).after(FORGOTTEN).after(Duration::from_secs(1));
        tasks.add(task(Timestamp::from_micros(0)));
        tasks.add(task(now));
        assert!(tasks.pop_forgotten(now).is_some());
        assert!(tasks.pop_forgotten(now).is_none());
        assert_eq!(tasks.contents.values().copied().collect::<Vec<_>>(), [1]);

        for _ in 0..MAX_TASKS {
            tasks.add(task(now));
        }
        assert!(tasks.pop_forgotten(now).is_some());
        assert!(tasks.pop_forgotten(now).is_none());
        let later = now.after(FORGOTTEN).after(Duration::from_secs(1));
        while tasks.pop_forgotten(later).is_some() {}
        assert!(tasks.contents.is_empty());
    }
}
