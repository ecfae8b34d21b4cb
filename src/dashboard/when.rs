//! Times, as people read them.

use std::fmt;

use crate::model::Timestamp;

/// A time as HTML: short on the page, whole for machines and on demand. Made of digits and signs alone, so it is
/// written with `|safe`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct When {
    at: Timestamp,
    now: Timestamp,
}

impl When {
    pub(super) fn new(at: Timestamp, now: Timestamp) -> Self {
        Self { at, now }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, today) = (self.at.to_string(), self.now.to_string());
        let (day, time) = whole.split_once('T').unwrap_or((&whole, ""));
        let clock = time.split('.').next().unwrap_or_default();
        write!(f, r#"<time datetime="{whole}" title="{day} {clock} UTC">"#)?;
        if !today.starts_with(day) {
            write!(f, "{day} ")?;
        }
        f.write_str(clock)?;
        f.write_str("</time>")
    }
}

/// A span as people say it.
pub(super) fn span(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
        60_000..3_600_000 => format!("{} min {} s", millis / 60_000, millis % 60_000 / 1_000),
        _ => format!("{} h {} min", millis / 3_600_000, millis % 3_600_000 / 60_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_today_needs_no_day() {
        let at: Timestamp = "2026-11-24T16:00:01.234Z".parse().unwrap();
        let when = |now: &str| When::new(at, now.parse().unwrap()).to_string();
        let head = r#"<time datetime="2026-11-24T16:00:01.234Z" title="2026-11-24 16:00:01 UTC">"#;
        assert_eq!(when("2026-11-24T17:00:00Z"), format!("{head}16:00:01</time>"));
        assert_eq!(when("2026-11-25T17:00:00Z"), format!("{head}2026-11-24 16:00:01</time>"));
    }

    #[test]
    fn a_span_has_two_parts_at_most() {
        for (millis, text) in [(7, "7 ms"), (3_120, "3.1 s"), (61_000, "1 min 1 s"), (7_260_000, "2 h 1 min")]
        {
            assert_eq!(span(millis), text);
        }
    }
}
