//! What the provider asks of everybody: pauses, stops, credit.

use pingbox::sandbox::{Knobs, Share};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::harness::{PATIENCE, TestApp, never_solved, reply, solved_at_once};

fn refusing(code: &str) -> Knobs {
    Knobs { code: Some(code.to_owned()), ..never_solved() }
}

impl TestApp {
    pub(crate) async fn account(&self) -> Value {
        let (status, account) = self.get("/v1/account").await;
        assert_eq!(status, StatusCode::OK, "{account}");
        account
    }

    async fn resume(&self) -> (StatusCode, Value) {
        reply(self.http.post(format!("{}/v1/account/resume", self.api))).await
    }

    /// Submits a task and waits until the provider has refused it.
    async fn refused(&self) -> String {
        let before = self.submissions().len();
        let id = self.submit().await;
        let asked = async {
            while self.submissions().len() == before {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, asked).await.expect("it is sent");
        self.until(&id, |task| task["status"] == "queued" && task["reason"].is_string()).await;
        id
    }
}

#[tokio::test]
async fn a_pause_is_for_all_tasks_and_each_says_why() {
    let app = TestApp::with(refusing("ERROR_ZERO_BALANCE"), &[]).await;
    app.refused().await;
    let other = app.submit().await;
    let (_, other) = app.get(&format!("/v1/tasks/{other}?wait=1")).await;
    let reason = json!("ERROR_ZERO_BALANCE: the account has no money left");
    assert_eq!(
        (&other["status"], &other["reason"], &other["attempts"]),
        (&json!("queued"), &reason, &json!(0))
    );
    let account = app.account().await;
    let hold = &account["backoff"]["in_php"];
    assert_eq!((&hold["code"], &hold["stopped"]), (&json!("ERROR_ZERO_BALANCE"), &json!(false)));
    assert_eq!((&account["reason"], &account["backoff"]["res_php"]), (&reason, &Value::Null));
    let metrics = app.http.get(format!("{}/metrics", app.api)).send().await.unwrap().text().await.unwrap();
    assert!(
        metrics.contains(r#"pingbox_backoff_seconds{script="in.php",code="ERROR_ZERO_BALANCE"}"#),
        "{metrics}"
    );
    assert!(metrics.contains("pingbox_call_credit "), "{metrics}");
}

#[tokio::test]
async fn a_pause_outlives_a_restart() {
    let app = TestApp::with(refusing("ERROR_ZERO_BALANCE"), &[]).await;
    let id = app.refused().await;
    let until = app.account().await["backoff"]["in_php"]["until"].clone();
    let app = app.restart(solved_at_once()).await;
    let (_, task) = app.get(&format!("/v1/tasks/{id}?wait=2")).await;
    assert_eq!((&task["status"], app.submissions().len()), (&json!("queued"), 0));
    assert_eq!(app.account().await["backoff"]["in_php"]["until"], until);
}

#[tokio::test]
async fn after_a_pause_one_task_goes_first() {
    let app = TestApp::with(Knobs { no_slot: Share::ALWAYS, ..never_solved() }, &[]).await;
    app.refused().await;
    for _ in 0..5 {
        app.submit().await;
    }
    // Spacing is off: without a probe, all of them would go at once when the pause of 5 s is over.
    let again = async {
        while app.submissions().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, again).await.expect("it is tried again");
    app.get("/v1/tasks/1?wait=1").await;
    assert_eq!(app.submissions().len(), 2);
    assert_eq!(app.sandbox.broken_rules().len(), 0, "{:?}", app.sandbox.broken_rules());
}

#[tokio::test]
async fn a_wrong_key_costs_one_request_then_there_is_silence_until_an_operator_acts() {
    for code in ["ERROR_KEY_DOES_NOT_EXIST", "ERROR_WRONG_USER_KEY"] {
        let knobs = Knobs { result_code: Some(code.to_owned()), ..refusing(code) };
        let app = TestApp::with(knobs.clone(), &[]).await;
        let ids = [app.submit().await, app.submit().await];
        // Each of these would ask the provider, if that were allowed.
        let (account, _) = tokio::join!(app.account(), app.get("/v1/pingbacks"));
        app.get(&format!("/v1/tasks/{}?wait=3", ids[1])).await;
        let sent = app.sandbox.requests();
        assert_eq!(sent.len(), 1, "{sent:?}");
        assert_eq!((&account["balance"], account["reason"].is_string()), (&Value::Null, true), "{account}");
        let account = app.account().await;
        for script in ["in_php", "res_php"] {
            let hold = &account["backoff"][script];
            assert_eq!((&hold["code"], &hold["stopped"]), (&json!(code), &json!(true)), "{account}");
        }
        let (status, ready) = app.get("/readyz").await;
        assert_eq!(status, StatusCode::OK);
        assert!(ready["sending"].as_str().unwrap().contains("pingbox doctor --resume"), "{ready}");
        assert_eq!(ready["summary"], "ready, but `attention` says what to look at");
        let first = ready["attention"][0].as_str().unwrap();
        assert!(first.contains(code) && first.contains("pingbox doctor --resume"), "{ready}");
        assert!(app.task(&ids[0]).await["reason"].as_str().unwrap().starts_with(code));

        // Not even a new start tries again.
        let app = app.restart(knobs.clone()).await;
        app.get(&format!("/v1/tasks/{}?wait=2", ids[0])).await;
        assert_eq!(app.sandbox.requests().len(), 0);

        app.sandbox.set_knobs(solved_at_once());
        assert_eq!(app.resume().await.0, StatusCode::OK);
        for id in &ids {
            let (_, task) = app.get(&format!("/v1/tasks/{id}?wait=15")).await;
            assert_eq!(task["status"], "solved", "{task}");
        }
        assert!(app.account().await["balance"].is_string());
    }
}

#[tokio::test]
async fn another_key_is_another_account() {
    let app = TestApp::with(refusing("ERROR_KEY_DOES_NOT_EXIST"), &[]).await;
    let id = app.refused().await;
    let data = app.stop().await;
    let app = TestApp::with_key(solved_at_once(), "0123456789abcdef0123456789abcdef", data).await;
    let (_, task) = app.get(&format!("/v1/tasks/{id}?wait=15")).await;
    assert_eq!(task["status"], "solved", "{task}");
}

#[tokio::test]
async fn every_call_of_res_php_is_paid_for_and_captchas_bring_credit() {
    let app = TestApp::with(solved_at_once(), &[]).await;
    app.submitted().await;
    for _ in 0..3 {
        app.account().await;
    }
    // The list, the addition, and one balance for all three callers.
    assert_eq!(app.sandbox.usage().results, 3);
    let id = app.submit().await;
    app.get(&format!("/v1/tasks/{id}?wait=15")).await;
    assert_eq!(app.account().await["credit"], json!({"left": 1200, "most": 1200, "per_captcha": 20}));
    let app = app.restart(solved_at_once()).await;
    app.until_registered().await;
    // A look may ask for the balance, and shows what was left before that.
    let is_paid_for =
        async || app.account().await["credit"]["left"] == json!(1200 - app.sandbox.usage().results);
    let settled = async { while !is_paid_for().await {} };
    timeout(PATIENCE, settled).await.expect("each call is paid for, and nothing else");
}

#[tokio::test]
async fn a_used_up_credit_delays_and_never_bans() {
    let app = TestApp::with(never_solved(), &[]).await;
    // Sent once the URL is registered; the account was not looked at so far.
    app.submitted().await;
    app.connect_and("UPDATE credit SET calls = 5").await;
    // The balance can wait: what is left is for answers.
    assert_eq!(app.account().await["credit"]["left"], 5);
    assert_eq!(app.account().await["balance"], Value::Null);
    let (status, problem) = app.get("/v1/pingbacks").await;
    assert_eq!((status.as_u16(), &problem["code"]), (503, &json!("provider_unavailable")), "{problem}");
    for _ in 0..20 {
        app.submitted().await;
    }
    assert_eq!(app.get("/v1/pingbacks").await.0, StatusCode::OK);
}
