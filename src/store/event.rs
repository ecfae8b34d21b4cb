//! The feed of events: what happened, in the order in which it was committed. Triggers write it.

use std::collections::HashMap;

use super::db::{self, Snapshot, Sql, sql};
use super::rows::{self, number_if_any, pingback_columns, task_columns};
use super::write::json;
use super::{Store, StoreError};
use crate::model::{
    CaptchaId, Event, EventKind, FeedId, Pingback, Status, Subject, Task, TaskId, Timestamp, TokenId,
};

/// How many events one page looks at: a filter that few pass must not hold a reader for long.
const MAX_SCAN: i64 = 10_000;

/// Which events to read.
#[derive(Clone, Debug)]
pub(crate) struct EventFilter {
    /// Only those of this owner's tasks; `None` reads everybody's, and what is told to admins alone.
    pub(crate) owner: Option<TokenId>,
    /// Only these kinds; empty reads all.
    pub(crate) kinds: Vec<EventKind>,
}

impl EventFilter {
    /// Everything.
    pub(crate) const ALL: Self = Self { owner: None, kinds: Vec::new() };

    /// Whether it lets an event of this kind pass, of a task of this owner.
    pub(crate) fn passes(&self, kind: EventKind, owner: Option<TokenId>) -> bool {
        (self.owner.is_none() || self.owner == owner) && (self.kinds.is_empty() || self.kinds.contains(&kind))
    }
}

/// The ends of the feed: places in it that hold a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FeedEnds {
    /// Before the oldest event that is kept.
    pub(crate) earliest: i64,
    /// Behind the newest.
    pub(crate) latest: i64,
}

/// Events behind a place in the feed.
#[derive(Clone, Debug)]
pub(crate) struct EventPage {
    /// The events, oldest first.
    pub(crate) events: Vec<Event>,
    /// What is behind the last event that was looked at, whether it passed or not.
    pub(crate) through: i64,
    /// The ends of the feed, as they were when the events were read.
    pub(crate) ends: FeedEnds,
}

/// Of an event, what tells who waits for it.
#[derive(Clone, Debug)]
pub(crate) struct Happened {
    pub(crate) number: i64,
    /// `None`: a newer version knows what it is.
    pub(crate) kind: Option<EventKind>,
    pub(crate) task: Option<TaskId>,
    pub(crate) captcha_id: Option<CaptchaId>,
}

/// A row of the feed.
struct Row {
    number: i64,
    kind: EventKind,
    time: Timestamp,
    owner: Option<TokenId>,
    task: Option<TaskId>,
    pingback: Option<i64>,
    captcha_id: Option<String>,
    attempts: Option<u32>,
    submitted_at: Option<Timestamp>,
}

macro_rules! event_columns {
    () => {
        "id, type, time, owner, task_id, pingback_id, captcha_id, attempts, submitted_at"
    };
}

impl Row {
    fn read(row: &db::Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            number: row.try_get("id")?,
            kind: rows::parsed(row, "type")?,
            time: rows::time(row, "time")?,
            owner: row.try_get::<Option<i64>, _>("owner")?.map(TokenId::from_number),
            task: row.try_get::<Option<i64>, _>("task_id")?.and_then(TaskId::new),
            pingback: row.try_get("pingback_id")?,
            captcha_id: row.try_get("captcha_id")?,
            attempts: number_if_any(row, "attempts")?,
            submitted_at: rows::time_if_any(row, "submitted_at")?,
        })
    }

    /// The event; `None` if its task is gone.
    fn into_event(
        self,
        tasks: &HashMap<TaskId, Task>,
        pingbacks: &mut HashMap<i64, Pingback>,
    ) -> Option<Event> {
        let subject = match self.task {
            Some(id) => Subject::Task(Box::new(self.as_then(tasks.get(&id)?.clone()))),
            None => Subject::Pingback {
                captcha_id: self.captcha_id.clone().unwrap_or_default(),
                pingback: self.pingback.and_then(|id| pingbacks.remove(&id)).map(Box::new),
            },
        };
        let Self { number, kind, time, owner, .. } = self;
        Some(Event { number, kind, time, owner, subject })
    }

    /// A task as it was at this event. One that has ended stays as it is.
    fn as_then(&self, task: Task) -> Task {
        let attempts = self.attempts.unwrap_or(0);
        match self.kind {
            EventKind::Created => task.as_created(),
            EventKind::Submitted => self.as_sent(task.as_open(Status::Submitted, attempts)),
            EventKind::Unconfirmed => self.as_sent(task.as_open(Status::Unconfirmed, attempts)),
            _ => task,
        }
    }

    /// It may have been sent again since.
    fn as_sent(&self, task: Task) -> Task {
        let captcha_id = self.captcha_id.as_ref().and_then(|id| id.parse().ok());
        Task { captcha_id, submitted_at: self.submitted_at, ..task }
    }
}

impl Store {
    /// What the feed is called.
    pub(crate) async fn feed_id(&self) -> Result<FeedId, StoreError> {
        Ok(FeedId::new(self.recall("feed").await?.unwrap_or_default()))
    }

    /// Where the feed begins and ends.
    pub(crate) async fn feed_ends(&self) -> Result<FeedEnds, StoreError> {
        let row = self.reader.query(ENDS).fetch_one().await?;
        Ok(ends(&row)?)
    }

    /// At most `limit` events that pass the filter, of those behind `after`.
    pub(crate) async fn events(
        &self,
        after: i64,
        filter: &EventFilter,
        limit: u32,
    ) -> Result<EventPage, StoreError> {
        const SQL: Sql = sql!(
            "SELECT ",
            event_columns!(),
            " FROM event WHERE id > $1 AND id <= $2 AND ($3 IS NULL OR owner = $3) AND ($4 IS NULL OR type",
            among_texts 4,
            ") ORDER BY id LIMIT $5"
        );
        // What retention deletes, or a writer adds, is in all of it or in nothing.
        let mut snapshot = self.reader.snapshot().await?;
        let ends = ends(&snapshot.query(ENDS).fetch_one().await?)?;
        let through = ends.latest.min(after.saturating_add(MAX_SCAN));
        let kinds = (!filter.kinds.is_empty()).then(|| json(filter.kinds.iter()));
        let found = snapshot
            .query(SQL)
            .bind(after)
            .bind(through)
            .bind(filter.owner.map(TokenId::number))
            .bind(kinds)
            .bind(i64::from(limit))
            .fetch_all()
            .await?;
        let is_full = found.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
        let rows = found.iter().map(Row::read).collect::<Result<Vec<_>, _>>()?;
        let last = rows.last().map(|row| row.number);
        let events = complete(&mut snapshot, rows).await?;
        snapshot.close().await?;
        let through = if is_full { last.unwrap_or(through) } else { through.max(after) };
        Ok(EventPage { events, through, ends })
    }

    /// What has happened behind this place, of at most `limit` events.
    pub(crate) async fn happened(&self, after: i64, limit: u32) -> Result<Vec<Happened>, StoreError> {
        const SQL: &str =
            "SELECT id, type, task_id, captcha_id FROM event WHERE id > $1 ORDER BY id LIMIT $2";
        let found = self.own_reader.query(SQL).bind(after).bind(i64::from(limit)).fetch_all().await?;
        let happened = found.iter().map(|row| {
            Ok::<_, sqlx::Error>(Happened {
                number: row.try_get("id")?,
                kind: row.try_get::<&str, _>("type")?.parse().ok(),
                task: row.try_get::<Option<i64>, _>("task_id")?.and_then(TaskId::new),
                captcha_id: row.try_get::<Option<&str>, _>("captcha_id")?.and_then(|id| id.parse().ok()),
            })
        });
        Ok(happened.collect::<Result<_, _>>()?)
    }

    /// The events with these numbers that are still there.
    pub(crate) async fn events_by_number(&self, numbers: &[i64]) -> Result<Vec<Event>, StoreError> {
        const SQL: Sql =
            sql!("SELECT ", event_columns!(), " FROM event WHERE id", among_numbers 1, " ORDER BY id");
        let mut snapshot = self.reader.snapshot().await?;
        let found = snapshot.query(SQL).bind(json(numbers.iter())).fetch_all().await?;
        let rows = found.iter().map(Row::read).collect::<Result<Vec<_>, _>>()?;
        let events = complete(&mut snapshot, rows).await?;
        snapshot.close().await?;
        Ok(events)
    }
}

const ENDS: Sql = Sql {
    sqlite: "SELECT COALESCE((SELECT MIN(id) FROM event) - 1, latest), latest FROM (
        SELECT COALESCE(MAX(seq), 0) AS latest FROM sqlite_sequence WHERE name = 'event')",
    // Not by the oldest: what was rolled back leaves gaps, also before the first. Not by the sequence: that is ahead
    // while a transaction is under way.
    postgres: "SELECT deleted_through, GREATEST((SELECT MAX(id) FROM event), deleted_through) FROM feed",
};

fn ends(row: &db::Row) -> Result<FeedEnds, sqlx::Error> {
    Ok(FeedEnds { earliest: row.try_get(0)?, latest: row.try_get(1)? })
}

/// Reads what the events are about.
async fn complete(snapshot: &mut Snapshot, rows: Vec<Row>) -> Result<Vec<Event>, StoreError> {
    const TASKS: Sql = sql!("SELECT ", task_columns!(), " FROM task WHERE id", among_numbers 1);
    const PINGBACKS: Sql = sql!("SELECT ", pingback_columns!(), " FROM pingback WHERE id", among_numbers 1);
    let mut tasks = HashMap::new();
    let ids = json(rows.iter().filter_map(|row| row.task).map(TaskId::number));
    if ids != "[]" {
        for row in snapshot.query(TASKS).bind(ids).fetch_all().await? {
            let task = rows::task(&row)?;
            tasks.insert(task.id, task);
        }
    }
    let mut pingbacks = HashMap::new();
    let ids = json(rows.iter().filter_map(|row| row.pingback));
    if ids != "[]" {
        for row in snapshot.query(PINGBACKS).bind(ids).fetch_all().await? {
            pingbacks.insert(row.try_get("id")?, rows::pingback(&row)?);
        }
    }
    Ok(rows.into_iter().filter_map(|row| row.into_event(&tasks, &mut pingbacks)).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use sqlx::{Connection as _, PgConnection, Row as _};
    use tokio::task::JoinSet;

    use super::super::testing::postgres;
    use crate::model::Secret;
    use crate::store::{Server, Store};

    /// Why writers take turns: numbers that are taken at the same time are committed in another order, and whoever
    /// goes on behind the greatest that is there never sees a smaller one that comes later.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_cursor_would_skip_events_whose_writers_do_not_take_turns() {
        const WRITERS: u32 = 24;
        const EACH: u32 = 100;
        let Some(url) = postgres::database().await else { return };
        let server = Server { url: Secret::new(url.as_str()), listen_url: None, pool_size: 2 };
        let store = Store::connect(&server).await.unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let (reading, ending) = (store.clone(), Arc::clone(&is_over));
        let tailer = tokio::spawn(async move {
            let (mut seen, mut place) = (0, 0);
            loop {
                let was_over = ending.load(Ordering::Acquire);
                let found = reading.happened(place, 1000).await.unwrap();
                seen += found.len();
                match found.last() {
                    Some(last) => place = last.number,
                    None if was_over => return seen,
                    None => {}
                }
            }
        });
        let mut writers = JoinSet::new();
        for _ in 0..WRITERS {
            let mut connection = PgConnection::connect(&url).await.unwrap();
            writers.spawn(async move {
                for _ in 0..EACH {
                    let mut tx = connection.begin().await.unwrap();
                    let event = "INSERT INTO event (type, time) VALUES ('task.created', 0)";
                    sqlx::query(event).execute(&mut *tx).await.unwrap();
                    tokio::time::sleep(Duration::from_micros(u64::from(getrandom::u32().unwrap() % 3000)))
                        .await;
                    tx.commit().await.unwrap();
                }
            });
        }
        writers.join_all().await;
        is_over.store(true, Ordering::Release);
        let seen = tailer.await.unwrap();
        let mut connection = PgConnection::connect(&url).await.unwrap();
        let stored: i64 =
            sqlx::query("SELECT COUNT(*) FROM event").fetch_one(&mut connection).await.unwrap().get(0);
        assert_eq!(stored, i64::from(WRITERS * EACH));
        assert!(seen < usize::try_from(stored).unwrap(), "it saw all {stored}");
    }
}
