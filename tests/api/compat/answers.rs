//! What `res.php` says, byte by byte, as text and as JSON.

use serde_json::json;
use tokio::time::timeout;

use super::Scripts;
use crate::harness::{PATIENCE, TestApp, never_solved, solved_at_once};

const NOT_READY: &str =
    r#"{"status":0,"request":"CAPCHA_NOT_READY","error_text":"the captcha is not solved yet"}"#;

/// A service that does not hold `res.php`.
async fn impatient() -> (TestApp, Scripts) {
    let app = TestApp::with(never_solved(), &[("PINGBOX_COMPAT__HOLD", "0s")]).await;
    let scripts = Scripts::of(&app);
    (app, scripts)
}

/// The captcha ID of a task that in.php has handed out.
async fn captcha_id(app: &TestApp, id: &str) -> String {
    app.until(id, |task| task["captcha_id"].is_string()).await["captcha_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_answer_is_given_back_byte_by_byte() {
    let (app, scripts) = impatient().await;
    for answer in
        ["Friday", "40|200|-120", "coordinate:x=39,y=59;x=252,y=72", "a+b &c=d \"q\" {é}", "click:3/8/9/"]
    {
        let id = scripts.submitted().await;
        let get = [("action", "get"), ("id", id.as_str())];
        let get_json = [get[0], get[1], ("json", "1")];
        assert_eq!(scripts.ask(&get).await, "CAPCHA_NOT_READY");
        assert_eq!(scripts.ask(&get_json).await, NOT_READY);
        app.pingback(&captcha_id(&app, &id).await, answer).await;
        assert_eq!(scripts.ask(&get).await, format!("OK|{answer}"));
        let quoted = serde_json::to_string(answer).unwrap();
        assert_eq!(scripts.ask(&get_json).await, format!(r#"{{"status":1,"request":{quoted}}}"#));
        let get2 = [("action", "get2"), get[1]];
        assert_eq!(scripts.ask(&get2).await, format!("OK|{answer}|0.001"));
        assert_eq!(
            scripts.ask(&[get2[0], get2[1], ("json", "1")]).await,
            format!(r#"{{"status":1,"request":{quoted},"price":"0.001"}}"#)
        );
    }
}

#[tokio::test]
async fn a_price_that_the_provider_told_is_told_on() {
    let (app, scripts) = impatient().await;
    let id = scripts.submitted().await;
    let form = [("id", captcha_id(&app, &id).await), ("code", "x".into()), ("rate", "0.00299".into())];
    app.http.post(app.pingback_url()).form(&form).send().await.unwrap();
    assert_eq!(scripts.ask(&[("action", "get2"), ("id", &id)]).await, "OK|x|0.00299");
}

#[tokio::test]
async fn several_answers_come_in_their_order_without_ok() {
    let (app, scripts) = impatient().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(scripts.submitted().await);
    }
    for (id, answer) in [(&ids[0], "first"), (&ids[2], "ERROR_CAPTCHA_UNSOLVABLE")] {
        app.pingback(&captcha_id(&app, id).await, answer).await;
    }
    let asked = format!("{},{},99999, x,{},{}", ids[2], ids[1], ids[0], ids[0]);
    let pieces =
        "ERROR_CAPTCHA_UNSOLVABLE|CAPCHA_NOT_READY|ERROR_WRONG_CAPTCHA_ID|ERROR_WRONG_ID_FORMAT|first|first";
    let query = [("action", "get"), ("ids", asked.as_str())];
    assert_eq!(scripts.ask(&query).await, pieces);
    let in_json = format!(r#"{{"status":1,"request":"{pieces}"}}"#);
    assert_eq!(scripts.ask(&[query[0], query[1], ("json", "1")]).await, in_json);
    let many = vec!["1"; 1001].join(",");
    assert_eq!(scripts.ask(&[("action", "get"), ("ids", &many)]).await, "ERROR_BAD_PARAMETERS");
}

#[tokio::test]
async fn a_get_is_held_until_the_answer_comes() {
    let app = TestApp::with(never_solved(), &[("PINGBOX_COMPAT__HOLD", "19s")]).await;
    let scripts = Scripts::of(&app);
    let (one, other) = (scripts.submitted().await, scripts.submitted().await);
    let ids = format!("{one},{other}");
    let single = [("action", "get"), ("id", one.as_str())];
    let both = [("action", "get"), ("ids", ids.as_str())];
    let priced = [("action", "get2"), single[1]];
    // Overlapping questions about one captcha are all answered.
    let asked = async {
        tokio::join!(scripts.ask(&single), scripts.ask(&single), scripts.ask(&priced), scripts.ask(&both))
    };
    let answered = async {
        for (id, answer) in [(&one, "Friday"), (&other, "Monday")] {
            app.pingback(&captcha_id(&app, id).await, answer).await;
        }
    };
    let (replies, ()) = timeout(PATIENCE, async { tokio::join!(asked, answered) }).await.expect("woken");
    let expected = ["OK|Friday", "OK|Friday", "OK|Friday|0.001", "Friday|Monday"].map(str::to_owned);
    assert_eq!([replies.0, replies.1, replies.2, replies.3], expected);
}

#[tokio::test]
async fn a_hold_ends_at_its_time_and_at_shutdown() {
    let app = TestApp::with(never_solved(), &[("PINGBOX_COMPAT__HOLD", "1s")]).await;
    let scripts = Scripts::of(&app);
    let id = scripts.submitted().await;
    assert_eq!(scripts.ask(&[("action", "get"), ("id", &id)]).await, "CAPCHA_NOT_READY");

    let app = app.restart_with(never_solved(), &[("PINGBOX_COMPAT__HOLD", "19s")]).await;
    let scripts = Scripts::of(&app);
    let query = [("action", "get"), ("id", id.as_str())];
    let (reply, ()) = tokio::join!(scripts.ask(&query), async {
        app.get("/livez-or-not").await;
        app.shutdown.cancel();
    });
    assert_eq!(reply, "CAPCHA_NOT_READY");
}

#[tokio::test]
async fn what_has_no_answer_says_why_in_the_familys_words() {
    let (app, scripts) = impatient().await;
    let failed = scripts.submitted().await;
    app.pingback(&captcha_id(&app, &failed).await, "ERROR_BAD_DUPLICATES").await;
    let expired = scripts.submitted().await;
    captcha_id(&app, &expired).await;
    app.connect_and("UPDATE task SET status = 'expired', error = 'EXPIRED', answered_at = 1 WHERE id = 2")
        .await;
    let erased = scripts.submitted().await;
    captcha_id(&app, &erased).await;
    app.connect_and("UPDATE task SET status = 'solved', answered_at = 1, erased = 1 WHERE id = 3").await;
    for (id, code) in [
        (failed.as_str(), "ERROR_BAD_DUPLICATES"),
        (&expired, "ERROR_CAPTCHA_UNSOLVABLE"),
        (&erased, "ERROR_WRONG_CAPTCHA_ID"),
        ("4", "ERROR_WRONG_CAPTCHA_ID"),
        ("0", "ERROR_WRONG_CAPTCHA_ID"),
        ("99999999999999999999999", "ERROR_WRONG_CAPTCHA_ID"),
        ("x", "ERROR_WRONG_ID_FORMAT"),
        ("-1", "ERROR_WRONG_ID_FORMAT"),
        ("", "ERROR_WRONG_ID_FORMAT"),
    ] {
        for action in ["get", "get2"] {
            assert_eq!(scripts.ask(&[("action", action), ("id", id)]).await, code, "{action} {id:?}");
        }
    }
    let text = scripts.ask(&[("action", "get"), ("id", &failed), ("json", "1")]).await;
    assert_eq!(
        text,
        r#"{"status":0,"request":"ERROR_BAD_DUPLICATES","error_text":"too few workers gave the same answer"}"#
    );
}

#[tokio::test]
async fn a_balance_is_a_bare_number_and_asked_for_once_a_minute() {
    let (app, scripts) = impatient().await;
    for _ in 0..3 {
        assert_eq!(scripts.ask(&[("action", "getbalance")]).await, "1000");
        assert_eq!(
            scripts.ask(&[("action", "getbalance"), ("json", "1")]).await,
            r#"{"status":1,"request":"1000"}"#
        );
    }
    let requests = serde_json::to_value(app.sandbox.requests()).unwrap();
    let asked = requests.as_array().unwrap().iter();
    assert_eq!(asked.filter(|request| request["parameters"]["action"] == "getbalance").count(), 1);
}

#[tokio::test]
async fn a_report_is_recorded_once() {
    let app = TestApp::with(solved_at_once(), &[]).await;
    let scripts = Scripts::of(&app);
    let (bad, good) = (scripts.submitted().await, scripts.submitted().await);
    for id in [&bad, &good] {
        app.until(id, |task| task["status"] == "solved").await;
    }
    let report = async |action: &str, id: &str| scripts.ask(&[("action", action), ("id", id)]).await;
    assert_eq!(report("reportbad", &bad).await, "OK_REPORT_RECORDED");
    let reply = scripts.ask(&[("action", "reportgood"), ("id", &good), ("json", "1")]).await;
    assert_eq!(reply, r#"{"status":1,"request":"OK_REPORT_RECORDED"}"#);
    assert_eq!(report("reportbad", &bad).await, "ERROR_DUPLICATE_REPORT");
    assert_eq!(report("reportbad", "99").await, "ERROR_WRONG_CAPTCHA_ID");
    assert_eq!(report("reportbad", "x").await, "ERROR_WRONG_ID_FORMAT");
    let counters = serde_json::to_value(app.sandbox.counters()).unwrap();
    assert_eq!((&counters["reported_bad"], &counters["reported_good"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn a_report_without_an_answer_or_too_late_is_not_recorded() {
    let (app, scripts) = impatient().await;
    let id = scripts.submitted().await;
    let report = [("action", "reportbad"), ("id", id.as_str())];
    assert_eq!(scripts.ask(&report).await, "REPORT_NOT_RECORDED");
    app.pingback(&captcha_id(&app, &id).await, "x").await;
    app.connect_and("UPDATE task SET submitted_at = submitted_at - 1000000000").await;
    assert_eq!(scripts.ask(&report).await, "REPORT_NOT_RECORDED");
}

#[tokio::test]
async fn an_unknown_action_is_named() {
    let (_app, scripts) = impatient().await;
    for action in ["", "getstats", "solve"] {
        assert_eq!(scripts.ask(&[("action", action)]).await, "ERROR_EMPTY_ACTION", "{action}");
    }
}
