//! `pingbox report`: tells the provider whether an answer was right.

use std::process::ExitCode;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};

use super::NOT_READY;
use super::remote::{RemoteArgs, SUBMIT_TOKEN};
use crate::client::{Report, ReportStatus};
use crate::model::{ErrorCode, TaskId, Verdict};

/// The arguments of `report`.
#[derive(Args, Debug)]
#[command(after_help = SUBMIT_TOKEN)]
pub(super) struct ReportArgs {
    /// The task's id
    id: TaskId,
    /// Whether its answer was wrong or right
    #[arg(value_parser = verdict())]
    verdict: Verdict,
    #[command(flatten)]
    remote: RemoteArgs,
}

impl ReportArgs {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let report = self.remote.connect()?.report(self.id, self.verdict).await?;
        self.remote.print(&report, in_words)?;
        Ok(match report.body.status {
            ReportStatus::Recorded => ExitCode::SUCCESS,
            ReportStatus::Refused | ReportStatus::Expired => ExitCode::FAILURE,
            ReportStatus::Queued => NOT_READY.into(),
        })
    }
}

fn verdict() -> impl clap::builder::TypedValueParser<Value = Verdict> {
    let words = [Verdict::Bad, Verdict::Good].map(Verdict::as_str);
    PossibleValuesParser::new(words).map(|word| word.parse().expect("clap lets no other word through"))
}

fn in_words(report: &Report) -> String {
    let reply = report.reply.as_deref().unwrap_or_default();
    match report.status {
        ReportStatus::Queued => "queued: the server sends it as soon as the provider takes it\n".to_owned(),
        ReportStatus::Recorded => format!("recorded: {reply}\n"),
        ReportStatus::Refused => {
            format!("refused: {reply}: {}\n", ErrorCode::known(reply).message())
        }
        ReportStatus::Expired => {
            "expired: it could not be sent within the provider's 15 minutes\n".to_owned()
        }
    }
}
