//! What a store says of events, against what the model says.

use super::compare::{Reading, same};
use super::ids::failed;
use super::model::{EventRow, Model};
use super::words::kinds;
use crate::model::{Event, EventKind, Status, Subject, Task, TaskId, TokenId};
use crate::store::EventFilter;

impl Model {
    /// An event as it is read: its task as it was then, or as it stands once it has ended.
    fn event(&self, number: i64, row: &EventRow) -> Event {
        let subject = match row.task {
            Some(id) => Subject::Task(Box::new(then(self.tasks[&id].task.clone(), row))),
            None => Subject::Pingback {
                captcha_id: row.captcha_id.clone().map(String::from).unwrap_or_default(),
                pingback: row
                    .pingback
                    .and_then(|id| self.pingbacks.get(&id))
                    .map(|parked| Box::new(parked.pingback.clone())),
            },
        };
        Event { number, kind: row.kind, time: row.time, owner: row.owner, subject }
    }
}

fn then(task: Task, row: &EventRow) -> Task {
    let status = match row.kind {
        EventKind::Created => Status::Queued,
        EventKind::Submitted => Status::Submitted,
        EventKind::Unconfirmed => Status::Unconfirmed,
        _ => return task,
    };
    Task {
        status,
        attempts: row.attempts,
        captcha_id: row.captcha_id.clone(),
        submitted_at: row.submitted_at,
        answer: None,
        error: None,
        via: None,
        price: None,
        price_estimated: false,
        reason: None,
        extra: None,
        answered_at: None,
        ..task
    }
}

impl Reading<'_> {
    pub(super) async fn all_events(&self) -> Result<(), String> {
        let (store, model, ids) = (self.store, self.model, &self.ids.events);
        let kept = i64::try_from(model.events.len()).unwrap();
        let ends = store.feed_ends().await.map_err(failed)?;
        same("the end of the feed", ends.latest, ids.last())?;
        same("the beginning of the feed", ids.rank(ends.earliest), ids.count() - kept)?;
        let mut ordered: Vec<(i64, &EventRow)> =
            model.events.iter().map(|(number, row)| (*number, row)).collect();
        ordered.sort_by_key(|(number, _)| ids.store(*number));
        let some =
            |owner: i64, mask| EventFilter { owner: Some(TokenId::from_number(owner)), kinds: kinds(mask) };
        let filters = [
            some(0, 0),
            some(1, 0b111),
            some(2, 0b1000_1000),
            EventFilter { owner: None, kinds: kinds(0b1011_0010) },
        ];
        let filters = self.some(filters.into_iter().zip([15_u32, 9, 5, 19]), 4);
        for (filter, limit) in filters.chain([(EventFilter::ALL, 40)]) {
            let is_theirs = |row: &EventRow| filter.owner.is_none() || filter.owner == row.owner;
            let is_asked_for = |row: &EventRow| filter.kinds.is_empty() || filter.kinds.contains(&row.kind);
            let passing = ordered.iter().filter(|(_, row)| is_theirs(row) && is_asked_for(row));
            let expected: Vec<_> = passing.map(|(number, row)| model.event(*number, row)).collect();
            let mut after = ends.earliest;
            for page in expected.chunks(limit as usize).chain([&[][..]]) {
                let found = store.events(after, &filter, limit).await.map_err(failed)?;
                let events: Vec<_> = found.events.into_iter().map(|event| self.ids.event(event)).collect();
                same(("events after", after, &filter), events, page)?;
                same("the ends beside events", found.ends, ends)?;
                let is_full = page.len() == limit as usize;
                after = page.last().filter(|_| is_full).map_or(ends.latest, |last| ids.store(last.number));
                same(("what was looked at", &filter), found.through, after)?;
                if !is_full {
                    break;
                }
            }
        }
        let happened = store.happened(ids.at_rank(ids.count() - 20), 15).await.map_err(failed)?;
        let happened = happened.into_iter().map(|it| {
            (
                ids.model(it.number),
                it.kind.unwrap(),
                it.task.map(|task| self.ids.model_id(task)),
                it.captcha_id,
            )
        });
        let newest =
            ordered.iter().filter(|(number, _)| ids.rank(ids.store(*number)) > ids.count() - 20).take(15);
        let newest = newest
            .map(|(number, row)| (*number, row.kind, row.task.and_then(TaskId::new), row.captcha_id.clone()));
        same("what has happened", happened.collect::<Vec<_>>(), newest.collect::<Vec<_>>())?;
        let numbers: Vec<i64> = (ids.count() - 30..=ids.count() + 1).step_by(3).collect();
        let asked: Vec<i64> = numbers.iter().map(|number| ids.store(*number)).collect();
        let found = store.events_by_number(&asked).await.map_err(failed)?;
        let found: Vec<_> = found.into_iter().map(|event| self.ids.event(event)).collect();
        let named = ordered.iter().filter(|(number, _)| numbers.contains(number));
        same(
            "events by number",
            found,
            named.map(|(number, row)| model.event(*number, row)).collect::<Vec<_>>(),
        )
    }
}
