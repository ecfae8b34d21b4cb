//! How far the machine's clock is from the provider's, as the `Date` of its replies tells.

use std::sync::{Mutex, PoisonError};

use reqwest::header::{AGE, DATE, HeaderMap};

use crate::model::Timestamp;

/// What a date that has whole seconds, and takes its time to come, does not show: both clocks may be right.
const UNCERTAIN_SECS: i64 = 2;
const SECOND: i64 = 1_000_000;

/// How far the clock is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClockOffset {
    /// Above zero when ours is ahead; zero below 2 s.
    pub(crate) seconds: i64,
    /// When it was measured, by the system's clock.
    pub(crate) at: Timestamp,
}

/// The last of them.
#[derive(Debug, Default)]
pub(super) struct ClockWatch(Mutex<Option<ClockOffset>>);

impl ClockWatch {
    /// Takes in a reply with these headers that came between two times of the system's clock. One that has none, or
    /// comes out of a cache, says nothing.
    pub(super) fn note(&self, headers: &HeaderMap, sent: Timestamp, came: Timestamp) {
        let date = headers.get(DATE).and_then(|date| Timestamp::from_http_date(date.to_str().ok()?));
        if let Some(date) = date.filter(|_| !headers.contains_key(AGE)) {
            let seconds = offset(date, sent, came);
            let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *last = Some(ClockOffset { seconds, at: came });
        }
    }

    /// What the last reply told; `None` when none did.
    pub(super) fn last(&self) -> Option<ClockOffset> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Seconds by which our clock is certainly ahead of one that showed `date` at some moment between two of ours.
fn offset(date: Timestamp, sent: Timestamp, came: Timestamp) -> i64 {
    // It showed this for a second, and was written down in that.
    let (least, most) = (sent.as_micros() - date.as_micros() - SECOND, came.as_micros() - date.as_micros());
    let nearest = if least > 0 { least } else { most.min(0) };
    let seconds = nearest / SECOND;
    if seconds.abs() < UNCERTAIN_SECS { 0 } else { seconds }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The offset told by a reply whose date is this many milliseconds from when it was asked for, and that took so
    /// long.
    fn told(date_ms: i64, took_ms: i64) -> i64 {
        let at = |ms: i64| Timestamp::from_micros(1_700_000_000_000_000 + ms * 1000);
        offset(at(date_ms), at(0), at(took_ms))
    }

    #[test]
    fn a_clock_is_off_by_no_more_than_is_certain() {
        for (date_ms, took_ms, seconds) in [
            (0, 50, 0),
            (-999, 50, 0),
            (-3_900, 50, 2),
            (-2_900, 50, 0),
            (-61_000, 50, 60),
            (2_100, 50, -2),
            (1_900, 50, 0),
            (86_400_000, 100, -86_399),
            // The provider took its time, and wrote the date at the end of it.
            (25_000, 25_500, 0),
            (1_000, 25_500, 0),
        ] {
            assert_eq!(told(date_ms, took_ms), seconds, "{date_ms} {took_ms}");
        }
    }

    #[test]
    fn a_reply_without_a_date_of_its_own_tells_nothing() {
        let now = Timestamp::from_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let headers = |list: &[(&'static str, &str)]| -> HeaderMap {
            list.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
        };
        let watch = ClockWatch::default();
        watch.note(&headers(&[]), now, now);
        watch.note(&headers(&[("date", "yesterday")]), now, now);
        watch.note(&headers(&[("date", "Sun, 06 Nov 1994 07:49:37 GMT"), ("age", "3600")]), now, now);
        assert_eq!(watch.last(), None);
        watch.note(&headers(&[("date", "Sun, 06 Nov 1994 07:49:37 GMT")]), now, now);
        assert_eq!(watch.last(), Some(ClockOffset { seconds: 3599, at: now }));
    }
}
