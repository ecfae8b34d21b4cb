//! Registration and delivery.

use pingbox::sandbox::{Knobs, Registration, Share};
use serde_json::json;

use crate::harness::{Provider, Receiver, never_solved, solved_at_once};

const TOKEN: [(&str, &str); 2] = [("method", "hcaptcha"), ("sitekey", "x")];

fn with_pingback(url: &str) -> [(&'static str, &str); 3] {
    [("method", "hcaptcha"), ("sitekey", "x"), ("pingback", url)]
}

fn at_once(knobs: Knobs) -> Knobs {
    Knobs { delay_ms: 0, ..knobs }
}

#[tokio::test]
async fn urls_are_added_listed_and_deleted() {
    let provider = Provider::spawn(Knobs::default()).await;
    let list = [("action", "get_pingback")];
    assert_eq!(provider.result(&list).await, "OK|");
    for addr in ["http://127.0.0.1:9/a", "127.0.0.1/b/"] {
        assert_eq!(provider.result(&[("action", "add_pingback"), ("addr", addr)]).await, "OK");
    }
    assert_eq!(provider.result(&list).await, "OK|http://127.0.0.1:9/a|127.0.0.1/b/");
    let urls = json!(["http://127.0.0.1:9/a", "127.0.0.1/b/"]);
    assert_eq!(provider.result_json(&list).await, json!({"status": 1, "request": urls}));
    let delete = [("action", "del_pingback"), ("addr", "127.0.0.1/b/")];
    assert_eq!(provider.result(&delete).await, "OK");
    assert_eq!(provider.result(&list).await, "OK|http://127.0.0.1:9/a");
    let delete = [("action", "del_pingback"), ("addr", "all")];
    assert_eq!(provider.result_json(&delete).await, json!({"status": 1, "request": "OK_PINGBACK"}));
    assert_eq!(provider.result(&list).await, "OK|");
}

#[tokio::test]
async fn a_url_is_added_only_from_the_address_it_points_to() {
    let provider = Provider::spawn(Knobs::default()).await;
    let add = [("action", "add_pingback"), ("addr", "http://192.0.2.7/p")];
    assert_eq!(provider.result(&add).await, "ERROR_IP_ADDRES");
    provider.sandbox.set_knobs(Knobs { check_ip: false, ..Knobs::default() });
    assert_eq!(provider.result(&add).await, "OK");
    let add = [("action", "add_pingback"), ("addr", "ftp://127.0.0.1/p")];
    assert_eq!(provider.result(&add).await, "ERROR_BAD_PARAMETERS");
}

#[tokio::test]
async fn an_answer_is_posted_with_its_price_after_the_reply() {
    let provider = Provider::spawn(at_once(Knobs::default())).await;
    let mut receiver = Receiver::registered(&provider).await;
    let id = provider.id(&with_pingback(&format!("{}/token", receiver.url))).await;
    let pingback = receiver.next().await;
    assert_eq!(pingback["id"], id);
    assert_eq!(pingback["rate"], "0.00299");
    let answer = provider.result(&[("action", "get"), ("id", &id)]).await;
    assert_eq!(answer, format!("OK|{}", pingback["code"]));
    provider.until(|sandbox| sandbox.counters().pingbacks_delivered == 1).await;
}

#[tokio::test]
async fn a_url_that_is_not_registered_gets_nothing() {
    let provider = Provider::spawn(solved_at_once()).await;
    let mut receiver = Receiver::registered(&provider).await;
    let mut stranger = Receiver::spawn().await;
    provider.id(&with_pingback(&stranger.url)).await;
    provider.id(&with_pingback(&receiver.url)).await;
    receiver.next().await;
    assert_eq!(stranger.arrived(), None);
    assert_eq!(provider.sandbox.counters().pingbacks_delivered, 1);
}

/// The knobs of an emulation that sends pingbacks as this says.
fn registering(registration: Registration) -> Knobs {
    Knobs { registration, ..solved_at_once() }
}

#[tokio::test]
async fn an_exact_registration_gets_pingbacks_at_that_url_alone() {
    let provider = Provider::spawn(registering(Registration::Exact)).await;
    let mut receiver = Receiver::registered(&provider).await;
    provider.id(&with_pingback(&format!("{}/token", receiver.url))).await;
    let id = provider.id(&with_pingback(&receiver.url.clone())).await;
    assert_eq!(receiver.next().await["id"], id);
    assert_eq!(receiver.arrived(), None);
}

#[tokio::test]
async fn a_registered_host_gets_pingbacks_at_any_of_its_urls() {
    let provider = Provider::spawn(registering(Registration::Host)).await;
    let mut receiver = Receiver::registered(&provider).await;
    let id = provider.id(&with_pingback(&receiver.url.replace("/pingback", "/elsewhere"))).await;
    assert_eq!(receiver.next().await["id"], id);
}

#[tokio::test]
async fn a_late_pingback_waits_while_the_answer_can_be_read() {
    let late = Knobs { late: Share::ALWAYS, late_ms: 3_600_000, ..solved_at_once() };
    let provider = Provider::spawn(late.clone()).await;
    let mut receiver = Receiver::registered(&provider).await;
    provider.answer(&with_pingback(&receiver.url.clone())).await;
    // The next captcha has its pingback at once, and that overtakes the first.
    provider.sandbox.set_knobs(Knobs { late_ms: 0, ..late });
    let id = provider.id(&with_pingback(&receiver.url.clone())).await;
    assert_eq!(receiver.next().await["id"], id);
    assert_eq!(receiver.arrived(), None);
}

#[tokio::test]
async fn an_early_pingback_comes_before_the_reply() {
    let provider = Provider::spawn(solved_at_once()).await;
    let mut receiver = Receiver::holding().await;
    receiver.register(&provider).await;
    let url = receiver.url.clone();
    let form = with_pingback(&url);
    let mut submission = std::pin::pin!(provider.id(&form));
    let pingback = tokio::select! {
        id = &mut submission => panic!("{id} was told before the pingback was received"),
        pingback = receiver.next() => pingback,
    };
    receiver.replies.add_permits(1);
    assert_eq!(submission.await, pingback["id"]);
}

#[tokio::test]
async fn a_duplicate_says_the_same_twice() {
    let provider = Provider::spawn(at_once(Knobs { duplicate: Share::ALWAYS, ..Knobs::default() })).await;
    let mut receiver = Receiver::registered(&provider).await;
    provider.id(&with_pingback(&receiver.url.clone())).await;
    assert_eq!(receiver.next().await, receiver.next().await);
}

#[tokio::test]
async fn a_wrong_one_follows_with_another_answer_for_the_same_id() {
    let provider = Provider::spawn(at_once(Knobs { wrong: Share::ALWAYS, ..Knobs::default() })).await;
    let mut receiver = Receiver::registered(&provider).await;
    let id = provider.id(&with_pingback(&receiver.url.clone())).await;
    let (right, wrong) = (receiver.next().await, receiver.next().await);
    assert_eq!((&right["id"], &wrong["id"]), (&id, &id));
    assert_ne!(right["code"], wrong["code"]);
    let answer = provider.result(&[("action", "get"), ("id", &id)]).await;
    assert_eq!(answer, format!("OK|{}", right["code"]));
}

#[tokio::test]
async fn a_lost_one_is_never_sent_though_the_captcha_is_solved() {
    let provider = Provider::spawn(Knobs { lost: Share::ALWAYS, ..solved_at_once() }).await;
    let mut receiver = Receiver::registered(&provider).await;
    provider.answer(&with_pingback(&receiver.url.clone())).await;
    assert_eq!(provider.sandbox.counters().pingbacks_lost, 1);
    assert_eq!(receiver.arrived(), None);
}

#[tokio::test]
async fn an_unsolvable_captcha_is_told_without_a_price() {
    let provider = Provider::spawn(at_once(Knobs { unsolvable: Share::ALWAYS, ..Knobs::default() })).await;
    let mut receiver = Receiver::registered(&provider).await;
    provider.id(&with_pingback(&receiver.url.clone())).await;
    let pingback = receiver.next().await;
    assert_eq!(pingback["code"], "ERROR_CAPTCHA_UNSOLVABLE");
    assert!(!pingback.contains_key("rate"));
}

#[tokio::test]
async fn without_the_knob_no_price_is_told() {
    let provider = Provider::spawn(at_once(Knobs { rate: false, ..Knobs::default() })).await;
    let mut receiver = Receiver::registered(&provider).await;
    provider.id(&with_pingback(&receiver.url.clone())).await;
    assert!(!receiver.next().await.contains_key("rate"));
}

#[tokio::test]
async fn a_captcha_solved_by_hand_is_posted_at_once() {
    let provider = Provider::spawn(never_solved()).await;
    let mut receiver = Receiver::registered(&provider).await;
    let id = provider.id(&with_pingback(&receiver.url.clone())).await;
    provider.sandbox.solve(&id.parse().unwrap(), "a+b&c=d|e").unwrap();
    assert_eq!(receiver.next().await["code"], "a+b&c=d|e");
}

#[tokio::test]
async fn captchas_that_come_due_together_are_all_posted() {
    const COUNT: usize = 2000;
    let provider = Provider::spawn(at_once(Knobs { limits: false, ..Knobs::default() })).await;
    let mut receiver = Receiver::registered(&provider).await;
    let url = receiver.url.clone();
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..COUNT {
        ids.insert(provider.id(&with_pingback(&url)).await);
    }
    let mut told = std::collections::BTreeSet::new();
    for _ in 0..COUNT {
        told.insert(receiver.next().await["id"].clone());
    }
    assert_eq!(told, ids);
    assert_eq!(provider.submit(&TOKEN).await.len(), 14);
}
