//! `pingbox healthcheck`: whether a running server is ready.

use std::iter;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;

use super::remote::CA_HELP;
use super::{SettingsArgs, print};
use crate::app;
use crate::client::{Client, Trust};
use crate::config::{self, Config};

/// The arguments of `healthcheck`.
#[derive(Args, Debug)]
pub(super) struct HealthcheckArgs {
    /// The server's address, such as `http://127.0.0.1:8081`; by default that of the configuration
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    #[arg(long, value_name = "FILE", requires = "server", help = CA_HELP)]
    ca_file: Option<PathBuf>,
    /// Print the server's JSON as it came
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl HealthcheckArgs {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        app::use_ring();
        let (server, trust) = if let Some(server) = self.server {
            (server, Trust::from(config::trusted_ca(self.ca_file)?))
        } else {
            // Whether there is a key matters to the server, not to its address.
            let config = Config::load(&self.settings.into_sources()?, true)?;
            // The certificate is for the names that others call it by. It is told nothing secret here.
            (config.api.url(), Trust::Anyone)
        };
        let (is_ready, state) = Client::new(&server, None, &trust)?.readiness().await?;
        print(&if self.json { format!("{}\n", state.trim_end()) } else { in_words(&state) })?;
        Ok(if is_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// What a server says of itself, for people; that of an older one as it came.
fn in_words(state: &str) -> String {
    serde_json::from_str::<Readiness>(state).map_or_else(
        |_| format!("{}\n", state.trim_end()),
        |Readiness { ready, summary, attention }| {
            // Why it is not ready is in the summary.
            let remarks = attention.iter().skip(usize::from(!ready));
            iter::once(&summary).chain(remarks).flat_map(|line| [line, "\n"]).collect()
        },
    )
}

/// `/readyz`
#[derive(Deserialize)]
struct Readiness {
    ready: bool,
    summary: String,
    attention: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_told_in_words_and_once() {
        let ready = r#"{"ready":true,"summary":"ready, but","attention":["one","two"],"database":"ok"}"#;
        assert_eq!(in_words(ready), "ready, but\none\ntwo\n");
        let not_ready = r#"{"ready":false,"summary":"not ready: one","attention":["one","two"]}"#;
        assert_eq!(in_words(not_ready), "not ready: one\ntwo\n");
        assert_eq!(in_words("{\"ready\":true}\n"), "{\"ready\":true}\n");
    }
}
