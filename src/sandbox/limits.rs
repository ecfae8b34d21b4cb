//! Request limits: who is banned, and for how long.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use super::reply::Code;
use crate::model::Timestamp;

/// More requests to `in.php` than this within [`TURN_WINDOW`] are too many.
pub(super) const MAX_TURNS: usize = 60;
pub(super) const TURN_WINDOW: Duration = Duration::from_secs(3);
const TURN_BAN: Duration = Duration::from_secs(10);

/// This many refusals of one kind within a minute ban the account.
pub(super) const MAX_REFUSALS: usize = 120;
pub(super) const REFUSAL_WINDOW: Duration = Duration::from_mins(1);
const BID_BAN: Duration = Duration::from_mins(10);
const BALANCE_BAN: Duration = Duration::from_mins(5);
const QUEUE_BAN: Duration = Duration::from_secs(30);

/// This many wrong keys ban the address they came from.
const MAX_WRONG_KEYS: u32 = 5;
const KEY_BAN: Duration = Duration::from_mins(10);
/// Addresses with wrong keys that are remembered; past it new ones are not counted.
const MAX_ADDRESSES: usize = 10_000;

/// Requests to `res.php` that an account may make, and those it gains with each captcha.
const FREE_RESULTS: u64 = 1200;
const RESULTS_PER_CAPTCHA: u64 = 20;
const RESULT_BAN: Duration = Duration::from_mins(5);

/// The code of the one ban that concerns an address; the others concern the account.
pub(super) const ADDRESS_BAN: &str = "ERROR: 1004";

/// Every ban, and how long it lasts.
const BANS: [(&str, Duration); 6] = [
    ("MAX_USER_TURN", TURN_BAN),
    ("ERROR: 1001", BID_BAN),
    ("ERROR: 1002", BALANCE_BAN),
    ("ERROR: 1003", QUEUE_BAN),
    (ADDRESS_BAN, KEY_BAN),
    ("ERROR: 1005", RESULT_BAN),
];

/// The ban that this code stands for, and how long it lasts.
pub(super) fn ban_named(code: &Code) -> Option<(&'static str, Duration)> {
    BANS.into_iter().find(|(name, _)| *name == code.as_str())
}

/// How many requests to `res.php` an account may make that has sent so many captchas.
pub(super) const fn allowed_results(captchas: u64) -> u64 {
    RESULTS_PER_CAPTCHA * captchas + FREE_RESULTS
}

/// Whether so many refusals for the length of the queue are too many for so many captchas.
pub(super) const fn is_queue_too_long(refusals: u64, captchas: u64) -> bool {
    refusals >= MAX_REFUSALS as u64 && refusals >= 3 * captchas
}

/// Why there is no slot for a captcha.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoSlot {
    /// The account bids less than the current rate: images and questions.
    Bid,
    /// Too many of the account's captchas wait for a worker: everything else.
    Queue,
}

/// The limits of the one account, and of the addresses that call.
///
/// Where the provider names no window (`ERROR: 1003`, `1004`, `1005`), counting goes from the start, or
/// from the last ban of that kind. Requests that a ban refuses are not counted.
#[derive(Debug, Default)]
pub(super) struct Limits {
    turns: VecDeque<Timestamp>,
    turn_ban: Option<Timestamp>,
    ban: Option<(Code, Timestamp)>,
    bid_refusals: VecDeque<Timestamp>,
    balance_refusals: VecDeque<Timestamp>,
    queue_refusals: u64,
    captchas: u64,
    results: u64,
    result_credit: u64,
    addresses: HashMap<IpAddr, Offender>,
}

#[derive(Debug, Default)]
struct Offender {
    wrong_keys: u32,
    ban: Option<Timestamp>,
}

impl Limits {
    /// Whether this address may ask at all.
    pub(super) fn check_address(&mut self, address: IpAddr, now: Timestamp) -> Result<(), Code> {
        let ban = self.addresses.get(&address).and_then(|offender| offender.ban);
        match ban {
            Some(until) if now < until => Err(Code::ban(ADDRESS_BAN)),
            Some(_) => {
                self.addresses.remove(&address);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Counts a wrong key; the fifth bans the address from the next request on.
    pub(super) fn count_wrong_key(&mut self, address: IpAddr, now: Timestamp) {
        if self.addresses.len() >= MAX_ADDRESSES && !self.addresses.contains_key(&address) {
            return;
        }
        let offender = self.addresses.entry(address).or_default();
        offender.wrong_keys += 1;
        if offender.wrong_keys >= MAX_WRONG_KEYS {
            offender.ban = Some(now.after(KEY_BAN));
        }
    }

    /// Counts a request to `in.php`.
    ///
    /// # Errors
    /// When the account is banned, or is so by this request.
    pub(super) fn count_turn(&mut self, now: Timestamp) -> Result<(), Code> {
        self.check_account(now)?;
        if self.turn_ban.is_some_and(|until| now < until) {
            return Err(Code::MAX_USER_TURN);
        }
        self.turn_ban = None;
        if count_within(&mut self.turns, TURN_WINDOW, now) > MAX_TURNS {
            self.turns.clear();
            self.turn_ban = Some(now.after(TURN_BAN));
            return Err(Code::MAX_USER_TURN);
        }
        Ok(())
    }

    /// Counts a request to `res.php`.
    ///
    /// # Errors
    /// When the account is banned, or is so by this request.
    pub(super) fn count_result(&mut self, now: Timestamp) -> Result<(), Code> {
        self.check_account(now)?;
        self.results += 1;
        if self.results > allowed_results(self.result_credit) {
            (self.results, self.result_credit) = (0, 0);
            return Err(self.ban("ERROR: 1005", RESULT_BAN, now));
        }
        Ok(())
    }

    /// Counts a captcha that was taken.
    pub(super) fn count_captcha(&mut self) {
        self.captchas += 1;
        self.result_credit += 1;
    }

    /// Counts a refusal for want of money.
    pub(super) fn count_zero_balance(&mut self, now: Timestamp) {
        if count_within(&mut self.balance_refusals, REFUSAL_WINDOW, now) >= MAX_REFUSALS {
            self.balance_refusals.clear();
            self.ban("ERROR: 1002", BALANCE_BAN, now);
        }
    }

    /// Counts a refusal for want of a slot.
    pub(super) fn count_no_slot(&mut self, cause: NoSlot, now: Timestamp) {
        match cause {
            NoSlot::Bid => {
                if count_within(&mut self.bid_refusals, REFUSAL_WINDOW, now) >= MAX_REFUSALS {
                    self.bid_refusals.clear();
                    self.ban("ERROR: 1001", BID_BAN, now);
                }
            }
            NoSlot::Queue => {
                self.queue_refusals += 1;
                if is_queue_too_long(self.queue_refusals, self.captchas) {
                    (self.queue_refusals, self.captchas) = (0, 0);
                    self.ban("ERROR: 1003", QUEUE_BAN, now);
                }
            }
        }
    }

    fn check_account(&mut self, now: Timestamp) -> Result<(), Code> {
        match &self.ban {
            Some((code, until)) if now < *until => Err(code.clone()),
            _ => {
                self.ban = None;
                Ok(())
            }
        }
    }

    fn ban(&mut self, code: &'static str, span: Duration, now: Timestamp) -> Code {
        let code = Code::ban(code);
        self.ban = Some((code.clone(), now.after(span)));
        code
    }
}

/// Adds `now` to the times, and counts those within `window` before it. As many are kept as limits
/// need, a little over a hundred: whoever counts them clears them at the limit.
fn count_within(times: &mut VecDeque<Timestamp>, window: Duration, now: Timestamp) -> usize {
    times.push_back(now);
    while times.front().is_some_and(|time| now.since(*time) >= window) {
        times.pop_front();
    }
    times.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(millis * 1000)
    }

    #[test]
    fn the_61st_turn_in_3_seconds_bans_for_10() {
        let mut limits = Limits::default();
        for turn in 0..60 {
            assert_eq!(limits.count_turn(at(turn)), Ok(()));
        }
        assert_eq!(limits.count_turn(at(2999)), Err(Code::MAX_USER_TURN));
        assert_eq!(limits.count_turn(at(12_998)), Err(Code::MAX_USER_TURN));
        assert_eq!(limits.count_turn(at(12_999)), Ok(()));
    }

    #[test]
    fn turns_50_milliseconds_apart_never_ban() {
        let mut limits = Limits::default();
        assert!((0..1000).all(|turn| limits.count_turn(at(turn * 50)).is_ok()));
    }

    #[test]
    fn five_wrong_keys_ban_their_address_for_10_minutes() {
        let mut limits = Limits::default();
        for _ in 0..5 {
            assert_eq!(limits.check_address(ADDRESS, at(0)), Ok(()));
            limits.count_wrong_key(ADDRESS, at(0));
        }
        let banned = Err(Code::ban("ERROR: 1004"));
        assert_eq!(limits.check_address(ADDRESS, at(599_999)), banned);
        assert_eq!(limits.check_address(IpAddr::from([10, 0, 0, 1]), at(1)), Ok(()));
        assert_eq!(limits.check_address(ADDRESS, at(600_000)), Ok(()));
    }

    #[test]
    fn more_results_than_20_a_captcha_and_1200_ban_for_5_minutes() {
        let mut limits = Limits::default();
        limits.count_captcha();
        assert!((0..1220).all(|_| limits.count_result(at(0)).is_ok()));
        let banned = Err(Code::ban("ERROR: 1005"));
        assert_eq!(limits.count_result(at(0)), banned);
        assert_eq!(limits.count_turn(at(299_999)), banned);
        assert_eq!(limits.count_turn(at(300_000)), Ok(()));
    }

    #[test]
    fn refusals_ban_by_their_cause() {
        let banned = |count: &dyn Fn(&mut Limits, Timestamp), from: i64| {
            let mut limits = Limits::default();
            for number in 0..120 {
                assert_eq!(limits.count_turn(at(number * 100)), Ok(()));
                count(&mut limits, at(number * 100));
            }
            let code = limits.count_turn(at(11_900 + from - 1)).unwrap_err();
            assert_eq!(limits.count_turn(at(11_900 + from)), Ok(()));
            code.as_str().to_owned()
        };
        assert_eq!(banned(&|limits, now| limits.count_no_slot(NoSlot::Bid, now), 600_000), "ERROR: 1001");
        assert_eq!(banned(&|limits, now| limits.count_zero_balance(now), 300_000), "ERROR: 1002");
        assert_eq!(banned(&|limits, now| limits.count_no_slot(NoSlot::Queue, now), 30_000), "ERROR: 1003");
    }
}
