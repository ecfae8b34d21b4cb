//! Waits that a client was asked for, and rates that it keeps or not.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::model::Timestamp;
use crate::sandbox::limits;
use crate::sandbox::reply::Code;

/// How long a refusal may take to reach the client: what arrives within it was sent before.
pub(super) const GRACE: Duration = Duration::from_millis(250);
/// How much earlier than it should a client may come, for its clock and for the network.
pub(super) const TOLERANCE: Duration = Duration::from_millis(100);
/// Refusals that follow each other more closely are one. It bounds how many are kept, to the [`GRACE`]
/// divided by it.
const RESOLUTION: Duration = Duration::from_millis(10);
/// The most bans that are kept at once; past it new ones are not.
const MAX_BANS: usize = 1000;

/// When the client was told to wait: the last time that it must know of, and those that may still be on
/// their way to it.
#[derive(Debug, Default)]
pub(super) struct Told(VecDeque<Timestamp>);

impl Told {
    /// The client is told to wait.
    pub(super) fn tell(&mut self, now: Timestamp) {
        if self.0.back().is_none_or(|last| now.since(*last) >= RESOLUTION) {
            self.0.push_back(now);
        }
        while self.0.get(1).is_some_and(|second| now.since(*second) > GRACE) {
            self.0.pop_front();
        }
    }

    /// How long ago the client was told to wait for `span`, if it knows and should still wait.
    pub(super) fn ignored(&self, span: Duration, now: Timestamp) -> Option<Duration> {
        let ago = self.0.iter().rev().map(|told| now.since(*told)).find(|ago| *ago > GRACE)?;
        (ago + TOLERANCE < span).then_some(ago)
    }
}

/// A rate that is not to be passed.
#[derive(Debug, Default)]
pub(super) struct Rate(VecDeque<Timestamp>);

impl Rate {
    /// Counts one; whether more than `max`, this one included, came within `window`.
    pub(super) fn exceeds(&mut self, max: usize, window: Duration, now: Timestamp) -> bool {
        let oldest = if self.0.len() < max { None } else { self.0.pop_front() };
        self.0.push_back(now);
        oldest.is_some_and(|oldest| now.since(oldest) < window)
    }
}

/// The bans that clients were told of, by code: of the account, or of an address.
#[derive(Debug, Default)]
pub(super) struct Bans(BTreeMap<(Option<IpAddr>, &'static str), Ban>);

/// One ban. It lasts from when the client was told, whatever the knobs say later.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ban {
    pub(super) code: &'static str,
    pub(super) span: Duration,
    told_at: Timestamp,
}

impl Ban {
    /// How long ago the client was told.
    pub(super) fn age(&self, now: Timestamp) -> Duration {
        now.since(self.told_at)
    }

    fn is_over(&self, now: Timestamp) -> bool {
        self.age(now) + TOLERANCE >= self.span
    }
}

impl Bans {
    /// The client at this address is told a code, which may be a ban. One that is in force is not made
    /// longer by that.
    pub(super) fn tell(&mut self, code: &Code, address: IpAddr, now: Timestamp) {
        let Some((code, span)) = limits::ban_named(code) else {
            return;
        };
        self.0.retain(|_, ban| !ban.is_over(now));
        let who = (code == limits::ADDRESS_BAN).then_some(address);
        if self.0.len() < MAX_BANS {
            self.0.entry((who, code)).or_insert(Ban { code, span, told_at: now });
        }
    }

    /// A ban that is in force, and that the client at this address knows of. Bans of the account are
    /// none to whoever does not call in its name.
    pub(super) fn ignored(&self, address: IpAddr, is_account: bool, now: Timestamp) -> Option<Ban> {
        let concerns = |who: Option<IpAddr>| who.map_or(is_account, |who| who == address);
        let known = |ban: &Ban| ban.age(now) > GRACE && !ban.is_over(now);
        self.0.iter().find(|((who, _), ban)| concerns(*who) && known(ban)).map(|(_, ban)| *ban)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_micros(0).after(Duration::from_millis(millis))
    }

    #[test]
    fn a_flood_of_refusals_is_kept_in_bounds_and_known_all_the_same() {
        let mut told = Told::default();
        let span = Duration::from_secs(5);
        for millis in 0..1000 {
            assert_eq!(told.ignored(span, at(millis)).is_some(), millis > 250, "{millis}");
            told.tell(at(millis));
            assert!(told.0.len() < 30);
        }
        assert!(told.ignored(span, at(5800)).is_some());
        assert_eq!(told.ignored(span, at(5900)), None);
    }

    #[test]
    fn a_rate_counts_what_lies_within_its_window() {
        let mut rate = Rate::default();
        let window = Duration::from_millis(30);
        let exceeds: Vec<_> =
            [0, 10, 20, 29, 48, 49].iter().map(|millis| rate.exceeds(3, window, at(*millis))).collect();
        assert_eq!(exceeds, [false, false, false, true, false, true]);
        assert_eq!(rate.0.len(), 3);
    }

    #[test]
    fn no_more_bans_are_kept_than_fit_and_those_that_are_over_make_room() {
        let mut bans = Bans::default();
        let code = Code::ban(limits::ADDRESS_BAN);
        let address = |number: u32| IpAddr::from(number.to_be_bytes());
        for number in 0..2000 {
            bans.tell(&code, address(number), at(0));
        }
        assert_eq!(bans.0.len(), MAX_BANS);
        assert!(bans.ignored(address(999), false, at(1000)).is_some());
        assert!(bans.ignored(address(1000), false, at(1000)).is_none());
        bans.tell(&code, address(1000), at(600_000));
        assert_eq!(bans.0.len(), 1);
    }
}
