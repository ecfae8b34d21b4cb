//! Every way in which a task ends, and what is told of it.

use std::collections::BTreeSet;

use super::receiver::{OK, Receiver};
use super::service::{Service, Setup, delivered, everything_is_old};
use super::*;
use crate::ingest::{Cancelled, Fetched, Received};
use crate::model::{ErrorCode, Pingback, Sent, TaskId};
use crate::store::Retired;

fn refused(code: &str) -> Sent {
    Sent::Refused(ErrorCode::known(code))
}

fn unanswered() -> Sent {
    Sent::Unanswered { reason: "no reply".to_owned() }
}

async fn abandon(service: &Service) {
    let mut writing = service.store.writing().await;
    let mut tx = writing.begin().await.unwrap();
    tx.abandon_open_tasks(Timestamp::now()).await.unwrap();
    tx.commit().await.unwrap();
}

/// Ends tasks in every way there is; what is to be told.
async fn end_in_every_way(service: &Service, url: &str) -> BTreeSet<String> {
    let mut told = BTreeSet::new();
    let mut tell = |id: TaskId, code: &str| told.insert(format!("id={id}&code={code}"));

    tell(service.solved(url, "Friday").await, "Friday");

    let (id, captcha_id) = service.taken(url).await;
    service.pingback(&captcha_id, "ERROR_BAD_DUPLICATES").await;
    // What comes later is evidence, and is told nobody.
    service.pingback(&captcha_id, "too late").await;
    tell(id, "ERROR_BAD_DUPLICATES");

    let (id, captcha_id) = service.taken(url).await;
    service.ingest.fetched(vec![(id, Fetched::Word(Pingback::of(&captcha_id, "asked")))]).await.unwrap();
    tell(id, "asked");

    // Its pingback overtakes the reply of in.php.
    let id = service.sending(url).await;
    let captcha_id = "79999999999".parse().unwrap();
    service.pingback(&captcha_id, "early").await;
    service.accept(id, &captcha_id).await;
    tell(id, "early");

    // It comes to the task's own URL, and in.php's reply after it: the task is stored once more.
    let id = service.sending(url).await;
    let captcha_id = "78888888888".parse().unwrap();
    let received = Received { pingback: Pingback::of(&captcha_id, "first"), task: Some(id) };
    service.ingest.pingback(received).await.unwrap();
    service.accept(id, &captcha_id).await;
    tell(id, "first");

    let id = service.sending(url).await;
    service.ingest.record_sent(id, None, refused("ERROR_PAGEURL")).await.unwrap();
    tell(id, "ERROR_PAGEURL");

    let id = service.sending(url).await;
    service.ingest.record_sent(id, None, unanswered()).await.unwrap();
    service.store.execute("UPDATE task SET due_at = 0 WHERE status = 'unconfirmed'").await;
    service.ingest.sweep(false).await.unwrap();
    tell(id, "ERROR_CAPTCHA_UNSOLVABLE");

    let id = service.submit(Some(url)).await;
    service.store.execute("UPDATE task SET expires_at = 0 WHERE status = 'queued'").await;
    service.ingest.sweep(true).await.unwrap();
    tell(id, "ERROR_CAPTCHA_UNSOLVABLE");

    let (id, _) = service.taken(url).await;
    abandon(service).await;
    tell(id, "ERROR_CAPTCHA_UNSOLVABLE");
    service.store.execute("UPDATE delivery SET due_at = 0 WHERE status = 'waiting'").await;
    told
}

#[tokio::test]
async fn every_end_of_a_task_is_told_once() {
    let receiver = Receiver::start(&[OK]).await;
    let mut service = Service::open().await;
    service.deliver(Setup::default());
    let told = end_in_every_way(&service, &receiver.url()).await;
    service.called_back.notify_one();
    service.until(|all| all.len() == told.len() && delivered(all)).await;
    let bodies = receiver.bodies();
    assert_eq!(bodies.len(), told.len());
    assert_eq!(bodies.into_iter().collect::<BTreeSet<_>>(), told);
}

#[tokio::test]
async fn what_ended_before_a_restart_is_told_after_it() {
    let receiver = Receiver::start(&[OK]).await;
    let service = Service::open().await;
    let told = end_in_every_way(&service, &receiver.url()).await;
    let mut service = service.restart().await;
    service.deliver(Setup::default());
    service.until(|all| all.len() == told.len() && delivered(all)).await;
    assert_eq!(receiver.bodies().into_iter().collect::<BTreeSet<_>>(), told);
}

#[tokio::test]
async fn what_the_provider_never_took_is_told_when_in_php_has_replied() {
    const IN_PHP: Duration = Duration::from_secs(5);
    let service = Service::open().await;
    let id = service.sending("http://example.com/").await;
    service.ingest.record_sent(id, None, refused("ERROR_PAGEURL")).await.unwrap();
    let task = service.store.tasks(&[id]).await.unwrap().remove(0);
    let due_at = service.store.deliveries().await[0].due_at;
    assert_eq!(due_at, task.created_at.after(IN_PHP));

    // It waits no longer for one that was refused late, nor for a clock that was set back.
    for created_at in ["UPDATE task SET created_at = 1", "UPDATE task SET created_at = 4000000000000000"] {
        let id = service.sending("http://example.com/").await;
        service.store.execute(created_at).await;
        service.ingest.record_sent(id, None, refused("ERROR_PAGEURL")).await.unwrap();
        let ended_at = service.store.tasks(&[id]).await.unwrap()[0].answered_at.unwrap();
        let due_at = service.store.deliveries().await.last().unwrap().due_at;
        assert!(due_at >= ended_at && due_at <= ended_at.after(IN_PHP), "{created_at}");
    }
}

#[tokio::test]
async fn a_callback_is_dropped_while_it_waits() {
    let service = Service::open().await;
    let url = "http://example.com/";
    let (dropped, other) = (service.solved(url, "Friday").await, service.solved(url, "Sunday").await);
    let ended = service.solved(url, "Monday").await;
    service.store.execute("UPDATE delivery SET status = 'delivered' WHERE id = 3").await;
    service.ingest.drop_callback(dropped).await.unwrap();
    service.ingest.drop_callback(ended).await.unwrap();
    let left: Vec<TaskId> = service.store.deliveries().await.iter().filter_map(|one| one.task).collect();
    assert_eq!(left, [other, ended]);
}

#[tokio::test]
async fn a_cancelled_task_and_one_without_a_url_are_told_nobody() {
    let receiver = Receiver::start(&[OK]).await;
    let service = Service::open().await;
    let id = service.submit(Some(&receiver.url())).await;
    assert!(matches!(service.ingest.cancel(id, None).await, Ok(Cancelled::Done(_))));
    service.submit(None).await;
    abandon(&service).await;
    assert_eq!(service.store.deliveries().await, []);
}

#[tokio::test]
async fn an_answer_that_was_erased_is_not_told_as_an_empty_one() {
    let receiver = Receiver::start(&[OK]).await;
    let mut service = Service::open().await;
    service.solved(&receiver.url(), "Friday").await;
    service.ingest.retire(everything_is_old(true, false)).await.unwrap();
    service.deliver(Setup::default());
    let all = service.until(|all| all[0].status != DeliveryStatus::Waiting).await;
    assert_eq!((all[0].status, all[0].attempts), (DeliveryStatus::Dead, 1));
    assert_eq!(all[0].last_error.as_deref(), Some("the answer was erased before it could be delivered"));
    assert_eq!(receiver.seen(), [""; 0]);
}

#[tokio::test]
async fn the_url_is_erased_with_the_answer_and_what_waits_still_has_it() {
    let receiver = Receiver::start(&[OK]).await;
    let mut service = Service::open().await;
    service.deliver(Setup::default());
    service.solved(&receiver.url(), "Friday").await;
    service.until(delivered).await;
    // Its code is no answer, and can be told until it is delivered.
    let id = service.sending(&receiver.url()).await;
    service.ingest.record_sent(id, None, refused("ERROR_PAGEURL")).await.unwrap();
    service.ingest.retire(everything_is_old(true, false)).await.unwrap();
    assert_eq!(service.store.callback_urls().await, (0, 1));
    service.store.execute("UPDATE delivery SET due_at = 0 WHERE status = 'waiting'").await;
    service.called_back.notify_one();
    service.until(delivered).await;
    assert_eq!(service.store.callback_urls().await, (0, 0));
}

#[tokio::test]
async fn a_delivery_goes_with_its_task() {
    let service = Service::open().await;
    service.solved("http://example.com/", "Friday").await;
    service.ingest.retire(everything_is_old(true, false)).await.unwrap();
    assert_eq!(service.store.deliveries().await.len(), 1);
    let retired = service.ingest.retire(everything_is_old(true, true)).await.unwrap();
    assert_eq!(retired, Retired { tasks: 1, events: 3, ..Retired::default() });
    assert_eq!(service.store.deliveries().await, []);
}
