//! What is written in a transaction. Where a statement is a turn to the server, there is one per kind of write, with the
//! rows in one JSON text. In a file the rows are bound as they are: to make that text and take it apart again costs as
//! much as to write them.

use std::borrow::Borrow;

use super::db::{Sql, sql};
use super::rows::{
    self, PingbackInsert, TaskChange, TaskEnd, TaskInsert, pingback_columns, task_columns, under_way,
};
use super::{StoreError, WriteTx};
use crate::model::{CallerUrl, Captcha, CaptchaId, ErrorCode, Pingback, Task, TaskId, Timestamp, TokenId};
use serde::Serialize;

/// A task to store, with what `in.php` will be sent.
#[derive(Clone, Debug)]
pub(crate) struct NewTask {
    /// The task.
    pub(crate) task: Task,
    /// Its parameters and images.
    pub(crate) captcha: Captcha,
    /// What a repeat of the submission would be known by.
    pub(crate) idempotency: Option<IdempotencyKey>,
    /// Where its caller is told how it ended, in the provider's own form.
    pub(crate) callback: Option<CallerUrl>,
    /// Where that is told by a signed webhook.
    pub(crate) webhook_url: Option<CallerUrl>,
}

/// A caller's `Idempotency-Key`, with the digest of what was submitted under it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct IdempotencyKey {
    /// The key as the caller chose it. It means something only together with the task's owner.
    pub(crate) key: String,
    /// SHA-256 of the submission.
    pub(crate) digest: [u8; 32],
}

/// A pingback that was kept, with its row.
#[derive(Clone, Debug)]
pub(crate) struct ParkedPingback {
    /// Its number.
    pub(crate) id: i64,
    /// The task it belongs to, once that is known.
    pub(crate) task_id: Option<TaskId>,
    /// The pingback.
    pub(crate) pingback: Pingback,
}

/// A pingback to keep, and the task it belongs to, if any.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parked<'a> {
    /// The pingback.
    pub(crate) pingback: &'a Pingback,
    /// The task with its captcha ID.
    pub(crate) task_id: Option<TaskId>,
}

impl WriteTx<'_> {
    /// The tasks with these ids.
    pub(crate) async fn tasks_by_ids(&mut self, ids: &[TaskId]) -> Result<Vec<Task>, StoreError> {
        const SQL: Sql = sql!("SELECT ", task_columns!(), " FROM task WHERE id", among_numbers 1);
        self.tasks(SQL, &json(ids.iter().map(|id| id.number()))).await
    }

    /// The tasks that the provider knows by these ids, oldest first.
    pub(crate) async fn tasks_by_captcha_ids(&mut self, ids: &[&CaptchaId]) -> Result<Vec<Task>, StoreError> {
        const SQL: Sql =
            sql!("SELECT ", task_columns!(), " FROM task WHERE captcha_id", among_texts 1, " ORDER BY id");
        self.tasks(SQL, &json(ids.iter().map(|id| id.as_str()))).await
    }

    /// The next tasks to send, at most `limit`: highest priority first, then oldest first.
    pub(crate) async fn sendable_tasks(
        &mut self,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Task>, StoreError> {
        const SQL: &str = concat!(
            "SELECT ",
            task_columns!(),
            " FROM task WHERE status = 'queued' AND (due_at IS NULL OR due_at <= $1) AND expires_at > $1
              ORDER BY priority DESC, id LIMIT $2"
        );
        self.tasks_at(SQL, now, limit).await
    }

    /// Open tasks whose time may be over, and unconfirmed ones that waited long enough; at most `limit`
    /// of each. Some tasks have reasons to go on, so they are not the last word.
    pub(crate) async fn overdue_tasks(
        &mut self,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Task>, StoreError> {
        // 60 s for a last question, 15 min until the provider forgets: see `Task::expire`.
        const EXPIRED: &str = concat!(
            "SELECT ",
            task_columns!(),
            " FROM task WHERE answered_at IS NULL AND expires_at <= $1 AND status <> 'submitting'
                AND (status <> 'submitted' OR due_at IS NULL OR due_at <= $1 - 60000000
                     OR submitted_at <= $1 - 900000000) LIMIT $2"
        );
        const UNCONFIRMED: &str = concat!(
            "SELECT ",
            task_columns!(),
            " FROM task WHERE ",
            under_way!(),
            " AND status = 'unconfirmed' AND due_at <= $1 AND expires_at > $1 LIMIT $2"
        );
        const FORGOTTEN: &str = concat!(
            "SELECT ",
            task_columns!(),
            " FROM task WHERE ",
            under_way!(),
            " AND status = 'submitted' AND (due_at IS NULL OR due_at <= $1) AND expires_at > $1
              AND submitted_at <= $1 - 900000000 LIMIT $2"
        );
        let mut tasks = self.tasks_at(EXPIRED, now, limit).await?;
        tasks.extend(self.tasks_at(UNCONFIRMED, now, limit).await?);
        tasks.extend(self.tasks_at(FORGOTTEN, now, limit).await?);
        Ok(tasks)
    }

    /// Tasks that are being sent since before this time, at most `limit`.
    pub(crate) async fn tasks_in_sending(
        &mut self,
        limit: u32,
        since: Timestamp,
    ) -> Result<Vec<Task>, StoreError> {
        const SQL: &str = concat!(
            "SELECT ",
            task_columns!(),
            " FROM task WHERE status = 'submitting' AND sent_at <= $1 ORDER BY sent_at LIMIT $2"
        );
        self.tasks_at(SQL, since, limit).await
    }

    /// The first of `count` numbers for new tasks. Numbers are never used again, also after their rows are gone;
    /// some may never be used.
    pub(crate) async fn task_numbers(&mut self, count: u32) -> Result<i64, StoreError> {
        const SQL: Sql = Sql {
            sqlite: "SELECT COALESCE(MAX(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'task' AND $1 > 0",
            // Nobody else takes any meanwhile: this transaction has the lock.
            postgres: "SELECT setval('task_id_seq', nextval('task_id_seq') + $1 - 1) - $1 + 1",
        };
        Ok(self.query(SQL).bind(i64::from(count)).fetch_one().await?.try_get(0)?)
    }

    /// Stores new tasks with their images and idempotency keys.
    pub(crate) async fn insert_tasks(&mut self, new: &[NewTask]) -> Result<(), StoreError> {
        const TASKS: Sql = sql!(
            "INSERT INTO task (id, owner, type, status, tag, priority, params, created_at, expires_at,
                               callback_url, callback_receiver, webhook_url, webhook_receiver) ",
            {
                "VALUES"
                    | "SELECT * FROM json_to_recordset($1::json) AS new (
                    id bigint, owner bigint, type text, status text, tag text, priority bigint, params text,
                    created_at bigint, expires_at bigint, callback_url text, callback_receiver text,
                    webhook_url text, webhook_receiver text)"
            }
        );
        let rows = new.iter().map(|NewTask { task, captcha, callback, webhook_url, .. }| TaskInsert {
            id: task.id.number(),
            owner: task.owner.number(),
            r#type: task.kind.as_str(),
            status: task.status.as_str(),
            tag: task.tag.as_deref(),
            priority: task.priority,
            params: json(captcha.params.iter()),
            created_at: task.created_at.as_micros(),
            expires_at: task.expires_at.as_micros(),
            callback_url: callback.as_ref().map(CallerUrl::text),
            callback_receiver: callback.as_ref().map(CallerUrl::receiver),
            webhook_url: webhook_url.as_ref().map(CallerUrl::text),
            webhook_receiver: webhook_url.as_ref().map(CallerUrl::receiver),
        });
        self.insert_rows(TASKS, &rows.collect::<Vec<_>>()).await?;
        for new in new {
            self.insert_files(new).await?;
            if let Some(idempotency) = &new.idempotency {
                self.insert_idempotency(&new.task, idempotency).await?;
            }
        }
        Ok(())
    }

    /// Images are a row each: as text for a bulk statement they would double in size.
    async fn insert_files(&mut self, new: &NewTask) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO task_file (task_id, position, field, content) VALUES ($1, $2, $3, $4)";
        for (position, file) in (0_i64..).zip(&new.captcha.files) {
            self.query(SQL)
                .bind(new.task.id.number())
                .bind(position)
                .bind(&file.field)
                .bind(file.content.as_ref())
                .execute()
                .await?;
        }
        Ok(())
    }

    async fn insert_idempotency(
        &mut self,
        task: &Task,
        idempotency: &IdempotencyKey,
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO idempotency (owner, key, digest, task_id, created_at)
            VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (owner, key) DO UPDATE
            SET digest = excluded.digest, task_id = excluded.task_id, created_at = excluded.created_at";
        self.query(SQL)
            .bind(task.owner.number())
            .bind(&idempotency.key)
            .bind(idempotency.digest.as_slice())
            .bind(task.id.number())
            .bind(task.created_at.as_micros())
            .execute()
            .await?;
        Ok(())
    }

    /// The task that the owner submitted under this key since `since`, and the digest it had.
    pub(crate) async fn task_by_idempotency_key(
        &mut self,
        owner: TokenId,
        key: &str,
        since: Timestamp,
    ) -> Result<Option<(Task, Vec<u8>)>, StoreError> {
        const SQL: &str = concat!(
            "SELECT ",
            task_columns!(),
            ", (SELECT digest FROM idempotency WHERE owner = $1 AND key = $2) AS digest
              FROM task WHERE id = (SELECT task_id FROM idempotency
                                    WHERE owner = $1 AND key = $2 AND created_at >= $3)"
        );
        let row =
            self.query(SQL).bind(owner.number()).bind(key).bind(since.as_micros()).fetch_optional().await?;
        Ok(row.map(|row| Ok::<_, sqlx::Error>((rows::task(&row)?, row.try_get("digest")?))).transpose()?)
    }

    /// Stores what changed about tasks; their events come in the order of their ids.
    pub(crate) async fn update_tasks(
        &mut self,
        tasks: impl Iterator<Item = impl Borrow<Task>>,
    ) -> Result<(), StoreError> {
        const SQL: Sql = sql!("UPDATE task SET ", {
            "status = $2, captcha_id = $3, answer = $4, error = $5, via = $6, price = $7, price_estimated = $8,
              attempts = $9, doubtful = $10, reason = $11, extra = $12, sent_at = $13, submitted_at = $14,
              answered_at = $15, due_at = $16 WHERE id = $1"
                | "status = change.status, captcha_id = change.captcha_id, answer = change.answer,
                error = change.error, via = change.via, price = change.price,
                price_estimated = change.price_estimated, attempts = change.attempts,
                doubtful = change.doubtful, reason = change.reason, extra = change.extra,
                sent_at = change.sent_at, submitted_at = change.submitted_at,
                answered_at = change.answered_at, due_at = change.due_at
                FROM json_to_recordset($1::json) AS change (
                    id bigint, status text, captcha_id text, answer text, error text, via text, price text,
                    price_estimated bigint, attempts bigint, doubtful bigint, reason text, extra text,
                    sent_at bigint, submitted_at bigint, answered_at bigint, due_at bigint)
                WHERE task.id = change.id"
        });
        let tasks: Vec<_> = tasks.collect();
        let mut changes: Vec<_> = tasks.iter().map(|task| TaskChange::from(task.borrow())).collect();
        changes.sort_unstable_by_key(|change| change.id);
        Ok(self.change_rows(SQL, &changes).await?)
    }

    /// Stores how tasks ended of which nothing else has changed.
    pub(crate) async fn end_tasks<'t>(
        &mut self,
        tasks: impl Iterator<Item = &'t Task>,
    ) -> Result<(), StoreError> {
        const SQL: Sql = sql!("UPDATE task SET ", {
            "status = $2, answer = $3, error = $4, via = $5, price = $6, price_estimated = $7, reason = $8,
              extra = $9, answered_at = $10 WHERE id = $1"
                | "status = change.status, answer = change.answer, error = change.error, via = change.via,
                price = change.price, price_estimated = change.price_estimated, reason = change.reason,
                extra = change.extra, answered_at = change.answered_at
                FROM json_to_recordset($1::json) AS change (
                    id bigint, status text, answer text, error text, via text, price text,
                    price_estimated bigint, reason text, extra text, answered_at bigint)
                WHERE task.id = change.id"
        });
        Ok(self.change_rows(SQL, &tasks.map(TaskEnd::from).collect::<Vec<_>>()).await?)
    }

    /// The pingbacks that were kept for these captcha IDs, oldest first.
    pub(crate) async fn parked_pingbacks(
        &mut self,
        ids: &[&CaptchaId],
    ) -> Result<Vec<ParkedPingback>, StoreError> {
        const SQL: Sql = sql!(
            "SELECT ",
            pingback_columns!(),
            " FROM pingback WHERE captcha_id",
            among_texts 1,
            " ORDER BY id"
        );
        let found = self.query(SQL).bind(json(ids.iter().map(|id| id.as_str()))).fetch_all().await?;
        let parked = found.iter().map(|row| {
            Ok::<_, sqlx::Error>(ParkedPingback {
                id: row.try_get("id")?,
                task_id: row.try_get::<Option<i64>, _>("task_id")?.and_then(TaskId::new),
                pingback: rows::pingback(row)?,
            })
        });
        Ok(parked.collect::<Result<_, _>>()?)
    }

    /// Keeps pingbacks that settled nothing.
    pub(crate) async fn insert_pingbacks(&mut self, parked: &[Parked<'_>]) -> Result<(), StoreError> {
        const SQL: Sql =
            sql!("INSERT INTO pingback (captcha_id, task_id, code, outcome, price, extra, received_at) ", {
                "VALUES"
                    | "SELECT * FROM json_to_recordset($1::json) AS new (
                    captcha_id text, task_id bigint, code text, outcome text, price text, extra text,
                    received_at bigint)"
            });
        let rows = parked.iter().map(|parked| PingbackInsert::new(parked.pingback, parked.task_id));
        Ok(self.insert_rows(SQL, &rows.collect::<Vec<_>>()).await?)
    }

    /// Ties pingbacks that came early to the tasks whose they are.
    pub(crate) async fn join_pingbacks(&mut self, joined: &[(i64, TaskId)]) -> Result<(), StoreError> {
        const SQL: Sql = sql!("UPDATE pingback SET task_id = ", {
            "pair.value->>1 FROM json_each($1) AS pair WHERE pingback.id = pair.value->>0"
                | "(pair.value->>1)::bigint FROM json_array_elements($1::json) AS pair
                WHERE pingback.id = (pair.value->>0)::bigint"
        });
        let pairs = json(joined.iter().map(|(id, task)| (id, task.number())));
        self.query(SQL).bind(pairs).execute().await?;
        Ok(())
    }

    /// Gives up on every open task; how many there were.
    pub(crate) async fn abandon_open_tasks(&mut self, now: Timestamp) -> Result<u64, StoreError> {
        const SQL: &str = "UPDATE task SET status = 'expired', error = $1, answered_at = $2, reason = NULL
            WHERE answered_at IS NULL";
        let done = self.query(SQL).bind(ErrorCode::EXPIRED).bind(now.as_micros()).execute().await?;
        Ok(done)
    }

    async fn tasks_at(
        &mut self,
        sql: &'static str,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Task>, StoreError> {
        let query = self.query(sql).bind(now.as_micros()).bind(i64::from(limit));
        let found = query.fetch_all().await?;
        Ok(found.iter().map(rows::task).collect::<Result<_, _>>()?)
    }

    async fn tasks(&mut self, sql: Sql, keys: &str) -> Result<Vec<Task>, StoreError> {
        let found = self.query(sql).bind(keys).fetch_all().await?;
        Ok(found.iter().map(rows::task).collect::<Result<_, _>>()?)
    }
}

/// A JSON array of the items, as `json_each` takes it.
pub(super) fn json(items: impl Iterator<Item = impl Serialize>) -> String {
    let items: Vec<_> = items.collect();
    serde_json::to_string(&items).expect("rows of text and numbers are JSON")
}
