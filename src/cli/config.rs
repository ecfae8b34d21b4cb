//! `pingbox config`: the configuration, without a server.

use clap::Subcommand;
use serde_json::{Value, json};

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
        /// Print one JSON object: whether it is valid, its problems, and warnings
        #[arg(long)]
        json: bool,
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
            Self::Check { json, sandbox, settings } => {
                let checked = check(settings, sandbox);
                if json {
                    print(&format!("{}\n", as_json(checked.as_ref())))?;
                    return checked.map(drop);
                }
                for warning in checked? {
                    print(&format!("warning: {warning}\n"))?;
                }
                print("ok: the configuration is valid\n")
            }
        }
    }
}

/// The warnings of a configuration that is valid.
fn check(settings: SettingsArgs, sandbox: bool) -> anyhow::Result<Vec<String>> {
    let config = Config::load(&settings.into_sources()?, sandbox)?;
    let of_files = app::check_files(&config, Timestamp::by_system())?;
    Ok(config.warnings().into_iter().chain(of_files).collect())
}

/// What [`check`] came to. The lines of an error are what is wrong, behind one that says that something is.
fn as_json(checked: Result<&Vec<String>, &anyhow::Error>) -> Value {
    let problems = checked.err().map(ToString::to_string).unwrap_or_default();
    let problems: Vec<_> = problems.lines().skip(1).map(str::trim).collect();
    let warnings = checked.map(Vec::as_slice).unwrap_or_default();
    json!({"valid": checked.is_ok(), "problems": problems, "warnings": warnings})
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

    #[test]
    fn a_program_is_told_each_problem_by_itself() {
        let told = |line: &[&str]| {
            let line = [&["config", "check", "--json", "--sandbox"], line].concat();
            let ConfigCommand::Check { settings, .. } = Line::parse_from(line).command else {
                panic!("not check")
            };
            as_json(check(settings, true).as_ref())
        };
        assert_eq!(told(&[]), json!({"valid": true, "problems": [], "warnings": []}));
        let wrong = told(&["--api-auth", "x", "--api-listen", "y"]);
        assert_eq!(wrong["valid"], false);
        let problems = wrong["problems"].as_array().unwrap();
        let is_told = |of: &str| problems.iter().any(|problem| problem.as_str().unwrap().starts_with(of));
        assert!(problems.len() == 2 && is_told("api.auth ") && is_told("api.listen "), "{wrong}");
    }
}
