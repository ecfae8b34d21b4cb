//! The control endpoint.

use pingbox::sandbox::{DEFAULT_KEY, Knobs, Share, SolveError};
use serde_json::{Value, json};

use crate::harness::{Provider, gif, never_solved, solved_at_once};

const TOKEN: [(&str, &str); 2] = [("method", "hcaptcha"), ("sitekey", "x")];

impl Provider {
    async fn post_json(&self, path: &str, body: Value) -> (u16, String) {
        let response = self.http.post(format!("{}{path}", self.base)).json(&body).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    async fn get_json(&self, path: &str) -> Value {
        self.http.get(format!("{}{path}", self.base)).send().await.unwrap().json().await.unwrap()
    }
}

#[tokio::test]
async fn a_turned_knob_leaves_the_others() {
    let provider = Provider::spawn(never_solved()).await;
    let (status, body) = provider.post_json("/sandbox", json!({"lost": 1, "balance": "2.5"})).await;
    assert_eq!(status, 200, "{body}");
    let knobs = provider.sandbox.knobs();
    assert_eq!((knobs.lost, knobs.delay_ms), (Share::ALWAYS, never_solved().delay_ms));
    assert_eq!(provider.get_json("/sandbox").await["knobs"]["balance"], "2.5");
}

#[tokio::test]
async fn a_bad_knob_is_named_and_turns_nothing() {
    let provider = Provider::spawn(Knobs::default()).await;
    for (knobs, named) in [
        (json!({"lots": 1}), "lots"),
        (json!({"lost": 1.5}), "from 0 to 1"),
        (json!({"balance": "much", "delay_ms": 5}), "decimal"),
        (json!([1]), "object"),
    ] {
        let (status, body) = provider.post_json("/sandbox", knobs).await;
        assert_eq!(status, 422);
        assert!(body.contains(named), "{body}");
    }
    assert_eq!(provider.sandbox.knobs(), Knobs::default());
}

#[tokio::test]
async fn turning_a_knob_does_not_pay_the_money_back() {
    let provider = Provider::spawn(solved_at_once()).await;
    provider.answer(&TOKEN).await;
    provider.post_json("/sandbox", json!({"lost": 1})).await;
    assert_eq!(provider.result(&[("action", "getbalance")]).await, "999.99701");
}

#[tokio::test]
async fn requests_are_shown_without_the_key_and_with_digests_of_files() {
    let provider = Provider::spawn(never_solved()).await;
    provider.upload(&[("method", "post"), ("phrase", "1")], &[("file", gif(120, 40, 7))]).await;
    provider.result(&[("action", "getbalance")]).await;
    let shown = provider.get_json("/sandbox/requests").await;
    let first = &shown["requests"][0];
    assert_eq!((&first["number"], &first["path"]), (&json!(1), &json!("/in.php")));
    assert_eq!(first["parameters"]["phrase"], "1");
    assert_eq!(first["parameters"]["file"]["bytes"], 200);
    assert_eq!(first["parameters"]["file"]["sha256"].as_str().unwrap().len(), 64);
    assert!(first["at_us"].is_i64() && first["time"].as_str().unwrap().ends_with('Z'));
    assert!(!shown.to_string().contains(DEFAULT_KEY));

    let rest = provider.get_json("/sandbox/requests?after=1").await;
    assert_eq!(rest["requests"].as_array().unwrap().len(), 1);
    let response = provider.http.delete(format!("{}/sandbox/requests", provider.base)).send().await.unwrap();
    assert_eq!(response.status(), 204);
    assert!(provider.sandbox.requests().is_empty());
}

#[tokio::test]
async fn the_login_of_a_proxy_is_not_shown() {
    let provider = Provider::spawn(never_solved()).await;
    provider.id(&[TOKEN[0], TOKEN[1], ("proxy", "login:p@ssword@1.2.3.4:3128")]).await;
    let shown = provider.get_json("/sandbox/requests").await;
    assert_eq!(shown["requests"][0]["parameters"]["proxy"], "***@1.2.3.4:3128");
    assert!(!format!("{:?}", provider.sandbox.requests()).contains("login"));
}

#[tokio::test]
async fn the_rules_that_a_client_broke_are_shown_beside_its_requests() {
    let provider = Provider::spawn(never_solved()).await;
    let shown = provider.get_json("/sandbox").await;
    assert_eq!(shown["broken_rules"], json!([]));
    assert_eq!(shown["requests"], json!({"res_php": 0, "captchas": 0, "allowed": 1200}));

    let id = provider.id(&TOKEN).await;
    provider.result(&[("action", "get"), ("id", &id)]).await;
    let shown = provider.get_json("/sandbox").await;
    let broken = &shown["broken_rules"][0];
    assert_eq!((&broken["rule"], &broken["count"]), (&json!("asked_too_early"), &json!(1)));
    assert!(broken["last_at"].as_str().unwrap().ends_with('Z'));
    assert!(broken["detail"].as_str().unwrap().contains(&id), "{broken}");
    assert_eq!(shown["requests"], json!({"res_php": 1, "captchas": 1, "allowed": 1220}));
    assert_eq!(provider.sandbox.broken_rules()[0].rule, "asked_too_early");
    assert_eq!(provider.sandbox.usage().results, 1);
}

#[tokio::test]
async fn a_waiting_captcha_can_be_solved_by_hand_once() {
    let provider = Provider::spawn(never_solved()).await;
    let id = provider.id(&TOKEN).await;
    assert_eq!(provider.get_json("/sandbox").await["pending"], json!([id]));
    let solution = json!({"id": id, "answer": "by hand"});
    assert_eq!(provider.post_json("/sandbox/solve", solution.clone()).await.0, 204);
    assert_eq!(provider.result(&[("action", "get"), ("id", &id)]).await, "OK|by hand");
    assert_eq!(provider.post_json("/sandbox/solve", solution).await.0, 409);
    assert_eq!(provider.post_json("/sandbox/solve", json!({"id": "1", "answer": "x"})).await.0, 404);
    assert_eq!(provider.post_json("/sandbox/solve", json!({"id": id})).await.0, 422);
    assert_eq!(provider.sandbox.solve(&id.parse().unwrap(), ""), Err(SolveError::Answer));
}

#[tokio::test]
async fn a_failure_can_be_given_by_hand() {
    let provider = Provider::spawn(never_solved()).await;
    let id = provider.id(&TOKEN).await;
    provider.sandbox.solve(&id.parse().unwrap(), "ERROR_BAD_DUPLICATES").unwrap();
    assert_eq!(provider.result(&[("action", "get"), ("id", &id)]).await, "ERROR_BAD_DUPLICATES");
    assert_eq!(provider.result(&[("action", "getbalance")]).await, "1000");
}
