//! The time as the service tells it: it goes on evenly while the system's clock is set.
//!
//! Whatever waits is stored with the time at which its wait ends. Were that compared with a clock that is set forward
//! by an hour, every open task would end at once, and answers would be erased before their time; with one that is set
//! back, nothing would end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// By one part in so many the service's time goes faster or slower than it should, until it is the system's again. The
/// provider's pauses are shorter by that too: 50 ms of 5 s.
const HURRY: i64 = 100;
/// So far apart they are worth a word: more than clocks are off by themselves.
const WORTH_A_WORD: Duration = Duration::from_secs(5);

/// The service's time, which began as the system's and is never set.
#[derive(Clone, Copy, Debug)]
struct Clock {
    /// Nanoseconds since 1970 at the last reading.
    time: i64,
    /// Of the machine, at the last reading.
    uptime: Duration,
    /// How far the system's clock was ahead then, in nanoseconds; negative if it was behind.
    ahead: i64,
}

impl Clock {
    /// With `at_once` it shows what the system's shows.
    fn read(&mut self, system: i64, uptime: Duration, at_once: bool) {
        let elapsed = nanos(uptime.saturating_sub(self.uptime));
        let even = self.time.saturating_add(elapsed);
        let most = if at_once { i64::MAX } else { elapsed / HURRY };
        self.time = even.saturating_add(system.saturating_sub(even).clamp(-most, most));
        self.uptime = self.uptime.max(uptime);
        self.ahead = system.saturating_sub(self.time);
    }
}

static FOLLOWS: AtomicBool = AtomicBool::new(false);

/// From here on the service's clock is the system's, whenever that is set. Where several processes share their times
/// they all have to go by what keeps their systems together.
pub(crate) fn follow_the_system() {
    FOLLOWS.store(true, Ordering::Relaxed);
}

/// Nanoseconds since 1970, by the service's clock.
pub(super) fn now() -> i64 {
    read().time
}

/// Nanoseconds since 1970, by the system's clock as it is set.
pub(super) fn system() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// How the system's clock was set while the service ran, as far as the service has not caught up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockStep {
    /// The system's clock is ahead by so much.
    Forward(Duration),
    /// It is behind by so much.
    Back(Duration),
}

impl ClockStep {
    /// `None` while both clocks show the same, but for a few seconds.
    #[must_use]
    pub fn seen() -> Option<Self> {
        Self::of(read().ahead)
    }

    fn of(ahead: i64) -> Option<Self> {
        let by = Duration::from_nanos(ahead.unsigned_abs());
        let step = if ahead > 0 { Self::Forward(by) } else { Self::Back(by) };
        (by >= WORTH_A_WORD).then_some(step)
    }
}

fn read() -> Clock {
    static CLOCK: Mutex<Option<Clock>> = Mutex::new(None);
    let mut clock = CLOCK.lock().unwrap_or_else(PoisonError::into_inner);
    let (system, uptime) = (system(), uptime());
    let clock = clock.get_or_insert(Clock { time: system, uptime, ahead: 0 });
    clock.read(system, uptime, FOLLOWS.load(Ordering::Relaxed));
    *clock
}

/// How long the machine has been up, the time in which it slept included.
#[cfg(target_os = "linux")]
fn uptime() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

/// How long the process has been awake.
#[cfg(not(target_os = "linux"))]
fn uptime() -> Duration {
    use std::sync::LazyLock;
    use std::time::Instant;
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGUN.elapsed()
}

fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const HOUR: i64 = 3600 * SECOND;
    const START: i64 = 1_700_000_000 * SECOND;

    fn clock() -> Clock {
        Clock { time: START, uptime: Duration::ZERO, ahead: 0 }
    }

    #[test]
    fn it_shows_the_time_of_a_system_whose_clock_is_not_set() {
        let mut clock = clock();
        for second in 1..100 {
            clock.read(START + second * SECOND, Duration::from_secs(second.unsigned_abs()), false);
            assert_eq!((clock.time, clock.ahead), (START + second * SECOND, 0));
        }
    }

    #[test]
    fn a_step_is_caught_up_with_by_a_hundredth_of_the_time_that_passes() {
        for step in [HOUR, -HOUR] {
            let mut clock = clock();
            clock.read(START + 100 * SECOND + step, Duration::from_secs(100), false);
            assert_eq!(clock.time, START + 100 * SECOND + step.signum() * SECOND);
            clock.read(START + 100 * HOUR + step, Duration::from_hours(100), false);
            assert_eq!((clock.time, clock.ahead), (START + 100 * HOUR + step, 0));
        }
    }

    #[test]
    fn a_step_that_is_taken_back_leaves_little_behind() {
        let mut clock = clock();
        clock.read(START + 60 * SECOND + 24 * HOUR, Duration::from_secs(60), false);
        clock.read(START + 120 * SECOND, Duration::from_secs(120), false);
        assert_eq!(clock.time, START + 120 * SECOND);
    }

    #[test]
    fn what_follows_the_system_is_never_off() {
        let mut clock = clock();
        for step in [HOUR, -HOUR] {
            clock.read(START + step, Duration::from_secs(1), true);
            assert_eq!((clock.time, clock.ahead), (START + step, 0));
        }
    }

    #[test]
    fn a_step_of_some_size_is_told_of() {
        assert_eq!(ClockStep::of(HOUR), Some(ClockStep::Forward(Duration::from_hours(1))));
        assert_eq!(ClockStep::of(-HOUR), Some(ClockStep::Back(Duration::from_hours(1))));
        assert_eq!(ClockStep::of(SECOND), None);
    }

    proptest! {
        #[test]
        fn it_never_goes_back_and_never_by_more_than_a_hundredth_too_fast_or_too_slow(
            readings in proptest::collection::vec((0_i64..100 * SECOND, -48 * HOUR..48 * HOUR), 1..100)
        ) {
            let (mut clock, mut uptime) = (clock(), 0);
            for (elapsed, step) in readings {
                uptime += elapsed;
                let before = clock.time;
                clock.read(START + uptime + step, Duration::from_nanos(uptime.unsigned_abs()), false);
                let (went, hundredth) = (clock.time - before, elapsed / HURRY);
                prop_assert!((elapsed - hundredth..=elapsed + hundredth).contains(&went), "{went} in {elapsed}");
            }
        }
    }
}
