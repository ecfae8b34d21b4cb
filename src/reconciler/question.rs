//! One request to `res.php` for the answers to one or several tasks, and what its reply says of each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{debug, warn};

use crate::account::{Account, Unanswered};
use crate::ingest::Fetched;
use crate::model::{CaptchaId, ErrorCode, Outcome, Pingback, Price, Remedy, Task, TaskId, Timestamp, retry};
use crate::provider::{Question, Reply, Shape, explain};

/// Asks for answers.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) account: Account,
    /// Whether the provider knows `get2`, which tells the price beside the answer. The API document does
    /// not have it.
    pub(super) knows_price: Arc<AtomicBool>,
}

/// What came of a question.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    /// The tasks that it was about.
    pub(super) asked: Vec<TaskId>,
    /// What was said of them; nothing where nothing was asked after all.
    pub(super) fetched: Vec<(TaskId, Fetched)>,
    /// Whether anything was sent: not when there was no credit for it.
    pub(super) was_sent: bool,
    /// Those that have to be asked for one by one.
    pub(super) singles: Vec<TaskId>,
}

impl Asker {
    /// Asks for all of these tasks by one request.
    pub(super) async fn ask_for(&self, tasks: Vec<Task>, verdicts: &mut Verdicts) {
        verdicts.asked.extend(tasks.iter().map(|task| task.id));
        match &tasks[..] {
            [task] => self.one(task, verdicts).await,
            several => self.several(several, verdicts).await,
        }
    }

    async fn one(&self, task: &Task, verdicts: &mut Verdicts) {
        let Some(id) = &task.captcha_id else { return };
        let with_price = self.knows_price.load(Ordering::Relaxed);
        let (action, shape) = if with_price { ("get2", Shape::Priced) } else { ("get", Shape::Value) };
        let question = Question { action, params: &[("id", id.as_str())], shape };
        let reply = self.account.ask(&question, 0).await;
        let now = Timestamp::now();
        let fetched = match reply {
            Ok(Reply::Ok { text, price }) if !text.is_empty() => Fetched::Word(word(id, &text, price, now)),
            Ok(Reply::Error(code)) if with_price && is_about_the_action(&code) => {
                debug!(code = code.as_str(), "The provider does not know get2: prices are estimated");
                self.knows_price.store(false, Ordering::Relaxed);
                again(task, now)
            }
            Ok(Reply::Error(code)) => self.said(task, &code, now),
            Ok(Reply::Ok { .. } | Reply::Cut | Reply::Garbage) => again(task, now),
            Err(error) => {
                let Some(fetched) = unanswered(task, &error, now) else {
                    verdicts.was_sent = false;
                    return;
                };
                fetched
            }
        };
        verdicts.fetched.push((task.id, fetched));
    }

    /// A batch whose pieces are not as many as its ids is discarded: nobody knows whose they are.
    async fn several(&self, tasks: &[Task], verdicts: &mut Verdicts) {
        let ids: Vec<&CaptchaId> = tasks.iter().filter_map(|task| task.captcha_id.as_ref()).collect();
        let joined = ids.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(",");
        let question = Question { action: "get", params: &[("ids", &joined)], shape: Shape::Bare };
        let reply = self.account.ask(&question, 0).await;
        let now = Timestamp::now();
        let pieces: Vec<&str> = match &reply {
            Ok(Reply::Ok { text, .. }) => text.split('|').collect(),
            Ok(Reply::Error(code)) if matches!(code.remedy(), Remedy::FailTask | Remedy::Request) => {
                debug!(code = code.as_str(), "The provider does not answer for several captchas at once");
                verdicts.singles.extend(tasks.iter().map(|task| task.id));
                Vec::new()
            }
            Ok(_) => Vec::new(),
            Err(error) => {
                let each = tasks.iter().filter_map(|task| Some((task.id, unanswered(task, error, now)?)));
                return verdicts.fetched.extend(each);
            }
        };
        if pieces.len() == tasks.len() && ids.len() == tasks.len() {
            let each = tasks.iter().zip(ids).zip(pieces);
            verdicts
                .fetched
                .extend(each.map(|((task, id), piece)| (task.id, self.piece(task, id, piece, now))));
            return;
        }
        if pieces.len() > 1 {
            warn!(
                asked = tasks.len(),
                pieces = pieces.len(),
                "A batch of answers was discarded: its pieces do not match"
            );
            verdicts.singles.extend(tasks.iter().map(|task| task.id));
        }
        verdicts.fetched.extend(tasks.iter().map(|task| (task.id, again(task, now))));
    }

    fn piece(&self, task: &Task, id: &CaptchaId, piece: &str, now: Timestamp) -> Fetched {
        match ErrorCode::parse(piece) {
            Some(code) => self.said(task, &code, now),
            None if piece.is_empty() => again(task, now),
            None => Fetched::Word(word(id, piece, None, now)),
        }
    }

    /// What a code in place of an answer means. One that is about the request says nothing of the captcha:
    /// its pingback may still come.
    fn said(&self, task: &Task, code: &ErrorCode, now: Timestamp) -> Fetched {
        match (code.remedy(), &task.captcha_id) {
            (Remedy::FailTask, Some(id)) => Fetched::Word(word(id, code.as_str(), None, now)),
            (Remedy::NotReady | Remedy::Request, _) => {
                let pace = self.account.pace(task.kind);
                Fetched::NotYet(pace.next(task.kind, taken_at(task), task.expires_at, now))
            }
            _ => again(task, now),
        }
    }
}

/// Nothing came: the question is asked again, unless it is too late.
fn again(task: &Task, now: Timestamp) -> Fetched {
    Fetched::NotYet(retry(taken_at(task), now))
}

/// What follows from a question without a reply; nothing from one that was not sent.
fn unanswered(task: &Task, error: &Unanswered, now: Timestamp) -> Option<Fetched> {
    match error {
        Unanswered::Failed(error) => {
            debug!(task.id = %task.id, "Could not ask for an answer: {}", explain(error));
            Some(again(task, now))
        }
        Unanswered::Held(_) | Unanswered::NoCredit | Unanswered::Write(_) => None,
    }
}

fn taken_at(task: &Task) -> Timestamp {
    task.submitted_at.unwrap_or(task.created_at)
}

fn word(id: &CaptchaId, code: &str, price: Option<Price>, now: Timestamp) -> Pingback {
    Pingback {
        captcha_id: id.clone(),
        code: code.to_owned(),
        outcome: Outcome::of(code),
        price,
        extra: None,
        received_at: now,
    }
}

/// Whether a code may say that the action is not known, rather than how the captcha ended.
fn is_about_the_action(code: &ErrorCode) -> bool {
    match code.remedy() {
        Remedy::FailTask => !["ERROR_CAPTCHA_UNSOLVABLE", "ERROR_BAD_DUPLICATES"].contains(&code.as_str()),
        Remedy::Request => code.as_str() == "ERROR_EMPTY_ACTION",
        _ => false,
    }
}
