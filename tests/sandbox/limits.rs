//! Bans. Their ends are tested with a clock of their own, beside the code.

use pingbox::sandbox::{Knobs, Share};

use crate::harness::{Provider, never_solved};

const QUESTION: [(&str, &str); 1] = [("textcaptcha", "What day is tomorrow?")];

#[tokio::test]
async fn too_many_submissions_at_once_ban_the_account() {
    let provider = Provider::spawn(never_solved()).await;
    let mut replies = Vec::new();
    for _ in 0..62 {
        replies.push(provider.submit(&QUESTION).await);
    }
    assert!(replies[..60].iter().all(|reply| reply.starts_with("OK|")), "{replies:?}");
    assert_eq!(replies[60..], ["MAX_USER_TURN", "MAX_USER_TURN"]);
}

#[tokio::test]
async fn five_wrong_keys_ban_the_address() {
    let provider = Provider::spawn(never_solved()).await;
    for _ in 0..5 {
        assert_eq!(provider.submit(&[("key", "wrong")]).await, "ERROR_WRONG_USER_KEY");
    }
    assert_eq!(provider.submit(&QUESTION).await, "ERROR: 1004");
    assert_eq!(provider.result(&[("action", "getbalance")]).await, "ERROR: 1004");
}

#[tokio::test]
async fn polling_past_20_a_captcha_and_1200_bans_the_account() {
    let provider = Provider::spawn(never_solved()).await;
    let id = provider.id(&QUESTION).await;
    let get = [("action", "get"), ("id", id.as_str())];
    for _ in 0..1220 {
        assert_eq!(provider.result(&get).await, "CAPCHA_NOT_READY");
    }
    assert_eq!(provider.result(&get).await, "ERROR: 1005");
    assert_eq!(provider.submit(&QUESTION).await, "ERROR: 1005");
}

#[tokio::test]
async fn without_limits_nobody_is_banned() {
    let knobs = Knobs { limits: false, no_slot: Share::ALWAYS, ..never_solved() };
    let provider = Provider::spawn(knobs).await;
    for _ in 0..130 {
        assert_eq!(provider.submit(&QUESTION).await, "ERROR_NO_SLOT_AVAILABLE");
    }
}
