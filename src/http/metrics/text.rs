//! The figures as text: `OpenMetrics`, or the older form of Prometheus for who asks for that.

use std::fmt::{Display, Write as _};

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

use super::table::{Kind, Metric};
use crate::counters::Spans;

/// How the text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Format {
    OpenMetrics,
    /// Prometheus text 0.0.4.
    Plain,
}

impl Format {
    /// The one that is asked for; `OpenMetrics` unless only text is.
    pub(super) fn asked_for(headers: &HeaderMap) -> Self {
        let accepted: Vec<_> =
            headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
        let names = |kind| accepted.iter().any(|accepted| accepted.contains(kind));
        if names("text/plain") && !names("application/openmetrics-text") {
            Self::Plain
        } else {
            Self::OpenMetrics
        }
    }

    /// Its media type.
    pub(in crate::http) const fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The text as far as it is written.
#[derive(Debug)]
pub(super) struct Page {
    text: String,
    format: Format,
}

impl Page {
    pub(super) fn new(format: Format) -> Self {
        Self { text: String::new(), format }
    }

    /// Begins a figure.
    pub(super) fn begin(&mut self, metric: &'static Metric) -> Family<'_> {
        let Metric { name, kind, help, .. } = metric;
        // In the older form what is described has the name of its samples, and there is no `info`.
        let (ending, kind) = match (self.format, kind) {
            (Format::Plain, Kind::Counter) => ("_total", "counter"),
            (Format::Plain, Kind::Info) => ("_info", "gauge"),
            (_, kind) => ("", kind.as_str()),
        };
        self.line(format_args!("# HELP pingbox_{name}{ending} {help}."));
        self.line(format_args!("# TYPE pingbox_{name}{ending} {kind}"));
        if self.format == Format::OpenMetrics && name.ends_with("_seconds") {
            self.line(format_args!("# UNIT pingbox_{name} seconds"));
        }
        Family { page: self, metric }
    }

    /// A figure of a single value.
    pub(super) fn one(&mut self, metric: &'static Metric, value: impl Display) {
        self.begin(metric).is(&[], value);
    }

    /// The whole text.
    pub(super) fn end(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.line(format_args!("# EOF"));
        }
        self.text
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("writing to a String never fails");
    }
}

/// A figure whose samples are being written.
#[derive(Debug)]
pub(super) struct Family<'a> {
    page: &'a mut Page,
    metric: &'static Metric,
}

impl Family<'_> {
    /// A sample: its labels' values in the order of their names.
    pub(super) fn is(&mut self, labels: &[&str], value: impl Display) {
        let ending = self.metric.kind.endings()[0];
        self.sample(ending, labels, None, value);
    }

    /// The samples of a histogram.
    pub(super) fn spans(&mut self, labels: &[&str], spans: &Spans) {
        for (bound, count) in &spans.up_to {
            self.sample("_bucket", labels, Some(&format!("{bound:?}")), count);
        }
        self.sample("_bucket", labels, Some("+Inf"), spans.count);
        self.sample("_sum", labels, None, spans.sum);
        self.sample("_count", labels, None, spans.count);
    }

    fn sample(&mut self, ending: &str, labels: &[&str], bound: Option<&str>, value: impl Display) {
        let Metric { name, labels: names, .. } = self.metric;
        debug_assert_eq!(names.len(), labels.len(), "{name}");
        let pairs = names.iter().zip(labels).chain(bound.as_ref().map(|bound| (&"le", bound)));
        let pairs: Vec<_> = pairs.map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) };
        self.page.line(format_args!("pingbox_{name}{ending}{labels} {value}"));
    }
}

/// A label's value may hold anything but these.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::http::metrics::table;

    fn page(format: Format) -> String {
        let mut page = Page::new(format);
        page.begin(&table::BUILD).is(&["1.0"], 1);
        page.begin(&table::PINGBACKS).is(&["a\"b\\c\nd"], 7);
        let spans = Spans { up_to: vec![(0.5, 1), (1.0, 2)], count: 3, sum: 61.5 };
        page.begin(&table::SOLVE).spans(&["text"], &spans);
        page.end().lines().filter(|line| !line.starts_with("# HELP")).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn both_forms_have_their_own_names_and_kinds() {
        insta::assert_snapshot!(page(Format::OpenMetrics), @r#"
        # TYPE pingbox_build info
        pingbox_build_info{version="1.0"} 1
        # TYPE pingbox_pingbacks counter
        pingbox_pingbacks_total{outcome="a\"b\\c\nd"} 7
        # TYPE pingbox_solve_seconds histogram
        # UNIT pingbox_solve_seconds seconds
        pingbox_solve_seconds_bucket{type="text",le="0.5"} 1
        pingbox_solve_seconds_bucket{type="text",le="1.0"} 2
        pingbox_solve_seconds_bucket{type="text",le="+Inf"} 3
        pingbox_solve_seconds_sum{type="text"} 61.5
        pingbox_solve_seconds_count{type="text"} 3
        # EOF
        "#);
        insta::assert_snapshot!(page(Format::Plain), @r#"
        # TYPE pingbox_build_info gauge
        pingbox_build_info{version="1.0"} 1
        # TYPE pingbox_pingbacks_total counter
        pingbox_pingbacks_total{outcome="a\"b\\c\nd"} 7
        # TYPE pingbox_solve_seconds histogram
        pingbox_solve_seconds_bucket{type="text",le="0.5"} 1
        pingbox_solve_seconds_bucket{type="text",le="1.0"} 2
        pingbox_solve_seconds_bucket{type="text",le="+Inf"} 3
        pingbox_solve_seconds_sum{type="text"} 61.5
        pingbox_solve_seconds_count{type="text"} 3
        "#);
    }

    #[test]
    fn the_older_form_is_for_who_asks_for_nothing_newer() {
        for (accept, wanted) in [
            (None, Format::OpenMetrics),
            (Some("*/*"), Format::OpenMetrics),
            (Some("text/plain; version=0.0.4"), Format::Plain),
            (Some("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.4"), Format::OpenMetrics),
        ] {
            let headers = accept.map(|accept| (ACCEPT, HeaderValue::from_static(accept)));
            assert_eq!(Format::asked_for(&headers.into_iter().collect()), wanted, "{accept:?}");
        }
    }
}
