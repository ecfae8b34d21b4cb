//! Receivers that do not answer, and what waits for them.

use std::collections::{BTreeMap, BTreeSet};

use super::receiver::{Act, OK, Receiver};
use super::service::{Service, Setup, delivered};
use super::*;

/// URLs of tasks share a target, where only a host that does not reply counts.
const OOPS: Act = Act::Reset;
const ERROR: Act = Act::Reply("500 Oops\r\n");
const HOUR: Duration = Duration::from_secs(3600);
/// What is said of messages that were held back for too long.
const NO_ANSWER: &str = "held back for 24 h because the receiver fails";

/// A target that fails is held for so long.
fn held_for(first: Duration) -> Setup {
    let setup = Setup::default();
    Setup {
        rhythm: Rhythm { pauses: Pauses { first, longest: first, patience: Duration::ZERO }, ..setup.rhythm },
        ..setup
    }
}

/// How many deliveries were tried so often.
fn by_attempts(all: &[Delivery]) -> BTreeMap<u32, usize> {
    all.iter().fold(BTreeMap::new(), |mut counts, one| {
        *counts.entry(one.attempts).or_default() += 1;
        counts
    })
}

#[tokio::test]
async fn what_is_held_back_waits_without_losing_attempts_and_holds_up_nobody() {
    let (down, up) = (Receiver::start(&[OOPS]).await, Receiver::start(&[OK]).await);
    let mut service = Service::open().await;
    // More than a look finds, and due before the other.
    for _ in 0..2 * LOOK {
        service.solved_with(Some(&down.url()), "Friday").await;
    }
    service.store.execute("UPDATE delivery SET due_at = due_at - 10000000").await;
    service.deliver(held_for(HOUR));
    service.until(|all| all.iter().map(|one| one.attempts).sum::<u32>() >= 5).await;
    service.solved_with(Some(&up.url()), "Friday").await;
    let all = service.until(|all| all.last().unwrap().status == DeliveryStatus::Delivered).await;
    service.stop_delivering().await;
    // The fifth failure may find a few others under way.
    let sent = down.seen().len();
    assert!((5..5 + MAX_PER_RECEIVER as usize).contains(&sent), "{sent}");
    let untried = by_attempts(&all)[&0];
    assert!(untried >= 2 * LOOK as usize - sent, "{untried} of {}", all.len());
    assert!(all.iter().rev().skip(1).all(|one| one.status == DeliveryStatus::Waiting));
}

#[tokio::test]
async fn what_was_held_back_is_delivered_when_the_receiver_answers_again() {
    let acts: Vec<Act> = (0..12).map(|_| OOPS).chain([OK]).collect();
    let receiver = Receiver::start(&acts).await;
    let mut service = Service::open().await;
    for _ in 0..2 * LOOK {
        service.solved_with(Some(&receiver.url()), "Friday").await;
    }
    service.deliver(held_for(Duration::from_millis(1)));
    service.until(delivered).await;
    assert_eq!(receiver.seen().len(), 2 * LOOK as usize + 12);
}

#[tokio::test]
async fn while_it_is_tried_whether_a_receiver_answers_nothing_else_is_sent_to_it() {
    let acts: Vec<Act> = (0..5).map(|_| OOPS).chain([Act::ReplyWhenAllowed("200 OK\r\n")]).collect();
    let receiver = Receiver::start(&acts).await;
    let mut service = Service::open().await;
    service.deliver(held_for(Duration::from_millis(1)));
    // One after the other, so that none is under way when the pause begins.
    service.solved_with(Some(&receiver.url()), "Friday").await;
    receiver.until_seen(6).await;
    for _ in 0..10 {
        service.solved_with(Some(&receiver.url()), "Friday").await;
    }
    let other = Receiver::start(&[OK]).await;
    service.solved_with(Some(&other.url()), "Friday").await;
    service.until(|all| all.last().unwrap().status == DeliveryStatus::Delivered).await;
    assert_eq!(receiver.seen().len(), 6);
    receiver.allow(100);
    service.until(delivered).await;
}

#[tokio::test]
async fn the_end_of_a_pause_is_noticed_though_nobody_says_so() {
    let receiver = Receiver::start(&[OOPS, OOPS, OOPS, OOPS, OOPS, OK]).await;
    let mut service = Service::open().await;
    service.deliver(held_for(Duration::from_millis(300)));
    service.solved_with(Some(&receiver.url()), "Friday").await;
    service.until(delivered).await;
}

#[tokio::test]
async fn many_receivers_that_are_held_do_not_hide_the_others() {
    let down = Receiver::start(&[OOPS]).await;
    let up = Receiver::start(&[OK]).await;
    let mut service = Service::open().await;
    // More of them than one look finds.
    let receivers = 2 * LOOK / MAX_PER_RECEIVER;
    for number in 0..receivers * (MAX_PER_RECEIVER + 4) {
        let url = format!("http://r{}.test:{}/", number % receivers, down.address.port());
        service.solved_with(Some(&url), "Friday").await;
    }
    service.store.execute("UPDATE delivery SET due_at = due_at - 10000000").await;
    service.deliver(held_for(HOUR).named(&[&[down.ip()]]));
    service.until(|all| receivers_tried(all) == receivers as usize).await;
    service.solved_with(Some(&up.url()), "Friday").await;
    service.until(|all| all.last().unwrap().status == DeliveryStatus::Delivered).await;
}

/// How many receivers were tried.
fn receivers_tried(all: &[Delivery]) -> usize {
    let tried = all.iter().filter(|one| one.attempts > 0).map(|one| &one.receiver);
    tried.collect::<BTreeSet<_>>().len()
}

#[tokio::test]
async fn owners_of_one_receiver_are_held_apart() {
    let receiver = Receiver::start(&[OOPS, OOPS, OOPS, OOPS, OOPS, OK]).await;
    let mut service = Service::open().await;
    service.deliver(held_for(HOUR));
    service.solved_with(Some(&receiver.url()), "Friday").await;
    receiver.until_seen(5).await;
    service.until(|all| all[0].attempts == 5).await;
    service.solved(&receiver.url(), "Friday").await;
    service.store.execute("UPDATE delivery SET owner = 7 WHERE id = 2").await;
    service.called_back.notify_one();
    let all = service.until(|all| all[1].status == DeliveryStatus::Delivered).await;
    assert_eq!((all[0].status, all[0].attempts), (DeliveryStatus::Waiting, 5));
}

#[tokio::test]
async fn a_pause_that_a_receiver_asks_for_concerns_all_that_is_for_it() {
    let receiver = Receiver::start(&[Act::Reply("429 Slow\r\nRetry-After: 3600\r\n"), OK]).await;
    let other = Receiver::start(&[OK]).await;
    let mut service = Service::open().await;
    service.deliver(Setup::default());
    service.subscribe(&receiver.url(), "task.solved").await;
    service.solved_with(None, "Friday").await;
    service.until(|all| all[0].attempts == 1).await;
    service.solved_with(None, "Friday").await;
    service.solved_with(Some(&other.url()), "Friday").await;
    let is_told = |all: &[Delivery]| {
        all.iter().any(|one| one.webhook.is_none() && one.status == DeliveryStatus::Delivered)
    };
    let all = service.until(|all| all.len() == 4 && is_told(all)).await;
    assert_eq!((all[1].status, all[1].attempts, receiver.seen().len()), (DeliveryStatus::Waiting, 0, 1));
}

#[tokio::test]
async fn of_two_webhooks_at_one_host_the_one_that_fails_is_held_alone() {
    let receiver = Receiver::start(&[ERROR, ERROR, ERROR, ERROR, ERROR, OK]).await;
    let mut service = Service::open().await;
    let failing = service.subscribe(&receiver.url(), "task.solved").await;
    service.deliver(held_for(HOUR));
    service.solved_with(None, "Friday").await;
    service.until(|all| all[0].attempts == 5).await;
    let sound = service.subscribe(&receiver.url(), "task.solved").await;
    for _ in 0..20 {
        service.solved_with(None, "Friday").await;
    }
    let is_sound = |one: &&Delivery| one.webhook == Some(sound);
    let all = service
        .until(|all| {
            all.iter().filter(is_sound).filter(|one| one.status == DeliveryStatus::Delivered).count() == 20
        })
        .await;
    let held = all.iter().filter(|one| one.webhook == Some(failing));
    assert!(held.skip(1).all(|one| (one.status, one.attempts) == (DeliveryStatus::Waiting, 0)));
}

#[tokio::test]
async fn a_url_of_a_task_that_fails_holds_up_no_other_of_its_host() {
    let receiver = Receiver::start(&[Act::Reply("429 Slow\r\nRetry-After: 3600\r\n"), OK]).await;
    let mut service = Service::open().await;
    service.deliver(held_for(HOUR));
    service.solved_with(Some(&receiver.url()), "Friday").await;
    service.until(|all| all[0].attempts == 1).await;
    service.solved_with(Some(&receiver.url()), "Friday").await;
    service.until(|all| all.len() == 2 && all[1].status == DeliveryStatus::Delivered).await;
}

/// As if they had waited for more than a day.
const OLD: &str =
    "UPDATE delivery SET created_at = created_at - 86401000000, started_at = started_at - 86401000000,
    planned_at = planned_at - 86401000000, due_at = due_at - 86401000000";
const OLD_WITH_A_RETRY_LATER: &str = "UPDATE delivery SET started_at = 1, due_at = 4000000000000000
    WHERE id = (SELECT MAX(id) FROM delivery)";

/// A receiver that has failed five times, and is being tried again: it will ask for an hour.
async fn failing_again(service: &mut Service) -> Receiver {
    let again = Act::ReplyWhenAllowed("503 Busy\r\nRetry-After: 3600\r\n");
    let receiver = Receiver::start(&[ERROR, ERROR, ERROR, ERROR, ERROR, again]).await;
    service.deliver(held_for(Duration::from_millis(1)));
    service.subscribe(&receiver.url(), "task.solved").await;
    service.solved_with(None, "Friday").await;
    receiver.until_seen(6).await;
    receiver
}

#[tokio::test]
async fn what_was_held_back_for_a_day_is_given_up_on_when_the_receiver_fails_again() {
    let mut service = Service::open().await;
    let receiver = failing_again(&mut service).await;
    for _ in 0..20 {
        service.solved_with(None, "Friday").await;
    }
    // More than one write gives up on.
    service
        .store
        .execute(
            "WITH RECURSIVE series (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM series WHERE value < 29)
            INSERT INTO delivery (type, task_id, event_id, webhook_id, owner, url, receiver, created_at, started_at, planned_at, due_at)
            SELECT type, task_id, event_id, webhook_id, owner, url, receiver, created_at, started_at, planned_at, due_at
            FROM delivery, series WHERE id > 1",
        )
        .await;
    service.store.execute(OLD).await;
    let young = service.solved_with(None, "Friday").await;
    let later = service.solved_with(None, "Friday").await;
    service.store.execute(OLD_WITH_A_RETRY_LATER).await;
    receiver.allow(1);
    let is_old = |one: &&Delivery| one.id > 1 && ![Some(young), Some(later)].contains(&one.task);
    let all =
        service.until(|all| all.iter().filter(is_old).all(|one| one.status == DeliveryStatus::Dead)).await;
    let said: Vec<_> =
        all.iter().filter(is_old).map(|one| (one.attempts, one.last_error.as_deref())).collect();
    assert_eq!(said, [(0, Some(NO_ANSWER)); 600]);
    let rest: Vec<_> = all.iter().rev().take(2).map(|one| (one.status, one.attempts)).collect();
    assert_eq!(rest, [(DeliveryStatus::Waiting, 0); 2]);
    assert_eq!(receiver.seen().len(), 6);
}

#[tokio::test]
async fn what_is_old_because_we_were_away_is_delivered() {
    let receiver = Receiver::start(&[OOPS, OOPS, OOPS, OOPS, OOPS, OK]).await;
    let service = Service::open().await;
    for _ in 0..20 {
        service.solved_with(Some(&receiver.url()), "Friday").await;
    }
    service.store.execute(OLD).await;
    let mut service = service.restart().await;
    service.deliver(held_for(Duration::from_millis(1)));
    service.until(delivered).await;
}
