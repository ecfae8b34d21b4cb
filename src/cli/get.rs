//! `pingbox get`: the answer to a task.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use super::remote::{READ_TOKEN, RemoteArgs};
use super::{NOT_READY, print, tell};
use crate::model::TaskId;

/// The longest wait of one request.
const LONG_POLL: Duration = Duration::from_secs(50);
/// Between two requests to a server that does not wait for so long.
const PAUSE: Duration = Duration::from_millis(500);

/// The arguments of `get`.
#[derive(Args, Debug)]
#[command(after_help = READ_TOKEN)]
pub(super) struct GetArgs {
    /// The task's id
    id: TaskId,
    /// Wait until the task has ended, or for this many seconds at most
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true)]
    #[expect(clippy::option_option, reason = "the flag, and its value")]
    wait: Option<Option<u64>>,
    #[command(flatten)]
    remote: RemoteArgs,
}

impl GetArgs {
    /// 0 with the answer, 1 where there will be none, 3 where there is none yet.
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let client = self.remote.connect()?;
        let deadline = match self.wait {
            None => Some(Instant::now()),
            // More than the clock can tell is as good as for ever.
            Some(seconds) => seconds.and_then(|secs| Instant::now().checked_add(Duration::from_secs(secs))),
        };
        let task = loop {
            let left =
                deadline.map_or(LONG_POLL, |deadline| deadline.saturating_duration_since(Instant::now()));
            // Part of a second is a whole one: the server counts in seconds.
            let wait =
                Duration::from_secs(left.as_secs() + u64::from(left.subsec_nanos() > 0)).min(LONG_POLL);
            let task = client.task(self.id, wait).await?;
            if task.body.has_ended() || deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                break task;
            }
            tokio::time::sleep(PAUSE.min(left)).await;
        };
        if self.remote.json {
            print(&format!("{}\n", task.json.trim_end()))?;
        }
        let code = match task.body.outcome() {
            Ok(answer) => {
                if !self.remote.json {
                    print(&format!("{answer}\n"))?;
                }
                return Ok(ExitCode::SUCCESS);
            }
            Err(why) if task.body.has_ended() => {
                tell(&format!("there is no answer: {why}"));
                ExitCode::FAILURE
            }
            Err(status) => {
                let reason = task.body.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
                tell(&format!("no answer yet: the task is {status}{reason}; --wait waits for it"));
                NOT_READY.into()
            }
        };
        Ok(code)
    }
}
