//! The pingbacks that wait to be sent.

use std::collections::{BTreeMap, VecDeque};

use super::deliver::Pingback;
use crate::model::Timestamp;

/// The most captchas whose pingbacks wait, late ones included; past it a pingback is lost.
const MAX_PINGBACKS: usize = 200_000;

/// Pingbacks in the order in which they are to go out.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    ready: VecDeque<Pingback>,
    /// Those that go out later, by when, and by their number, which tells apart those of one time.
    held: BTreeMap<(Timestamp, u64), Pingback>,
    count: u64,
}

impl Outbox {
    /// Leaves a pingback to be sent after those that wait; `false` when too many do.
    pub(super) fn post(&mut self, pingback: Pingback) -> bool {
        let has_room = self.has_room();
        if has_room {
            self.ready.push_back(pingback);
        }
        has_room
    }

    /// Leaves a pingback to be sent at `due`; `false` when too many wait.
    pub(super) fn hold(&mut self, pingback: Pingback, due: Timestamp) -> bool {
        let has_room = self.has_room();
        if has_room {
            self.count += 1;
            self.held.insert((due, self.count), pingback);
        }
        has_room
    }

    /// Puts those that are due by `now` behind those that wait.
    pub(super) fn advance(&mut self, now: Timestamp) {
        while self.next_due().is_some_and(|due| due <= now) {
            self.ready.extend(self.held.pop_first().map(|(_, pingback)| pingback));
        }
    }

    /// The pingback to be sent next.
    pub(super) fn take(&mut self) -> Option<Pingback> {
        self.ready.pop_front()
    }

    /// When the next of those that go out later is due.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.held.first_key_value().map(|((due, _), _)| *due)
    }

    fn has_room(&self) -> bool {
        self.ready.len() + self.held.len() < MAX_PINGBACKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pingback(id: u64) -> Pingback {
        let url = "http://a.example/".parse().unwrap();
        Pingback { url, id, codes: vec!["x".to_owned()], rate: None }
    }

    #[test]
    fn what_is_held_goes_out_when_it_is_due_and_in_that_order() {
        let at = Timestamp::from_micros;
        let mut outbox = Outbox::default();
        for (id, due) in [(1, 30), (2, 20), (3, 20)] {
            assert!(outbox.hold(pingback(id), at(due)));
        }
        assert!(outbox.post(pingback(4)));
        for (now, sent) in [(19, &[4][..]), (29, &[2, 3]), (29, &[]), (30, &[1])] {
            outbox.advance(at(now));
            let ids: Vec<_> = std::iter::from_fn(|| outbox.take()).map(|pingback| pingback.id).collect();
            assert_eq!(ids, sent, "{now}");
        }
        assert_eq!(outbox.next_due(), None);
    }

    #[test]
    fn past_the_most_that_can_wait_a_pingback_is_lost() {
        let mut outbox = Outbox::default();
        assert!((0..MAX_PINGBACKS as u64).all(|id| outbox.post(pingback(id))));
        assert!(!outbox.post(pingback(0)));
        assert!(!outbox.hold(pingback(0), Timestamp::from_micros(0)));
    }
}
