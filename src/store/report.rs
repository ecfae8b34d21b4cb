//! Complaints and confirmations, until the provider has them.

use super::db::Row;
use super::rows::{flag, parsed, task_id, time, time_if_any};
use super::{Store, StoreError, WriteTx};
use crate::model::{CaptchaId, Report, TaskId, Timestamp, Verdict};

/// The columns that [`report`] reads.
macro_rules! report_columns {
    () => {
        "task_id, captcha_id, verdict, reply, recorded, created_at, expires_at, ended_at"
    };
}

const BY_TASK: &str = concat!("SELECT ", report_columns!(), " FROM report WHERE task_id = $1");

fn report(row: &Row) -> Result<Report, sqlx::Error> {
    Ok(Report {
        task: task_id(row, "task_id")?,
        captcha_id: parsed::<CaptchaId>(row, "captcha_id")?,
        verdict: parsed::<Verdict>(row, "verdict")?,
        reply: row.try_get("reply")?,
        is_recorded: flag(row, "recorded")?,
        created_at: time(row, "created_at")?,
        expires_at: time(row, "expires_at")?,
        ended_at: time_if_any(row, "ended_at")?,
    })
}

impl Store {
    /// The report on a task.
    pub(crate) async fn report(&self, task: TaskId) -> Result<Option<Report>, StoreError> {
        let row = self.reader.query(BY_TASK).bind(task.number()).fetch_optional().await?;
        Ok(row.as_ref().map(report).transpose()?)
    }

    /// Reports that the provider does not have, oldest first.
    pub(crate) async fn open_reports(&self, limit: u32) -> Result<Vec<Report>, StoreError> {
        const SQL: &str = concat!(
            "SELECT ",
            report_columns!(),
            " FROM report WHERE ended_at IS NULL ORDER BY created_at LIMIT $1"
        );
        let rows = self.own_reader.query(SQL).bind(i64::from(limit)).fetch_all().await?;
        Ok(rows.iter().map(report).collect::<Result<_, _>>()?)
    }
}

impl WriteTx<'_> {
    /// The report on a task.
    pub(crate) async fn report(&mut self, task: TaskId) -> Result<Option<Report>, StoreError> {
        let row = self.query(BY_TASK).bind(task.number()).fetch_optional().await?;
        Ok(row.as_ref().map(report).transpose()?)
    }

    /// Stores a report, or what became of it.
    pub(crate) async fn store_report(&mut self, report: &Report) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO report
                (task_id, captcha_id, verdict, reply, recorded, created_at, expires_at, ended_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
            ON CONFLICT (task_id) DO UPDATE SET
                reply = excluded.reply, recorded = excluded.recorded, ended_at = excluded.ended_at";
        self.query(SQL)
            .bind(report.task.number())
            .bind(report.captcha_id.as_str())
            .bind(report.verdict.as_str())
            .bind(report.reply.as_deref())
            .bind(i64::from(report.is_recorded))
            .bind(report.created_at.as_micros())
            .bind(report.expires_at.as_micros())
            .bind(report.ended_at.map(Timestamp::as_micros))
            .execute()
            .await?;
        Ok(())
    }
}
