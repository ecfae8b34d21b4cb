//! What was acknowledged, and whether it is there: each once, the events without a gap and in order.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use crate::database::Database;

/// What the service has answered with 2xx.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Codes by captcha ID, of pingbacks.
    pub(crate) answers: HashMap<String, String>,
    /// Ids by tag, of submissions. No tag is used twice.
    pub(crate) tasks: HashMap<String, String>,
}

/// What the database of a service that does not run holds.
#[derive(Debug)]
#[expect(dead_code, reason = "for people to read")]
pub(crate) struct Held {
    pub(crate) tasks: usize,
    pub(crate) solved: usize,
    /// Pingbacks that settled no task.
    pub(crate) kept: usize,
    pub(crate) events: usize,
}

impl Ledger {
    /// Fails unless all of it is there, once.
    pub(crate) async fn check(&self, data: &Path) -> Held {
        let mut database = Database::of(data).await;
        assert!(database.is_whole().await, "the database is damaged");
        let tasks = self.check_tasks(&mut database).await;
        let (solved, kept) = self.check_answers(&mut database).await;
        let events = check_events(&mut database).await;
        Held { tasks, solved, kept, events }
    }

    async fn check_tasks(&self, database: &mut Database) -> usize {
        let rows: Vec<(i64, String)> = database.rows("SELECT id, tag FROM task").await;
        let ids: HashMap<&str, i64> = rows.iter().map(|(id, tag)| (tag.as_str(), *id)).collect();
        assert_eq!(ids.len(), rows.len(), "a submission became two tasks");
        for (tag, id) in &self.tasks {
            let found = ids.get(tag.as_str()).map(i64::to_string);
            assert_eq!(found.as_ref(), Some(id), "task {tag} was acknowledged, and is lost");
        }
        rows.len()
    }

    /// How many tasks are solved, and how many pingbacks are kept beside.
    async fn check_answers(&self, database: &mut Database) -> (usize, usize) {
        const SOLVED: &str = "SELECT captcha_id, answer FROM task WHERE status = 'solved'";
        // One that came before its task had a captcha ID has settled it, and is kept as the task's.
        const KEPT: &str = "SELECT captcha_id, code FROM pingback WHERE task_id IS NULL";
        const EARLY: &str = "SELECT captcha_id, code FROM pingback WHERE task_id IS NOT NULL";
        let solved: Vec<(String, String)> = database.rows(SOLVED).await;
        let kept: Vec<(String, String)> = database.rows(KEPT).await;
        let early: Vec<(String, String)> = database.rows(EARLY).await;
        let all: HashSet<&(String, String)> = solved.iter().chain(&kept).collect();
        assert_eq!(all.len(), solved.len() + kept.len(), "an answer is stored twice");
        assert_eq!(
            early.iter().collect::<HashSet<_>>().len(),
            early.len(),
            "an early answer is stored twice"
        );
        assert!(early.iter().all(|answer| all.contains(answer)), "an early answer has settled nothing");
        for (captcha_id, code) in &self.answers {
            let is_there = all.contains(&(captcha_id.clone(), code.clone()));
            assert!(is_there, "the answer to {captcha_id} was acknowledged, and is lost");
        }
        (solved.len(), kept.len())
    }
}

/// Every change has its event, each once; their numbers have no gap and are in the order of the changes.
async fn check_events(database: &mut Database) -> usize {
    const UNMATCHED: &str = "SELECT COUNT(*) FROM pingback WHERE outcome <> 'notice'
        AND id NOT IN (SELECT pingback_id FROM event WHERE pingback_id IS NOT NULL) AND task_id IS NULL";
    let events: Vec<(i64, String, Option<i64>)> =
        database.rows("SELECT id, type, task_id FROM event ORDER BY id").await;
    let mut last: HashMap<i64, &str> = HashMap::new();
    for (expected, (number, kind, task)) in (1..).zip(&events) {
        assert_eq!(*number, expected, "the events have a gap");
        let Some(task) = *task else { continue };
        let before = last.insert(task, kind);
        let follows = match kind.as_str() {
            "task.created" => before.is_none(),
            "task.submitted" => matches!(before, Some("task.created" | "task.unconfirmed")),
            // One in doubt is sent again after its give-up time, of which nothing is told, and may come into doubt again.
            "task.unconfirmed" => matches!(before, Some("task.created" | "task.unconfirmed")),
            // A task that is in doubt may be settled by what it is asked for.
            "task.solved" => before == Some("task.submitted"),
            other => panic!("{other} was not to be expected"),
        };
        assert!(follows, "event {number}: {kind} after {before:?}");
    }
    let tasks: Vec<(i64, String)> = database.rows("SELECT id, status FROM task").await;
    for (id, status) in &tasks {
        let told = last.get(id).copied();
        let expected = match status.as_str() {
            "submitted" | "solved" | "unconfirmed" => format!("task.{status}"),
            // Nothing is told of these.
            "queued" | "submitting" => {
                assert!(matches!(told, Some("task.created" | "task.unconfirmed")), "{id}: {told:?}");
                continue;
            }
            other => panic!("task {id} is {other}"),
        };
        assert_eq!(told, Some(expected.as_str()), "task {id}");
    }
    assert_eq!(database.number(UNMATCHED).await, 0, "pingbacks without an event");
    events.len()
}
