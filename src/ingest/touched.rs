//! The tasks and pingbacks that a batch touches, changed in memory before they are stored.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{Cancelled, Receipt};
use crate::model::{CaptchaId, Outcome, Pingback, Sent, Task, TaskId, Timestamp, TokenId, Via};
use crate::store::{Parked, ParkedPingback, StoreError, WriteTx};

/// What a batch touches. Everything in it was read within the batch's own transaction, and nobody
/// else writes meanwhile.
#[derive(Debug, Default)]
pub(super) struct Touched {
    tasks: HashMap<TaskId, Task>,
    /// Those of them that had ended before.
    over: HashSet<TaskId>,
    by_captcha_id: HashMap<CaptchaId, Vec<TaskId>>,
    changed: BTreeSet<TaskId>,
    /// Those that a pingback ended; of some of them more has changed.
    settled: BTreeSet<TaskId>,
    /// Captcha IDs that became known in this batch.
    accepted: Vec<(CaptchaId, TaskId)>,
    /// Pingbacks that were kept earlier, oldest first.
    parked: HashMap<CaptchaId, Vec<ParkedPingback>>,
    /// Pingbacks to keep.
    kept: Vec<(Pingback, Option<TaskId>)>,
    joined: Vec<(i64, TaskId)>,
}

/// What came of storing it.
#[derive(Debug)]
pub(super) struct Stored {
    /// The tasks that are at an end, of those that changed.
    pub(super) ended: Vec<Task>,
    /// Those of them that were so before.
    pub(super) over: HashSet<TaskId>,
    /// Pingbacks that were kept because no task has their captcha ID.
    pub(super) unmatched: Vec<Pingback>,
}

impl Touched {
    pub(super) async fn load(
        tx: &mut WriteTx<'_>,
        ids: &[TaskId],
        captcha_ids: &[&CaptchaId],
    ) -> Result<Self, StoreError> {
        let mut touched = Self::default();
        if !ids.is_empty() {
            for task in tx.tasks_by_ids(ids).await? {
                touched.add(task);
            }
        }
        if !captcha_ids.is_empty() {
            for task in tx.tasks_by_captcha_ids(captcha_ids).await? {
                touched.add(task);
            }
        }
        Ok(touched)
    }

    fn add(&mut self, task: Task) {
        if let Some(captcha_id) = &task.captcha_id {
            self.index(captcha_id.clone(), task.id);
        }
        if task.is_final() {
            self.over.insert(task.id);
        }
        self.tasks.insert(task.id, task);
    }

    pub(super) fn task(&self, id: TaskId) -> Option<&Task> {
        self.tasks.get(&id)
    }

    fn index(&mut self, captcha_id: CaptchaId, id: TaskId) {
        let ids = self.by_captcha_id.entry(captcha_id).or_default();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }

    pub(super) fn record_sent(&mut self, id: TaskId, since: Option<Timestamp>, sent: Sent, now: Timestamp) {
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        let captcha_id = match &sent {
            // Said twice, it is taken once: a captcha ID brings credit.
            Sent::Accepted { captcha_id, .. } => {
                Some(captcha_id.clone()).filter(|id| task.captcha_id.as_ref() != Some(id))
            }
            // It was given up on meanwhile, and sent again by somebody else.
            _ if since.is_some() && since != task.sent_at => return,
            _ => None,
        };
        task.record_sent(sent, now);
        self.changed.insert(id);
        if let Some(captcha_id) = captcha_id {
            self.index(captcha_id.clone(), id);
            self.accepted.push((captcha_id, id));
        }
    }

    /// Loads what was parked for captcha IDs that became known, and for pingbacks that no open task
    /// waits for: they may repeat one that is kept.
    pub(super) async fn load_parked(
        &mut self,
        tx: &mut WriteTx<'_>,
        pingbacks: impl Iterator<Item = &Pingback>,
    ) -> Result<(), StoreError> {
        let unawaited = pingbacks
            .filter(|pingback| {
                pingback.outcome == Outcome::Notice || self.open_tasks(&pingback.captcha_id).next().is_none()
            })
            .map(|pingback| &pingback.captcha_id);
        let ids: Vec<&CaptchaId> = unawaited.chain(self.accepted.iter().map(|(id, _)| id)).collect();
        if ids.is_empty() {
            return Ok(());
        }
        for parked in tx.parked_pingbacks(&ids).await? {
            self.parked.entry(parked.pingback.captcha_id.clone()).or_default().push(parked);
        }
        Ok(())
    }

    /// Settles tasks whose captcha ID became known with what came before it. Only what came since
    /// the task exists can be about it: an older pingback with the same id is another captcha's.
    pub(super) fn join_early(&mut self) {
        for (captcha_id, id) in &self.accepted {
            let Some(task) = self.tasks.get_mut(id) else {
                continue;
            };
            for parked in self.parked.get_mut(captcha_id).into_iter().flatten() {
                if parked.task_id.is_none() && parked.pingback.received_at >= task.created_at {
                    task.settle(&parked.pingback, Via::Pingback);
                    parked.task_id = Some(*id);
                    self.joined.push((parked.id, *id));
                }
            }
        }
    }

    /// A pingback came to the URL of this task alone.
    pub(super) fn confirm(&mut self, id: TaskId, pingback: &Pingback) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.confirm(&pingback.captcha_id, pingback.received_at);
        self.changed.insert(id);
        // Also when it is over: what comes now is kept with it.
        self.index(pingback.captcha_id.clone(), id);
    }

    /// The answer to a task was asked for, and is not there.
    pub(super) fn ask_again(&mut self, id: TaskId, ask_at: Option<Timestamp>, now: Timestamp) {
        if let Some(task) = self.tasks.get_mut(&id) {
            task.ask_again(ask_at, now);
            self.changed.insert(id);
        }
    }

    /// How many captchas the provider took.
    pub(super) fn accepted(&self) -> usize {
        self.accepted.len()
    }

    /// Settles the open task with this captcha ID, or keeps the pingback, unless it says again
    /// what is known.
    pub(super) fn receive(&mut self, pingback: &Pingback, via: Via) -> Receipt {
        let open: Vec<TaskId> = self.open_tasks(&pingback.captcha_id).collect();
        let mut receipt = None;
        for id in open {
            if self.tasks.get_mut(&id).is_some_and(|task| task.settle(pingback, via)) {
                self.settled.insert(id);
                receipt = Some(Receipt::Settled(id));
            }
        }
        receipt.unwrap_or_else(|| self.keep(pingback))
    }

    fn keep(&mut self, pingback: &Pingback) -> Receipt {
        let tasks = self.by_captcha_id.get(&pingback.captcha_id).map_or(&[][..], Vec::as_slice);
        let settled_so = |id| self.tasks.get(id).is_some_and(|task| task.is_settled_as(pingback));
        let same = |other: &Pingback| other.captcha_id == pingback.captcha_id && other.code == pingback.code;
        let parked = self.parked.get(&pingback.captcha_id).into_iter().flatten();
        let known = tasks.iter().any(settled_so)
            || parked.into_iter().any(|parked| same(&parked.pingback))
            || self.kept.iter().any(|(kept, _)| same(kept));
        if known {
            return Receipt::Repeated;
        }
        let task_id = tasks.last().copied();
        self.kept.push((pingback.clone(), task_id));
        Receipt::Kept { is_matched: task_id.is_some() }
    }

    fn open_tasks(&self, captcha_id: &CaptchaId) -> impl Iterator<Item = TaskId> {
        let ids = self.by_captcha_id.get(captcha_id).into_iter().flatten().copied();
        ids.filter(|id| self.tasks.get(id).is_some_and(|task| !task.is_final()))
    }

    pub(super) fn cancel(&mut self, id: TaskId, owner: Option<TokenId>, now: Timestamp) -> Cancelled {
        let Some(task) = self.tasks.get_mut(&id) else {
            return Cancelled::NotFound;
        };
        if owner.is_some_and(|owner| owner != task.owner) {
            return Cancelled::NotFound;
        }
        if !task.cancel(now) {
            return Cancelled::TooLate(task.clone());
        }
        self.changed.insert(id);
        Cancelled::Done(task.clone())
    }

    /// Whether a change put a task back into the queue.
    pub(super) fn queue_grew(&self) -> bool {
        self.changed().any(|task| task.status == crate::model::Status::Queued)
    }

    fn changed(&self) -> impl Iterator<Item = &Task> {
        self.changed.iter().filter_map(|id| self.tasks.get(id))
    }

    /// Stores every change.
    pub(super) async fn store(self, tx: &mut WriteTx<'_>) -> Result<Stored, StoreError> {
        if !self.changed.is_empty() {
            tx.update_tasks(self.changed()).await?;
        }
        if self.settled.difference(&self.changed).next().is_some() {
            let only_settled = self.settled.difference(&self.changed);
            tx.end_tasks(only_settled.filter_map(|id| self.tasks.get(id))).await?;
        }
        if !self.kept.is_empty() {
            let parked: Vec<_> =
                self.kept.iter().map(|(pingback, task_id)| Parked { pingback, task_id: *task_id }).collect();
            tx.insert_pingbacks(&parked).await?;
        }
        if !self.joined.is_empty() {
            tx.join_pingbacks(&self.joined).await?;
        }
        let Self { mut tasks, over, changed, settled, kept, .. } = self;
        let ended =
            changed.union(&settled).filter_map(|id| tasks.remove(id)).filter(Task::is_final).collect();
        let unmatched = kept.into_iter().filter(|(_, task_id)| task_id.is_none());
        Ok(Stored { ended, over, unmatched: unmatched.map(|(pingback, _)| pingback).collect() })
    }
}
