//! What a user can turn: how the emulated provider behaves, and misbehaves.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::account::Amount;
use super::random::Random;

/// How the emulation behaves. A missing field has its default; an unknown one is an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Knobs {
    /// Milliseconds from `in.php` to the answer; 0 is as soon as `in.php` was answered. Past the 90
    /// seconds (300 for reCAPTCHA V2) that workers have, the captcha ends as unsolvable at that time.
    pub delay_ms: u64,
    /// How many pingbacks are never sent.
    pub lost: Share,
    /// How many captchas are solved, and their pingback sent, before `in.php` is answered.
    pub early: Share,
    /// How many pingbacks are sent twice.
    pub duplicate: Share,
    /// How many pingbacks are followed by one with another answer for the same id.
    pub wrong: Share,
    /// How many captchas end as `ERROR_CAPTCHA_UNSOLVABLE`, which costs nothing.
    pub unsolvable: Share,
    /// Whether there are limits: `MAX_USER_TURN`, the bans `ERROR: 1001` to `ERROR: 1005`, and
    /// `REPORT_NOT_RECORDED` for who complains too much.
    pub limits: bool,
    /// How many requests get an HTML page with status 502 and have no effect.
    pub html_5xx: Share,
    /// How many requests are never answered and have no effect.
    pub hang: Share,
    /// How many captchas are taken (and charged) while the reply gets lost: half of them get an
    /// empty reply, the other half a closed connection.
    pub cut: Share,
    /// How many captchas are refused with `ERROR_NO_SLOT_AVAILABLE`.
    pub no_slot: Share,
    /// What is on the account, less what was charged since it was set.
    pub balance: Amount,
    /// When set, every `in.php` request with the right key is refused with this code.
    pub code: Option<String>,
    /// Whether pingbacks of solved captchas tell the price as `rate`.
    pub rate: bool,
    /// Whether a pingback URL can only be added from an address that its host resolves to.
    pub check_ip: bool,
    /// Repeats the same draws of all the shares, for the same requests in the same order; `None`
    /// draws differently in each process.
    pub seed: Option<u64>,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            delay_ms: 1000,
            lost: Share::NEVER,
            early: Share::NEVER,
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
            rate: true,
            check_ip: true,
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
    fn draw(self, random: &mut Random) -> bool {
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

/// What is to befall one request, and the captcha in it.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a coin of its own, and any of them can meet any other"
)]
pub(super) struct Fate {
    pub(super) html: bool,
    pub(super) hang: bool,
    pub(super) cut: Option<Cut>,
    pub(super) no_slot: bool,
    pub(super) unsolvable: bool,
    pub(super) lost: bool,
    pub(super) early: bool,
    pub(super) duplicate: bool,
    pub(super) wrong: bool,
}

/// How a reply gets lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Status 200 without a body.
    Empty,
    /// The connection closes without a byte.
    Closed,
}

impl Fate {
    /// Draws every coin, needed or not, so that turning one knob does not shift the others' draws.
    pub(super) fn draw(knobs: &Knobs, random: &mut Random) -> Self {
        let mut coin = |share: Share| share.draw(random);
        Self {
            html: coin(knobs.html_5xx),
            hang: coin(knobs.hang),
            no_slot: coin(knobs.no_slot),
            unsolvable: coin(knobs.unsolvable),
            lost: coin(knobs.lost),
            early: coin(knobs.early),
            duplicate: coin(knobs.duplicate),
            wrong: coin(knobs.wrong),
            cut: match (coin(knobs.cut), coin(Share(0.5))) {
                (false, _) => None,
                (true, false) => Some(Cut::Empty),
                (true, true) => Some(Cut::Closed),
            },
        }
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

    #[test]
    fn turning_one_knob_leaves_the_other_draws_alone() {
        let half = Knobs { lost: Share(0.5), ..Knobs::default() };
        let with_more = Knobs { unsolvable: Share(0.5), cut: Share::ALWAYS, ..half.clone() };
        let draws = |knobs: &Knobs| {
            let mut random = Random::from_seed(9);
            (0..100).map(|_| Fate::draw(knobs, &mut random).lost).collect::<Vec<_>>()
        };
        assert_eq!(draws(&half), draws(&with_more));
    }
}
