//! `res.php`: answers, reports, the balance.

use pingbox::sandbox::{Amount, Knobs, Share};
use serde_json::json;

use crate::harness::{Provider, gif, never_solved, solved_at_once};

const QUESTION: [(&str, &str); 1] = [("textcaptcha", "What day is tomorrow?")];
const TOKEN: [(&str, &str); 2] = [("method", "hcaptcha"), ("sitekey", "x")];

fn balance(amount: &str) -> Amount {
    amount.parse().unwrap()
}

#[tokio::test]
async fn an_answer_comes_as_text_and_as_json() {
    let provider = Provider::spawn(never_solved()).await;
    let id = provider.id(&QUESTION).await;
    let get = [("action", "get"), ("id", id.as_str())];
    assert_eq!(provider.result(&get).await, "CAPCHA_NOT_READY");
    provider.sandbox.solve(&id.parse().unwrap(), "a|b").unwrap();
    assert_eq!(provider.result(&get).await, "OK|a|b");
    assert_eq!(provider.result_json(&get).await, json!({"status": 1, "request": "a|b"}));
    let get2 = [("action", "get2"), ("id", id.as_str())];
    assert_eq!(provider.result(&get2).await, "OK|a|b|0.0005");
    assert_eq!(provider.result_json(&get2).await, json!({"status": 1, "request": "a|b", "price": "0.0005"}));
}

#[tokio::test]
async fn several_answers_are_joined_in_the_order_of_their_ids() {
    let provider = Provider::spawn(never_solved()).await;
    let (one, two) = (provider.id(&QUESTION).await, provider.id(&QUESTION).await);
    provider.sandbox.solve(&two.parse().unwrap(), "two").unwrap();
    let ids = format!("{two},{one},7,x");
    let get = [("action", "get"), ("ids", ids.as_str())];
    let expected = "two|CAPCHA_NOT_READY|ERROR_WRONG_CAPTCHA_ID|ERROR_WRONG_ID_FORMAT";
    assert_eq!(provider.result(&get).await, expected);
    assert_eq!(provider.result_json(&get).await, json!({"status": 1, "request": expected}));
}

#[tokio::test]
async fn a_request_that_makes_no_sense_gets_its_code() {
    let provider = Provider::spawn(never_solved()).await;
    for (query, code) in [
        (&[("action", "get")][..], "ERROR_WRONG_ID_FORMAT"),
        (&[("action", "get"), ("id", "12x")], "ERROR_WRONG_ID_FORMAT"),
        (&[("action", "get"), ("id", "1")], "ERROR_WRONG_CAPTCHA_ID"),
        (&[("action", "get"), ("id", "99999999999999999999999")], "ERROR_WRONG_CAPTCHA_ID"),
        (&[("action", "reportbad"), ("id", "1")], "ERROR_WRONG_CAPTCHA_ID"),
        (&[("action", "add_pingback")], "ERROR_BAD_PARAMETERS"),
        (&[("action", "dance")], "ERROR_BAD_PARAMETERS"),
        (&[], "ERROR_BAD_PARAMETERS"),
        (&[("key", "x"), ("action", "getbalance")], "ERROR_WRONG_USER_KEY"),
        (&[("key", "00000000000000000000000000000000")], "ERROR_KEY_DOES_NOT_EXIST"),
    ] {
        assert_eq!(provider.result(query).await, code, "{query:?}");
    }
}

#[tokio::test]
async fn the_balance_is_bare_text_and_falls_by_the_table_of_rates() {
    let knobs = Knobs { balance: balance("1"), ..solved_at_once() };
    let provider = Provider::spawn(knobs).await;
    let get = [("action", "getbalance")];
    assert_eq!(provider.result(&get).await, "1");
    provider.answer(&QUESTION).await;
    assert_eq!(provider.result(&get).await, "0.9995");
    provider.image_answer(&gif(201, 200, 1), &[]).await;
    assert_eq!(provider.result(&get).await, "0.9985");
    provider.image_answer(&gif(50, 50, 1), &[("coordinatescaptcha", "1")]).await;
    assert_eq!(provider.result(&get).await, "0.9973");
    provider.answer(&TOKEN).await;
    assert_eq!(provider.result_json(&get).await, json!({"status": 1, "request": "0.99431"}));
}

#[tokio::test]
async fn an_empty_account_takes_no_captcha() {
    let knobs = Knobs { balance: balance("0.003"), ..solved_at_once() };
    let provider = Provider::spawn(knobs).await;
    provider.answer(&TOKEN).await;
    assert_eq!(provider.submit(&TOKEN).await, "ERROR_ZERO_BALANCE");
}

#[tokio::test]
async fn an_unsolvable_captcha_costs_nothing() {
    let knobs = Knobs { unsolvable: Share::ALWAYS, balance: balance("5"), ..solved_at_once() };
    let provider = Provider::spawn(knobs).await;
    let id = provider.id(&TOKEN).await;
    for action in ["get", "get2"] {
        let reply = provider.result(&[("action", action), ("id", &id)]).await;
        assert_eq!(reply, "ERROR_CAPTCHA_UNSOLVABLE");
    }
    assert_eq!(provider.result(&[("action", "getbalance")]).await, "5");
    assert_eq!(provider.result(&[("action", "reportbad"), ("id", &id)]).await, "REPORT_NOT_RECORDED");
}

#[tokio::test]
async fn a_complaint_counts_once_and_refunds() {
    let knobs = Knobs { balance: balance("5"), ..solved_at_once() };
    let provider = Provider::spawn(knobs).await;
    let (one, two) = (provider.id(&TOKEN).await, provider.id(&TOKEN).await);
    let report = |action, id| [("action", action), ("id", id)];
    assert_eq!(provider.result(&report("reportbad", &one)).await, "OK_REPORT_RECORDED");
    assert_eq!(provider.result(&report("reportbad", &one)).await, "ERROR_DUPLICATE_REPORT");
    assert_eq!(provider.result(&[("action", "getbalance")]).await, "4.99701");
    let good = provider.result_json(&report("reportgood", &two)).await;
    assert_eq!(good, json!({"status": 1, "request": "OK_REPORT_RECORDED"}));
    assert_eq!(provider.result(&[("action", "getbalance")]).await, "4.99701");
}

#[tokio::test]
async fn complaints_past_40_percent_are_refused_after_the_tenth() {
    let provider = Provider::spawn(solved_at_once()).await;
    for complaint in 1..=11 {
        let id = provider.id(&QUESTION).await;
        let reply = provider.result(&[("action", "reportbad"), ("id", &id)]).await;
        let expected = if complaint <= 10 { "OK_REPORT_RECORDED" } else { "REPORT_NOT_RECORDED" };
        assert_eq!(reply, expected, "{complaint}");
    }
}
