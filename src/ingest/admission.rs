//! Who may still join the writer's queue. It takes a burst whole; a queue that only grows is cut to what is written
//! soon, because a sender that is told to come again is better off than one that waits for nothing.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::MAX_BATCH;

/// Writes that may wait. Beyond it a write is refused at once, so that senders hear 503 instead of
/// nothing.
pub(super) const QUEUE: usize = 4096;
/// How long the queue may last without being empty once before it counts as standing.
const BURST: Duration = Duration::from_millis(500);
/// For how long nothing may be refused before a burst is taken whole again. Longer than senders take to come again.
const CALM: Duration = Duration::from_secs(5);
/// How long what joins a standing queue may expect to wait there.
const WAIT: Duration = Duration::from_millis(50);
/// The writer never has to wait for the next batch because of it.
const LEAST: usize = 2 * MAX_BATCH;

/// How many may wait, as everybody who writes sees it.
#[derive(Debug)]
pub(super) struct Admission {
    /// [`QUEUE`], or less while a queue stands.
    most: AtomicUsize,
    /// Refused since all that came was written.
    refused: AtomicU64,
}

impl Default for Admission {
    fn default() -> Self {
        Self { most: AtomicUsize::new(QUEUE), refused: AtomicU64::new(0) }
    }
}

impl Admission {
    /// How many may wait before what comes from outside is refused. What pingbox itself has to record may come until
    /// the queue is full: an answer that was paid for is behind it.
    pub(super) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// One was refused. That is said once, not by each.
    pub(super) fn note_refused(&self) {
        if self.refused.fetch_add(1, Ordering::Relaxed) == 0 {
            warn!(
                "More comes in than can be written: what is too much is refused with 503 until that is over"
            );
        }
    }

    pub(super) fn limit_to(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    fn open(&self) {
        if self.most() != QUEUE {
            self.limit_to(QUEUE);
        }
        if self.refused.load(Ordering::Relaxed) > 0 {
            let refused = self.refused.swap(0, Ordering::Relaxed);
            info!(refused, "All that comes in is written again, after {refused} were refused");
        }
    }
}

/// How fast the writer writes while writes wait for it.
#[derive(Debug)]
pub(super) struct Pace {
    /// When it last took writes out of the queue; how many, if it left some.
    last: (Instant, Option<usize>),
    /// What it wrote lately while writes waited, and how long that took.
    written: u128,
    busy: Duration,
    /// When the queue was last empty.
    empty: Instant,
    /// How many had been refused when that last changed, and when that was.
    refused: (u64, Instant),
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { last: (now, None), written: 0, busy: Duration::ZERO, empty: now, refused: (0, now) }
    }

    /// There was nothing to take.
    pub(super) fn rest(&mut self, now: Instant) {
        self.empty = now;
        self.last.1 = None;
    }

    /// The writer took so many out of the queue, and left so many.
    pub(super) fn note(&mut self, taken: usize, left: usize, now: Instant, admission: &Admission) {
        self.measure(now);
        self.last = (now, (left > 0).then_some(taken));
        let refused = admission.refused.load(Ordering::Relaxed);
        let is_full = refused != self.refused.0;
        if is_full {
            self.refused = (refused, now);
        }
        if left == 0 {
            self.empty = now;
        }
        if is_full || now.duration_since(self.empty) >= BURST {
            admission.limit_to(self.soon());
        } else if left == 0 && now.duration_since(self.refused.1) >= CALM {
            self.refused = (0, now);
            admission.open();
        }
    }

    fn measure(&mut self, now: Instant) {
        let (since, Some(taken)) = self.last else { return };
        self.written += taken as u128;
        self.busy += now.duration_since(since);
        if self.busy > BURST {
            self.written /= 2;
            self.busy /= 2;
        }
    }

    /// How many are written soon.
    fn soon(&self) -> usize {
        let soon = self.written * WAIT.as_micros() / self.busy.as_micros().max(1);
        usize::try_from(soon).unwrap_or(QUEUE).clamp(LEAST, QUEUE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(10);

    /// A writer that takes so many each 10 ms for so long, and leaves one; when that ended.
    fn stand(
        pace: &mut Pace,
        admission: &Admission,
        taken: usize,
        begun: Instant,
        lasts: Duration,
    ) -> Instant {
        let mut now = begun;
        while now <= begun + lasts {
            pace.note(taken, 1, now, admission);
            now += STEP;
        }
        now
    }

    #[test]
    fn a_burst_is_taken_whole_and_a_standing_queue_is_as_long_as_is_written_soon() {
        let (short, long) = (Duration::from_millis(490), Duration::from_secs(2));
        let after = |lasts, taken| {
            let (begun, admission) = (Instant::now(), Admission::default());
            stand(&mut Pace::new(begun), &admission, taken, begun, lasts);
            admission.most()
        };
        assert_eq!(after(short, 256), QUEUE);
        assert_eq!(after(long, 256), 1280, "25,600 a second");
        assert_eq!(after(long, 10), LEAST, "never less than what keeps the writer busy");
        assert_eq!(after(long, 5000), QUEUE, "and never more than there is room for");
    }

    #[test]
    fn a_burst_after_a_rest_is_taken_whole() {
        let (begun, admission) = (Instant::now(), Admission::default());
        let mut pace = Pace::new(begun);
        pace.rest(begun + 100 * BURST);
        pace.note(256, 500, begun + 100 * BURST, &admission);
        assert_eq!(admission.most(), QUEUE);
    }

    #[test]
    fn a_burst_that_did_not_find_room_cuts_the_queue_at_once() {
        let (begun, admission) = (Instant::now(), Admission::default());
        let mut pace = Pace::new(begun);
        let now = stand(&mut pace, &admission, 200, begun, 10 * STEP);
        assert_eq!(admission.most(), QUEUE);
        admission.note_refused();
        pace.note(200, 1, now, &admission);
        assert_eq!(admission.most(), 1000);
    }

    #[test]
    fn a_burst_is_taken_whole_again_when_nothing_was_refused_for_a_while() {
        let (begun, admission) = (Instant::now(), Admission::default());
        let mut pace = Pace::new(begun);
        let mut now = stand(&mut pace, &admission, 1, begun, Duration::from_secs(1));
        for _ in 0..2 {
            admission.note_refused();
            pace.note(1, 0, now, &admission);
            now += CALM.saturating_sub(STEP);
            pace.note(1, 0, now, &admission);
            assert_eq!(admission.most(), LEAST, "a queue that is empty for a moment proves nothing");
        }
        for now in [now + CALM, now + CALM + STEP] {
            pace.note(1, 0, now, &admission);
            assert_eq!(admission.most(), QUEUE);
        }
        assert_eq!(admission.refused.load(Ordering::Relaxed), 0, "the next time it is said again");
    }
}
