mod ends;
mod heard;
mod held;
mod promise;
mod reach;
mod receiver;
mod service;
mod webhooks;

use std::collections::HashMap;
use std::time::Duration;

use self::receiver::{Act, OK, Receiver};
use self::service::{Service, Setup, delivered, in_time};
use super::*;
use crate::model::{Delivery, DeliveryStatus};

fn waiting_after(attempts: u32) -> impl Fn(&[Delivery]) -> bool {
    move |all| {
        all.iter().all(|one| one.status == DeliveryStatus::Waiting && one.attempts >= attempts)
            && !all.is_empty()
    }
}

/// One delivery to a receiver that acts so; how it ended.
async fn ended(acts: &[Act]) -> (Delivery, Receiver) {
    let receiver = Receiver::start(acts).await;
    let mut service = Service::open().await;
    service.deliver(Setup::default());
    service.solved(&receiver.url(), "Friday").await;
    let all = service.until(|all| all.iter().any(|one| one.status != DeliveryStatus::Waiting)).await;
    (all.into_iter().next().unwrap(), receiver)
}

#[tokio::test]
async fn a_receiver_gets_id_and_code_as_the_provider_sends_them() {
    let receiver = Receiver::start(&[OK]).await;
    let mut service = Service::open().await;
    service.deliver(Setup::default());
    let url = format!("http://user:word@{}/a%20b?c=d&e=%2F", receiver.address);
    let id = service.solved(&url, "a|b c+d&e=\u{e9}\n").await;
    let all = service.until(delivered).await;
    assert_eq!((all[0].attempts, all[0].last_status, all[0].last_error.as_deref()), (1, Some(200), None));
    let [request] = &receiver.seen()[..] else { panic!("{:?}", receiver.seen()) };
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, format!("id={id}&code=a%7Cb+c%2Bd%26e%3D%C3%A9%0A"));
    let mut lines = head.lines();
    assert_eq!(lines.next(), Some("POST /a%20b?c=d&e=%2F HTTP/1.1"));
    let headers: HashMap<&str, &str> = lines.map(|line| line.split_once(": ").unwrap()).collect();
    assert_eq!(headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(headers["user-agent"], concat!("pingbox/", env!("CARGO_PKG_VERSION")));
    assert_eq!(headers["host"], receiver.address.to_string());
    assert_eq!(headers["authorization"], "Basic dXNlcjp3b3Jk");
    let known = ["content-type", "user-agent", "host", "authorization", "content-length", "accept"];
    assert!(headers.keys().all(|name| known.contains(name)), "{headers:?}");
}

#[tokio::test]
async fn a_failure_is_tried_again() {
    for failure in ["500 Oops\r\n", "404 Not Found\r\n", "400 Bad Request\r\n", "503 Busy\r\n"] {
        let (delivery, receiver) = ended(&[Act::Reply(failure), OK]).await;
        assert_eq!((delivery.status, delivery.attempts), (DeliveryStatus::Delivered, 2), "{failure}");
        assert_eq!(receiver.bodies(), ["id=1&code=Friday"; 2]);
    }
}

#[tokio::test]
async fn any_2xx_is_enough() {
    for success in ["201 Created\r\n", "202 Accepted\r\n", "204 No Content\r\n"] {
        let (delivery, _) = ended(&[Act::Reply(success)]).await;
        assert_eq!((delivery.status, delivery.attempts), (DeliveryStatus::Delivered, 1), "{success}");
    }
}

#[tokio::test]
async fn after_410_nothing_more_is_sent() {
    let (delivery, receiver) = ended(&[Act::Reply("410 Gone\r\n"), OK]).await;
    assert_eq!((delivery.status, delivery.last_status), (DeliveryStatus::Dead, Some(410)));
    assert_eq!(receiver.seen().len(), 1);
}

#[tokio::test]
async fn what_always_fails_is_given_up_on() {
    let (delivery, receiver) = ended(&[Act::Reply("500 Oops\r\n")]).await;
    let attempts = Setup::default().rhythm.retries.waits.len() + 1;
    assert_eq!((delivery.status, delivery.attempts as usize), (DeliveryStatus::Dead, attempts));
    assert_eq!(receiver.seen().len(), attempts);
    assert_eq!(delivery.last_error.as_deref(), Some("the receiver answered 500"));
}

#[tokio::test]
async fn a_reset_is_tried_again() {
    let (delivery, _) = ended(&[Act::Reset, OK]).await;
    assert_eq!((delivery.status, delivery.attempts), (DeliveryStatus::Delivered, 2));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Receiver::on(([127, 0, 0, 1], 0).into(), &[OK]).await;
    let location = format!("Location: http://{}/\r\n", elsewhere.address);
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
        let reply: &str = Box::leak(format!("{status}\r\n{location}").into_boxed_str());
        let (delivery, receiver) = ended(&[Act::Reply(reply), OK]).await;
        assert_eq!((delivery.status, receiver.seen().len()), (DeliveryStatus::Delivered, 2), "{status}");
    }
    assert_eq!(elsewhere.seen(), [""; 0]);
}

#[tokio::test]
async fn a_receiver_that_hangs_is_left_and_tried_again() {
    let receiver = Receiver::start(&[Act::ReplyWhenAllowed("200 OK\r\n"), OK]).await;
    let mut service = Service::open().await;
    let deadlines = Deadlines { whole: Duration::from_millis(200), ..Deadlines::STANDARD };
    service.deliver(Setup { deadlines, ..Setup::default() });
    service.solved(&receiver.url(), "Friday").await;
    let all = service.until(delivered).await;
    assert_eq!((all[0].attempts, receiver.seen().len()), (2, 2));
}

#[tokio::test]
async fn where_nobody_listens_it_is_tried_until_it_is_given_up_on() {
    let gone = Receiver::start(&[OK]).await.address;
    let mut service = Service::open().await;
    service.deliver(Setup::default());
    service.solved(&format!("http://{gone}/"), "Friday").await;
    let all = service.until(|all| all.iter().any(|one| one.status == DeliveryStatus::Dead)).await;
    assert_eq!((all[0].attempts, all[0].last_status), (6, None));
    assert!(all[0].last_error.as_deref().unwrap().starts_with("no connection: "), "{all:?}");
}

#[tokio::test]
async fn a_pause_that_a_receiver_asks_for_is_kept() {
    for (header, least) in [("120", 119), ("99999999", 3599), ("Tue, 31 Dec 2199 23:59:59 GMT", 3599)] {
        let reply: &str = Box::leak(format!("429 Slow\r\nRetry-After: {header}\r\n").into_boxed_str());
        let receiver = Receiver::start(&[Act::Reply(reply)]).await;
        let mut service = Service::open().await;
        service.deliver(Setup::default());
        let before = Timestamp::now();
        service.solved(&receiver.url(), "Friday").await;
        let delivery = service.until(waiting_after(1)).await.remove(0);
        let wait = delivery.due_at.since(before).as_secs();
        assert!(wait >= least && wait <= least + 60, "{header}: {wait}");
        assert_eq!((delivery.attempts, delivery.last_status), (1, Some(429)));
    }
}

#[tokio::test]
async fn of_a_reply_without_end_only_the_beginning_is_read() {
    let (delivery, receiver) = ended(&[Act::EndlessBody]).await;
    assert_eq!((delivery.status, delivery.attempts), (DeliveryStatus::Delivered, 1));
    // Most of it lies in the buffers of the two sockets.
    let sent = in_time(receiver.sent_until_closed()).await;
    assert!(sent < 16 * 1024 * 1024, "{sent}");

    let (delivery, receiver) = ended(&[Act::EndlessHead, OK]).await;
    assert_eq!((delivery.status, delivery.attempts), (DeliveryStatus::Delivered, 2));
    let sent = in_time(receiver.sent_until_closed()).await;
    assert!(sent < 16 * 1024 * 1024, "{sent}");
}

#[tokio::test]
async fn a_receiver_that_hangs_does_not_hold_up_others() {
    let stuck = Receiver::start(&[Act::ReplyWhenAllowed("200 OK\r\n")]).await;
    let brisk = Receiver::start(&[OK]).await;
    let mut service = Service::open().await;
    // More of them than one look finds.
    for _ in 0..2 * LOOK {
        service.solved(&stuck.url(), "Friday").await;
    }
    service.deliver(Setup::default());
    stuck.until_seen(MAX_PER_RECEIVER as usize).await;
    // What is under way need not be what is due longest.
    service.store.execute("UPDATE delivery SET due_at = due_at - 10000000 WHERE id > 4").await;
    service.solved(&brisk.url(), "Friday").await;
    service.until(|all| all.last().unwrap().status == DeliveryStatus::Delivered).await;
    stuck.allow(2 * LOOK as usize);
    service.until(delivered).await;
    assert_eq!(stuck.most_open(), MAX_PER_RECEIVER as usize);
}

#[tokio::test]
async fn a_caller_whose_receivers_hang_does_not_hold_up_others() {
    let stuck = Receiver::start(&[Act::ReplyWhenAllowed("200 OK\r\n")]).await;
    let brisk = Receiver::start(&[OK]).await;
    let mut service = Service::open().await;
    // More of them than one look finds, and due before the other.
    for number in 0..2 * LOOK {
        service.solved(&format!("http://r{number}.test:{}/", stuck.address.port()), "Friday").await;
    }
    service.store.execute("UPDATE delivery SET owner = 7, due_at = due_at - 10000000").await;
    service.solved(&brisk.url(), "Friday").await;
    service.deliver(Setup::default().named(&[&[stuck.ip()]]));
    service.until(|all| all.last().unwrap().status == DeliveryStatus::Delivered).await;
    stuck.until_seen(MAX_PER_OWNER as usize).await;
    stuck.allow(2 * LOOK as usize);
    service.until(delivered).await;
    assert_eq!(stuck.most_open(), MAX_PER_OWNER as usize);
}

#[tokio::test]
async fn callers_of_one_receiver_share_its_places() {
    let stuck = Receiver::start(&[Act::ReplyWhenAllowed("200 OK\r\n")]).await;
    let brisk = Receiver::start(&[OK]).await;
    let mut service = Service::open().await;
    for _ in 0..2 * LOOK {
        service.solved(&stuck.url(), "Friday").await;
    }
    service.store.execute("UPDATE delivery SET owner = id, due_at = due_at - 10000000").await;
    service.solved(&brisk.url(), "Friday").await;
    service.deliver(Setup::default());
    service.until(|all| all.last().unwrap().status == DeliveryStatus::Delivered).await;
    stuck.allow(2 * LOOK as usize);
    service.until(delivered).await;
    assert_eq!(stuck.most_open(), MAX_PER_RECEIVER as usize);
}

#[tokio::test]
async fn only_so_many_requests_are_under_way() {
    let stuck = Receiver::start(&[Act::ReplyWhenAllowed("200 OK\r\n")]).await;
    let mut service = Service::open().await;
    let receivers = 2 * MAX_IN_FLIGHT / MAX_PER_RECEIVER as usize;
    for number in 0..receivers {
        for _ in 0..MAX_PER_RECEIVER {
            service.solved(&format!("http://r{number}.test:{}/", stuck.address.port()), "Friday").await;
        }
    }
    service.store.execute("UPDATE delivery SET owner = id % 3").await;
    service.deliver(Setup::default().named(&[&[stuck.ip()]]));
    stuck.until_seen(MAX_IN_FLIGHT).await;
    stuck.allow(2 * MAX_IN_FLIGHT);
    service.until(delivered).await;
    assert_eq!(stuck.most_open(), MAX_IN_FLIGHT);
}

#[tokio::test]
async fn retries_are_found_without_being_told() {
    const SOON: Retries = Retries { waits: &[Duration::from_millis(50)], longest: service::A_DAY };
    let receiver = Receiver::start(&[Act::Reply("500 Oops\r\n"), OK]).await;
    let mut service = Service::open().await;
    let rhythm =
        Rhythm { retries: SOON, look_interval: Duration::from_millis(10), ..Setup::default().rhythm };
    service.deliver(Setup { rhythm, ..Setup::default() });
    service.solved(&receiver.url(), "Friday").await;
    service.until(delivered).await;
}

/// As if the clock had been set back by a century.
const CLOCK_SET_BACK: &str = "UPDATE delivery SET planned_at = planned_at + 3155760000000000,
    due_at = due_at + 3155760000000000";

#[tokio::test]
async fn a_clock_that_was_set_back_before_the_start_holds_nothing_up() {
    let receiver = Receiver::start(&[OK]).await;
    let mut service = Service::open().await;
    service.solved(&receiver.url(), "Friday").await;
    service.store.execute(CLOCK_SET_BACK).await;
    service.deliver(Setup::default());
    service.until(delivered).await;
}

#[tokio::test]
async fn a_clock_that_is_set_back_holds_nothing_up() {
    let receiver = Receiver::start(&[OK]).await;
    let mut service = Service::open().await;
    service.solved(&receiver.url(), "Friday").await;
    service.store.execute(CLOCK_SET_BACK).await;
    let mut deliverer = service.deliverer(Setup::default());
    deliverer.last_seen = Some(Timestamp::from_micros(4_000_000_000_000_000));
    service.run(deliverer);
    service.until(delivered).await;
}

#[tokio::test]
async fn a_wait_is_as_long_after_the_clock_was_set_back() {
    let service = Service::open().await;
    service.solved("http://example.com/", "Friday").await;
    service.solved("http://example.com/", "Friday").await;
    service.store.execute("UPDATE delivery SET due_at = planned_at + 7000000").await;
    let before = service.store.deliveries().await;
    assert_eq!(service.ingest.replan_deliveries().await, Ok(0));
    assert_eq!(service.store.deliveries().await, before);
    service.store.execute(CLOCK_SET_BACK).await;
    assert_eq!(service.ingest.replan_deliveries().await, Ok(2));
    for delivery in service.store.deliveries().await {
        assert_eq!(delivery.due_at.since(delivery.planned_at), Duration::from_secs(7));
        assert!(delivery.planned_at <= Timestamp::now());
    }
}

#[tokio::test]
async fn at_shutdown_a_request_may_end() {
    let receiver = Receiver::start(&[Act::ReplyWhenAllowed("200 OK\r\n")]).await;
    let mut service = Service::open().await;
    service.deliver(Setup::default());
    service.solved(&receiver.url(), "Friday").await;
    receiver.until_seen(1).await;
    service.shutdown.cancel();
    receiver.allow(1);
    service.stop_delivering().await;
    assert!(delivered(&service.store.deliveries().await));
}

#[tokio::test]
async fn what_hangs_at_shutdown_is_delivered_after_the_start() {
    let receiver = Receiver::start(&[Act::ReplyWhenAllowed("200 OK\r\n"), OK]).await;
    let mut service = Service::open().await;
    let rhythm = Rhythm { grace: Duration::from_millis(50), ..Setup::default().rhythm };
    service.deliver(Setup { rhythm, ..Setup::default() });
    service.solved(&receiver.url(), "Friday").await;
    receiver.until_seen(1).await;
    service.stop_delivering().await;
    let mut service = service.restart().await;
    let delivery = service.store.deliveries().await.remove(0);
    assert_eq!((delivery.status, delivery.attempts), (DeliveryStatus::Waiting, 0));
    service.deliver(Setup::default());
    service.until(delivered).await;
}

#[tokio::test]
async fn what_cannot_be_stored_is_not_sent_again_and_again() {
    let log = service::Log::default();
    let _listening = log.listen();
    let receiver = Receiver::start(&[Act::ReplyWhenAllowed("200 OK\r\n")]).await;
    let mut service = Service::open().await;
    let (grace, record_pause) = (Duration::ZERO, Duration::from_millis(1));
    let rhythm = Rhythm { grace, record_pause, ..Setup::default().rhythm };
    service.deliver(Setup { rhythm, ..Setup::default() });
    service.solved(&receiver.url(), "Friday").await;
    receiver.until_seen(1).await;
    service.break_writer().await;
    receiver.allow(100);
    let said = |words: &str| log.text().matches(words).count();
    in_time(async {
        while said("Could not store what concerns messages") < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(said("Could not store what became of a message"), 1);
    for _ in 0..100 {
        service.called_back.notify_one();
        // As much work as a look.
        service.store.deliveries().await;
    }
    service.stop_delivering().await;
    assert_eq!(receiver.seen().len(), 1);
}

#[tokio::test]
async fn no_log_holds_an_answer_or_what_follows_the_host_of_a_url() {
    let log = service::Log::default();
    let _listening = log.listen();
    let receiver =
        Receiver::start(&[Act::Reply("500 Oops\r\n"), Act::Reset, Act::Reply("410 Gone\r\n"), OK]).await;
    let mut service = Service::open().await;
    service.deliver(Setup::default());
    let url = format!("http://s3cr3t:s3cr3t@{}/s3cr3t?s3cr3t=s3cr3t", receiver.address);
    service.solved(&url, "s3cr3t").await;
    service.until(|all| all.iter().all(|one| one.status == DeliveryStatus::Dead)).await;
    service.solved(&url, "s3cr3t").await;
    service.until(|all| all.iter().any(|one| one.status == DeliveryStatus::Delivered)).await;
    let text = log.text();
    for said in ["tried again later", "Gave up", "Delivered"] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(!text.contains("s3cr3t"), "{text}");
}
