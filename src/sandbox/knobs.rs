//! What a user can turn: how the emulated provider behaves, and misbehaves.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::account::Amount;
use super::random::Random;
use super::registry::Registration;

/// How the emulation behaves. A missing field has its default; an unknown one is an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "they are switches, each for itself")]
pub struct Knobs {
    /// Milliseconds from `in.php` to the answer; 0 is as soon as `in.php` was answered. Past the 90
    /// seconds (300 for reCAPTCHA V2) that workers have, the captcha ends as unsolvable at that time.
    pub delay_ms: u64,
    /// Up to this many milliseconds are added to `delay_ms`, drawn for each captcha.
    pub delay_spread_ms: u64,
    /// How many pingbacks are never sent.
    pub lost: Share,
    /// How many captchas are solved, and their pingback sent, before `in.php` is answered.
    pub early: Share,
    /// How many pingbacks are sent late, though the answer can be read at once; also where the captcha
    /// is solved early.
    pub late: Share,
    /// Milliseconds from the answer to a late pingback.
    pub late_ms: u64,
    /// How many pingbacks are sent twice.
    pub duplicate: Share,
    /// How many pingbacks are followed by one with another answer for the same id.
    pub wrong: Share,
    /// How many captchas end as `ERROR_CAPTCHA_UNSOLVABLE`, which costs nothing.
    pub unsolvable: Share,
    /// Whether there are limits: `MAX_USER_TURN`, the bans `ERROR: 1001` to `ERROR: 1005`, and
    /// `REPORT_NOT_RECORDED` for who complains too much.
    pub limits: bool,
    /// How many requests get an HTML page and have no effect: half of them with status 500, the other
    /// half with 502.
    pub html_5xx: Share,
    /// How many requests are never answered and have no effect.
    pub hang: Share,
    /// How many captchas are taken (and charged) while the reply gets lost: a third each get an empty
    /// reply, a closed connection, and a reply that breaks off in the middle.
    pub cut: Share,
    /// How many captchas are refused with `ERROR_NO_SLOT_AVAILABLE`.
    pub no_slot: Share,
    /// What is on the account, less what was charged since it was set.
    pub balance: Amount,
    /// When set, every `in.php` request with the right key is refused with this code.
    pub code: Option<String>,
    /// When set, every `res.php` request with the right key is refused with this code.
    pub result_code: Option<String>,
    /// Whether pingbacks of solved captchas tell the price as `rate`.
    pub rate: bool,
    /// Whether a pingback URL can only be added from an address that its host resolves to.
    pub check_ip: bool,
    /// Which URLs get pingbacks once one is registered.
    pub registration: Registration,
    /// Whether captchas wait for a person who solves them, for up to 10 minutes, in place of an answer that
    /// is made up. Known answers are given as ever.
    pub by_hand: bool,
    /// Repeats the same draws of all the shares, for the same requests in the same order; `None`
    /// draws differently in each process.
    pub seed: Option<u64>,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            delay_ms: 1000,
            delay_spread_ms: 0,
            lost: Share::NEVER,
            early: Share::NEVER,
            late: Share::NEVER,
            late_ms: 30_000,
            duplicate: Share::NEVER,
            wrong: Share::NEVER,
            unsolvable: Share::NEVER,
            limits: true,
            html_5xx: Share::NEVER,
            hang: Share::NEVER,
            cut: Share::NEVER,
            no_slot: Share::NEVER,
            balance: Amount::from_micros(1_000_000_000),
            code: None,
            result_code: None,
            rate: true,
            check_ip: true,
            registration: Registration::Below,
            by_hand: false,
            seed: None,
        }
    }
}

/// Text or a number that is no share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a share is a number from 0 to 1")]
pub struct InvalidShare;

/// How many of all, from 0.0 (none) to 1.0 (all).
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Share(f64);

impl Share {
    /// None of them.
    pub const NEVER: Self = Self(0.0);
    /// All of them.
    pub const ALWAYS: Self = Self(1.0);

    /// One draw: `true` as often as the share says.
    pub(super) fn draw(self, random: &mut Random) -> bool {
        random.fraction() < self.0
    }
}

impl TryFrom<f64> for Share {
    type Error = InvalidShare;

    fn try_from(share: f64) -> Result<Self, InvalidShare> {
        if (0.0..=1.0).contains(&share) { Ok(Self(share)) } else { Err(InvalidShare) }
    }
}

impl From<Share> for f64 {
    fn from(share: Share) -> Self {
        share.0
    }
}

impl FromStr for Share {
    type Err = InvalidShare;

    fn from_str(text: &str) -> Result<Self, InvalidShare> {
        text.parse::<f64>().map_err(|_| InvalidShare).and_then(Self::try_from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_field_has_its_default_and_an_unknown_one_is_an_error() {
        let knobs: Knobs = serde_json::from_str(r#"{"lost": 1, "balance": "2.5"}"#).unwrap();
        let expected =
            Knobs { lost: Share::ALWAYS, balance: Amount::from_micros(2_500_000), ..Knobs::default() };
        assert_eq!(knobs, expected);

        let error = serde_json::from_str::<Knobs>(r#"{"losst": 1}"#).unwrap_err();
        assert!(error.to_string().contains("losst"), "{error}");
    }

    #[test]
    fn a_share_lies_between_none_and_all() {
        assert_eq!("1".parse(), Ok(Share::ALWAYS));
        assert_eq!("0.25".parse(), Ok(Share(0.25)));
        for text in ["", "-0.1", "1.01", "NaN", "inf", "x"] {
            assert_eq!(text.parse::<Share>(), Err(InvalidShare), "{text}");
        }
    }

    #[test]
    fn a_share_is_drawn_about_as_often_as_it_says() {
        let mut random = Random::from_seed(1);
        let hits = (0..10_000).filter(|_| Share(0.3).draw(&mut random)).count();
        assert!((2_700..3_300).contains(&hits), "{hits}");
    }
}
