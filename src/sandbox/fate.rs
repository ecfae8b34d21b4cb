//! What befalls one request, as the knobs and the draws will have it.

use std::time::Duration;

use axum::http::StatusCode;

use super::knobs::Knobs;
use super::random::Random;

/// What is to befall one request, and the captcha in it.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a coin of its own, and any of them can meet any other"
)]
pub(super) struct Fate {
    /// The status of an error page to answer with.
    pub(super) page: Option<StatusCode>,
    pub(super) hang: bool,
    pub(super) cut: Option<Cut>,
    pub(super) no_slot: bool,
    pub(super) unsolvable: bool,
    pub(super) lost: bool,
    pub(super) early: bool,
    pub(super) duplicate: bool,
    pub(super) wrong: bool,
    /// How long after the answer the pingback goes out.
    pub(super) late: Option<Duration>,
    /// How long workers need.
    pub(super) delay: Duration,
}

/// How a reply gets lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Status 200 without a body.
    Empty,
    /// The connection closes without a byte.
    Closed,
    /// The connection closes in the middle of the body.
    Half,
}

impl Fate {
    /// Draws every coin, needed or not, so that turning one knob does not shift the others' draws.
    pub(super) fn draw(knobs: &Knobs, random: &mut Random) -> Self {
        let is_page = knobs.html_5xx.draw(random);
        let hang = knobs.hang.draw(random);
        let no_slot = knobs.no_slot.draw(random);
        let unsolvable = knobs.unsolvable.draw(random);
        let lost = knobs.lost.draw(random);
        let early = knobs.early.draw(random);
        let duplicate = knobs.duplicate.draw(random);
        let wrong = knobs.wrong.draw(random);
        let (is_cut, cut) = (knobs.cut.draw(random), random.pick(&[Cut::Empty, Cut::Closed, Cut::Half]));
        let status = random.pick(&[StatusCode::INTERNAL_SERVER_ERROR, StatusCode::BAD_GATEWAY]);
        let is_late = knobs.late.draw(random);
        let spread = Duration::from_millis(knobs.delay_spread_ms).mul_f64(random.fraction());
        Self {
            page: is_page.then_some(status),
            hang,
            cut: is_cut.then_some(cut),
            no_slot,
            unsolvable,
            lost,
            early,
            duplicate,
            wrong,
            late: is_late.then_some(Duration::from_millis(knobs.late_ms)),
            delay: Duration::from_millis(knobs.delay_ms).saturating_add(spread),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Share;

    fn half() -> Share {
        Share::try_from(0.5).unwrap()
    }

    /// What befalls 600 requests.
    fn fates(knobs: &Knobs) -> Vec<Fate> {
        let mut random = Random::from_seed(3);
        (0..600).map(|_| Fate::draw(knobs, &mut random)).collect()
    }

    #[test]
    fn turning_one_knob_leaves_the_other_draws_alone() {
        let one = Knobs { lost: half(), ..Knobs::default() };
        let all = Knobs {
            unsolvable: half(),
            cut: Share::ALWAYS,
            html_5xx: half(),
            late: half(),
            delay_spread_ms: 900,
            ..one.clone()
        };
        let lost = |knobs: &Knobs| fates(knobs).iter().map(|fate| fate.lost).collect::<Vec<_>>();
        assert_eq!(lost(&one), lost(&all));
        let times =
            |knobs: &Knobs| fates(knobs).iter().map(|fate| (fate.late, fate.delay)).collect::<Vec<_>>();
        assert_eq!(times(&Knobs { late: half(), delay_spread_ms: 900, ..Knobs::default() }), times(&all));
    }

    #[test]
    fn half_of_the_pages_have_status_500_and_half_502() {
        let fates = fates(&Knobs { html_5xx: Share::ALWAYS, ..Knobs::default() });
        for status in [500, 502] {
            let count = fates.iter().filter(|fate| fate.page.is_some_and(|page| page == status)).count();
            assert!((240..360).contains(&count), "{status}: {count}");
        }
    }

    #[test]
    fn replies_are_cut_in_three_ways_a_third_each() {
        let fates = fates(&Knobs { cut: Share::ALWAYS, ..Knobs::default() });
        for cut in [Cut::Empty, Cut::Closed, Cut::Half] {
            let count = fates.iter().filter(|fate| fate.cut == Some(cut)).count();
            assert!((150..250).contains(&count), "{cut:?}: {count}");
        }
    }

    #[test]
    fn a_delay_is_spread_from_its_least_to_its_most() {
        let least = Duration::from_secs(1);
        let none = fates(&Knobs::default());
        assert!(none.iter().all(|fate| fate.delay == least));
        let spread = fates(&Knobs { delay_spread_ms: 1000, ..Knobs::default() });
        let above = |millis: u64| {
            spread.iter().filter(|fate| fate.delay >= least + Duration::from_millis(millis)).count()
        };
        assert_eq!((above(0), above(1000)), (600, 0));
        assert!((240..360).contains(&above(500)));
        // A silly spread is no panic.
        fates(&Knobs { delay_ms: u64::MAX, delay_spread_ms: u64::MAX, ..Knobs::default() });
    }

    #[test]
    fn a_late_pingback_is_late_by_what_was_set() {
        let late = Knobs { late: Share::ALWAYS, late_ms: 70, ..Knobs::default() };
        assert!(fates(&late).iter().all(|fate| fate.late == Some(Duration::from_millis(70))));
        assert!(fates(&Knobs::default()).iter().all(|fate| fate.late.is_none()));
    }
}
