//! Points in time, as stored and as shown.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

use super::clock;

/// A point in time: microseconds since 1970, UTC. In JSON it is RFC 3339 with milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Reads the service's clock, which goes on evenly while the system's is set. Nothing else does: inner functions
    /// take `now` as an argument.
    #[must_use]
    pub fn now() -> Self {
        Self(clock::now() / 1000)
    }

    /// Reads the system's clock, for what others compare with theirs: certificates, signatures, dates in headers.
    #[must_use]
    pub fn by_system() -> Self {
        Self(clock::system() / 1000)
    }

    /// The time this many microseconds after 1970.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970, as the database holds it.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The time that an HTTP header names, as in `Sun, 06 Nov 1994 08:49:37 GMT`; `None` for another form.
    #[must_use]
    pub fn from_http_date(text: &str) -> Option<Self> {
        let time = jiff::fmt::rfc2822::parse(text).ok()?;
        Some(Self(time.timestamp().as_microsecond()))
    }

    /// How long after `earlier` this is; zero if the clock stepped back between the two.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        let micros = self.0.saturating_sub(earlier.0);
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    /// This time plus `span`, stopping at the end of what fits.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// This time minus `span`, stopping at the start of what fits.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl FromStr for Timestamp {
    type Err = jiff::Error;

    /// Reads RFC 3339, with any offset.
    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        Ok(Self(text.parse::<jiff::Timestamp>()?.as_microsecond()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{time:.3}")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_shows_as_rfc_3339_with_milliseconds() {
        assert_eq!(Timestamp::from_micros(1_700_000_000_123_999).to_string(), "2023-11-14T22:13:20.123Z");
        assert_eq!(Timestamp::from_micros(0).to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn rfc_3339_is_read_as_it_is_shown_and_with_an_offset() {
        let time = Timestamp::from_micros(1_700_000_000_123_000);
        for text in ["2023-11-14T22:13:20.123Z", "2023-11-15T00:13:20.123+02:00"] {
            assert_eq!(text.parse::<Timestamp>().ok(), Some(time), "{text}");
        }
        for text in
            ["", "yesterday", "2023-11-14", "2023-11-14T22:13:20", "1700000000", "2023-13-14T22:13:20Z"]
        {
            assert_eq!(text.parse::<Timestamp>().ok(), None, "{text}");
        }
    }

    #[test]
    fn the_date_of_an_http_header_is_read() {
        let time = Timestamp::from_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(time.to_string(), "1994-11-06T08:49:37.000Z");
        assert_eq!(Timestamp::from_http_date("tomorrow"), None);
    }

    #[test]
    fn a_clock_that_stepped_back_gives_no_negative_span() {
        let (early, late) = (Timestamp::from_micros(1_000_000), Timestamp::from_micros(3_500_000));
        assert_eq!(late.since(early), Duration::from_millis(2_500));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(early.after(Duration::from_secs(1)).before(Duration::from_secs(1)), early);
    }
}
