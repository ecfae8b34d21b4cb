//! `pingbox solve`: many image files in, their answers out as they come.

mod captcha;
mod csv;
mod output;
mod progress;
mod run;

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use tokio::time::Instant;

use self::captcha::{Field, Options};
use self::output::{Format, Output};
use self::progress::Progress;
use self::run::{End, Run};
use super::remote::{RemoteArgs, SOLVE_TOKEN};
use super::{NOT_READY, tell};
use crate::model::CaptchaType;

const HELP: &str = "The same command again goes on where it ended: files that --output says are solved are skipped, and \
                    a file whose captcha was submitted within the last 24 hours gets that task's answer, and is not \
                    paid for twice. Files that failed are tried again.\n\n";

/// The arguments of `solve`.
#[derive(Args, Debug)]
#[command(after_help = format!("{HELP}{SOLVE_TOKEN}"))]
pub(super) struct SolveArgs {
    /// Images (jpg, gif, png), and folders of them
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What kind of captcha the images show
    #[arg(long = "type", value_name = "TYPE", default_value = "image", value_parser = kind())]
    kind: CaptchaType,
    /// Any other field of the API, such as numeric=1 or textinstructions=text; may be repeated
    #[arg(long = "field", value_name = "NAME=VALUE")]
    fields: Vec<Field>,
    /// A word of yours that the tasks carry
    #[arg(long)]
    tag: Option<String>,
    /// How many captchas are under way at once
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    concurrency: u16,
    /// Add the answers to this file: .csv, .jsonl, or any other name with --format
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The form of the answers; by default that of the file's name, else file<TAB>answer
    #[arg(long, value_enum, conflicts_with = "json")]
    format: Option<Format>,
    /// Stop waiting after this many seconds, with exit code 3
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    #[command(flatten)]
    remote: RemoteArgs,
}

impl SolveArgs {
    /// 0 when each file is solved, 1 when some are not, 3 when it ended before all were.
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let client = self.remote.connect()?;
        let format = if self.remote.json { Some(Format::Jsonl) } else { self.format };
        let (output, done) = match &self.output {
            Some(path) => Output::resume(path, format)?,
            None => (Output::stdout(format.unwrap_or(Format::Text)), HashSet::new()),
        };
        let options = Options { kind: self.kind, fields: self.fields, tag: self.tag };
        let files = captcha::files(&self.files)?;
        let total = files.len();
        let files: VecDeque<_> = files.into_iter().filter(|file| !done.contains(file)).collect();
        let skipped = total - files.len();
        // Before anything is read: without a server, each file would fail with the same words.
        client.health().await?;
        let deadline = self.timeout.and_then(|secs| Instant::now().checked_add(Duration::from_secs(secs)));
        let mut run = Run {
            client: Arc::new(client),
            options: Arc::new(options),
            progress: Progress::new(files.len(), skipped),
            files,
            output,
            concurrency: self.concurrency.into(),
        };
        let end = run.go_through(deadline).await;
        run.progress.end();
        let (end, left) = end?;
        tell(&run.progress.summary(left));
        Ok(match end {
            End::Stopped(error) => return Err(error),
            End::Interrupted | End::TimedOut => NOT_READY.into(),
            End::Done if run.progress.failed > 0 => ExitCode::FAILURE,
            End::Done => ExitCode::SUCCESS,
        })
    }
}

/// The types that are an image each.
fn kind() -> impl clap::builder::TypedValueParser<Value = CaptchaType> {
    const KINDS: [CaptchaType; 4] =
        [CaptchaType::Image, CaptchaType::Click, CaptchaType::Rotate, CaptchaType::RecaptchaImage];
    PossibleValuesParser::new(KINDS.map(CaptchaType::as_str)).map(|word| {
        let kind = KINDS.into_iter().find(|kind| kind.as_str() == word);
        kind.expect("clap lets no other word through")
    })
}
