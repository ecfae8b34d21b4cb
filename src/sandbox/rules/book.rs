//! Which rules were broken, and how often.

use serde::Serialize;
use tracing::warn;

use crate::model::Timestamp;

/// One rule of the provider that its client broke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BrokenRule {
    /// Its name, such as `asked_too_early`.
    pub rule: &'static str,
    /// How often it was broken.
    pub count: u64,
    /// When that was the last time.
    pub last_at: Timestamp,
    /// What the client did then, in words.
    pub detail: String,
}

/// What the provider asks of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    TooManyTurns,
    TooManyResults,
    TooManyNoSlots,
    TooManyRefusals,
    AskedTooEarly,
    AskedAgainTooSoon,
    AskedAfter15Minutes,
    IgnoredNoSlot,
    IgnoredZeroBalance,
    IgnoredPage,
    IgnoredBan,
    WrongKeyAgain,
}

impl Rule {
    const fn name(self) -> &'static str {
        match self {
            Self::TooManyTurns => "too_many_turns",
            Self::TooManyResults => "too_many_results",
            Self::TooManyNoSlots => "too_many_no_slots",
            Self::TooManyRefusals => "too_many_refusals",
            Self::AskedTooEarly => "asked_too_early",
            Self::AskedAgainTooSoon => "asked_again_too_soon",
            Self::AskedAfter15Minutes => "asked_after_15_minutes",
            Self::IgnoredNoSlot => "ignored_no_slot",
            Self::IgnoredZeroBalance => "ignored_zero_balance",
            Self::IgnoredPage => "ignored_page",
            Self::IgnoredBan => "ignored_ban",
            Self::WrongKeyAgain => "wrong_key_again",
        }
    }
}

/// The rules that were broken since the start, each once, in the order in which that happened first.
#[derive(Debug, Default)]
pub(super) struct Book(Vec<BrokenRule>);

impl Book {
    /// Counts a breach, and logs the first of its rule.
    pub(super) fn note(&mut self, rule: Rule, detail: String, now: Timestamp) {
        let rule = rule.name();
        if let Some(broken) = self.0.iter_mut().find(|broken| broken.rule == rule) {
            broken.count += 1;
            (broken.last_at, broken.detail) = (now, detail);
            return;
        }
        warn!(rule, "The client broke a rule of the provider, {rule}: {detail}");
        self.0.push(BrokenRule { rule, count: 1, last_at: now, detail });
    }

    /// What was broken.
    pub(super) fn list(&self) -> Vec<BrokenRule> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_listed_once_with_its_last_breach() {
        let mut book = Book::default();
        assert!(book.list().is_empty());
        for (micros, detail) in [(1, "first"), (2, "last")] {
            book.note(Rule::IgnoredBan, detail.to_owned(), Timestamp::from_micros(micros));
        }
        book.note(Rule::TooManyTurns, "once".to_owned(), Timestamp::from_micros(3));
        let expected = |rule, count, micros, detail: &str| BrokenRule {
            rule,
            count,
            last_at: Timestamp::from_micros(micros),
            detail: detail.to_owned(),
        };
        assert_eq!(
            book.list(),
            [expected("ignored_ban", 2, 2, "last"), expected("too_many_turns", 1, 3, "once")]
        );
    }
}
