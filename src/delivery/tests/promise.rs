//! What is promised of every event, whatever its receiver does.

use std::collections::{BTreeMap, BTreeSet};

use super::heard::Heard;
use super::receiver::{Act, OK, Receiver};
use super::service::{Service, Setup};
use super::*;
use crate::model::TokenId;

/// Receivers, by what they do; each goes on with its last act.
fn receivers() -> Vec<Vec<Act>> {
    vec![
        vec![OK],
        vec![Act::Reply("410 Gone\r\n"), OK],
        vec![Act::Reply("429 Slow\r\nRetry-After: 1\r\n"), OK],
        vec![Act::Reply("500 Oops\r\n")],
        vec![Act::Reply("500 Oops\r\n"), OK],
        vec![Act::ReplyWhenAllowed("200 OK\r\n"), OK],
        vec![Act::ReplyWhenAllowed("200 OK\r\n")],
        vec![Act::Reset, OK],
        vec![Act::Reset],
        vec![Act::Reply("307 Elsewhere\r\nLocation: http://127.0.0.1:9/\r\n")],
        vec![Act::EndlessHead, OK],
        vec![Act::EndlessBody],
    ]
}

/// A webhook is told all of them, a task's own URL one.
fn events(by_webhook: bool) -> usize {
    if by_webhook { 3 } else { receivers().len() }
}

/// Tells all of them events, by a webhook of each or by the tasks' own URLs; what they heard, with the secret that
/// it has to be signed with.
async fn told(by_webhook: bool) -> (Vec<Delivery>, Vec<(Heard, String)>) {
    let mut all = Vec::new();
    let mut service = Service::open().await;
    let own_secret = service.ingest.signing_keys(TokenId::LOCAL).await.unwrap().current.expose().to_owned();
    for acts in receivers() {
        let receiver = Receiver::start(&acts).await;
        let secret = if by_webhook {
            service.subscribe(&receiver.url(), "task.solved").await;
            service.store.text("SELECT secret FROM webhook ORDER BY id DESC").await
        } else {
            own_secret.clone()
        };
        all.push((receiver, secret));
    }
    let whole = Duration::from_millis(300);
    service.deliver(Setup { deadlines: Deadlines { whole, ..Deadlines::STANDARD }, ..Setup::default() });
    for number in 0..events(by_webhook) {
        let url = all[number % all.len()].0.url();
        service.solved_with((!by_webhook).then_some(&url), &format!("answer {number}")).await;
    }
    let ended = |all: &[Delivery]| all.iter().all(|one| one.status != DeliveryStatus::Waiting);
    let deliveries = service.until(ended).await;
    let heard = all.iter().flat_map(|(receiver, secret)| {
        receiver.heard().into_iter().map(move |heard| (heard, secret.clone()))
    });
    (deliveries, heard.collect())
}

async fn every_promise_is_kept(by_webhook: bool) {
    let (deliveries, heard) = told(by_webhook).await;
    // After 410 a webhook is told no more.
    let webhooks = if by_webhook { receivers().len() } else { 1 };
    let most = events(by_webhook) * webhooks;
    let least = most - events(by_webhook) * usize::from(by_webhook);
    let mut by_status = BTreeMap::new();
    for delivery in &deliveries {
        *by_status.entry(delivery.status.as_str()).or_insert(0) += 1;
    }
    assert!((least..=most).contains(&deliveries.len()), "{by_status:?}");
    assert!(by_status["delivered"] > 0 && by_status["dead"] > 0, "{by_status:?}");
    // One that is delivered was heard; the event of every delivery has one id, and no other event has it.
    let mut texts: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut ids: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (heard, secret) in &heard {
        assert!(heard.is_signed_with(secret), "{heard:?}");
        texts.entry(&heard.id).or_default().insert(&heard.text);
        ids.entry(heard.body["data"]["id"].as_str().unwrap()).or_default().insert(&heard.id);
    }
    assert!(texts.values().chain(ids.values()).all(|one| one.len() == 1), "{texts:?} {ids:?}");
    for delivery in deliveries.iter().filter(|one| one.status == DeliveryStatus::Delivered) {
        assert!(ids.contains_key(&*delivery.task.unwrap().to_string()), "{delivery:?}");
    }
}

#[tokio::test]
async fn whatever_its_webhooks_do_an_event_is_told_or_among_the_dead_and_has_one_id() {
    every_promise_is_kept(true).await;
}

#[tokio::test]
async fn whatever_the_urls_of_tasks_do_an_event_is_told_or_among_the_dead_and_has_one_id() {
    every_promise_is_kept(false).await;
}
