//! The three kinds of id: ours, the provider's, and the caller's.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Text that is no id of the kind asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a decimal id")]
pub struct InvalidId;

/// Names one task: a positive number of at most 53 bits, so that JavaScript callers can hold it.
/// In JSON it is a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(i64);

impl TaskId {
    /// The largest id: what a JavaScript number holds exactly.
    pub const MAX: Self = Self(1 << 53);

    /// The id with this number; `None` outside 1 to 2^53.
    #[must_use]
    pub const fn new(number: i64) -> Option<Self> {
        if number >= 1 && number <= Self::MAX.0 { Some(Self(number)) } else { None }
    }

    /// The number, as the database holds it.
    #[must_use]
    pub const fn number(self) -> i64 {
        self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TaskId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        // `i64::from_str` would take a sign; an id has none.
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidId);
        }
        text.parse().ok().and_then(Self::new).ok_or(InvalidId)
    }
}

impl Serialize for TaskId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Names a task at the provider: 1 to 32 decimal digits, kept as text because they pass 32 bits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CaptchaId(String);

impl CaptchaId {
    /// Longer than any id the family hands out (11 digits today), short enough to index.
    const MAX_DIGITS: usize = 32;

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CaptchaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for CaptchaId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for CaptchaId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        let digits_only = text.bytes().all(|byte| byte.is_ascii_digit());
        if digits_only && (1..=Self::MAX_DIGITS).contains(&text.len()) {
            Ok(Self(text))
        } else {
            Err(InvalidId)
        }
    }
}

impl From<CaptchaId> for String {
    fn from(id: CaptchaId) -> Self {
        id.0
    }
}

/// Names an API token, and so the owner of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenId(i64);

impl TokenId {
    /// The owner of what is submitted without a stored token: an open local listener, or `api.token`.
    pub const LOCAL: Self = Self(0);

    /// The id as the database holds it.
    #[must_use]
    pub const fn from_number(number: i64) -> Self {
        Self(number)
    }

    /// The number, as the database holds it.
    #[must_use]
    pub const fn number(self) -> i64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_id_is_a_positive_number_that_javascript_holds() {
        assert_eq!("1042".parse(), TaskId::new(1042).ok_or(InvalidId));
        assert_eq!("9007199254740992".parse(), Ok(TaskId::MAX));
        for text in ["", "0", "-1", "+1", "1.0", " 1", "9007199254740993", "99999999999999999999", "x"] {
            assert_eq!(text.parse::<TaskId>(), Err(InvalidId), "{text:?}");
        }
    }

    #[test]
    fn a_captcha_id_is_digits_of_any_size_the_family_uses() {
        for text in ["0", "2122988149", "74372499131", "18446744073709551616"] {
            assert_eq!(text.parse::<CaptchaId>().map(String::from), Ok(text.to_owned()));
        }
        for text in ["", "abc", "1 2", "-5", "1e3", &"1".repeat(33)] {
            assert_eq!(text.parse::<CaptchaId>(), Err(InvalidId), "{text:?}");
        }
    }
}
