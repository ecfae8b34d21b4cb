//! Everything that a store can be asked, against what the model says.

use std::fmt::Debug;

use super::ids::{Ids, failed};
use super::model::{DAY, Model};
use super::on_model::{ago, keys, webhook};
use super::on_store_rest::account;
use super::words::{NAMES, OWNERS, captcha_id};
use crate::model::{CallerUrl, Report, TaskId, Timestamp, TokenId};
use crate::store::{FinalWord, Store};

/// A store that is read.
pub(super) struct Reading<'a> {
    pub(super) store: &'a Store,
    pub(super) ids: &'a Ids,
    pub(super) model: &'a Model,
    pub(super) now: Timestamp,
    /// How often it was read: of many questions of a kind, each time others are asked.
    pub(super) turn: usize,
}

/// Where two texts differ, with what stands around it.
pub(super) fn same(what: impl Debug, found: impl Debug, expected: impl Debug) -> Result<(), String> {
    let (found, expected) = (format!("{found:?}"), format!("{expected:?}"));
    differ(what, &found, &expected)
}

pub(super) fn differ(what: impl Debug, found: &str, expected: &str) -> Result<(), String> {
    const AROUND: usize = 400;
    if found == expected {
        return Ok(());
    }
    let pairs = found.chars().zip(expected.chars());
    let from = pairs.take_while(|(found, expected)| found == expected).count().saturating_sub(AROUND);
    let part = |text: &str| text.chars().skip(from).take(3 * AROUND).collect::<String>();
    Err(format!("{what:?}, from character {from}:\n   found {}\nexpected {}", part(found), part(expected)))
}

impl Reading<'_> {
    /// Everybody who may ask, one after the other.
    pub(super) fn owner(&self, at: usize) -> Option<TokenId> {
        let owners = OWNERS.map(TokenId::from_number).map(Some).chain([None]);
        owners.cycle().nth((self.turn + at) % 5).flatten()
    }

    /// One of `part` questions.
    pub(super) fn some<T>(&self, questions: impl Iterator<Item = T>, part: usize) -> impl Iterator<Item = T> {
        questions.skip(self.turn % part).step_by(part)
    }

    /// The whole store.
    pub(super) async fn all(&self) -> Result<(), String> {
        self.tables().await?;
        self.all_tasks().await?;
        self.all_events().await?;
        self.all_deliveries().await?;
        self.due_deliveries().await?;
        self.sink().await?;
        self.webhooks().await?;
        self.account().await?;
        self.reports().await
    }

    /// No table has more rows, or fewer.
    async fn tables(&self) -> Result<(), String> {
        const SQL: &str = "SELECT (SELECT COUNT(*) FROM task_file), (SELECT COUNT(*) FROM idempotency),
            (SELECT COUNT(*) FROM task_token), (SELECT COUNT(*) FROM pingback), (SELECT COUNT(*) FROM event),
            (SELECT COUNT(*) FROM delivery), (SELECT COUNT(*) FROM report), (SELECT COUNT(*) FROM spend),
            (SELECT COUNT(*) FROM signing_secret), (SELECT COUNT(*) FROM caller_url),
            (SELECT COUNT(*) FROM task WHERE erased = 1), (SELECT COUNT(*) FROM task WHERE params = '[]')";
        let row = self.store.reader.query(SQL).fetch_one().await.map_err(failed)?;
        let found: Vec<i64> = (0..12_usize).map(|at| row.try_get(at).unwrap()).collect();
        let model = self.model;
        let expected = [
            model.tasks.values().map(|row| row.captcha.files.len()).sum(),
            model.keys.len(),
            model.task_tokens.len(),
            model.pingbacks.len(),
            model.events.len(),
            model.deliveries.len(),
            model.reports.len(),
            model.spent.len(),
            model.signing.len(),
            model.caller_urls.values().map(Vec::len).sum(),
            model.tasks.values().filter(|row| row.is_erased).count(),
            model.tasks.values().filter(|row| row.captcha.params.is_empty()).count(),
        ];
        same(
            "rows of files, keys, tokens, pingbacks, events, deliveries, reports, spend, secrets, URLs, erased, empty",
            found,
            expected,
        )
    }

    async fn sink(&self) -> Result<(), String> {
        const LIMIT: u32 = 3;
        let model = self.model;
        let is_open = |id: &i64| model.is_open_to_all(*id);
        let mut open: Vec<_> = model.pingbacks.keys().copied().filter(is_open).collect();
        open.reverse();
        let mut before = None;
        for page in open.chunks(LIMIT as usize) {
            let found = self.store.unmatched(before, LIMIT).await.map_err(failed)?;
            let expected: Vec<_> = page.iter().map(|id| &model.pingbacks[id].pingback).collect();
            same(("unmatched before", before), &found.pingbacks, expected)?;
            let next = found.next.map(|id| self.ids.pingbacks.model(id));
            let last = page.last().copied().filter(|last| open.last() != Some(last));
            same("next unmatched", next, last)?;
            before = found.next;
        }
        for at in self.some(0..9, 3) {
            let captcha = captcha_id(at);
            for owner in [None, self.owner(at)] {
                let found = self.store.final_word(&captcha, owner).await.map_err(failed)?;
                let found = match found {
                    Some(FinalWord::OfTask(task)) => Some(FinalWord::OfTask(Box::new(self.ids.task(*task)))),
                    other => other,
                };
                same(("final word", &captcha, owner), found, model.final_word(&captcha, owner))?;
            }
        }
        let mut writing = self.store.writing().await;
        let mut tx = writing.begin().await.map_err(failed)?;
        let captchas: Vec<_> = (0..9).map(captcha_id).collect();
        let found = tx.parked_pingbacks(&captchas.iter().collect::<Vec<_>>()).await.map_err(failed)?;
        let found = found.into_iter().map(|parked| {
            let task = parked.task_id.map(|task| self.ids.model_id(task));
            (self.ids.pingbacks.model(parked.id), task, parked.pingback)
        });
        let expected = model.pingbacks.values();
        let expected = expected.map(|parked| (parked.id, parked.task_id, parked.pingback.clone()));
        same("pingbacks", found.collect::<Vec<_>>(), expected.collect::<Vec<_>>())?;
        tx.commit().await.map_err(failed)
    }

    async fn webhooks(&self) -> Result<(), String> {
        let model = self.model;
        let has_any = self.store.has_webhooks().await.map_err(failed)?;
        same("has webhooks", has_any, !model.webhooks.is_empty())?;
        for owner in [None, self.owner(0), self.owner(1)] {
            let is_theirs = |theirs: TokenId| owner.is_none_or(|owner| owner == theirs);
            let found = self.store.webhooks(owner).await.map_err(failed)?;
            let found = found.into_iter().map(|found| webhook(&self.ids.webhook(found)));
            let all = model.webhooks.values().map(|row| &row.webhook);
            let expected = all.clone().filter(|webhook| is_theirs(webhook.owner)).map(webhook);
            same(("webhooks", owner), found.collect::<Vec<_>>(), expected.collect::<Vec<_>>())?;
            for expected in all.take(2) {
                let id = self.ids.webhooks.store(expected.id);
                let found = self.store.webhook(id, owner).await.map_err(failed)?;
                let found = found.map(|found| webhook(&self.ids.webhook(found)));
                let is_seen = is_theirs(expected.owner);
                same(("webhook", id, owner), found, is_seen.then(|| webhook(expected)))?;
            }
        }
        // Only whose there are: to ask makes them.
        for (owner, expected) in &model.signing {
            let mut writing = self.store.writing().await;
            let mut tx = writing.begin().await.map_err(failed)?;
            let fresh = super::words::secret(0);
            let found = tx.signing_keys(TokenId::from_number(*owner), &fresh).await.map_err(failed)?;
            same(("signing keys", owner), keys(&found), keys(expected))?;
            tx.commit().await.map_err(failed)?;
        }
        Ok(())
    }

    async fn account(&self) -> Result<(), String> {
        let (store, model, now) = (self.store, self.model, self.now);
        for at in 0..3 {
            let found = store.credit(&account(at)).await.map_err(failed)?;
            same("credit", found, model.credit.get(&at).copied().unwrap_or_default())?;
            let found = store.backoff(&account(at)).await.map_err(failed)?;
            same("backoff", found, model.backoff.get(&at).cloned().unwrap_or_default())?;
        }
        for days in 0..3 {
            let day = ago(now, days * DAY / 1000);
            let found = store.spent(day).await.map_err(failed)?;
            let of_day = model.spent.iter().filter(|((spent, _), _)| *spent == day.as_micros() / DAY);
            let mut expected: Vec<_> = of_day.map(|(_, spent)| spent.clone()).collect();
            expected.sort_by_key(|spent| (-spent.nanos, spent.kind.as_str()));
            same(("spent, days ago", days), found, expected)?;
        }
        for name in NAMES {
            same(name, store.recall(name).await.map_err(failed)?, model.memory.get(name))?;
        }
        let feed = store.recall("feed").await.map_err(failed)?.unwrap_or_default();
        same(
            "the feed's name",
            feed.len() == 8 && feed.bytes().all(|digit| digit.is_ascii_hexdigit()),
            true,
        )?;
        let found = store.tokens().await.map_err(failed)?.into_iter();
        let found = found.map(|row| (self.ids.tokens.model(row.id.number()), (row.digest, row.name)));
        same("tokens", found.collect::<Vec<_>>(), model.tokens.iter().collect::<Vec<_>>())?;
        let mut found = store.added_urls().await.map_err(failed)?;
        found.sort();
        same("added URLs", found, model.added_urls.iter().collect::<Vec<_>>())?;
        for owner in OWNERS {
            let found = store.caller_urls(TokenId::from_number(owner)).await.map_err(failed)?;
            let expected = model.caller_urls.get(&owner).into_iter().flatten().map(CallerUrl::text);
            same(("caller's URLs", owner), found, expected.collect::<Vec<_>>())?;
        }
        Ok(())
    }

    async fn reports(&self) -> Result<(), String> {
        const LIMIT: u32 = 3;
        let (store, model) = (self.store, self.model);
        let of_model = |report: Report| Report { task: self.ids.model_id(report.task), ..report };
        for id in self.some(model.tasks.keys().rev(), 5).take(5) {
            let found = store.report(self.ids.task_id(*id)).await.map_err(failed)?;
            same(("report", id), found.map(of_model), model.reports.get(id))?;
        }
        let found = store.open_reports(LIMIT).await.map_err(failed)?;
        let found: Vec<_> = found.into_iter().map(of_model).collect();
        let open = model.reports.values().filter(|report| report.ended_at.is_none());
        let mut expected: Vec<_> = open.map(|report| report.created_at).collect();
        expected.sort();
        expected.truncate(LIMIT as usize);
        same(
            "times of open reports",
            found.iter().map(|report| report.created_at).collect::<Vec<_>>(),
            expected,
        )?;
        let is_known = |report: &Report| model.reports.get(&TaskId::number(report.task)) == Some(report);
        same("open reports are known", found.iter().all(is_known), true)
    }
}
