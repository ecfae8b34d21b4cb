//! One run: files are submitted, a bounded number at a time, and all that are under way are waited for
//! with one request.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::captcha::{Captcha, Options};
use super::output::{Output, Row};
use super::progress::Progress;
use crate::cli::tell;
use crate::client::{Client, Submitted, TaskLine};

/// The longest wait of one request.
const LONG_POLL: Duration = Duration::from_secs(50);
/// Before a request to wait, so that one covers what is submitted at the same time.
const GATHERING: Duration = Duration::from_millis(20);
/// The least time between two requests of which the first brought nothing.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a server that was there may be away, such as for a restart.
const AWAY: Duration = Duration::from_secs(120);
/// Attempts at one captcha within the 24 hours for which the server keeps a key.
const MAX_ATTEMPTS: u32 = 100;

/// Why a run ended.
pub(super) enum End {
    Done,
    Interrupted,
    TimedOut,
    /// The server takes no more until somebody acts.
    Stopped(anyhow::Error),
}

/// What came of submitting a file.
enum Sent {
    Task { task: TaskLine, is_paid_before: bool },
    Unreadable(String),
    Refused(String),
    Stopped(anyhow::Error),
}

type Poll = Pin<Box<dyn Future<Output = anyhow::Result<Vec<TaskLine>>>>>;

/// The files, and where their answers go.
pub(super) struct Run {
    pub(super) client: Arc<Client>,
    pub(super) options: Arc<Options>,
    pub(super) progress: Progress,
    pub(super) files: VecDeque<String>,
    pub(super) output: Output,
    pub(super) concurrency: usize,
}

impl Run {
    /// Until each file has an answer or an error, or something ends it; with how many are left.
    pub(super) async fn go_through(&mut self, deadline: Option<Instant>) -> anyhow::Result<(End, usize)> {
        let mut submitting = JoinSet::new();
        // Two files of the same content are one task.
        let mut waiting: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut poll: Option<Poll> = None;
        let mut stopped: Option<(anyhow::Error, usize)> = None;
        let interrupted = tokio::signal::ctrl_c();
        tokio::pin!(interrupted);
        let end = loop {
            while stopped.is_none()
                && submitting.len() + waiting.values().map(Vec::len).sum::<usize>() < self.concurrency
                && let Some(file) = self.files.pop_front()
            {
                submitting.spawn(submit(Arc::clone(&self.client), Arc::clone(&self.options), file));
            }
            if submitting.is_empty() && waiting.is_empty() {
                break End::Done;
            }
            if poll.is_none() && !waiting.is_empty() {
                poll = Some(Box::pin(wait(Arc::clone(&self.client), waiting.keys().cloned().collect())));
            }
            tokio::select! {
                _ = &mut interrupted => break End::Interrupted,
                () = async { sleep_until(deadline.expect("there is one")).await }, if deadline.is_some() => {
                    break End::TimedOut;
                }
                Some(sent) = submitting.join_next() => {
                    let (file, sent) = sent?;
                    match sent {
                        Sent::Task { task, is_paid_before } if task.has_ended() => {
                            if !is_paid_before {
                                self.progress.pay(task.price.as_deref());
                            }
                            self.finish(&Row::of_task(file, &task))?;
                        }
                        Sent::Task { task, .. } => {
                            waiting.entry(task.id).or_default().push(file);
                            poll = None;
                        }
                        Sent::Unreadable(why) => self.finish(&Row::without_task(file, "unreadable", why))?,
                        Sent::Refused(why) => self.finish(&Row::without_task(file, "refused", why))?,
                        Sent::Stopped(error) => {
                            let (error, files) = stopped.unwrap_or((error, 0));
                            stopped = Some((error, files + 1));
                        }
                    }
                }
                tasks = async { poll.as_mut().expect("there is one").await }, if poll.is_some() => {
                    poll = None;
                    for task in tasks?.iter().filter(|task| task.has_ended()) {
                        self.progress.pay(task.price.as_deref());
                        for file in waiting.remove(&task.id).unwrap_or_default() {
                            self.finish(&Row::of_task(file, task))?;
                        }
                    }
                }
            }
        };
        let unsent = stopped.as_ref().map_or(0, |(_, files)| *files);
        let under_way = submitting.len() + waiting.values().map(Vec::len).sum::<usize>();
        let left = self.files.len() + under_way + unsent;
        Ok((
            match (end, stopped) {
                (End::Done, Some((error, _))) => End::Stopped(error),
                (end, _) => end,
            },
            left,
        ))
    }

    /// A file has an answer, or will have none.
    fn finish(&mut self, row: &Row) -> anyhow::Result<()> {
        self.progress.aside(|| {
            if let Some(error) = &row.error {
                tell(&format!("{}: {error}", row.file));
            }
            self.output.write(row)
        })?;
        self.progress.count(row.answer.is_some());
        Ok(())
    }
}

impl Row {
    fn of_task(file: String, task: &TaskLine) -> Self {
        let (answer, error) = match task.outcome() {
            Ok(answer) => (Some(answer.to_owned()), None),
            Err(why) => (None, Some(why)),
        };
        Self {
            file,
            status: task.status.clone(),
            answer,
            error,
            id: Some(task.id.clone()),
            price: task.price.clone(),
        }
    }
}

/// Submits a file: the first attempt that has not failed before.
async fn submit(client: Arc<Client>, options: Arc<Options>, file: String) -> (String, Sent) {
    let captcha = match Captcha::read(&file, &options) {
        Ok(captcha) => captcha,
        Err(why) => return (file, Sent::Unreadable(why)),
    };
    let mut attempt = 0;
    let mut away_since = None;
    let sent = loop {
        match client.submit(&captcha.fields, &captcha.key(attempt)).await {
            Submitted::New(task) => break Sent::Task { task, is_paid_before: false },
            Submitted::Earlier(task) if !task.has_ended() || task.is_solved() => {
                let is_paid_before = task.has_ended();
                break Sent::Task { task, is_paid_before };
            }
            Submitted::Earlier(task) if attempt + 1 == MAX_ATTEMPTS => {
                break Sent::Task { task, is_paid_before: true };
            }
            Submitted::Earlier(_) => attempt += 1,
            Submitted::Refused(why) => break Sent::Refused(why),
            Submitted::Stopped(error) => break Sent::Stopped(error),
            Submitted::Later(error) if is_gone(&mut away_since) => break Sent::Stopped(error),
            Submitted::Later(_) => sleep(PAUSE).await,
        }
    };
    (file, sent)
}

/// These tasks, once one of them has ended.
async fn wait(client: Arc<Client>, ids: Vec<String>) -> anyhow::Result<Vec<TaskLine>> {
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let mut away_since = None;
    sleep(GATHERING).await;
    loop {
        match client.until_any_ends(&ids, LONG_POLL).await {
            Ok(tasks) if tasks.len() < ids.len() => {
                let gone: Vec<_> =
                    ids.iter().filter(|id| tasks.iter().all(|task| task.id != **id)).copied().collect();
                anyhow::bail!(
                    "the server no longer knows the tasks {}: run the same command again",
                    gone.join(", ")
                )
            }
            Ok(tasks) if tasks.iter().any(TaskLine::has_ended) => return Ok(tasks),
            Ok(_) => away_since = None,
            Err(error) if is_gone(&mut away_since) => return Err(error),
            Err(_) => {}
        }
        sleep(PAUSE).await;
    }
}

/// Whether the server has been away for too long, since the first time that this was asked.
fn is_gone(since: &mut Option<Instant>) -> bool {
    since.get_or_insert_with(Instant::now).elapsed() > AWAY
}
