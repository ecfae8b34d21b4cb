//! A batch of writes: what it touches is loaded, changed by the model's pure functions, and stored
//! by one bulk statement per kind of write.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::sync::oneshot;

use super::chores::Chore;
use super::touched::{Stored, Touched};
use super::webhooks::WebhookChore;
use super::{
    Cancelled, Claim, Claimed, Fetched, IDEMPOTENCY_WINDOW, Receipt, Received, Submit, Submitted, WriteError,
};
use crate::model::{Pingback, Sent, Status, Task, TaskId, Timestamp, TokenId, Via};
use crate::store::{AccountId, NewTask, Retired, RetirementPlan, Store, StoreError, WriteTx};

/// Tasks that one sweep changes at most, so that a large backlog does not hold up pingbacks.
const SWEEP_LIMIT: u32 = 500;

/// How long a task is being sent at most, with what waits before and after its request. If it takes longer, the replica
/// that sent it has ended.
const LONGEST_SENDING: Duration = Duration::from_secs(120);

/// A question to the writer, and where its answer goes once it is on disk.
#[derive(Debug)]
pub(super) struct Asked<Q, A> {
    pub(super) question: Q,
    pub(super) answer: Option<A>,
    pub(super) reply: oneshot::Sender<Result<A, WriteError>>,
}

impl<Q, A> Asked<Q, A> {
    pub(super) fn finish(self, failure: Option<WriteError>) {
        let result = match (failure, self.answer) {
            (None, Some(answer)) => Ok(answer),
            (failure, _) => Err(failure.unwrap_or(WriteError::Failed)),
        };
        // Whoever asked may have gone; what is stored stays stored.
        drop(self.reply.send(result));
    }
}

/// A write that somebody waits for.
#[derive(Debug)]
pub(super) enum Job {
    Submit(Asked<Submit, Submitted>),
    Pingback(Asked<Received, Receipt>),
    Claim(Asked<Claim, Claimed>),
    Sent(Asked<(TaskId, Option<Timestamp>, Sent), ()>),
    Fetched(Asked<Vec<(TaskId, Fetched)>, ()>),
    Cancel(Asked<(TaskId, Option<TokenId>), Cancelled>),
    Sweep(Asked<bool, usize>),
    Retire(Asked<RetirementPlan, Retired>),
    Probe(Asked<(), ()>),
    Chore(Chore),
}

/// Writes that share a transaction. All of them wait, so any order among them is a true one.
#[derive(Debug)]
pub(super) struct Batch {
    jobs: Vec<Job>,
}

/// What others need to know of a commit.
#[derive(Debug)]
pub(super) struct Committed {
    /// The tasks that ended by it, or changed after their end.
    pub(super) ended: Vec<Task>,
    /// Those that had ended before.
    over: HashSet<TaskId>,
    /// The tasks that were sent, as that left them.
    pub(super) sent: Vec<Task>,
    /// Pingbacks that it kept because no task has their captcha ID.
    pub(super) unmatched: Vec<Pingback>,
    /// Whether there may be something new to send.
    pub(super) queue_grew: bool,
}

impl Committed {
    /// The tasks that had not ended before.
    pub(super) fn newly_ended(&self) -> impl Iterator<Item = &Task> {
        self.ended.iter().filter(|task| !self.over.contains(&task.id))
    }
}

impl Batch {
    pub(super) fn new(jobs: Vec<Job>) -> Self {
        Self { jobs }
    }

    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(super) fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    /// Notes what is being sent since it was committed, and what not any more.
    pub(super) fn note_sending(&self, sending: &mut HashSet<TaskId>) {
        for job in &self.jobs {
            match job {
                Job::Claim(Asked { answer: Some(claimed), .. }) => {
                    sending.extend(claimed.tasks.iter().map(|task| task.id));
                }
                Job::Sent(asked) => drop(sending.remove(&asked.question.0)),
                _ => {}
            }
        }
    }

    /// Whether it may have changed whether there are webhooks.
    pub(super) fn is_about_subscriptions(&self) -> bool {
        self.webhook_chores().any(WebhookChore::is_about_subscriptions)
    }

    /// Whether messages are to be sent again because of it.
    pub(super) fn has_replays(&self) -> bool {
        self.webhook_chores().any(WebhookChore::is_replay)
    }

    /// Whether events may come of it without the end of a task.
    pub(super) fn may_tell(&self) -> bool {
        let tells =
            |job: &Job| matches!(job, Job::Submit(_) | Job::Pingback(_) | Job::Sent(_) | Job::Fetched(_));
        self.jobs.iter().any(tells)
    }

    fn webhook_chores(&self) -> impl Iterator<Item = &WebhookChore> {
        self.jobs.iter().filter_map(|job| match job {
            Job::Chore(Chore::Webhook(chore)) => Some(chore),
            _ => None,
        })
    }

    /// The same writes, each in a batch of its own.
    pub(super) fn into_singles(self) -> impl Iterator<Item = Self> {
        self.jobs.into_iter().map(|job| Self::new(vec![job]))
    }

    /// Tells everybody what became of their write: it is stored, or all of it failed.
    pub(super) fn finish(self, failure: Option<WriteError>) {
        for job in self.jobs {
            match job {
                Job::Submit(asked) => asked.finish(failure),
                Job::Pingback(asked) => asked.finish(failure),
                Job::Claim(asked) => asked.finish(failure),
                Job::Sent(asked) => asked.finish(failure),
                Job::Fetched(asked) => asked.finish(failure),
                Job::Cancel(asked) => asked.finish(failure),
                Job::Sweep(asked) => asked.finish(failure),
                Job::Retire(asked) => asked.finish(failure),
                Job::Probe(asked) => asked.finish(failure),
                Job::Chore(chore) => chore.finish(failure),
            }
        }
    }

    /// Stores everything, or nothing; the answers wait in their places until
    /// [`finish`](Self::finish) hands them out.
    pub(super) async fn commit(
        &mut self,
        store: &Store,
        account: &AccountId,
        sending: &HashSet<TaskId>,
    ) -> Result<Committed, StoreError> {
        let now = Timestamp::now();
        let mut writing = store.writing().await;
        let mut tx = writing.begin().await?;
        let new = self.submit(&mut tx, now).await?;
        let mut touched = self.load(&mut tx).await?;
        self.record_sent(&mut touched, now);
        touched.load_parked(&mut tx, self.pingbacks()).await?;
        touched.join_early();
        self.receive(&mut touched);
        self.ask_again(&mut touched, now);
        self.cancel(&mut touched, now);
        earn(&mut tx, account, touched.accepted()).await?;
        if !new.is_empty() {
            tx.insert_tasks(&new).await?;
        }
        let queue_grew = !new.is_empty() || touched.queue_grew();
        let sent = self.sent(&touched);
        let Stored { mut ended, over, unmatched } = touched.store(&mut tx).await?;
        // What follows finds tasks by their state, so everything above is stored before it.
        let released = self.look_after(&mut tx, (account, sending), now, &mut ended).await?;
        tx.commit().await?;
        Ok(Committed { ended, over, sent, unmatched, queue_grew: queue_grew || released })
    }

    /// What the provider says of captchas, by itself or because it was asked.
    fn pingbacks(&self) -> impl Iterator<Item = &Pingback> {
        self.jobs.iter().flat_map(|job| {
            let (received, fetched) = match job {
                Job::Pingback(asked) => (Some(&asked.question.pingback), &[][..]),
                Job::Fetched(asked) => (None, &asked.question[..]),
                _ => (None, &[][..]),
            };
            received.into_iter().chain(fetched.iter().filter_map(|(_, fetched)| fetched.word()))
        })
    }

    /// Numbers the new tasks, and finds those that repeat an earlier one.
    async fn submit(&mut self, tx: &mut WriteTx<'_>, now: Timestamp) -> Result<Vec<NewTask>, StoreError> {
        let mut new: Vec<NewTask> = Vec::new();
        let mut by_key: HashMap<(TokenId, String), usize> = HashMap::new();
        let (mut number, mut committed) = (None, None);
        let submits = self.jobs.iter().filter(|job| matches!(job, Job::Submit(_))).count();
        let most = u32::try_from(submits).unwrap_or(u32::MAX);
        for job in &mut self.jobs {
            let Job::Submit(asked) = job else { continue };
            let Submit { owner, submission, idempotency, daily_limit, pingback } = &asked.question;
            if let Some(key) = idempotency {
                let earlier = match by_key.get(&(*owner, key.key.clone())) {
                    Some(&index) => {
                        let NewTask { task, idempotency, .. } = &new[index];
                        Some((task.clone(), idempotency.as_ref().is_some_and(|earlier| earlier == key)))
                    }
                    None => tx
                        .task_by_idempotency_key(*owner, &key.key, now.before(IDEMPOTENCY_WINDOW))
                        .await?
                        .map(|(task, digest)| (task, digest == key.digest)),
                };
                if let Some((task, same)) = earlier {
                    asked.answer = Some(if same { Submitted::Repeated(task) } else { Submitted::KeyReused });
                    continue;
                }
            }
            if let Some(limit) = daily_limit {
                let committed = match committed {
                    Some(committed) => committed,
                    None => *committed.insert(tx.committed(now).await?),
                };
                if committed.saturating_add(submission.captcha.kind.rate_nanos()) > *limit {
                    asked.answer = Some(Submitted::OverLimit);
                    continue;
                }
            }
            if let Some(key) = idempotency {
                by_key.insert((*owner, key.key.clone()), new.len());
            }
            let next = match number {
                Some(number) => number,
                None => tx.task_numbers(most).await?,
            };
            number = Some(next + 1);
            let id = TaskId::new(next).ok_or_else(StoreError::out_of_ids)?;
            let mut task = Task::new(id, *owner, submission, now);
            task.has_callback = pingback.is_some();
            asked.answer = Some(Submitted::New(task.clone()));
            new.push(NewTask {
                task,
                captcha: submission.captcha.clone(),
                idempotency: idempotency.clone(),
                callback: pingback.clone(),
                webhook_url: submission.webhook_url.clone(),
            });
        }
        Ok(new)
    }

    /// Loads the tasks that the batch names, by their id or by their captcha ID.
    async fn load(&self, tx: &mut WriteTx<'_>) -> Result<Touched, StoreError> {
        let ids = self.jobs.iter().flat_map(|job| match job {
            Job::Sent(asked) => vec![asked.question.0],
            Job::Cancel(asked) => vec![asked.question.0],
            Job::Pingback(asked) => asked.question.task.into_iter().collect(),
            Job::Fetched(asked) => asked.question.iter().map(|(id, _)| *id).collect(),
            _ => Vec::new(),
        });
        let captcha_ids = self.pingbacks().map(|pingback| &pingback.captcha_id);
        Touched::load(tx, &ids.collect::<Vec<_>>(), &captcha_ids.collect::<Vec<_>>()).await
    }

    fn record_sent(&mut self, touched: &mut Touched, now: Timestamp) {
        for job in &mut self.jobs {
            if let Job::Sent(asked) = job {
                let (id, since, sent) = &asked.question;
                touched.record_sent(*id, *since, sent.clone(), now);
                asked.answer = Some(());
            }
        }
    }

    /// The tasks that were sent, as they stand now.
    fn sent(&self, touched: &Touched) -> Vec<Task> {
        let ids = self.jobs.iter().filter_map(|job| match job {
            Job::Sent(asked) => Some(asked.question.0),
            _ => None,
        });
        ids.filter_map(|id| touched.task(id).cloned()).collect()
    }

    fn receive(&mut self, touched: &mut Touched) {
        for job in &mut self.jobs {
            match job {
                Job::Pingback(asked) => {
                    let Received { pingback, task } = &asked.question;
                    if let Some(task) = *task {
                        touched.confirm(task, pingback);
                    }
                    asked.answer = Some(touched.receive(pingback, Via::Pingback));
                }
                Job::Fetched(asked) => {
                    for word in asked.question.iter().filter_map(|(_, fetched)| fetched.word()) {
                        touched.receive(word, Via::Reconcile);
                    }
                    asked.answer = Some(());
                }
                _ => {}
            }
        }
    }

    fn ask_again(&self, touched: &mut Touched, now: Timestamp) {
        for job in &self.jobs {
            let Job::Fetched(asked) = job else { continue };
            for (id, fetched) in &asked.question {
                if let Fetched::NotYet(ask_at) = fetched {
                    touched.ask_again(*id, *ask_at, now);
                }
            }
        }
    }

    fn cancel(&mut self, touched: &mut Touched, now: Timestamp) {
        for job in &mut self.jobs {
            if let Job::Cancel(asked) = job {
                let (id, owner) = asked.question;
                asked.answer = Some(touched.cancel(id, owner, now));
            }
        }
    }

    /// Sweeps, claims, forgetting, probes and chores; whether a sweep put tasks back into the queue.
    async fn look_after(
        &mut self,
        tx: &mut WriteTx<'_>,
        (account, sending): (&AccountId, &HashSet<TaskId>),
        now: Timestamp,
        ended: &mut Vec<Task>,
    ) -> Result<bool, StoreError> {
        let mut released = false;
        for job in &mut self.jobs {
            match job {
                Job::Sweep(asked) => {
                    let swept = sweep(tx, asked.question, sending, now).await?;
                    asked.answer = Some(swept.len());
                    released |= swept.iter().any(|task| task.status == Status::Queued);
                    ended.extend(swept.into_iter().filter(Task::is_final));
                }
                Job::Claim(asked) => asked.answer = Some(claim(tx, account, &asked.question, now).await?),
                Job::Retire(asked) => asked.answer = Some(tx.retire(&asked.question).await?),
                Job::Probe(asked) => {
                    tx.remember("probed_at", &now.to_string()).await?;
                    asked.answer = Some(());
                }
                Job::Chore(chore) => chore.run(tx, account, now).await?,
                Job::Submit(_) | Job::Pingback(_) | Job::Sent(_) | Job::Fetched(_) | Job::Cancel(_) => {}
            }
        }
        Ok(released)
    }
}

/// Expires what is overdue, and ends the wait of unconfirmed tasks; the tasks that changed.
async fn sweep(
    tx: &mut WriteTx<'_>,
    resubmit: bool,
    sending: &HashSet<TaskId>,
    now: Timestamp,
) -> Result<Vec<Task>, StoreError> {
    let mut tasks = tx.overdue_tasks(SWEEP_LIMIT, now).await?;
    let mut lost = Vec::new();
    if tx.is_shared() {
        // Those of this process are known to be on their way, whatever the clock says.
        lost = tx.tasks_in_sending(SWEEP_LIMIT, now.before(LONGEST_SENDING)).await?;
        lost.retain(|task| !sending.contains(&task.id));
        for task in &mut lost {
            task.lose_sender(now);
        }
    }
    tasks.retain_mut(|task| task.expire(now) || task.leave_unconfirmed(resubmit, now));
    tasks.append(&mut lost);
    if !tasks.is_empty() {
        tx.update_tasks(tasks.iter()).await?;
    }
    Ok(tasks)
}

/// The provider has taken so many captchas: each brings credit.
async fn earn(tx: &mut WriteTx<'_>, account: &AccountId, captchas: usize) -> Result<(), StoreError> {
    let captchas = u32::try_from(captchas).unwrap_or(u32::MAX);
    if captchas == 0 {
        return Ok(());
    }
    let before = tx.credit(account).await?;
    let mut credit = before;
    credit.calls.earn(captchas);
    credit.refusals.earn(captchas);
    if credit != before {
        tx.store_credit(account, &credit).await?;
    }
    Ok(())
}

/// Marks the next tasks as being sent, and hands them out: as many as the money is enough for.
async fn claim(
    tx: &mut WriteTx<'_>,
    account: &AccountId,
    claim: &Claim,
    now: Timestamp,
) -> Result<Claimed, StoreError> {
    let backoff = if tx.is_shared() { Some(tx.backoff(account).await?) } else { None };
    let mut tasks = tx.sendable_tasks(claim.limit, now).await?;
    let mut is_short_of_money = (!tasks.is_empty()).then_some(false);
    if let (Some(budget), false) = (claim.budget, tasks.is_empty()) {
        let mut left = budget.saturating_sub(tx.committed(now).await?);
        let affordable = tasks.iter().take_while(|task| {
            left = left.saturating_sub(task.kind.rate_nanos());
            left >= 0
        });
        let count = affordable.count();
        is_short_of_money = Some(count < tasks.len());
        tasks.truncate(count);
    }
    for task in &mut tasks {
        task.start_sending(now);
    }
    if !tasks.is_empty() {
        tx.update_tasks(tasks.iter()).await?;
        let tokens = tasks.iter().map(|task| task.id).zip(claim.tokens.iter().copied());
        let tokens: Vec<_> = tokens.collect();
        if !tokens.is_empty() {
            tx.insert_task_tokens(&tokens).await?;
        }
    }
    Ok(Claimed { tasks, backoff, is_short_of_money })
}
