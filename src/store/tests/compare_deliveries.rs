//! What a store says of deliveries, against what the model says.

use std::collections::{BTreeMap, HashSet};

use super::compare::{Reading, same};
use super::ids::failed;
use super::model::{DeliveryRow, Model};
use super::on_model::{ago, keys};
use super::words::OWNERS;
use crate::model::{Delivery, DeliveryStatus, EventKind, TaskId, Timestamp, TokenId};
use crate::store::{DeliveryFilter, Due, Look, Target, WebhookState};

impl Model {
    fn due(&self, row: &DeliveryRow) -> String {
        let DeliveryRow { delivery, url, .. } = row;
        let webhook = delivery.webhook.map(|id| self.webhooks.get(&id).map(|row| &row.webhook));
        let state = webhook.flatten().map(|webhook| match &webhook.disabled {
            Some(disabled) => WebhookState::Disabled(disabled.reason.clone()),
            None => WebhookState::Enabled,
        });
        let (url, known) = match webhook {
            Some(webhook) => {
                (webhook.map(|webhook| webhook.url.text().to_owned()), webhook.map(|webhook| &webhook.keys))
            }
            None => (url.clone(), self.signing.get(&delivery.owner.number())),
        };
        format!("{delivery:?} {} {:?} {state:?}", url.unwrap_or_default(), known.map(keys))
    }

    fn waiting(&self, now: Timestamp) -> impl Iterator<Item = &DeliveryRow> {
        let is_due =
            move |delivery: &Delivery| delivery.status == DeliveryStatus::Waiting && delivery.due_at <= now;
        self.deliveries.values().filter(move |row| is_due(&row.delivery))
    }

    /// When those are due that a look finds: the first few of each receiver and owner, of those the first few of each
    /// receiver, of those the first few.
    fn looked_at(&self, look: &Look, now: Timestamp) -> Vec<Timestamp> {
        let mut targets = BTreeMap::<_, Vec<_>>::new();
        for DeliveryRow { delivery, .. } in self.waiting(now) {
            let held = look.held.contains(&Target::of(delivery)) || look.but == Some(delivery.owner);
            if !held {
                let of_target =
                    targets.entry((delivery.receiver.clone(), delivery.owner.number())).or_default();
                of_target.push(delivery.due_at);
            }
        }
        let few = |times: &mut Vec<Timestamp>, limit: u32| {
            times.sort();
            times.truncate(limit as usize);
        };
        let mut receivers = BTreeMap::<_, Vec<_>>::new();
        for ((receiver, _), mut times) in targets {
            few(&mut times, look.per_receiver);
            receivers.entry(receiver).or_default().extend(times);
        }
        for times in receivers.values_mut() {
            few(times, look.per_receiver);
        }
        let mut all: Vec<_> = receivers.into_values().flatten().collect();
        few(&mut all, look.limit);
        all
    }
}

fn passes(filter: &DeliveryFilter, delivery: &Delivery) -> bool {
    filter.owner.is_none_or(|owner| owner == delivery.owner)
        && filter.status.is_none_or(|status| status == delivery.status)
        && filter.webhook.is_none_or(|webhook| Some(webhook) == delivery.webhook)
        && filter.task.is_none_or(|task| Some(task) == delivery.task)
        && filter.kind.is_none_or(|kind| kind == delivery.kind)
        && filter.since.is_none_or(|since| delivery.created_at >= since)
        && filter.until.is_none_or(|until| delivery.created_at < until)
}

impl Reading<'_> {
    pub(super) async fn all_deliveries(&self) -> Result<(), String> {
        let (store, model, ids) = (self.store, self.model, self.ids);
        let newest = model.deliveries.keys().map(|id| ids.deliveries.store(*id)).max().unwrap_or(0);
        same("newest delivery", store.newest_delivery().await.map_err(failed)?, newest)?;
        let rows = store.reader.query("SELECT id, url FROM delivery").fetch_all().await.map_err(failed)?;
        let urls = rows.iter().map(|row| {
            (
                ids.deliveries.model(row.try_get("id").unwrap()),
                row.try_get::<Option<String>, _>("url").unwrap(),
            )
        });
        let expected: BTreeMap<_, _> =
            model.deliveries.iter().map(|(id, row)| (*id, row.url.clone())).collect();
        same("URLs of deliveries", urls.collect::<BTreeMap<_, _>>(), expected)?;
        let base = DeliveryFilter::default;
        let owners =
            OWNERS.map(|owner| DeliveryFilter { owner: Some(TokenId::from_number(owner)), ..base() });
        let states = DeliveryStatus::ALL.map(|status| DeliveryFilter { status: Some(status), ..base() });
        let kinds = [EventKind::Solved, EventKind::Unmatched]
            .map(|kind| DeliveryFilter { kind: Some(kind), ..base() });
        let webhooks =
            model.webhooks.keys().take(2).map(|id| DeliveryFilter { webhook: Some(*id), ..base() });
        let tasks = model
            .tasks
            .keys()
            .rev()
            .step_by(7)
            .take(3)
            .map(|id| DeliveryFilter { task: TaskId::new(*id), ..base() });
        let hour = DeliveryFilter {
            since: Some(ago(self.now, 3_600_000)),
            until: Some(ago(self.now, 60_000)),
            ..base()
        };
        let filters = owners.chain(states).chain(kinds).chain(webhooks).chain(tasks).chain([hour, base()]);
        for (filter, limit) in self.some(filters.zip([5_u32, 30, 2, 11].into_iter().cycle()), 5) {
            self.pages_of_deliveries(&filter, limit).await?;
        }
        for (id, row) in model.deliveries.iter().rev().step_by(9).take(4) {
            for owner in [None, Some(TokenId::LOCAL)] {
                let found = store.delivery(ids.deliveries.store(*id), owner).await.map_err(failed)?;
                let is_seen = owner.is_none_or(|owner| owner == row.delivery.owner);
                same(
                    ("delivery", owner),
                    found.map(|found| ids.delivery(&found)),
                    is_seen.then_some(&row.delivery),
                )?;
            }
        }
        Ok(())
    }

    async fn pages_of_deliveries(&self, filter: &DeliveryFilter, limit: u32) -> Result<(), String> {
        let ids = self.ids;
        let passing = self
            .model
            .deliveries
            .values()
            .map(|row| &row.delivery)
            .filter(|delivery| passes(filter, delivery));
        let mut all: Vec<_> = passing.cloned().collect();
        all.sort_by_key(|delivery| ids.deliveries.store(delivery.id));
        let mut ended: Vec<i64> =
            all.iter().filter(|one| one.status != DeliveryStatus::Waiting).map(|one| one.id).collect();
        all.reverse();
        let (task, webhook) = (
            filter.task.map(|task| ids.task_id(task.number())),
            filter.webhook.map(|id| ids.webhooks.store(id)),
        );
        let of_store = DeliveryFilter { webhook, task, ..filter.clone() };
        let mut before = None;
        for page in all.chunks(limit as usize).chain(all.is_empty().then_some(&[][..])) {
            let found = self.store.list_deliveries(&of_store, before, limit).await.map_err(failed)?;
            let deliveries: Vec<_> = found.deliveries.iter().map(|found| ids.delivery(found)).collect();
            same(("deliveries before", before, filter), deliveries, page)?;
            let last = page.last().filter(|last| all.last() != Some(last)).map(|last| last.id);
            same(("next deliveries", filter), found.next.map(|id| ids.deliveries.model(id)), last)?;
            before = found.next;
        }
        let newest = ids.deliveries.last();
        let (mut after, last) = (0, newest - 2);
        ended.retain(|id| ids.deliveries.store(*id) <= last);
        for page in ended.chunks(limit as usize).chain([&[][..]]) {
            let found = self.store.ended_deliveries(&of_store, (after, last), limit).await.map_err(failed)?;
            let is_full = page.len() == limit as usize;
            after = page.last().filter(|_| is_full).map_or(last, |id| ids.deliveries.store(*id));
            same(
                ("ended deliveries", filter),
                found.ids.iter().map(|id| ids.deliveries.model(*id)).collect::<Vec<_>>(),
                page,
            )?;
            same(("ended deliveries looked at", filter), found.through, after)?;
            if !is_full {
                break;
            }
        }
        Ok(())
    }

    pub(super) async fn due_deliveries(&self) -> Result<(), String> {
        let (store, model, ids, now) = (self.store, self.model, self.ids, self.now);
        let targets: Vec<_> = model.waiting(now).map(|row| Target::of(&row.delivery)).take(2).collect();
        let look = |limit, per_receiver, but, held: &[Target]| Look {
            limit,
            per_receiver,
            but,
            held: held.to_vec(),
        };
        let (local, first) = (Some(TokenId::LOCAL), Some(TokenId::from_number(1)));
        let looks = [
            look(1000, 1000, None, &[]),
            look(1000, 2, None, &[]),
            look(5, 3, local, &[]),
            look(7, 4, first, &targets),
            look(1, 1, None, &targets),
        ];
        for look in self.some(looks.into_iter(), 2) {
            let held = look
                .held
                .iter()
                .map(|held| Target { receiver: ids.receiver(&held.receiver), ..held.clone() });
            let of_store = Look { held: held.collect(), ..look.clone() };
            let found = store.due_deliveries(of_store, now).await.map_err(failed)?;
            let times: Vec<_> = found.iter().map(|due| due.delivery.due_at).collect();
            same(("when due", &look), times, model.looked_at(&look, now))?;
            let mut seen = HashSet::new();
            for Due { delivery, url, keys: known, webhook } in found {
                let delivery = ids.delivery(&delivery);
                let (is_held, is_new) = (
                    look.held.contains(&Target::of(&delivery)) || look.but == Some(delivery.owner),
                    seen.insert(delivery.id),
                );
                same(("held or twice", &delivery), (is_held, is_new), (false, true))?;
                let found = format!("{delivery:?} {url} {:?} {webhook:?}", known.as_ref().map(keys));
                same(
                    "due",
                    found,
                    model.deliveries.get(&delivery.id).map(|row| model.due(row)).unwrap_or_default(),
                )?;
            }
        }
        let waiting: Vec<i64> = model.waiting(now).map(|row| row.delivery.id).collect();
        for besides in [&waiting[..], waiting.get(1..).unwrap_or(&[]), &[]] {
            let known = besides.iter().map(|id| ids.deliveries.store(*id));
            let found = store.is_any_due(known, now).await.map_err(failed)?;
            same("is any due", found, besides.len() < waiting.len())?;
        }
        let Some(target) = targets.first() else { return Ok(()) };
        let before = ago(now, 30_000);
        let of_store = Target { receiver: ids.receiver(&target.receiver), ..target.clone() };
        let found = store.overdue_deliveries(&of_store, before, now, 3).await.map_err(failed)?;
        let of_target =
            model.waiting(now).map(|row| &row.delivery).filter(|delivery| Target::of(delivery) == *target);
        let mut expected: Vec<_> = of_target
            .filter(|delivery| delivery.started_at < before)
            .map(|delivery| delivery.due_at)
            .collect();
        expected.sort();
        expected.truncate(3);
        let found = found.iter().filter_map(|id| model.deliveries.get(&ids.deliveries.model(*id)));
        same("overdue deliveries", found.map(|row| row.delivery.due_at).collect::<Vec<_>>(), expected)
    }
}
