//! Answers that do not come by themselves: lost pingbacks, polling mode, the end of a task's time.

use pingbox::sandbox::{Knobs, Share};
use serde_json::{Value, json};

use crate::harness::{TestApp, data_file, never_solved, solved_at_once, text_captcha};

/// No URL of ours can be registered from there, so there are no pingbacks.
const ELSEWHERE: [(&str, &str); 1] = [("PINGBOX_PUBLIC__URL", "https://192.0.2.1")];

/// What `res.php` was asked for, by action, but for the registration.
fn questions(app: &TestApp) -> Vec<Value> {
    let requests = serde_json::to_value(app.sandbox.requests()).unwrap();
    let is_question = |parameters: &Value| {
        parameters["action"].as_str().is_some_and(|action| !action.ends_with("pingback"))
    };
    let parameters = requests.as_array().unwrap().iter().map(|request| request["parameters"].clone());
    parameters.filter(is_question).collect()
}

#[tokio::test]
async fn a_lost_pingback_is_asked_for_once_it_is_overdue() {
    let app = TestApp::with(Knobs { lost: Share::ALWAYS, limits: true, ..solved_at_once() }, &[]).await;
    let id = app.submit().await;
    let (_, task) = app.get(&format!("/v1/tasks/{id}?wait=20")).await;
    assert_eq!((&task["status"], &task["via"]), (&json!("solved"), &json!("reconcile")), "{task}");
    // `get2` tells the price.
    assert_eq!((&task["price"], &task["price_estimated"]), (&json!("0.0005"), &Value::Null));
    assert_eq!(questions(&app).len(), 1);
    assert_eq!(app.sandbox.broken_rules().len(), 0, "{:?}", app.sandbox.broken_rules());
}

#[tokio::test]
async fn while_the_registration_is_refused_answers_are_asked_for_and_the_remedy_is_shown() {
    let app = TestApp::with(Knobs { limits: true, ..solved_at_once() }, &ELSEWHERE).await;
    let id = app.submit().await;
    let (_, task) = app.get(&format!("/v1/tasks/{id}?wait=20")).await;
    assert_eq!((&task["status"], &task["via"]), (&json!("solved"), &json!("reconcile")), "{task}");
    assert_eq!(app.submissions()[0]["parameters"]["pingback"], Value::Null);
    let (_, ready) = app.get("/readyz").await;
    for name in ["registration", "answers"] {
        let text = ready[name].as_str().unwrap();
        assert!(text.contains("ERROR_IP_ADDRES") && text.contains("public.url"), "{text}");
    }
    let attention = ready["attention"][0].as_str().unwrap();
    assert!(attention.contains("ERROR_IP_ADDRES") && attention.contains("public.url"), "{ready}");
    let account = app.account().await;
    assert_eq!(
        (&account["answers"], &account["registration"]["state"]),
        (&json!("polling"), &json!("refused"))
    );
    assert_eq!(app.sandbox.broken_rules().len(), 0, "{:?}", app.sandbox.broken_rules());
}

#[tokio::test]
async fn tasks_that_wait_for_pingbacks_are_asked_for_when_none_come_any_more() {
    let app = TestApp::with(Knobs { lost: Share::ALWAYS, ..never_solved() }, &[]).await;
    app.until_registered().await;
    // reCAPTCHA counts as overdue after 30 s, and is polled for after 20.
    let body = json!({"type": "recaptcha_v2", "googlekey": "x", "pageurl": "https://example.com/"});
    let (_, task) = app.post(&body).await;
    let id = task["id"].as_str().unwrap();
    app.until(id, |task| task["captcha_id"].is_string()).await;
    let due = async || app.number("SELECT (due_at - submitted_at) / 1000000 FROM task").await;
    assert_eq!(due().await, 30);
    app.sandbox.set_knobs(Knobs { result_code: Some("ERROR_IP_ADDRES".to_owned()), ..never_solved() });
    let planned = async {
        while due().await == 30 {
            // A look may come so early that it meets the knobs of before.
            app.look_at_registration().await;
            for _ in 0..200 {
                if due().await != 30 {
                    return;
                }
            }
        }
    };
    tokio::time::timeout(crate::harness::PATIENCE, planned).await.expect("it is planned anew");
    assert_eq!(due().await, 20);
    app.sandbox.set_knobs(never_solved());
    app.look_at_registration().await;
    app.until_registered().await;
    assert_eq!(app.account().await["answers"], "pingback");
}

#[tokio::test]
async fn images_are_asked_for_together_and_each_gets_its_own_answer() {
    let app = TestApp::with(Knobs { limits: true, ..solved_at_once() }, &ELSEWHERE).await;
    let files = ["captcha-01-x7k2p.png", "captcha-06-p9fs3.jpg", "captcha-10-n8wcu.gif"];
    let mut ids = Vec::new();
    for file in files {
        let part = reqwest::multipart::Part::bytes(std::fs::read(data_file(file)).unwrap()).file_name("x");
        let form = reqwest::multipart::Form::new().text("type", "image").part("file", part);
        let task: Value = app.submission().multipart(form).send().await.unwrap().json().await.unwrap();
        ids.push(task["id"].as_str().unwrap().to_owned());
    }
    let (_, tasks) = app.get(&format!("/v1/tasks?ids={}&until=all&wait=20", ids.join(","))).await;
    let answers: Vec<_> =
        tasks["tasks"].as_array().unwrap().iter().map(|task| &task["answer"]["text"]).collect();
    assert_eq!(answers, ["x7k2p", "p9fs3", "n8wcu"]);
    let estimated = &tasks["tasks"][0];
    assert!(questions(&app).iter().any(|question| question["ids"].is_string()), "{:?}", questions(&app));
    assert_eq!((&estimated["price"], &estimated["price_estimated"]), (&json!("0.001"), &json!(true)));
}

#[tokio::test]
async fn a_task_that_failed_at_the_provider_fails_with_its_code() {
    let knobs = Knobs { lost: Share::ALWAYS, unsolvable: Share::ALWAYS, ..solved_at_once() };
    let app = TestApp::with(knobs, &[]).await;
    let id = app.submit().await;
    let (_, task) = app.get(&format!("/v1/tasks/{id}?wait=20")).await;
    let error = (&task["error"]["code"], &task["via"], &task["price"]);
    assert_eq!(error, (&json!("ERROR_CAPTCHA_UNSOLVABLE"), &json!("reconcile"), &Value::Null));
}

#[tokio::test]
async fn a_task_is_asked_for_once_more_before_it_expires() {
    let app = TestApp::with(Knobs { lost: Share::ALWAYS, ..never_solved() }, &[]).await;
    let mut body = text_captcha();
    body["ttl"] = json!(7);
    let (_, task) = app.post(&body).await;
    let (_, task) = app.get(&format!("/v1/tasks/{}?wait=20", task["id"].as_str().unwrap())).await;
    assert_eq!((&task["status"], &task["error"]["code"]), (&json!("expired"), &json!("EXPIRED")));
    assert_eq!(questions(&app).len(), 1);

    app.sandbox.set_knobs(Knobs { lost: Share::ALWAYS, ..solved_at_once() });
    let (_, task) = app.post(&body).await;
    let (_, task) = app.get(&format!("/v1/tasks/{}?wait=20", task["id"].as_str().unwrap())).await;
    assert_eq!((&task["status"], &task["via"]), (&json!("solved"), &json!("reconcile")), "{task}");
}

#[tokio::test]
async fn nothing_is_asked_that_the_provider_has_forgotten() {
    let app = TestApp::with(Knobs { lost: Share::ALWAYS, ..never_solved() }, &[]).await;
    let (id, _) = app.submitted().await;
    app.connect_and(
        "UPDATE task SET submitted_at = submitted_at - 886000000, due_at = submitted_at - 10000000",
    )
    .await;
    let planned = async {
        while app.number("SELECT COUNT(due_at) FROM task").await == 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::harness::PATIENCE, planned).await.expect("it is given up");
    assert_eq!(questions(&app).len(), 0);
    app.connect_and("UPDATE task SET submitted_at = submitted_at - 20000000").await;
    let (_, task) = app.get(&format!("/v1/tasks/{id}?wait=15")).await;
    assert_eq!(task["status"], "expired");
}
