//! `pingbox config`: the configuration, without a server.

use clap::Subcommand;

use super::print;
use super::settings::SettingsArgs;
use crate::app;
use crate::config::{Config, EXAMPLE};
use crate::model::Timestamp;

/// What to do with the configuration.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print an annotated configuration file, with every setting and its default, to begin with
    Init,
    /// Show every effective setting and where it came from, secrets as ***
    Print {
        /// Print one JSON object instead of a table
        #[arg(long)]
        json: bool,
        /// As `serve --sandbox` would see it
        #[arg(long)]
        sandbox: bool,
        /// The settings.
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Find everything that is wrong with the configuration
    Check {
        /// As `serve --sandbox` would see it
        #[arg(long)]
        sandbox: bool,
        /// The settings.
        #[command(flatten)]
        settings: SettingsArgs,
    },
}

impl ConfigCommand {
    /// Does it, and prints the outcome.
    ///
    /// # Errors
    /// When the configuration is wrong, with all that is wrong with it; `print` prints what there
    /// is nevertheless. Also when nobody takes what is printed.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Init => print(EXAMPLE),
            Self::Print { json, sandbox, settings } => {
                let sources = settings.into_sources()?;
                if json {
                    print(&format!("{:#}\n", sources.print_json(sandbox)))?;
                } else {
                    print(&sources.print(sandbox))?;
                }
                Config::load(&sources, sandbox)?;
                Ok(())
            }
            Self::Check { sandbox, settings } => {
                let config = Config::load(&settings.into_sources()?, sandbox)?;
                let of_files = app::check_files(&config, Timestamp::by_system())?;
                for warning in config.warnings().into_iter().chain(of_files) {
                    print(&format!("warning: {warning}\n"))?;
                }
                print("ok: the configuration is valid\n")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: ConfigCommand,
    }

    #[test]
    fn settings_follow_the_subcommand() {
        let line = ["config", "print", "--json", "--public-url", "https://a.example"];
        let ConfigCommand::Print { json, settings, .. } = Line::parse_from(line).command else {
            panic!("not print");
        };
        assert!(json);
        let (_, flags) = settings.into_parts();
        assert_eq!(flags, [("public.url".to_owned(), "https://a.example".to_owned())]);
    }

    #[test]
    fn a_check_fails_with_all_the_problems() {
        let line = ["config", "check", "--sandbox", "--api-auth", "x", "--api-listen", "y"];
        let error = Line::parse_from(line).command.run().unwrap_err().to_string();
        assert!(error.contains("--api-auth") && error.contains("--api-listen"), "{error}");
    }
}
