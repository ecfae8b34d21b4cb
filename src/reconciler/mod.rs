//! Answers that did not come by themselves are asked for; tasks whose time is over end.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `question` | one request to `res.php`, for one task or several, and what its reply says of each |

mod question;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::question::{Asker, taken_at};
use crate::account::Account;
use crate::ingest::{Fetched, Ingest};
use crate::model::{Gate, Script, TOO_LATE, Task, TaskId, Timestamp};
use crate::store::Store;

/// How often there is a look for what is due.
const TICK: Duration = Duration::from_millis(500);
/// How often overdue tasks are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Questions under way at a time.
const MAX_IN_FLIGHT: usize = 8;
/// Captchas in one question.
const MAX_IDS: usize = 100;
/// Pause after a question that was not sent, because there was no credit for it.
const REST: Duration = Duration::from_secs(1);
/// Pause before what was fetched, and could not be stored, is stored again.
const RECORD_PAUSE: Duration = Duration::from_millis(500);

/// Looks after tasks whose answer is overdue, or whose time is over.
pub(crate) struct Reconciler {
    account: Account,
    ingest: Ingest,
    store: Store,
    /// Whether an unconfirmed task is sent again after its give-up time; else it fails.
    resubmit: bool,
    asker: Asker,
    /// Asked for at the moment.
    under_way: HashSet<TaskId>,
    /// Whether answers are asked for because no pingbacks come.
    is_polling: bool,
    /// Nothing is asked before this time.
    rest_until: Instant,
}

impl Reconciler {
    pub(crate) fn new(account: Account, ingest: Ingest, store: Store, resubmit: bool) -> Self {
        let asker = Asker {
            account: account.clone(),
            knows_price: Arc::new(AtomicBool::new(true)),
            knows_batches: Arc::new(AtomicBool::new(true)),
        };
        Self {
            is_polling: false,
            rest_until: Instant::now(),
            account,
            ingest,
            store,
            resubmit,
            asker,
            under_way: HashSet::new(),
        }
    }

    /// Works until `shutdown`; questions that are under way are brought to their end.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut questions = JoinSet::new();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next_sweep = Instant::now() + SWEEP_INTERVAL;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = ticks.tick() => {}
                Some(ended) = questions.join_next() => self.ended(ended),
            }
            if Instant::now() >= next_sweep {
                next_sweep = Instant::now() + SWEEP_INTERVAL;
                self.sweep().await;
                self.account.save().await;
                self.watch_mode().await;
            }
            self.ask_due(&mut questions).await;
        }
        while let Some(ended) = questions.join_next().await {
            self.ended(ended);
        }
    }

    async fn sweep(&self) {
        match self.ingest.sweep(self.resubmit).await {
            Ok(0) => {}
            Ok(tasks) => info!(tasks, "Ended the wait of {tasks} overdue tasks"),
            Err(error) if error.is_told() => {}
            Err(error) => warn!(%error, "Could not look for overdue tasks: {error}"),
        }
    }

    /// When no pingbacks come any more, the tasks that wait for one are asked for soon.
    async fn watch_mode(&mut self) {
        let why = self.account.why_polling();
        match (&why, self.is_polling) {
            (Some(why), false) => match self.ingest.ask_for_all().await {
                Ok(tasks) => warn!(tasks, "Answers are asked for, because {why}"),
                Err(error) => {
                    if !error.is_told() {
                        warn!(%error, "Could not plan to ask for answers: {error}");
                    }
                    return;
                }
            },
            (None, true) => info!("Answers come by pingback again"),
            _ => {}
        }
        self.is_polling = why.is_some();
    }

    /// Starts to ask for what is due, as far as the provider may be asked.
    async fn ask_due(&mut self, questions: &mut JoinSet<Asked>) {
        let now = Timestamp::now();
        let most = match self.account.gate(Script::Res) {
            Gate::Open => MAX_IN_FLIGHT,
            Gate::Probe => 1,
            Gate::Until(_) | Gate::Stopped => 0,
        };
        let free = most.saturating_sub(questions.len());
        if free == 0 || Instant::now() < self.rest_until {
            return;
        }
        // Those under way are found again. This is done after every question: more than can be asked for would be
        // read in vain, on the connection that the dispatcher reads by.
        let look = self.under_way.len() + free * MAX_IDS;
        let due = match self.store.tasks_to_ask_for(u32::try_from(look).unwrap_or(u32::MAX), now).await {
            Ok(due) => due,
            Err(error) => {
                if !error.is_told() {
                    warn!(%error, "Could not look for answers that are overdue: {error}");
                }
                return;
            }
        };
        let due = due.into_iter().filter(|task| !self.under_way.contains(&task.id)).collect();
        for group in grouped(due, self.asker.knows_batches.load(Ordering::Relaxed)) {
            if questions.len() >= most {
                break;
            }
            let ids: Vec<TaskId> = group.iter().map(|task| task.id).collect();
            self.under_way.extend(&ids);
            questions.spawn(ask(self.asker.clone(), self.ingest.clone(), group));
        }
    }

    fn ended(&mut self, ended: Result<Asked, JoinError>) {
        match ended {
            Ok(Asked { tasks, was_sent }) => {
                if !was_sent {
                    self.rest_until = Instant::now() + REST;
                }
                for id in tasks {
                    self.under_way.remove(&id);
                }
            }
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => warn!(%error, "Asking for an answer broke off: {error}"),
        }
    }
}

/// The tasks of a question that has ended.
struct Asked {
    tasks: Vec<TaskId>,
    /// Not when there was no credit for it.
    was_sent: bool,
}

/// Asks for some tasks, and records what is said of each. What the provider is about to forget is not asked
/// for any more.
async fn ask(asker: Asker, ingest: Ingest, tasks: Vec<Task>) -> Asked {
    let now = Timestamp::now();
    let ids = tasks.iter().map(|task| task.id).collect();
    let (late, tasks): (Vec<_>, Vec<_>) =
        tasks.into_iter().partition(|task| now.since(taken_at(task)) >= TOO_LATE);
    let said = if tasks.is_empty() { Some(Vec::new()) } else { asker.ask_for(&tasks).await };
    let was_sent = said.is_some();
    let never = late.iter().map(|task| (task.id, Fetched::NotYet(None)));
    let fetched: Vec<_> = said.into_iter().flatten().chain(never).collect();
    // An answer that was fetched is paid for: it is stored, however long that takes.
    while !fetched.is_empty() {
        match ingest.fetched(fetched.clone()).await {
            Ok(()) => break,
            Err(error) if error.is_told() => {}
            Err(error) => warn!(%error, "Could not record what was fetched: {error}"),
        }
        sleep(RECORD_PAUSE).await;
    }
    Asked { tasks: ids, was_sent }
}

/// The tasks in the order in which they are due, those that may share a question together.
fn grouped(due: Vec<Task>, in_batches: bool) -> Vec<Vec<Task>> {
    let mut groups: Vec<Vec<Task>> = Vec::new();
    let mut batch: Option<usize> = None;
    for task in due {
        let joins = in_batches && task.kind.is_safe_in_batches();
        if let Some(index) = batch.filter(|&index| joins && groups[index].len() < MAX_IDS) {
            groups[index].push(task);
        } else {
            batch = if joins { Some(groups.len()) } else { batch };
            groups.push(vec![task]);
        }
    }
    groups
}
