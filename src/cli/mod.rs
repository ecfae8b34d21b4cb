//! The command line: its words, and one file per command.

mod backup;
mod balance;
mod completions;
mod config;
mod copy;
mod doctor;
mod get;
mod healthcheck;
mod pingback;
mod remote;
mod report;
mod sandbox;
mod serve;
mod settings;
mod solve;
mod tls;
mod token;

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args as _, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub use config::ConfigCommand;
pub use sandbox::SandboxArgs;
pub use settings::SettingsArgs;

use self::backup::BackupArgs;
use self::balance::BalanceArgs;
use self::completions::CompletionsArgs;
use self::copy::CopyArgs;
use self::doctor::DoctorArgs;
use self::get::GetArgs;
use self::healthcheck::HealthcheckArgs;
use self::pingback::PingbackArgs;
use self::report::ReportArgs;
use self::sandbox::SandboxCommand;
use self::serve::ServeArgs;
use self::solve::SolveArgs;
use self::tls::TlsCommand;
use self::token::TokenArgs;
use crate::app;

/// The exit code for what was asked for, but not ready in time.
const NOT_READY: u8 = 3;

const FIRST_STEPS: &str = "\
First steps:
  pingbox serve --sandbox    Try it; the dashboard is at http://127.0.0.1:8081
  pingbox solve captcha.png  Have an image solved, in another terminal
  pingbox doctor             Find out what is missing, and what to do about it";

/// A self-hosted pingback receiver for the SolveCaptcha API: every answer is on disk before the
/// provider hears 200, and every caller that waits for it is woken at once.
#[derive(Debug, Parser)]
#[command(name = "pingbox", version, max_term_width = 100, after_help = FIRST_STEPS)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service
    Serve(Box<ServeArgs>),
    /// Run the emulated provider alone, to test clients without spending money
    Sandbox(SandboxCommand),
    /// Solve the captchas in image files, and print or write their answers as they come
    Solve(Box<SolveArgs>),
    /// Print the answer to a task
    Get(GetArgs),
    /// Tell the provider whether an answer was right
    Report(ReportArgs),
    /// Show what is on the account, and what was spent today
    Balance(BalanceArgs),
    /// List, add, delete or change the pingback URLs that the provider knows
    Pingback(PingbackArgs),
    /// Make, list or revoke the tokens that callers show
    Token(TokenArgs),
    /// Find out what keeps a server from its work, or from starting, and what helps
    Doctor(DoctorArgs),
    /// Show, check or begin a configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Show the certificate that clients have to trust where a listener has one of its own
    #[command(subcommand)]
    Tls(TlsCommand),
    /// Copy the SQLite file, also while the server runs, and check the copy
    Backup(Box<BackupArgs>),
    /// Move everything from a SQLite file to PostgreSQL
    Copy(Box<CopyArgs>),
    /// Ask a running server whether it is ready, for container health checks
    Healthcheck(HealthcheckArgs),
    /// Print the description of the REST API for programs (OpenAPI 3.1)
    Openapi,
    /// Print a script with which a shell completes the command line
    Completions(CompletionsArgs),
}

impl Cli {
    /// The arguments of this process. Ends it with code 2 and an explanation when they make no
    /// sense, and with code 0 for `--help` and `--version`.
    #[must_use]
    pub fn from_process() -> Self {
        let matches = Self::command_line().get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// `serve` takes the sandbox's knobs only beside `--sandbox`: elsewhere they would do nothing.
    fn command_line() -> clap::Command {
        // What is said of a command is not said of its subcommands by itself.
        let for_admins = |command: clap::Command| {
            command.mut_subcommands(|command| command.after_help(remote::ADMIN_TOKEN))
        };
        let knobs = SandboxArgs::augment_args(clap::Command::new("knobs"));
        let is_knob = |arg: &clap::Arg| knobs.get_arguments().any(|knob| knob.get_id() == arg.get_id());
        Self::command()
            .mut_subcommand("solve", |solve| {
                solve.mut_arg("json", |json| json.help("The same as --format jsonl"))
            })
            .mut_subcommand("doctor", |doctor| {
                doctor.mut_arg("json", |json| {
                    json.help("Print one JSON object: the checks, and the server's replies as they came")
                })
            })
            .mut_subcommand("pingback", for_admins)
            .mut_subcommand("token", for_admins)
            .mut_subcommand("serve", |serve| {
                serve.mut_args(|arg| if is_knob(&arg) { arg.requires("sandbox") } else { arg })
            })
    }

    /// Does what the arguments ask for; the code to exit with.
    ///
    /// # Errors
    /// When it could not be done; the text says what to do about it.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Serve(serve) => serve.run().await,
            Command::Sandbox(sandbox) => sandbox.run().await,
            Command::Solve(solve) => solve.run().await,
            Command::Get(get) => get.run().await,
            Command::Report(report) => report.run().await,
            Command::Balance(balance) => balance.run().await,
            Command::Pingback(pingback) => pingback.run().await,
            Command::Token(token) => token.run().await,
            Command::Doctor(doctor) => doctor.run().await,
            Command::Config(config) => config.run().map(|()| ExitCode::SUCCESS),
            Command::Tls(tls) => tls.run().map(|()| ExitCode::SUCCESS),
            Command::Backup(backup) => backup.run().await,
            Command::Copy(copy) => copy.run().await,
            Command::Healthcheck(healthcheck) => healthcheck.run().await,
            Command::Openapi => print(&app::openapi()).map(|()| ExitCode::SUCCESS),
            Command::Completions(completions) => completions.run().map(|()| ExitCode::SUCCESS),
        }
    }
}

/// Unlike `println!` this does not panic when the reader, such as `head`, has seen enough.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context("cannot write to standard output")
}

/// Tells something beside what the command prints.
#[expect(clippy::print_stderr, reason = "what is printed may be read by a program")]
fn tell(text: &str) {
    eprintln!("pingbox: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command_line().debug_assert();
    }

    #[test]
    fn knobs_of_the_sandbox_need_the_sandbox() {
        let parse = |line: &[&str]| Cli::command_line().try_get_matches_from(line).map(drop);
        assert!(parse(&["pingbox", "serve", "--sandbox", "--delay", "0"]).is_ok());
        assert!(parse(&["pingbox", "serve", "--delay", "0"]).is_err());
        assert!(parse(&["pingbox", "sandbox", "--delay", "0"]).is_ok());
    }
}
