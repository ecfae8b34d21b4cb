//! `pingbox sandbox`: the emulated provider alone; and its knobs, which `serve --sandbox` takes too.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::app;
use crate::config::{Log, LogFormat};
use crate::model::Secret;
use crate::sandbox::{Amount, Answers, DEFAULT_KEY, Knobs, Registration, Settings, Share};
use crate::shutdown::Signals;
use crate::telemetry;

/// How the emulated provider starts. Each knob can be turned later at its control endpoint.
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are switches, each for itself")]
pub struct SandboxArgs {
    /// The API key it accepts, 32 characters
    #[arg(long, default_value = DEFAULT_KEY, hide_default_value = true, value_parser = secret)]
    key: Secret,
    /// JSON file of known answers: an object from the SHA-256 of an image, in hex, to its answer
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// Time until a captcha is solved: 100ms, 5s, 0
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = delay)]
    delay: Duration,
    /// The most time that is added to it, drawn per captcha
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = delay)]
    delay_spread: Duration,
    /// Share of pingbacks never sent, 0 to 1
    #[arg(long, value_name = "SHARE", default_value = "0")]
    lost: Share,
    /// Share of pingbacks sent before in.php is answered
    #[arg(long, value_name = "SHARE", default_value = "0")]
    early: Share,
    /// Share of pingbacks sent late, though the answer can be read at once
    #[arg(long, value_name = "SHARE", default_value = "0")]
    late: Share,
    /// Time from the answer to a late pingback
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = delay)]
    late_by: Duration,
    /// Share of pingbacks sent twice
    #[arg(long, value_name = "SHARE", default_value = "0")]
    duplicate: Share,
    /// Share of pingbacks followed by one with another answer
    #[arg(long, value_name = "SHARE", default_value = "0")]
    wrong: Share,
    /// Share of captchas that nobody can solve
    #[arg(long, value_name = "SHARE", default_value = "0")]
    unsolvable: Share,
    /// Do not ban callers that make too many requests
    #[arg(long)]
    no_limits: bool,
    /// Share of requests that get an HTML page with status 500 or 502
    #[arg(long, value_name = "SHARE", default_value = "0")]
    html_5xx: Share,
    /// Share of requests that are never answered
    #[arg(long, value_name = "SHARE", default_value = "0")]
    hang: Share,
    /// Share of captchas that are taken while the reply gets lost
    #[arg(long, value_name = "SHARE", default_value = "0")]
    cut: Share,
    /// Share of captchas refused with `ERROR_NO_SLOT_AVAILABLE`
    #[arg(long, value_name = "SHARE", default_value = "0")]
    no_slot: Share,
    /// Money on the account
    #[arg(long, value_name = "AMOUNT", default_value = "1000")]
    balance: Amount,
    /// Refuse every captcha with this error code
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// Refuse every res.php request with this error code
    #[arg(long, value_name = "CODE")]
    result_code: Option<String>,
    /// Do not tell the price in pingbacks
    #[arg(long)]
    no_rate: bool,
    /// Let any address add any pingback URL
    #[arg(long)]
    no_check_ip: bool,
    /// Which URLs get pingbacks: the registered one, also those below it, or any on its host
    #[arg(long, value_name = "URLS", default_value = "below", value_parser = registration())]
    registration: Registration,
    /// Let a person solve the captchas, in the dashboard or at the control endpoint
    #[arg(long)]
    by_hand: bool,
    /// Repeat the same random draws
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

/// The arguments of `sandbox`.
#[derive(Args, Debug)]
pub(super) struct SandboxCommand {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8082")]
    listen: SocketAddr,
    #[command(flatten)]
    knobs: Box<SandboxArgs>,
}

impl SandboxCommand {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        telemetry::start(&Log { format: LogFormat::Auto, filter: "info".to_owned() })?;
        let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
        // There is nothing that it could read again.
        let hang_up = watch::Sender::new(());
        tokio::spawn(Signals::listen()?.watch(soft.clone(), hard.clone(), hang_up));
        tokio::select! {
            ended = app::run_sandbox(self.listen, self.knobs.settings()?, soft) => ended.map(|()| ExitCode::SUCCESS),
            () = hard.cancelled() => Ok(ExitCode::FAILURE),
        }
    }
}

impl SandboxArgs {
    /// What the flags say, with the file of answers read.
    ///
    /// # Errors
    /// When that file cannot be used.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let answers = match &self.answers {
            Some(path) => Answers::load(path).context("--answers")?,
            None => Answers::default(),
        };
        Ok(Settings { key: self.key.clone(), answers, knobs: self.knobs(), own: None })
    }

    fn knobs(&self) -> Knobs {
        Knobs {
            delay_ms: millis(self.delay),
            delay_spread_ms: millis(self.delay_spread),
            lost: self.lost,
            early: self.early,
            late: self.late,
            late_ms: millis(self.late_by),
            duplicate: self.duplicate,
            wrong: self.wrong,
            unsolvable: self.unsolvable,
            limits: !self.no_limits,
            html_5xx: self.html_5xx,
            hang: self.hang,
            cut: self.cut,
            no_slot: self.no_slot,
            balance: self.balance,
            code: self.code.clone(),
            result_code: self.result_code.clone(),
            rate: !self.no_rate,
            check_ip: !self.no_check_ip,
            registration: self.registration,
            by_hand: self.by_hand,
            seed: self.seed,
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "clap wants a parser that could fail")]
fn secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text))
}

fn registration() -> impl clap::builder::TypedValueParser<Value = Registration> {
    PossibleValuesParser::new(Registration::NAMES).try_map(|name| name.parse::<Registration>())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A whole number of `ms`, `s` or `m`; 0 needs no unit.
fn delay(text: &str) -> Result<Duration, &'static str> {
    const HELP: &str = "a time is a whole number with its unit, such as 100ms, 5s or 2m";
    let unit = text.trim_start_matches(|character: char| character.is_ascii_digit());
    let number: u32 = text[..text.len() - unit.len()].parse().map_err(|_| HELP)?;
    match unit {
        "ms" => Ok(Duration::from_millis(number.into())),
        "s" => Ok(Duration::from_secs(number.into())),
        "m" => Ok(Duration::from_secs(u64::from(number) * 60)),
        "" if number == 0 => Ok(Duration::ZERO),
        _ => Err(HELP),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: SandboxArgs,
    }

    fn settings(flags: &[&str]) -> anyhow::Result<Settings> {
        let flags = std::iter::once(&"sandbox").chain(flags);
        Command::try_parse_from(flags)?.args.settings()
    }

    #[test]
    fn without_flags_it_is_the_default() {
        let settings = settings(&[]).unwrap();
        assert_eq!(settings.knobs, Knobs::default());
        assert!(settings.key.matches(DEFAULT_KEY));
    }

    #[test]
    fn a_flag_turns_its_knob() {
        let settings =
            settings(&["--delay", "1500ms", "--lost", "0.5", "--no-limits", "--seed", "7"]).unwrap();
        let expected = Knobs {
            delay_ms: 1500,
            lost: Share::try_from(0.5).unwrap(),
            limits: false,
            seed: Some(7),
            ..Knobs::default()
        };
        assert_eq!(settings.knobs, expected);
    }

    #[test]
    fn each_flag_of_time_and_place_turns_its_own_knob() {
        let flags = [
            ["--delay-spread", "2s"],
            ["--late", "1"],
            ["--late-by", "1m"],
            ["--result-code", "IP_BANNED"],
            ["--registration", "host"],
            ["--by-hand", "--no-rate"],
        ];
        let expected = Knobs {
            delay_spread_ms: 2000,
            late: Share::ALWAYS,
            late_ms: 60_000,
            result_code: Some("IP_BANNED".to_owned()),
            registration: Registration::Host,
            by_hand: true,
            rate: false,
            ..Knobs::default()
        };
        assert_eq!(settings(flags.as_flattened()).unwrap().knobs, expected);
        let error = settings(&["--registration", "all"]).unwrap_err().to_string();
        assert!(error.contains("exact, below, host"), "{error}");
    }

    #[test]
    fn a_delay_needs_its_unit() {
        assert_eq!(delay("0"), Ok(Duration::ZERO));
        assert_eq!(delay("5s"), Ok(Duration::from_secs(5)));
        for text in ["", "5", "s", "1.5s", "-1s", "5h", "99999999999s"] {
            assert!(delay(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_of_answers_that_is_not_there_is_named() {
        let error = settings(&["--answers", "no/such/file"]).unwrap_err();
        assert!(format!("{error:#}").contains("no/such/file"));
    }
}
