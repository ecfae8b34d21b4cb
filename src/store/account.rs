//! What is remembered of the account at the provider: credit, pauses, money spent, tasks to ask for.

use super::db::{Row, Sql, sql};
use super::rows::{self, number, parsed, task_columns, time, under_way};
use super::write::json;
use super::{Store, StoreError, WriteTx};
use crate::model::{
    Backoff, CaptchaType, Cause, Hold, Price, Purse, REMEMBERED, Script, SolveTimes, Task, TaskId, Terms,
    Timestamp, hex,
};

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;
/// Tasks that a look for solve times goes through.
const RECENT: i64 = 5_000;

/// The account's key, as SHA-256 in hex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccountId(String);

impl AccountId {
    /// The account with this key.
    pub(crate) fn new(key_digest: [u8; 32]) -> Self {
        Self(hex(&key_digest))
    }
}

/// The credit of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Credit {
    /// Of calls to `res.php`.
    pub(crate) calls: Purse,
    /// Of replies of `ERROR_NO_SLOT_AVAILABLE`.
    pub(crate) refusals: Purse,
}

impl Default for Credit {
    /// What an account has that was never used.
    fn default() -> Self {
        Self { calls: Purse::full(Terms::CALLS), refusals: Purse::full(Terms::REFUSALS) }
    }
}

/// What the solved captchas of a type cost on one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spent {
    pub(crate) kind: CaptchaType,
    pub(crate) tasks: u64,
    pub(crate) nanos: i64,
    /// Tasks whose price is from the table of rates.
    pub(crate) estimated: u64,
}

impl Spent {
    /// The amount.
    pub(crate) fn price(&self) -> Price {
        Price::from_nanos(self.nanos)
    }
}

const HOLDS: &str = "SELECT script, cause, since, until, repeats FROM hold WHERE account = $1";
const CREDIT: &str = "SELECT calls, refusals FROM credit WHERE account = $1";
const SPENT: &str =
    "SELECT type, tasks, nanos, estimated FROM spend WHERE day = $1 ORDER BY nanos DESC, type";
/// On a server also what is being sent: by whom, only they know.
const UNDER_WAY: Sql = sql!(
    "SELECT type, COUNT(*) AS tasks FROM (SELECT type FROM task WHERE ",
    under_way!(),
    { "" | " UNION ALL SELECT type FROM task WHERE status = 'submitting'" },
    ") AS each_one GROUP BY type"
);

fn credit(row: Option<&Row>) -> Result<Credit, sqlx::Error> {
    let Some(row) = row else { return Ok(Credit::default()) };
    Ok(Credit {
        calls: Purse::with(number(row, "calls")?, Terms::CALLS),
        refusals: Purse::with(number(row, "refusals")?, Terms::REFUSALS),
    })
}

fn spent(row: &Row) -> Result<Spent, sqlx::Error> {
    let count = |column| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
    Ok(Spent {
        kind: parsed(row, "type")?,
        tasks: count("tasks")?,
        nanos: row.try_get("nanos")?,
        estimated: count("estimated")?,
    })
}

/// What tasks under way may still cost, from `type` and `tasks`.
fn expected(rows: &[Row]) -> Result<i64, sqlx::Error> {
    let mut each = rows.iter().map(|row| {
        let kind: CaptchaType = parsed(row, "type")?;
        Ok(kind.rate_nanos().saturating_mul(row.try_get("tasks")?))
    });
    each.try_fold(0_i64, |sum, cost: Result<i64, sqlx::Error>| Ok(sum.saturating_add(cost?)))
}

fn backoff(rows: &[Row]) -> Result<Backoff, sqlx::Error> {
    let holds = rows.iter().map(|row| {
        let script: &str = row.try_get("script")?;
        let script = Script::ALL.into_iter().find(|known| known.as_str() == script);
        let hold = Hold {
            cause: Cause::named(row.try_get("cause")?),
            since: time(row, "since")?,
            until: row.try_get::<Option<i64>, _>("until")?.map(Timestamp::from_micros),
            repeats: number(row, "repeats")?,
        };
        Ok::<_, sqlx::Error>(script.map(|script| (script, hold)))
    });
    let holds = holds.collect::<Result<Vec<_>, _>>()?;
    Ok(Backoff::restored(holds.into_iter().flatten()))
}

impl Store {
    /// The credit of an account.
    pub(crate) async fn credit(&self, account: &AccountId) -> Result<Credit, StoreError> {
        let row = self.reader.query(CREDIT).bind(&account.0).fetch_optional().await?;
        Ok(credit(row.as_ref())?)
    }

    /// The pauses that were stored for an account.
    pub(crate) async fn backoff(&self, account: &AccountId) -> Result<Backoff, StoreError> {
        let rows = self.own_reader.query(HOLDS).bind(&account.0).fetch_all().await?;
        Ok(backoff(&rows)?)
    }

    /// What was spent on the day of `now`, by type.
    pub(crate) async fn spent(&self, now: Timestamp) -> Result<Vec<Spent>, StoreError> {
        let rows = self.reader.query(SPENT).bind(now.as_micros() / DAY).fetch_all().await?;
        Ok(rows.iter().map(spent).collect::<Result<_, _>>()?)
    }

    /// Tasks whose answer is to be asked for, the longest overdue first.
    pub(crate) async fn tasks_to_ask_for(&self, limit: u32, now: Timestamp) -> Result<Vec<Task>, StoreError> {
        const SQL: &str = concat!(
            "SELECT ",
            task_columns!(),
            " FROM task WHERE ",
            under_way!(),
            " AND status = 'submitted' AND due_at <= $1 ORDER BY due_at LIMIT $2"
        );
        let rows =
            self.own_reader.query(SQL).bind(now.as_micros()).bind(i64::from(limit)).fetch_all().await?;
        Ok(rows.iter().map(rows::task).collect::<Result<_, _>>()?)
    }

    /// The task that was sent with this token in its pingback URL.
    pub(crate) async fn task_of_token(&self, digest: &[u8; 32]) -> Result<Option<TaskId>, StoreError> {
        const SQL: &str = "SELECT task_id FROM task_token WHERE digest = $1";
        let row = self.sender_reader.query(SQL).bind(hex(digest)).fetch_optional().await?;
        Ok(row.map(|row| rows::task_id(&row, "task_id")).transpose()?)
    }

    /// Whether a task from before this time is not done.
    pub(crate) async fn has_open_tasks_from_before(&self, time: Timestamp) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT EXISTS (SELECT 1 FROM task WHERE answered_at IS NULL AND created_at < $1)";
        Ok(self.own_reader.query(SQL).bind(time.as_micros()).fetch_one().await?.try_get(0)?)
    }

    /// How long the last captchas took of which the provider told us by itself.
    pub(crate) async fn solve_times(&self) -> Result<SolveTimes, StoreError> {
        const SQL: &str = "SELECT type, answered_at - submitted_at AS took FROM task
            WHERE id > (SELECT COALESCE(MAX(id), 0) FROM task) - $1 AND status = 'solved' AND via = 'pingback'
                AND submitted_at IS NOT NULL ORDER BY id";
        let rows = self.own_reader.query(SQL).bind(RECENT).fetch_all().await?;
        let mut times = SolveTimes::default();
        for row in &rows {
            let took: i64 = row.try_get("took")?;
            times.note(parsed(row, "type")?, std::time::Duration::from_micros(took.max(0).unsigned_abs()));
        }
        debug_assert!(REMEMBERED < usize::try_from(RECENT).unwrap_or(0), "enough is looked at");
        Ok(times)
    }

    /// URLs that were added for others.
    pub(crate) async fn added_urls(&self) -> Result<Vec<String>, StoreError> {
        let rows = self.reader.query("SELECT url FROM pingback_url").fetch_all().await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }
}

impl WriteTx<'_> {
    /// The credit of an account.
    pub(crate) async fn credit(&mut self, account: &AccountId) -> Result<Credit, StoreError> {
        let row = self.query(CREDIT).bind(&account.0).fetch_optional().await?;
        Ok(credit(row.as_ref())?)
    }

    /// The pauses that were stored for an account.
    pub(crate) async fn backoff(&mut self, account: &AccountId) -> Result<Backoff, StoreError> {
        let rows = self.query(HOLDS).bind(&account.0).fetch_all().await?;
        Ok(backoff(&rows)?)
    }

    /// Stores the credit of an account.
    pub(crate) async fn store_credit(
        &mut self,
        account: &AccountId,
        credit: &Credit,
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO credit (account, calls, refusals) VALUES ($1, $2, $3)
            ON CONFLICT (account) DO UPDATE SET calls = excluded.calls, refusals = excluded.refusals";
        let Credit { calls, refusals } = credit;
        let query =
            self.query(SQL).bind(&account.0).bind(i64::from(calls.level())).bind(i64::from(refusals.level()));
        query.execute().await?;
        Ok(())
    }

    /// Stores the pauses of an account, in place of earlier ones.
    pub(crate) async fn store_backoff(
        &mut self,
        account: &AccountId,
        backoff: &Backoff,
    ) -> Result<(), StoreError> {
        const INSERT: &str = "INSERT INTO hold (account, script, cause, since, until, repeats)
            VALUES ($1, $2, $3, $4, $5, $6)";
        let delete = self.query("DELETE FROM hold WHERE account = $1").bind(&account.0);
        delete.execute().await?;
        for script in Script::ALL {
            let Some(Hold { cause, since, until, repeats }) = backoff.hold(script) else { continue };
            self.query(INSERT)
                .bind(&account.0)
                .bind(script.as_str())
                .bind(cause.as_str())
                .bind(since.as_micros())
                .bind(until.map(Timestamp::as_micros))
                .bind(i64::from(*repeats))
                .execute()
                .await?;
        }
        Ok(())
    }

    /// What was spent on the day of `now`, and what the tasks under way may cost, in billionths.
    pub(crate) async fn committed(&mut self, now: Timestamp) -> Result<i64, StoreError> {
        let day = now.as_micros() / DAY;
        let rows = self.query(SPENT).bind(day).fetch_all().await?;
        let spent = rows.iter().map(spent).collect::<Result<Vec<_>, _>>()?;
        let spent = spent.iter().map(|spent| spent.nanos).fold(0, i64::saturating_add);
        let rows = self.query(UNDER_WAY).fetch_all().await?;
        Ok(spent.saturating_add(expected(&rows)?))
    }

    /// Stores the digests of the tokens that tasks are sent with.
    pub(crate) async fn insert_task_tokens(
        &mut self,
        tokens: &[(TaskId, [u8; 32])],
    ) -> Result<(), StoreError> {
        const SQL: Sql = sql!("INSERT INTO task_token (digest, task_id) ", {
            "SELECT value->>0, value->>1 FROM json_each($1)"
                | "SELECT value->>0, (value->>1)::bigint FROM json_array_elements($1::json)"
        });
        let rows = json(tokens.iter().map(|(task, digest)| (hex(digest), task.number())));
        self.query(SQL).bind(rows).execute().await?;
        Ok(())
    }

    /// Has every submitted task asked for 5 s after `at`, the shortest time between two questions, or when
    /// the slowest first wait is over; how many there were.
    pub(crate) async fn ask_for_all(&mut self, at: Timestamp) -> Result<u64, StoreError> {
        const SQL: Sql = sql!(
            "UPDATE task SET due_at = ",
            {
                "MIN(due_at, MAX($1 + 5000000, submitted_at + 20000000))"
                    | "LEAST(due_at, GREATEST($1 + 5000000, submitted_at + 20000000))"
            },
            " WHERE ",
            under_way!(),
            " AND status = 'submitted' AND due_at > $1 AND submitted_at > $1 - 810000000"
        );
        let done = self.query(SQL).bind(at.as_micros()).execute().await?;
        Ok(done)
    }

    /// Notes that a URL was added for others.
    pub(crate) async fn insert_added_url(&mut self, url: &str, now: Timestamp) -> Result<(), StoreError> {
        const SQL: &str =
            "INSERT INTO pingback_url (url, added_at) VALUES ($1, $2) ON CONFLICT (url) DO NOTHING";
        self.query(SQL).bind(url).bind(now.as_micros()).execute().await?;
        Ok(())
    }

    /// Forgets a URL that was deleted, or all of them.
    pub(crate) async fn delete_added_url(&mut self, url: &str) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM pingback_url WHERE url = $1 OR $1 = 'all'";
        self.query(SQL).bind(url).execute().await?;
        Ok(())
    }
}
