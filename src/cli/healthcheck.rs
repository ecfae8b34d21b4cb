//! `pingbox healthcheck`: whether a running server is ready.

use std::process::ExitCode;

use clap::Args;

use super::{SettingsArgs, print};
use crate::app;
use crate::client::Client;
use crate::config::{self, Config};

/// The arguments of `healthcheck`.
#[derive(Args, Debug)]
pub(super) struct HealthcheckArgs {
    /// The server's address, such as `http://127.0.0.1:8081`; by default that of the configuration
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl HealthcheckArgs {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        app::use_ring();
        let server = if let Some(server) = self.server {
            server
        } else {
            // Whether there is a key matters to the server, not to its address.
            let config = Config::load(&self.settings.into_sources()?, true)?;
            format!("http://{}", config::reachable(config.api.listen))
        };
        let (is_ready, state) = Client::new(&server, None)?.readiness().await?;
        print(&format!("{state}\n"))?;
        Ok(if is_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
