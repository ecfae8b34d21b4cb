//! One request to `res.php` for the answers to one or several tasks, and what its reply says of each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{debug, warn};

use crate::account::{Account, Unanswered};
use crate::ingest::Fetched;
use crate::model::{ErrorCode, Outcome, Pingback, Price, Remedy, Task, TaskId, Timestamp, retry};
use crate::provider::{Question, Reply, Shape, explain};

/// Asks for answers.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) account: Account,
    /// Whether the provider knows `get2`, which tells the price beside the answer. The API document does
    /// not have it.
    pub(super) knows_price: Arc<AtomicBool>,
    /// Whether it answers for several captchas at once, a piece for each.
    pub(super) knows_batches: Arc<AtomicBool>,
}

impl Asker {
    /// Asks for all of these tasks by one request: what was said of each; `None` when nothing was sent.
    pub(super) async fn ask_for(&self, tasks: &[Task]) -> Option<Vec<(TaskId, Fetched)>> {
        let ids: Vec<&str> =
            tasks.iter().filter_map(|task| Some(task.captcha_id.as_ref()?.as_str())).collect();
        let (names, ids) = (if tasks.len() == 1 { "id" } else { "ids" }, ids.join(","));
        let with_price = tasks.len() == 1 && self.knows_price.load(Ordering::Relaxed);
        let action = if with_price { "get2" } else { "get" };
        let shape = match (tasks.len(), with_price) {
            (1, true) => Shape::Priced,
            (1, false) => Shape::Value,
            _ => Shape::Bare,
        };
        let reply = self.account.ask(&Question { action, params: &[(names, &ids)], shape }, 0).await;
        let now = Timestamp::now();
        match (reply, tasks) {
            (Ok(reply), [task]) => Some(vec![(task.id, self.one(task, reply, with_price, now))]),
            (Ok(reply), several) => Some(self.several(several, &reply, now)),
            (Err(Unanswered::Failed(error)), tasks) => {
                debug!(tasks = tasks.len(), "Could not ask for answers: {}", explain(&error));
                Some(tasks.iter().map(|task| (task.id, again(task, now))).collect())
            }
            (Err(Unanswered::Held(_) | Unanswered::NoCredit | Unanswered::Write(_)), _) => None,
        }
    }

    fn one(&self, task: &Task, reply: Reply, with_price: bool, now: Timestamp) -> Fetched {
        match reply {
            Reply::Ok { text, price } if !text.is_empty() => word(task, &text, price, now),
            Reply::Error(code) if with_price && is_about_the_action(&code) => {
                debug!(code = code.as_str(), "The provider does not know get2: prices are estimated");
                self.knows_price.store(false, Ordering::Relaxed);
                again(task, now)
            }
            Reply::Error(code) => self.said(task, &code, now),
            Reply::Ok { .. } | Reply::Cut | Reply::Garbage => again(task, now),
        }
    }

    /// A batch whose pieces are not as many as its ids is discarded: nobody knows whose they are.
    fn several(&self, tasks: &[Task], reply: &Reply, now: Timestamp) -> Vec<(TaskId, Fetched)> {
        let pieces: Option<Vec<&str>> = match reply {
            Reply::Ok { text, .. } => Some(text.split('|').collect()),
            // One word for all of them.
            Reply::Error(code) => {
                matches!(code.remedy(), Remedy::FailTask | Remedy::Request | Remedy::NotReady).then(Vec::new)
            }
            Reply::Cut | Reply::Garbage => None,
        };
        match pieces {
            Some(pieces) if pieces.len() == tasks.len() => {
                let each = tasks.iter().zip(pieces);
                return each.map(|(task, piece)| (task.id, self.piece(task, piece, now))).collect();
            }
            Some(pieces) => {
                let (asked, pieces) = (tasks.len(), pieces.len());
                warn!(
                    asked,
                    pieces, "A batch of answers was discarded: from here on each is asked for by itself"
                );
                self.knows_batches.store(false, Ordering::Relaxed);
            }
            None => {}
        }
        tasks.iter().map(|task| (task.id, again(task, now))).collect()
    }

    fn piece(&self, task: &Task, piece: &str, now: Timestamp) -> Fetched {
        match ErrorCode::parse(piece) {
            Some(code) => self.said(task, &code, now),
            None if piece.is_empty() => again(task, now),
            None => word(task, piece, None, now),
        }
    }

    /// What a code in place of an answer means. One that is about the request says nothing of the captcha:
    /// its pingback may still come.
    fn said(&self, task: &Task, code: &ErrorCode, now: Timestamp) -> Fetched {
        match code.remedy() {
            Remedy::FailTask => word(task, code.as_str(), None, now),
            Remedy::NotReady | Remedy::Request => {
                let pace = self.account.pace(task.kind);
                Fetched::NotYet(pace.next(task.kind, taken_at(task), task.expires_at, now))
            }
            Remedy::Wait(_) | Remedy::Suspend(_) | Remedy::Operator => again(task, now),
        }
    }
}

/// Nothing came: the question is asked again, unless it is too late.
fn again(task: &Task, now: Timestamp) -> Fetched {
    Fetched::NotYet(retry(taken_at(task), now))
}

pub(super) fn taken_at(task: &Task) -> Timestamp {
    task.submitted_at.unwrap_or(task.created_at)
}

/// How the captcha of a task ended.
fn word(task: &Task, code: &str, price: Option<Price>, now: Timestamp) -> Fetched {
    let (Some(captcha_id), outcome) = (task.captcha_id.clone(), Outcome::of(code)) else {
        return again(task, now);
    };
    if outcome == Outcome::Notice {
        return again(task, now);
    }
    let code = code.to_owned();
    Fetched::Word(Pingback { captcha_id, code, outcome, price, extra: None, received_at: now })
}

/// Whether a code may say that the action is not known, rather than how the captcha ended.
fn is_about_the_action(code: &ErrorCode) -> bool {
    ["ERROR_EMPTY_ACTION", "ERROR_BAD_PARAMETERS"].contains(&code.as_str()) || !code.is_known()
}
