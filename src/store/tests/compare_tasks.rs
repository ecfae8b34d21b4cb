//! What a store says of tasks and pingbacks, against what the model says.

use std::collections::HashMap;
use std::time::Duration;

use super::compare::{Reading, same};
use super::ids::failed;
use super::model::Model;
use super::words::{OWNERS, text};
use crate::model::{CaptchaId, CaptchaType, Outcome, SolveTimes, Status, Task, TaskId, TokenId, Via};
use crate::store::{Counted, FinalWord, TaskFilter};

impl Model {
    /// Whether a pingback is one that everybody may read: no notice, and of a captcha that is no task's.
    pub(super) fn is_open_to_all(&self, id: i64) -> bool {
        let parked = &self.pingbacks[&id];
        let captcha_id = Some(&parked.pingback.captcha_id);
        let of_a_task = self.tasks.values().any(|row| row.task.captcha_id.as_ref() == captcha_id);
        parked.task_id.is_none() && parked.pingback.outcome != Outcome::Notice && !of_a_task
    }

    /// How a captcha ended, as its task did or else as the first unmatched pingback says.
    pub(super) fn final_word(&self, captcha_id: &CaptchaId, owner: Option<TokenId>) -> Option<FinalWord> {
        let of_captcha = self.pingbacks.values().filter(|parked| parked.pingback.captcha_id == *captcha_id);
        let mut open = of_captcha.filter(|parked| self.is_open_to_all(parked.id));
        if let Some(first) = open.next() {
            return Some(FinalWord::OfPingback(first.pingback.clone()));
        }
        let tasks = self.tasks.values().rev().map(|row| &row.task);
        let mut ended = tasks.filter(|task| task.captcha_id.as_ref() == Some(captcha_id) && task.is_final());
        let theirs = ended.find(|task| owner.is_none_or(|owner| owner == task.owner));
        theirs.map(|task| FinalWord::OfTask(Box::new(task.clone())))
    }

    fn filtered(&self, filter: &TaskFilter) -> Vec<Task> {
        let passes = |task: &&Task| {
            filter.owner.is_none_or(|owner| owner == task.owner)
                && filter.status.is_none_or(|status| status == task.status)
                && filter.kind.is_none_or(|kind| kind == task.kind)
                && filter.tag.as_ref().is_none_or(|tag| Some(tag) == task.tag.as_ref())
        };
        self.tasks.values().rev().map(|row| &row.task).filter(passes).cloned().collect()
    }

    /// How long solved tasks took, newest first.
    fn solved(&self, owner: Option<TokenId>) -> impl Iterator<Item = (&Task, i64)> {
        let tasks = self.tasks.values().rev().map(|row| &row.task);
        let solved = tasks.filter(move |task| owner.is_none_or(|owner| owner == task.owner));
        solved
            .filter(|task| task.status == Status::Solved)
            .filter_map(|task| Some((task, task.answered_at?.as_micros() - task.submitted_at?.as_micros())))
    }
}

impl Reading<'_> {
    pub(super) async fn all_tasks(&self) -> Result<(), String> {
        let (store, model, now) = (self.store, self.model, self.now);
        let all: Vec<i64> = model.tasks.keys().copied().collect();
        let mut found = store.tasks(&self.ids.task_ids(&all)).await.map_err(failed)?;
        found.sort_by_key(|task| task.id);
        let expected: Vec<_> = model.tasks.values().map(|row| row.task.clone()).collect();
        same("tasks", self.ids.tasks(found), &expected)?;
        let has_any = store.has_tasks().await.map_err(failed)?;
        same("has tasks", has_any, !all.is_empty())?;
        let from_before = store.has_open_tasks_from_before(now.before(Duration::from_secs(60))).await;
        let is_open = |task: &Task| !task.is_final() && task.created_at < now.before(Duration::from_secs(60));
        same("has open tasks", from_before.map_err(failed)?, expected.iter().any(is_open))?;
        for id in self.some(all.iter().rev(), 3).take(5) {
            let found = store.captcha(self.ids.task_id(*id)).await.map_err(failed)?;
            same(("captcha", id), found, Some(&model.tasks[id].captcha))?;
        }
        for (digest, id) in model.task_tokens.iter().rev().take(5) {
            let found = store.task_of_token(digest).await.map_err(failed)?;
            same("task of token", found.map(|task| self.ids.model_id(task)), TaskId::new(*id))?;
        }
        self.lists().await?;
        self.counts().await?;
        self.asked_for().await
    }

    async fn lists(&self) -> Result<(), String> {
        let owners = OWNERS
            .map(|owner| TaskFilter { owner: Some(TokenId::from_number(owner)), ..TaskFilter::default() });
        let states = Status::ALL.map(|status| TaskFilter { status: Some(status), ..TaskFilter::default() });
        let kinds = CaptchaType::ALL.map(|kind| TaskFilter { kind: Some(kind), ..TaskFilter::default() });
        let tags = (0..4).map(|at| TaskFilter { tag: Some(text(at).to_owned()), ..TaskFilter::default() });
        let mixed = TaskFilter {
            owner: Some(TokenId::LOCAL),
            status: Some(Status::Solved),
            tag: Some(text(0).to_owned()),
            ..TaskFilter::default()
        };
        let filters = owners.chain(states).chain(kinds).chain(tags).chain([mixed, TaskFilter::default()]);
        for (filter, limit) in self.some(filters.zip((3..9).cycle()), 5) {
            self.pages(TaskFilter { limit, ..filter }).await?;
        }
        Ok(())
    }

    async fn pages(&self, filter: TaskFilter) -> Result<(), String> {
        let all = self.model.filtered(&filter);
        let mut before = None;
        // Also what comes of a filter that nothing passes.
        for page in all.chunks(filter.limit as usize).chain(all.is_empty().then_some(&[][..])) {
            let filter = TaskFilter { before, ..filter.clone() };
            let found = self.store.list_tasks(&filter).await.map_err(failed)?;
            before = found.next;
            same(("page of", &filter), self.ids.tasks(found.tasks), page)?;
            let last = page.last().filter(|last| all.last() != Some(last)).map(|last| last.id);
            same(("next page of", &filter), found.next.map(|task| self.ids.model_id(task)), last)?;
        }
        Ok(())
    }

    async fn counts(&self) -> Result<(), String> {
        for owner in [None, self.owner(0)] {
            let found = self.store.count_tasks(owner).await.map_err(failed)?;
            let mut found: Vec<_> = found.iter().map(|counted| format!("{counted:?}")).collect();
            found.sort();
            let mut counts = HashMap::<_, u64>::new();
            for task in self.model.filtered(&TaskFilter { owner, ..TaskFilter::default() }) {
                *counts.entry((task.kind, task.status, task.via.map(Via::as_str))).or_default() += 1;
            }
            let vias = [Via::Pingback, Via::Reconcile];
            let counted = counts.into_iter().map(|((kind, status, via), tasks)| {
                let via = vias.into_iter().find(|known| Some(known.as_str()) == via);
                format!("{:?}", Counted { kind, status, via, tasks })
            });
            let mut expected: Vec<_> = counted.collect();
            expected.sort();
            same(("counted", owner), found, expected)?;
            let found = self.store.newest_solve_times(owner).await.map_err(failed)?;
            for kind in CaptchaType::ALL {
                let of_kind = self.model.solved(owner).filter(|(task, _)| task.kind == kind);
                let expected: Vec<u64> =
                    of_kind.map(|(_, micros)| (micros / 1000).max(0).unsigned_abs()).collect();
                same(("solve times", owner, kind), found.get(&kind).cloned().unwrap_or_default(), expected)?;
            }
        }
        let found = self.store.solve_times().await.map_err(failed)?;
        let mut expected = SolveTimes::default();
        let solved: Vec<_> = self.model.solved(None).collect();
        for (task, micros) in solved.into_iter().rev().filter(|(task, _)| task.via == Some(Via::Pingback)) {
            expected.note(task.kind, Duration::from_micros(micros.max(0).unsigned_abs()));
        }
        same("solve times by pingback", found, expected)
    }

    async fn asked_for(&self) -> Result<(), String> {
        for limit in [1, 4, 1000] {
            let found = self.store.tasks_to_ask_for(limit, self.now).await.map_err(failed)?;
            let found = self.ids.tasks(found);
            let submitted = self.model.tasks.values().map(|row| &row.task);
            let submitted = submitted.filter(|task| task.status == Status::Submitted);
            let mut expected: Vec<_> =
                submitted.filter_map(|task| task.due_at.filter(|due| *due <= self.now)).collect();
            expected.sort();
            expected.truncate(limit as usize);
            let times: Vec<_> = found.iter().filter_map(|task| task.due_at).collect();
            same(("when to ask, limit", limit), times, expected)?;
            let is_submitted = |task: &Task| task.status == Status::Submitted;
            same("whom to ask for", self.model.knows(&found) && found.iter().all(is_submitted), true)?;
        }
        Ok(())
    }
}
