//! The newest events, without a hole.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Item, Most};
use crate::store::EventFilter;

/// Events that are kept, and the memory that they may take. A reader that falls further behind reads the store. With
/// answers of 500 characters it is three seconds of 5,000 events each.
const MOST: usize = 32 * 1024;
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// How long each is kept, so that an answer is not in memory when it was erased long since.
const LONGEST: Duration = Duration::from_secs(60);

/// Every event behind `after`, up to `end`.
#[derive(Debug, Default)]
pub(super) struct Tail {
    items: VecDeque<(Instant, Arc<Item>)>,
    size_bytes: usize,
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
    /// Whether that is all.
    pub(super) is_end: bool,
}

impl Tail {
    pub(super) fn end(&self) -> Option<i64> {
        self.end
    }

    /// Begins behind the event with this number.
    pub(super) fn begin(&mut self, number: i64) {
        *self = Self { after: number, end: Some(number), ..Self::default() };
    }

    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Adds what is behind the end, up to `through`, and lets go of the oldest.
    pub(super) fn extend(&mut self, items: impl Iterator<Item = Arc<Item>>, through: i64, now: Instant) {
        for item in items {
            self.size_bytes += item.size_bytes();
            self.items.push_back((now, item));
        }
        self.end = Some(through);
        while let Some((since, item)) = self.items.front() {
            let is_small = self.items.len() <= MOST && self.size_bytes <= MOST_BYTES;
            if is_small && now.duration_since(*since) <= LONGEST {
                return;
            }
            self.after = item.number;
            self.size_bytes -= item.size_bytes();
            self.items.pop_front();
        }
        // Nothing happens: what the list itself takes is given back too.
        self.items = VecDeque::new();
    }

    /// The next events behind the one with this number that pass the filter; `None` if the tail does not reach back
    /// so far.
    pub(super) fn read(&self, number: i64, filter: &EventFilter, most: Most) -> Option<Found> {
        let end = self.end.filter(|_| number >= self.after)?;
        let from = self.items.partition_point(|(_, item)| item.number <= number);
        let behind = self.items.range(from..).map(|(_, item)| item);
        let (mut items, mut size_bytes) = (Vec::new(), 0);
        for item in behind.filter(|item| filter.passes(item.kind, item.owner)) {
            size_bytes += item.text().len();
            if items.len() >= most.events || (size_bytes > most.bytes && !items.is_empty()) {
                let through = items.last().map_or(number, |last: &Arc<Item>| last.number);
                return Some(Found { items, through, is_end: false });
            }
            items.push(Arc::clone(item));
        }
        Some(Found { items, through: end.max(number), is_end: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EventKind, FeedId, TokenId};

    fn item(number: i64, owner: i64) -> Arc<Item> {
        let owner = Some(TokenId::from_number(owner));
        Arc::new(Item::of(number, EventKind::Created, owner, "{}", &FeedId::new("01abcdef")))
    }

    /// So many, each with JSON of this length.
    fn long(numbers: std::ops::RangeInclusive<i64>, length: usize) -> Tail {
        let json = "x".repeat(length);
        let item = |number| Item::of(number, EventKind::Created, None, &json, &FeedId::new("01abcdef"));
        let mut tail = Tail::default();
        tail.begin(numbers.start() - 1);
        let end = *numbers.end();
        tail.extend(numbers.map(|number| Arc::new(item(number))), end, Instant::now());
        tail
    }

    fn numbers(found: &Found) -> Vec<i64> {
        found.items.iter().map(|item| item.number).collect()
    }

    fn tail(numbers: std::ops::RangeInclusive<i64>) -> Tail {
        let mut tail = Tail::default();
        tail.begin(numbers.start() - 1);
        let end = *numbers.end();
        tail.extend(numbers.map(|number| item(number, number % 2)), end, Instant::now());
        tail
    }

    #[test]
    fn a_reader_gets_what_is_behind_its_place() {
        let tail = tail(11..=20);
        let found = tail.read(15, &EventFilter::ALL, Most::events(3)).unwrap();
        assert_eq!((numbers(&found), found.through), (vec![16, 17, 18], 18));
        let found = tail.read(18, &EventFilter::ALL, Most::events(3)).unwrap();
        assert_eq!((numbers(&found), found.through), (vec![19, 20], 20));
        let found = tail.read(20, &EventFilter::ALL, Most::events(3)).unwrap();
        assert_eq!((numbers(&found), found.through), (vec![], 20));
    }

    #[test]
    fn what_does_not_pass_is_passed_over() {
        let filter = EventFilter { owner: Some(TokenId::from_number(0)), kinds: Vec::new() };
        let found = tail(11..=20).read(16, &filter, Most::events(9)).unwrap();
        assert_eq!((numbers(&found), found.through), (vec![18, 20], 20));
        let filter = EventFilter { owner: None, kinds: vec![EventKind::Solved] };
        let found = tail(11..=20).read(10, &filter, Most::events(9)).unwrap();
        assert_eq!((numbers(&found), found.through), (vec![], 20));
    }

    #[test]
    fn it_does_not_answer_for_what_it_does_not_hold() {
        assert!(tail(11..=20).read(9, &EventFilter::ALL, Most::events(3)).is_none());
        assert!(tail(11..=20).read(10, &EventFilter::ALL, Most::events(3)).is_some());
        assert!(Tail::default().read(0, &EventFilter::ALL, Most::events(3)).is_none());
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let most = i64::try_from(MOST).unwrap();
        let tail = tail(1..=most + 5);
        assert_eq!(tail.items.len(), MOST);
        assert!(tail.read(4, &EventFilter::ALL, Most::events(3)).is_none());
        assert_eq!(numbers(&tail.read(5, &EventFilter::ALL, Most::events(1)).unwrap()), [6]);
    }

    #[test]
    fn the_oldest_go_when_they_take_too_much_memory() {
        let tail = long(1..=400, 60_000);
        let kept: usize = tail.items.iter().map(|(_, item)| item.size_bytes()).sum();
        assert_eq!(tail.size_bytes, kept);
        assert!((MOST_BYTES - 61_000..=MOST_BYTES).contains(&kept), "{kept}");
        assert!(tail.read(tail.after - 1, &EventFilter::ALL, Most::CHUNK).is_none());
        assert_eq!(
            numbers(&tail.read(tail.after, &EventFilter::ALL, Most::events(1)).unwrap()),
            [tail.after + 1]
        );
    }

    #[test]
    fn what_is_old_goes_with_its_memory() {
        let mut tail = tail(1..=1000);
        tail.extend(std::iter::empty(), 1000, Instant::now() + LONGEST + Duration::from_secs(1));
        assert_eq!((tail.items.len(), tail.items.capacity(), tail.size_bytes), (0, 0, 0));
        assert!(tail.read(999, &EventFilter::ALL, Most::CHUNK).is_none());
        assert!(tail.read(1000, &EventFilter::ALL, Most::CHUNK).unwrap().is_end);
    }

    #[test]
    fn a_chunk_is_of_bounded_length_or_one_event() {
        let tail = long(1..=9, 20_000);
        let found = tail.read(0, &EventFilter::ALL, Most::CHUNK).unwrap();
        assert_eq!((numbers(&found), found.through, found.is_end), (vec![1, 2, 3], 3, false));
        let found = tail.read(6, &EventFilter::ALL, Most::CHUNK).unwrap();
        assert_eq!((numbers(&found), found.through, found.is_end), (vec![7, 8, 9], 9, true));
        let found = long(1..=2, 70_000).read(0, &EventFilter::ALL, Most::CHUNK).unwrap();
        assert_eq!((numbers(&found), found.through, found.is_end), (vec![1], 1, false));
    }
}
