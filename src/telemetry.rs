//! Logs: text for people on a terminal, JSON for machines elsewhere, on standard error.

use std::io::{self, IsTerminal as _};
use std::str::FromStr as _;

use anyhow::Context as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Log, LogFormat};

/// Sends every log message of the process where the configuration says.
///
/// # Errors
/// When the filter is malformed, or logging was set up before.
pub fn start(log: &Log) -> anyhow::Result<()> {
    let filter = Targets::from_str(&log.filter).context("log.filter is malformed")?;
    let as_text = match log.format {
        LogFormat::Auto => io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    if as_text {
        registry.with(layer.with_ansi(io::stderr().is_terminal()).with_target(false)).try_init()?;
    } else {
        registry.with(layer.json().flatten_event(true).with_span_list(false)).try_init()?;
    }
    Ok(())
}
