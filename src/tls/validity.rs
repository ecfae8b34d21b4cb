//! From when until when a certificate counts. rustls tells that only of certificates that it verifies.

use jiff::civil::date;
use jiff::tz::TimeZone;

use crate::model::Timestamp;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// Clients take a certificate from its beginning to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) begins: Timestamp,
    pub(super) ends: Timestamp,
}

/// When the certificate counts; `None` when it is not formed as RFC 5280 has it.
pub(super) fn validity(certificate: &[u8]) -> Option<Validity> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (mut rest, _) = element(certificate, SEQUENCE)?;
    if let Some((_, after)) = element(rest, VERSION) {
        rest = after;
    }
    let (_, rest) = element(rest, INTEGER)?;
    let (_, rest) = element(rest, SEQUENCE)?; // algorithm
    let (_, rest) = element(rest, SEQUENCE)?; // issuer
    let (validity, _) = element(rest, SEQUENCE)?;
    let (begins, rest) = time(validity)?;
    time(rest).map(|(ends, _)| Validity { begins, ends })
}

/// The content of the element with this tag that `der` begins with, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// `YYMMDDHHMMSSZ`, which counts from 1950, or `YYYYMMDDHHMMSSZ`.
fn time(der: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (text, rest, digits) = match element(der, UTC_TIME) {
        Some((text, rest)) => (text, rest, 2),
        None => element(der, GENERALIZED_TIME).map(|(text, rest)| (text, rest, 4))?,
    };
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if text.len() != digits + 10 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, others) = text.split_at(digits);
    let year: i16 = match (digits, year.parse().ok()?) {
        (2, year @ 50..) => year + 1900,
        (2, year) => year + 2000,
        (_, year) => year,
    };
    let two = |at: usize| others[2 * at..2 * at + 2].parse::<i8>().ok();
    let day = jiff::civil::Date::new(year, two(0)?, two(1)?).ok()?;
    let time = jiff::civil::Time::new(two(2)?, two(3)?, two(4)?, 0).ok()?;
    let micros = day.to_datetime(time).to_zoned(TimeZone::UTC).ok()?.timestamp().as_microsecond();
    Some((Timestamp::from_micros(micros), rest))
}

/// The midnight (UTC) before `now`, with its year, month and day.
pub(super) fn midnight(now: Timestamp) -> (Timestamp, (i32, u8, u8)) {
    const DAY: i64 = 24 * 60 * 60 * 1_000_000;
    let days = now.as_micros().div_euclid(DAY);
    let span = jiff::Span::new().try_days(days);
    let day = span.and_then(|span| date(1970, 1, 1).checked_add(span)).unwrap_or(jiff::civil::Date::MAX);
    let ymd = (day.year().into(), day.month().unsigned_abs(), day.day().unsigned_abs());
    (Timestamp::from_micros(days.saturating_mul(DAY)), ymd)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tag: u8, text: &str) -> Option<String> {
        let length = u8::try_from(text.len()).unwrap();
        let der = [&[tag, length], text.as_bytes()].concat();
        time(&der).map(|(time, _)| time.to_string())
    }

    #[test]
    fn both_ways_to_write_a_time_are_read() {
        assert_eq!(read(UTC_TIME, "491231235959Z").unwrap(), "2049-12-31T23:59:59.000Z");
        assert_eq!(read(UTC_TIME, "500101000000Z").unwrap(), "1950-01-01T00:00:00.000Z");
        assert_eq!(read(GENERALIZED_TIME, "20500101000000Z").unwrap(), "2050-01-01T00:00:00.000Z");
        for wrong in ["4912312359Z", "491331235959Z", "4912312359590", "4912é1235959Z", ""] {
            assert_eq!(read(UTC_TIME, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_no_certificate_counts_at_no_time() {
        for der in [&b""[..], b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x03\x30\x01\x02", &[0x30; 64]] {
            assert_eq!(validity(der), None, "{der:?}");
        }
    }

    #[test]
    fn midnight_is_the_one_before() {
        let (midnight, ymd) = midnight(Timestamp::from_micros(1_700_000_000_123_999));
        assert_eq!(midnight.to_string(), "2023-11-14T00:00:00.000Z");
        assert_eq!(ymd, (2023, 11, 14));
    }
}
