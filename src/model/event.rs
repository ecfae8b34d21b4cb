//! What happened to a task, or to a captcha that no task is of, as callers are told of it; and the cursors that
//! name a place among such events.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::{Pingback, Status, Task, Timestamp, TokenId};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// A captcha was submitted.
    Created,
    /// The provider has taken it.
    Submitted,
    /// It was sent, and no reply is known.
    Unconfirmed,
    /// It was answered.
    Solved,
    /// It ended with an error.
    Failed,
    /// It was given up on.
    Expired,
    /// It was withdrawn before it was sent.
    Cancelled,
    /// A pingback came that no task waits for. Told to admins alone.
    Unmatched,
}

impl EventKind {
    /// Every kind, in the order of a task's life.
    pub const ALL: [Self; 8] = [
        Self::Created,
        Self::Submitted,
        Self::Unconfirmed,
        Self::Solved,
        Self::Failed,
        Self::Expired,
        Self::Cancelled,
        Self::Unmatched,
    ];

    /// The name, as callers and the database read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "task.created",
            Self::Submitted => "task.submitted",
            Self::Unconfirmed => "task.unconfirmed",
            Self::Solved => "task.solved",
            Self::Failed => "task.failed",
            Self::Expired => "task.expired",
            Self::Cancelled => "task.cancelled",
            Self::Unmatched => "pingback.unmatched",
        }
    }

    /// Whether a task ends with it.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Solved | Self::Failed | Self::Expired | Self::Cancelled)
    }

    /// Whether it concerns everybody, and so is told to admins alone.
    #[must_use]
    pub const fn is_for_admins(self) -> bool {
        matches!(self, Self::Unmatched)
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EventKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(())
    }
}

impl Serialize for EventKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its number in the feed. Later ones have higher numbers; some numbers are never used.
    pub number: i64,
    /// What happened.
    pub kind: EventKind,
    /// When it was stored.
    pub time: Timestamp,
    /// Whose task it is; `None`: told to admins alone.
    pub owner: Option<TokenId>,
    /// What it happened to, as that was then.
    pub subject: Subject,
}

/// What an event is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// A task, without its answer where that was erased since.
    Task(Box<Task>),
    /// A pingback that no task waited for; `None` where it was erased since.
    Pingback {
        /// The captcha it speaks of.
        captcha_id: String,
        /// What it said.
        pingback: Option<Box<Pingback>>,
    },
}

impl Subject {
    /// Whether what the event is about was erased since.
    #[must_use]
    pub fn is_erased(&self, kind: EventKind) -> bool {
        match self {
            Self::Task(task) => kind == EventKind::Solved && task.answer.is_none(),
            Self::Pingback { pingback, .. } => pingback.is_none(),
        }
    }
}

impl Task {
    /// The task as it was when it was created.
    #[must_use]
    pub fn as_created(self) -> Self {
        Self { submitted_at: None, captcha_id: None, ..self.as_open(Status::Queued, 0) }
    }

    /// The task as it was when it had this status, after so many attempts, and had not ended yet.
    #[must_use]
    pub fn as_open(self, status: Status, attempts: u32) -> Self {
        Self {
            status,
            attempts,
            answer: None,
            error: None,
            via: None,
            price: None,
            price_estimated: false,
            reason: None,
            extra: None,
            answered_at: None,
            ..self
        }
    }
}

/// Names a feed, so that a cursor of another one is known for what it is: eight hex digits, made at random with
/// the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedId(String);

impl FeedId {
    /// The id as the database holds it.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The cursor behind the event with this number.
    #[must_use]
    pub fn cursor(&self, number: i64) -> Cursor {
        Cursor { feed: self.0.clone(), number }
    }

    /// What a webhook's message of the event with this number is called, whoever gets it and however often:
    /// receivers know by it what they have seen.
    #[must_use]
    pub fn message_id(&self, number: i64) -> String {
        format!("msg_{}", self.cursor(number))
    }
}

/// A place in a feed: behind the event with this number. To callers it is opaque, and the id of that event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    feed: String,
    number: i64,
}

impl Cursor {
    /// The number of the event that it stands behind; `None` if it is of another feed.
    #[must_use]
    pub fn number_in(&self, feed: &FeedId) -> Option<i64> {
        (self.feed == feed.0).then_some(self.number)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.feed, self.number)
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (feed, number) = text.split_once('-').ok_or(())?;
        let is_feed = feed.len() == 8 && feed.bytes().all(|byte| byte.is_ascii_hexdigit());
        // One place has one name: numbers are written without zeros in front.
        let is_number = number.bytes().all(|byte| byte.is_ascii_digit())
            && (number == "0" || !number.is_empty() && !number.starts_with('0'));
        if !is_feed || !is_number {
            return Err(());
        }
        Ok(Self { feed: feed.to_owned(), number: number.parse().map_err(|_| ())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_is_written() {
        let feed = FeedId::new("01abcdef");
        for number in [0, 1, i64::MAX] {
            let cursor = feed.cursor(number);
            assert_eq!(cursor.to_string().parse(), Ok(cursor.clone()));
            assert_eq!(cursor.number_in(&feed), Some(number));
            assert_eq!(cursor.number_in(&FeedId::new("01abcdee")), None);
        }
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for text in [
            "",
            "-",
            "12",
            "01abcdef",
            "01abcdef-",
            "01abcdef--1",
            "01abcdef-+1",
            "01abcdef-01",
            "01abcdef-00",
            "01abcdef-9223372036854775808",
            "01abcdeg-1",
            "01abcde-1",
            "01abcdef-1 ",
            "01abcdef-1-1",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(()), "{text}");
        }
    }

    #[test]
    fn kinds_are_read_as_they_are_written() {
        for kind in EventKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
    }
}
