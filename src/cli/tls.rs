//! `pingbox tls`: what clients need to trust a server with a certificate of its own.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{SettingsArgs, print};
use crate::app;
use crate::config::Config;
use crate::model::Timestamp;

/// What to do about TLS.
#[derive(Debug, Subcommand)]
pub(super) enum TlsCommand {
    /// Print the certificate of the CA in `data.dir` (PEM), which is made when there is none
    Ca(CaArgs),
}

/// The arguments of `tls ca`.
#[derive(Args, Debug)]
pub(super) struct CaArgs {
    /// Print one JSON object: certificate, SHA-256, end and file
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl TlsCommand {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let Self::Ca(CaArgs { json, settings }) = self;
        // Whether there is an API key matters to the server, not to its CA.
        let config = Config::load(&settings.into_sources()?, true)?;
        let now = Timestamp::by_system();
        let ca = app::ca_certificate(&config, now)?;
        if let Some(advice) = ca.advice(now) {
            warn(&advice);
        }
        if !json {
            return print(&ca.pem());
        }
        let told = json!({
            "certificate": ca.pem(),
            "sha256": ca.fingerprint(),
            "expires_at": ca.ends,
            "file": ca.path,
        });
        print(&format!("{told}\n"))
    }
}

#[expect(clippy::print_stderr, reason = "standard output is for the certificate")]
fn warn(advice: &str) {
    eprintln!("warning: {advice}");
}
