//! How much there is to do, counted by indexes that hold nothing else.

use super::rows::{parsed, under_way};
use super::{Store, StoreError};
use crate::model::Status;

/// Rows of each kind that are counted: more are said to be as many.
const MOST: i64 = 100_000;

/// What is not done yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    /// Open tasks by status; those of which there are none are left out.
    pub(crate) tasks: Vec<(Status, u64)>,
    /// Messages that wait for their delivery.
    pub(crate) deliveries: u64,
}

impl Store {
    /// What is not done yet; at most 100,000 of each kind are counted.
    pub(crate) async fn backlog(&self) -> Result<Backlog, StoreError> {
        const TASKS: &str = concat!(
            "SELECT status, COUNT(*) AS tasks FROM (
                 SELECT * FROM (SELECT status FROM task WHERE status = 'queued' LIMIT $1) AS queued UNION ALL
                 SELECT * FROM (SELECT status FROM task WHERE status = 'submitting' LIMIT $1) AS sending UNION ALL
                 SELECT * FROM (SELECT status FROM task WHERE ",
            under_way!(),
            " LIMIT $1) AS sent
             ) AS open GROUP BY status"
        );
        const DELIVERIES: &str = "SELECT COUNT(*) FROM
            (SELECT 1 FROM delivery WHERE status = 'waiting' LIMIT $1) AS waiting";
        let rows = self.reader.query(TASKS).bind(MOST).fetch_all().await?;
        let tasks = rows.iter().map(|row| {
            Ok::<_, sqlx::Error>((parsed(row, "status")?, row.try_get::<i64, _>("tasks")?.unsigned_abs()))
        });
        let tasks = tasks.collect::<Result<_, _>>()?;
        let deliveries: i64 = self.reader.query(DELIVERIES).bind(MOST).fetch_one().await?.try_get(0)?;
        Ok(Backlog { tasks, deliveries: deliveries.unsigned_abs() })
    }
}
