//! The newest events, without a hole.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Item;
use crate::store::EventFilter;

/// Events that are kept. A reader that falls further behind reads the store.
const MOST: usize = 1024;
/// How long each is kept, so that an answer is not in memory when it was erased long since.
const LONGEST: Duration = Duration::from_secs(60);

/// Every event behind `after`, up to `end`.
#[derive(Debug, Default)]
pub(super) struct Tail {
    items: VecDeque<(Instant, Arc<Item>)>,
    after: i64,
    /// `None`: nobody reads, and nothing is kept.
    end: Option<i64>,
}

/// What the tail has for a reader.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) items: Vec<Arc<Item>>,
    /// What was looked at.
    pub(super) through: i64,
}

impl Tail {
    pub(super) fn end(&self) -> Option<i64> {
        self.end
    }

    /// Begins behind the event with this number.
    pub(super) fn begin(&mut self, number: i64) {
        *self = Self { items: VecDeque::new(), after: number, end: Some(number) };
    }

    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Adds what is behind the end, up to `through`, and lets go of the oldest.
    pub(super) fn extend(&mut self, items: impl Iterator<Item = Arc<Item>>, through: i64) {
        let now = Instant::now();
        self.items.extend(items.map(|item| (now, item)));
        self.end = Some(through);
        while let Some((since, item)) = self.items.front() {
            if self.items.len() <= MOST && now.duration_since(*since) <= LONGEST {
                return;
            }
            self.after = item.number;
            self.items.pop_front();
        }
    }

    /// At most `limit` events behind the one with this number that pass the filter; `None` if the tail does not
    /// reach back so far.
    pub(super) fn read(&self, number: i64, filter: &EventFilter, limit: usize) -> Option<Found> {
        let end = self.end.filter(|_| number >= self.after)?;
        let from = self.items.partition_point(|(_, item)| item.number <= number);
        let behind = self.items.range(from..).map(|(_, item)| item);
        let passing = behind.filter(|item| filter.passes(item.kind, item.owner));
        let items: Vec<_> = passing.take(limit).cloned().collect();
        let through = match items.last() {
            Some(last) if items.len() >= limit => last.number,
            _ => end.max(number),
        };
        Some(Found { items, through })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EventKind, TokenId};

    fn item(number: i64, owner: i64) -> Arc<Item> {
        let owner = Some(TokenId::from_number(owner));
        Arc::new(Item { number, kind: EventKind::Created, owner, json: "{}".into() })
    }

    fn numbers(found: &Found) -> Vec<i64> {
        found.items.iter().map(|item| item.number).collect()
    }

    fn tail(numbers: std::ops::RangeInclusive<i64>) -> Tail {
        let mut tail = Tail::default();
        tail.begin(numbers.start() - 1);
        let end = *numbers.end();
        tail.extend(numbers.map(|number| item(number, number % 2)), end);
        tail
    }

    #[test]
    fn a_reader_gets_what_is_behind_its_place() {
        let tail = tail(11..=20);
        let found = tail.read(15, &EventFilter::ALL, 3).unwrap();
        assert_eq!((numbers(&found), found.through), (vec![16, 17, 18], 18));
        let found = tail.read(18, &EventFilter::ALL, 3).unwrap();
        assert_eq!((numbers(&found), found.through), (vec![19, 20], 20));
        let found = tail.read(20, &EventFilter::ALL, 3).unwrap();
        assert_eq!((numbers(&found), found.through), (vec![], 20));
    }

    #[test]
    fn what_does_not_pass_is_passed_over() {
        let filter = EventFilter { owner: Some(TokenId::from_number(0)), kinds: Vec::new() };
        let found = tail(11..=20).read(16, &filter, 9).unwrap();
        assert_eq!((numbers(&found), found.through), (vec![18, 20], 20));
        let filter = EventFilter { owner: None, kinds: vec![EventKind::Solved] };
        let found = tail(11..=20).read(10, &filter, 9).unwrap();
        assert_eq!((numbers(&found), found.through), (vec![], 20));
    }

    #[test]
    fn it_does_not_answer_for_what_it_does_not_hold() {
        assert!(tail(11..=20).read(9, &EventFilter::ALL, 3).is_none());
        assert!(tail(11..=20).read(10, &EventFilter::ALL, 3).is_some());
        assert!(Tail::default().read(0, &EventFilter::ALL, 3).is_none());
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let most = i64::try_from(MOST).unwrap();
        let tail = tail(1..=most + 5);
        assert_eq!(tail.items.len(), MOST);
        assert!(tail.read(4, &EventFilter::ALL, 3).is_none());
        assert_eq!(numbers(&tail.read(5, &EventFilter::ALL, 1).unwrap()), [6]);
    }
}
