//! How long captchas of each type have taken lately.

use std::time::Duration;

use super::CaptchaType;

/// Captchas of a type that are remembered: enough for a percentile, few enough to follow the day.
pub const REMEMBERED: usize = 200;
/// How much the API document's figure counts for at first, in captchas.
const HEADSTART: usize = 20;

/// The solve times of the last captchas of each type.
#[derive(Clone, Debug)]
pub struct SolveTimes {
    rings: [Ring; CaptchaType::ALL.len()],
}

#[derive(Clone, Debug, Default)]
struct Ring {
    millis: Vec<u32>,
    /// Where the next one goes once the ring is full.
    next: usize,
}

impl Default for SolveTimes {
    /// Begins with the figures of the API document.
    fn default() -> Self {
        let ring =
            |kind: CaptchaType| Ring { millis: vec![millis(kind.usual_solve_time()); HEADSTART], next: 0 };
        Self { rings: CaptchaType::ALL.map(ring) }
    }
}

impl SolveTimes {
    /// One more captcha was solved.
    pub fn note(&mut self, kind: CaptchaType, took: Duration) {
        let ring = &mut self.rings[kind as usize];
        if ring.millis.len() < REMEMBERED {
            ring.millis.push(millis(took));
            return;
        }
        ring.millis[ring.next] = millis(took);
        ring.next = (ring.next + 1) % REMEMBERED;
    }

    /// The time within which nine of ten captchas of the type were solved.
    #[must_use]
    pub fn p90(&self, kind: CaptchaType) -> Duration {
        let mut sorted = self.rings[kind as usize].millis.clone();
        let index = (sorted.len() * 9).div_ceil(10).saturating_sub(1);
        let (_, p90, _) = sorted.select_nth_unstable(index);
        Duration::from_millis((*p90).into())
    }
}

fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: CaptchaType = CaptchaType::Image;

    #[test]
    fn it_begins_with_the_documents_figure_and_follows_what_is_seen() {
        let mut times = SolveTimes::default();
        assert_eq!(times.p90(KIND), KIND.usual_solve_time());
        for _ in 0..REMEMBERED {
            times.note(KIND, Duration::from_secs(40));
        }
        assert_eq!(times.p90(KIND), Duration::from_secs(40));
        assert_eq!(times.p90(CaptchaType::Text), CaptchaType::Text.usual_solve_time());
    }

    #[test]
    fn it_is_the_90th_percentile_of_the_last_ones() {
        let mut times = SolveTimes::default();
        for second in 1..=1000 {
            times.note(KIND, Duration::from_secs(second));
        }
        // The last 200 are 801 to 1000.
        assert_eq!(times.p90(KIND), Duration::from_secs(980));
    }
}
