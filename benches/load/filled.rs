//! A database that holds many ended tasks, as months of work would leave it.

use std::fs::File;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};

use crate::Bench;
use crate::client::answer_to;
use crate::program::Site;

/// Tasks of one transaction.
const BATCH: i64 = 50_000;
/// Of so many tasks one is so young that its answer is there: of 30 days, the last.
const OF_THESE_ONE_HAS_ITS_ANSWER: i64 = 30;
const HOUR: Duration = Duration::from_secs(3600);
/// The captcha IDs follow this one: below those that the provider gives while it is measured.
const LAST_BEFORE: i64 = 11_000_000_000;
/// The length of a captcha ID.
const ID_DIGITS: usize = 11;
/// Would make an event with today's time of each row: the events are filled in with theirs.
const TRIGGERS: &str =
    "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name IN ('task', 'event')";

const NOW: &str = "SELECT CAST(unixepoch('subsec') * 1000000 AS INTEGER)";
const INSERT_TASKS: &str = r#"
    WITH RECURSIVE
        number (id) AS (SELECT $1 UNION ALL SELECT id + 1 FROM number WHERE id < $2),
        made (id, at) AS (SELECT id, $3 + id * $4 FROM number)
    INSERT INTO task (id, owner, type, status, priority, params, captcha_id, answer, via, price, price_estimated,
        attempts, created_at, sent_at, submitted_at, answered_at, expires_at, due_at, erased)
    SELECT id, 0, 'recaptcha_v2', 'solved', 0,
        iif($5, '[]', '[["method","userrecaptcha"],["googlekey","6Le-wvkSAAAAAPBMRTvw0Q4Muexq9bi0DJwx_mJ-"],'
            || '["pageurl","https://example.com/page"]]'),
        $6 + id, iif($5, NULL, ($6 + id) || $7), 'pingback', '0.00299', 1,
        1, at, at + 100000, at + 200000, at + 20000000, at + 900000000, at + 30200000, $5
    FROM made"#;
const INSERT_EVENTS: &str = "
    INSERT INTO event (type, time, owner, task_id, captcha_id, attempts, submitted_at)
    SELECT 'task.created', created_at, owner, id, NULL, NULL, NULL FROM task WHERE id BETWEEN $1 AND $2
    UNION ALL
    SELECT 'task.submitted', submitted_at, owner, id, captcha_id, 1, submitted_at FROM task
    WHERE id BETWEEN $1 AND $2
    UNION ALL
    SELECT 'task.solved', answered_at, owner, id, captcha_id, 1, submitted_at FROM task
    WHERE id BETWEEN $1 AND $2
    ORDER BY 2";

/// What was filled in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filling {
    pub(crate) tasks: i64,
    /// Those whose answer is there.
    answered: i64,
    /// Size of the database.
    pub(crate) bytes: u64,
    pub(crate) took: Duration,
}

/// Makes the database of a place where the program was never started, and fills it.
pub(crate) fn fill(bench: &Bench, site: &mut Site, tasks: u64) -> anyhow::Result<Filling> {
    let begun = Instant::now();
    site.start()?.stop()?;
    let path = site.database();
    let tasks = i64::try_from(tasks)?;
    let answered = tasks / OF_THESE_ONE_HAS_ITS_ANSWER;
    bench.runtime.block_on(async {
        let mut database = open(&path).await?;
        empty(&mut database).await?;
        let triggers = drop_triggers(&mut database).await?;
        let [old, young] = eras(tasks, answered);
        old.insert(&mut database).await?;
        young.insert(&mut database).await?;
        for trigger in triggers {
            sqlx::raw_sql(AssertSqlSafe(trigger)).execute(&mut database).await?;
        }
        sqlx::raw_sql("PRAGMA journal_mode = WAL; PRAGMA wal_checkpoint(TRUNCATE)")
            .execute(&mut database)
            .await?;
        anyhow::Ok(database.close().await?)
    })?;
    // What is still to be written would be written while it is measured.
    let file = File::open(&path)?;
    file.sync_all()?;
    Ok(Filling { tasks, answered, bytes: file.metadata()?.len(), took: begun.elapsed() })
}

impl Filling {
    /// Fails if retention had something to do: the figures would be those of its work.
    pub(crate) fn see_untouched(&self, bench: &Bench, site: &Site) -> anyhow::Result<()> {
        const SQL: &str = "SELECT (SELECT COUNT(*) FROM task WHERE id <= $1),
            (SELECT COUNT(*) FROM task WHERE erased = 0 AND answered_at IS NOT NULL AND id <= $1)";
        let found: (i64, i64) = bench.runtime.block_on(async {
            let mut database = open(&site.database()).await?;
            let found = sqlx::query_as(SQL).bind(self.tasks).fetch_one(&mut database).await?;
            database.close().await?;
            anyhow::Ok(found)
        })?;
        let expected = (self.tasks, self.answered);
        ensure!(
            found == expected,
            "retention was at work: of {expected:?} tasks and answers {found:?} are left"
        );
        Ok(())
    }
}

/// Retention erases after 24 h and deletes after 30 days: the gaps before both keep it from having anything to do
/// while there is a measurement.
fn eras(tasks: i64, answered: i64) -> [Era; 2] {
    [
        Era { ids: 1..=tasks - answered, oldest: 29 * 24 * HOUR, youngest: 25 * HOUR, is_erased: true },
        Era { ids: tasks - answered + 1..=tasks, oldest: 22 * HOUR, youngest: HOUR / 2, is_erased: false },
    ]
}

/// Takes away what was kept of pingbacks that no task waits for.
pub(crate) fn empty_sink(bench: &Bench, site: &Site) -> anyhow::Result<()> {
    bench.runtime.block_on(async {
        let mut database = open(&site.database()).await?;
        sqlx::raw_sql("DELETE FROM pingback; PRAGMA journal_mode = WAL; PRAGMA wal_checkpoint(TRUNCATE)")
            .execute(&mut database)
            .await?;
        anyhow::Ok(database.close().await?)
    })?;
    Ok(File::open(site.database())?.sync_all()?)
}

/// Opens it for speed alone: a crash in between leaves it damaged.
async fn open(path: &Path) -> anyhow::Result<SqliteConnection> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Off)
        .synchronous(SqliteSynchronous::Off)
        .foreign_keys(false)
        .pragma("cache_size", "-262144");
    SqliteConnection::connect_with(&options).await.context("the database cannot be filled")
}

/// Takes away what came of the start.
async fn empty(database: &mut SqliteConnection) -> anyhow::Result<()> {
    sqlx::raw_sql("DELETE FROM event; DELETE FROM pingback").execute(database).await?;
    Ok(())
}

/// What makes them again.
async fn drop_triggers(database: &mut SqliteConnection) -> anyhow::Result<Vec<String>> {
    let triggers: Vec<(String, String)> = sqlx::query_as(TRIGGERS).fetch_all(&mut *database).await?;
    for (name, _) in &triggers {
        let sql = format!("DROP TRIGGER {name}");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *database).await?;
    }
    Ok(triggers.into_iter().map(|(_, sql)| sql).collect())
}

/// Tasks with these ids, oldest first, between these ages.
struct Era {
    ids: RangeInclusive<i64>,
    oldest: Duration,
    youngest: Duration,
    is_erased: bool,
}

impl Era {
    /// Stores solved tasks, and the three events of each.
    async fn insert(self, database: &mut SqliteConnection) -> anyhow::Result<()> {
        let now: i64 = sqlx::query_scalar(NOW).fetch_one(&mut *database).await?;
        let begin = now - i64::try_from(self.oldest.as_micros())?;
        let (first, last) = self.ids.into_inner();
        let span = i64::try_from(self.oldest.saturating_sub(self.youngest).as_micros())?;
        let step = span / (last - first + 1).max(1);
        for from in (first..=last).step_by(usize::try_from(BATCH)?) {
            let to = last.min(from + BATCH - 1);
            let mut transaction = database.begin().await?;
            sqlx::query(INSERT_TASKS)
                .bind(from)
                .bind(to)
                .bind(begin - first * step)
                .bind(step)
                .bind(self.is_erased)
                .bind(LAST_BEFORE)
                .bind(&answer_to(0)[ID_DIGITS..])
                .execute(&mut *transaction)
                .await?;
            sqlx::query(INSERT_EVENTS).bind(from).bind(to).execute(&mut *transaction).await?;
            transaction.commit().await?;
        }
        Ok(())
    }
}
