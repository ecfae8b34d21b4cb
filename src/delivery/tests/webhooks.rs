//! Events, told by webhook: their form, who is told, what is never sent.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::receiver::{Act, OK, Receiver};
use super::service::{Service, Setup, delivered, everything_is_old};
use super::*;
use crate::model::{TaskBody, TokenId};

const SECRET_OF_WEBHOOK: &str = "SELECT secret FROM webhook ORDER BY id DESC";
const GONE: Act = Act::Reply("410 Gone\r\n");

async fn own_secret(service: &Service) -> String {
    let keys = service.ingest.signing_keys(TokenId::LOCAL).await.unwrap();
    keys.current.expose().to_owned()
}

fn ended(all: &[Delivery]) -> bool {
    !all.is_empty() && all.iter().all(|one| one.status != DeliveryStatus::Waiting)
}

#[tokio::test]
async fn an_event_is_told_as_the_feed_shows_it() {
    let receiver = Receiver::start(&[OK]).await;
    let mut service = Service::open().await;
    service.deliver(Setup::default());
    let url = format!("http://user:word@{}/a%20b?c=d", receiver.address);
    let id = service.solved_with(Some(&url), "Friday").await;
    service.until(delivered).await;
    let [heard] = &receiver.heard()[..] else { panic!("{:?}", receiver.seen()) };

    let task = service.store.tasks(&[id]).await.unwrap().remove(0);
    let number = service.store.deliveries().await[0].event.unwrap();
    let event = service.store.events_by_number(&[number]).await.unwrap().remove(0);
    assert_eq!(
        heard.body,
        json!({"type": "task.solved", "timestamp": event.time, "data": TaskBody::new(&task, None)})
    );
    assert_eq!(heard.body["data"]["answer"]["text"], "Friday");
    let feed = service.store.feed_id().await.unwrap();
    assert_eq!(heard.id, format!("msg_{}", feed.cursor(number)));

    assert!(receiver.seen()[0].starts_with("POST /a%20b?c=d HTTP/1.1\r\n"));
    assert_eq!(heard.headers["content-type"], "application/json");
    assert_eq!(heard.headers["user-agent"], concat!("pingbox/", env!("CARGO_PKG_VERSION")));
    assert_eq!(heard.headers["authorization"], "Basic dXNlcjp3b3Jk");
    let known = [
        "content-type",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
        "user-agent",
        "host",
        "authorization",
        "content-length",
        "accept",
    ];
    assert_eq!(heard.headers.keys().map(String::as_str).collect::<BTreeSet<_>>(), known.into());
    assert!(heard.is_signed_with(&own_secret(&service).await), "{heard:?}");
}

#[tokio::test]
async fn every_kind_of_event_is_told_to_who_has_subscribed_to_it() {
    let (all, ends) = (Receiver::start(&[OK]).await, Receiver::start(&[OK]).await);
    let mut service = Service::open().await;
    service.subscribe(&all.url(), "task.created,task.submitted,task.solved,pingback.unmatched").await;
    service.subscribe(&ends.url(), "task.solved").await;
    service.deliver(Setup::default());
    service.solved_with(None, "Friday").await;
    service.pingback(&"79999999999".parse().unwrap(), "Sunday").await;
    service.until(|all| all.len() == 5 && delivered(all)).await;
    let told = |receiver: &Receiver| -> BTreeMap<String, Value> {
        let heard = receiver.heard().into_iter();
        heard
            .map(|heard| (heard.body["type"].as_str().unwrap().to_owned(), heard.body["data"].clone()))
            .collect()
    };
    let (of_all, of_ends) = (told(&all), told(&ends));
    assert_eq!(
        of_all.keys().collect::<Vec<_>>(),
        ["pingback.unmatched", "task.created", "task.solved", "task.submitted"]
    );
    assert_eq!(of_all["task.created"]["status"], "queued");
    assert_eq!(of_all["task.submitted"]["answer"], Value::Null);
    assert_eq!(of_all["pingback.unmatched"]["answer"]["text"], "Sunday");
    assert_eq!(of_ends, BTreeMap::from([("task.solved".to_owned(), of_all["task.solved"].clone())]));
}

#[tokio::test]
async fn an_event_has_one_id_at_every_attempt_and_for_every_receiver() {
    let receivers = [
        Receiver::start(&[Act::Reply("500 Oops\r\n"), OK]).await,
        Receiver::start(&[Act::Reset, OK]).await,
        Receiver::start(&[OK]).await,
    ];
    let mut service = Service::open().await;
    for receiver in &receivers[..2] {
        service.subscribe(&receiver.url(), "task.solved").await;
    }
    service.deliver(Setup::default());
    for answer in ["Friday", "Sunday"] {
        service.solved_with(Some(&receivers[2].url()), answer).await;
    }
    service.until(|all| all.len() == 6 && delivered(all)).await;
    let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for heard in receivers.iter().flat_map(Receiver::heard) {
        ids.entry(heard.text.clone()).or_default().insert(heard.id);
    }
    assert_eq!(ids.values().map(BTreeSet::len).collect::<Vec<_>>(), [1, 1], "{ids:?}");
    assert_eq!(ids.values().flatten().collect::<BTreeSet<_>>().len(), 2, "{ids:?}");
    assert_eq!(receivers.iter().map(|receiver| receiver.seen().len()).collect::<Vec<_>>(), [3, 3, 2]);
}

#[tokio::test]
async fn a_new_secret_signs_from_the_next_attempt_on_and_the_old_one_too() {
    const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let receiver = Receiver::start(&[Act::ReplyWhenAllowed("500 Oops\r\n"), OK]).await;
    let mut service = Service::open().await;
    service.deliver(Setup::default());
    service.solved_with(Some(&receiver.url()), "Friday").await;
    receiver.until_seen(1).await;
    let old = own_secret(&service).await;
    service
        .store
        .execute(
            "UPDATE signing_secret SET old_secret = secret, old_until = 4000000000000000,
                secret = 'whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD'",
        )
        .await;
    receiver.allow(1);
    service.until(delivered).await;
    let heard = receiver.heard();
    assert!(heard[0].is_signed_with(&old) && !heard[0].is_signed_with(NEW));
    assert!(heard[1].is_signed_with(&old) && heard[1].is_signed_with(NEW));
}

#[tokio::test]
async fn a_new_secret_of_a_webhook_signs_from_the_next_attempt_on() {
    const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let receiver = Receiver::start(&[Act::ReplyWhenAllowed("500 Oops\r\n"), OK]).await;
    let mut service = Service::open().await;
    service.subscribe(&receiver.url(), "task.solved").await;
    let old = service.store.text(SECRET_OF_WEBHOOK).await;
    service.deliver(Setup::default());
    service.solved_with(None, "Friday").await;
    receiver.until_seen(1).await;
    service.store.execute("UPDATE webhook SET secret = 'whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD'").await;
    receiver.allow(1);
    service.until(delivered).await;
    let heard = receiver.heard();
    assert!(heard[0].is_signed_with(&old) && !heard[0].is_signed_with(NEW));
    assert!(!heard[1].is_signed_with(&old) && heard[1].is_signed_with(NEW));
}

#[tokio::test]
async fn after_410_a_webhook_is_disabled_and_what_waits_for_it_is_dead() {
    let (gone, other) = (Receiver::start(&[GONE]).await, Receiver::start(&[OK]).await);
    let mut service = Service::open().await;
    let webhook = service.subscribe(&gone.url(), "task.solved").await;
    // More than a look finds, and more than one commit ends.
    for _ in 0..LOOK {
        service.solved_with(None, "Friday").await;
    }
    service
        .store
        .execute(
            "WITH RECURSIVE series (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM series WHERE value < 9)
            INSERT INTO delivery (type, event_id, webhook_id, owner, receiver, created_at, started_at, planned_at, due_at)
            SELECT type, event_id, webhook_id, owner, receiver, 1, 1, 1, 4000000000000000 FROM delivery, series",
        )
        .await;
    service.subscribe(&other.url(), "task.solved").await;
    service.deliver(Setup::default());
    service.solved_with(None, "Friday").await;
    let all = service.until(ended).await;
    let (of_gone, of_other): (Vec<_>, Vec<_>) = all.iter().partition(|one| one.webhook == Some(webhook));
    assert!(of_gone.len() > 600 && of_gone.iter().all(|one| one.status == DeliveryStatus::Dead));
    assert_eq!(of_other.iter().map(|one| one.status).collect::<Vec<_>>(), [DeliveryStatus::Delivered]);
    let untried = of_gone.iter().find(|one| one.attempts == 0).unwrap();
    let why = "the webhook is disabled: the receiver answered 410: it wants no more";
    assert_eq!(untried.last_error.as_deref(), Some(why));
    assert!(gone.seen().len() <= MAX_PER_RECEIVER as usize, "{}", gone.seen().len());

    // Nothing more is to be told there.
    service.solved_with(None, "Sunday").await;
    let more = service.until(|more| more.len() > all.len() && ended(more)).await;
    assert_eq!(more.len(), all.len() + 1);
    assert_eq!(more.last().unwrap().status, DeliveryStatus::Delivered);
}

#[tokio::test]
async fn after_410_the_webhook_is_disabled_in_the_commit_that_ends_the_delivery() {
    let gone = Receiver::start(&[Act::ReplyWhenAllowed("410 Gone\r\n")]).await;
    let mut service = Service::open().await;
    service.subscribe(&gone.url(), "task.solved").await;
    service.deliver(Setup::default());
    service.solved_with(None, "Friday").await;
    gone.until_seen(1).await;
    // What is seen is seen together: a delivery that has ended while its webhook is enabled would fail this.
    service
        .store
        .execute_either(
            "CREATE TRIGGER half AFTER UPDATE OF disabled_at ON webhook BEGIN SELECT RAISE(ABORT, 'half'); END",
            "ALTER TABLE webhook ADD CONSTRAINT half CHECK (disabled_at IS NULL)",
        )
        .await;
    gone.allow(1);
    for _ in 0..100 {
        let all = service.store.deliveries().await;
        assert_eq!(all[0].status, DeliveryStatus::Waiting);
    }
    service.store.execute_either("DROP TRIGGER half", "ALTER TABLE webhook DROP CONSTRAINT half").await;
    service.until(ended).await;
    assert_eq!(service.store.number("SELECT COUNT(disabled_at) FROM webhook").await, 1);
}

#[tokio::test]
async fn after_410_at_a_tasks_own_url_only_that_delivery_is_dead() {
    let receiver = Receiver::start(&[GONE, OK]).await;
    let mut service = Service::open().await;
    service.deliver(Setup::default());
    service.solved_with(Some(&receiver.url()), "Friday").await;
    service.until(ended).await;
    service.solved_with(Some(&receiver.url()), "Sunday").await;
    let all = service.until(|all| all.len() == 2 && ended(all)).await;
    assert_eq!(
        all.iter().map(|one| one.status).collect::<Vec<_>>(),
        [DeliveryStatus::Dead, DeliveryStatus::Delivered]
    );
}

#[tokio::test]
async fn a_webhook_that_was_deleted_or_disabled_is_told_nothing() {
    for (sql, why) in [
        ("DELETE FROM webhook", "the webhook was deleted"),
        ("UPDATE webhook SET disabled_at = 1, disabled_why = 'so'", "the webhook is disabled: so"),
    ] {
        let receiver = Receiver::start(&[OK]).await;
        let mut service = Service::open().await;
        service.subscribe(&receiver.url(), "task.solved").await;
        service.solved_with(None, "Friday").await;
        service.store.execute(sql).await;
        service.deliver(Setup::default());
        let all = service.until(ended).await;
        assert_eq!((all[0].status, all[0].last_error.as_deref()), (DeliveryStatus::Dead, Some(why)));
        assert_eq!(receiver.seen(), [""; 0]);
    }
}

#[tokio::test]
async fn what_was_erased_is_not_told() {
    let receiver = Receiver::start(&[OK]).await;
    let mut service = Service::open().await;
    service.subscribe(&receiver.url(), "task.created,task.solved,pingback.unmatched").await;
    service.solved_with(Some(&receiver.url()), "Friday").await;
    service.pingback(&"79999999999".parse().unwrap(), "Sunday").await;
    service.ingest.retire(everything_is_old(true, false)).await.unwrap();
    service.solved_with(Some(&receiver.url()), "Friday").await;
    service
        .store
        .execute("DELETE FROM event WHERE id > (SELECT id FROM event WHERE type = 'pingback.unmatched')")
        .await;
    service.deliver(Setup::default());
    let all = service.until(ended).await;
    let said: Vec<_> = all.iter().map(|one| (one.kind.as_str(), one.last_error.as_deref())).collect();
    let (erased, gone) = ("the answer was erased before it could be delivered", "its event is gone");
    assert_eq!(
        said,
        [
            ("task.created", None),
            ("task.solved", Some(erased)),
            ("task.solved", Some(erased)),
            ("pingback.unmatched", Some("the pingback was erased before it could be delivered")),
            ("task.created", Some(gone)),
            ("task.solved", Some(gone)),
            ("task.solved", Some(gone)),
        ]
    );
    assert_eq!(
        receiver.heard().iter().map(|heard| heard.body["type"].clone()).collect::<Vec<_>>(),
        ["task.created"]
    );
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_holds_up_nobody_else() {
    let receiver = Receiver::start(&[OK]).await;
    let mut service = Service::open().await;
    service.subscribe(&receiver.url(), "task.solved").await;
    service.store.execute("UPDATE webhook SET secret = 'whsec_!'").await;
    service.subscribe(&receiver.url(), "task.solved").await;
    service.deliver(Setup::default());
    service.solved_with(None, "Friday").await;
    let all = service.until(|all| all.len() == 2 && ended(all)).await;
    assert_eq!(all[0].last_error.as_deref(), Some("the secret of the webhook cannot be read"));
    assert_eq!(all[1].status, DeliveryStatus::Delivered);
}
