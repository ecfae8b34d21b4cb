//! Sends reports on answers to the provider: each once, while it takes them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::account::{Account, Unanswered};
use crate::ingest::Ingest;
use crate::model::{ErrorCode, Gate, Remedy, Report, Script, Timestamp};
use crate::provider::{Question, Reply, Shape};
use crate::replicas::{News, SAFETY_INTERVAL};
use crate::store::{Store, StoreError};

/// How often reports are tried again that could not be sent.
const INTERVAL: Duration = Duration::from_secs(5);
/// Reports that one look finds.
const LOOK: u32 = 50;

/// Sends reports.
pub(crate) struct Reporter {
    pub(crate) account: Account,
    pub(crate) ingest: Ingest,
    pub(crate) store: Store,
    pub(crate) desk: Arc<ReportDesk>,
}

/// Where callers leave word of new reports, and hear that some have ended.
#[derive(Debug)]
pub(crate) struct ReportDesk {
    pub(crate) arrived: Notify,
    /// Counts reports that have ended.
    pub(crate) ended: watch::Sender<u64>,
}

impl Default for ReportDesk {
    fn default() -> Self {
        Self { arrived: Notify::new(), ended: watch::Sender::new(0) }
    }
}

impl ReportDesk {
    /// Passes on what other replicas tell of reports, until `shutdown`; and every second, as if they had.
    pub(crate) async fn pass_on(self: Arc<Self>, news: Arc<News>, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let told = timeout(SAFETY_INTERVAL, news.reports.notified());
            if let Some(Ok(())) = shutdown.run_until_cancelled(told).await {
                self.arrived.notify_one();
            }
            self.ended.send_modify(|count| *count = count.wrapping_add(1));
        }
    }
}

impl Reporter {
    /// Sends until `shutdown`.
    pub(crate) async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let sent = shutdown.run_until_cancelled(self.send_open()).await;
            if let Some(Err(error)) = sent
                && !error.is_told()
            {
                warn!(%error, "Could not look for reports to send: {error}");
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.desk.arrived.notified() => {}
                () = sleep(INTERVAL) => {}
            }
        }
    }

    async fn send_open(&self) -> Result<(), StoreError> {
        for report in self.store.open_reports(LOOK).await? {
            if let Some(report) = self.send(report).await {
                let task = report.task;
                let reply = report.reply.clone().unwrap_or_default();
                match self.ingest.report_ended(report).await {
                    Ok(()) => info!(task.id = %task, "A report has ended: {reply}"),
                    // It is sent again; the provider says then that it has it.
                    Err(error) if error.is_told() => {}
                    Err(error) => {
                        warn!(task.id = %task, %error, "Could not store the end of a report: {error}");
                    }
                }
                self.desk.ended.send_modify(|count| *count = count.wrapping_add(1));
            }
        }
        Ok(())
    }

    /// Sends one report; what it has become, or `None` if it is to be tried again.
    async fn send(&self, mut report: Report) -> Option<Report> {
        let now = Timestamp::now();
        if now >= report.expires_at {
            report.answered(Report::EXPIRED, now);
            return Some(report);
        }
        if !matches!(self.account.gate(Script::Res), Gate::Open | Gate::Probe) {
            return None;
        }
        let params = [("id", report.captcha_id.as_str())];
        let question = Question { action: report.verdict.action(), params: &params, shape: Shape::Bare };
        let reply = match self.account.ask(&question, 0).await {
            Ok(Reply::Ok { text, .. }) => text,
            Ok(Reply::Error(code)) if is_final(&code) => code.as_str().to_owned(),
            Ok(_)
            | Err(
                Unanswered::Failed(_) | Unanswered::Held(_) | Unanswered::NoCredit | Unanswered::Write(_),
            ) => {
                return None;
            }
        };
        report.answered(&reply, Timestamp::now());
        Some(report)
    }
}

/// Whether the code answers the report, rather than asks to come back.
fn is_final(code: &ErrorCode) -> bool {
    matches!(code.remedy(), Remedy::Request | Remedy::FailTask)
}
