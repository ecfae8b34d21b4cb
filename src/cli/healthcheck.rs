//! `pingbox healthcheck`: whether a running server is ready.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

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
        print(&format!("{state}\n"))?;
        Ok(if is_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
