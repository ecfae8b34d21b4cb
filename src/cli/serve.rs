//! `pingbox serve`: the service.

use std::process::ExitCode;

use clap::Args;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{SandboxArgs, SettingsArgs};
use crate::app::App;
use crate::config::Config;
use crate::shutdown::Signals;
use crate::telemetry;

const HELP: &str = "Settings are flags (--help lists them), variables of the environment, or lines of a file: `pingbox config \
                    init` prints one with every setting explained. Secrets have no flag: give the key of your account \
                    as PINGBOX_PROVIDER__API_KEY, or in the file that PINGBOX_PROVIDER__API_KEY_FILE names.\n\n\
                    When it does not start, or does not do its work, `pingbox doctor` says why.";

/// The arguments of `serve`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(super) struct ServeArgs {
    /// Use a built-in emulation of the provider: no key, no account, no internet
    #[arg(long)]
    sandbox: bool,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten, next_help_heading = "Sandbox")]
    knobs: SandboxArgs,
}

impl ServeArgs {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let config = Config::load(&self.settings.into_sources()?, self.sandbox)?;
        telemetry::start(&config.log)?;
        let sandbox = if self.sandbox { Some(self.knobs.settings()?) } else { None };
        let mut signals = Signals::listen()?;
        let app = tokio::select! {
            started = App::start(config, sandbox) => started?,
            () = signals.end() => {
                info!("Ended before it was ready");
                return Ok(ExitCode::SUCCESS);
            }
        };
        let at_once = CancellationToken::new();
        tokio::spawn(signals.watch(app.shutdown_token(), at_once.clone(), app.hang_up()));
        tokio::select! {
            ended = app.run() => ended.map(|()| ExitCode::SUCCESS),
            () = at_once.cancelled() => Ok(ExitCode::FAILURE),
        }
    }
}
