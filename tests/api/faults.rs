//! The database fails: slower or 503, never wrong.

use reqwest::StatusCode;

use crate::harness::{TestApp, text_captcha};

#[tokio::test]
async fn an_answer_that_is_not_committed_is_neither_acknowledged_nor_handed_out() {
    let app = TestApp::spawn().await;
    let (id, captcha_id) = app.submitted().await;
    app.connect().await.spring("UPDATE", "NEW.status = 'solved'").await;
    let path = format!("/v1/tasks/{id}?wait=2");
    let (pinged, (_, waited)) = tokio::join!(app.pingback(&captcha_id, "Friday"), app.get(&path));
    assert_eq!(pinged, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(waited["status"], "submitted");

    app.connect().await.unspring().await;
    assert_eq!(app.pingback(&captcha_id, "Friday").await, StatusCode::OK);
    assert_eq!(app.task(&id).await["status"], "solved");
}

#[tokio::test]
async fn a_task_that_is_not_committed_is_not_acknowledged() {
    let app = TestApp::spawn().await;
    app.connect().await.spring("INSERT", "NEW.id > 0").await;
    let (status, problem) = app.post(&text_captcha()).await;
    assert_eq!((status, &problem["code"]), (StatusCode::SERVICE_UNAVAILABLE, &"database_unavailable".into()));

    app.connect().await.unspring().await;
    app.submit().await;
    assert_eq!(app.stored_tasks().await, 1);
}

#[tokio::test]
async fn one_bad_row_fails_nobody_else() {
    let app = TestApp::spawn().await;
    let mut captcha_ids = Vec::new();
    for _ in 0..20 {
        captcha_ids.push(app.submitted().await.1);
    }
    app.connect().await.spring("UPDATE", "NEW.answer = 'bad'").await;
    let codes = captcha_ids.iter().enumerate().map(|(number, _)| if number == 7 { "bad" } else { "good" });
    let pinging = captcha_ids.iter().zip(codes).map(|(captcha_id, code)| {
        let (form, request) =
            ([("id", captcha_id.clone()), ("code", code.to_owned())], app.http.post(app.pingback_url()));
        tokio::spawn(async move { request.form(&form).send().await.unwrap().status() })
    });
    let mut statuses = Vec::new();
    for pinged in pinging.collect::<Vec<_>>() {
        statuses.push(pinged.await.unwrap());
    }
    for (number, status) in statuses.into_iter().enumerate() {
        let expected = if number == 7 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        assert_eq!(status, expected, "{number}");
    }
}

#[tokio::test]
async fn a_database_that_is_locked_gives_503_and_heals_by_itself() {
    let app = TestApp::spawn().await;
    let (id, captcha_id) = app.submitted().await;
    let mut other = app.connect().await;
    other.lock().await;
    let form = [("id", captcha_id.as_str()), ("code", "Friday")];
    let reply = app.http.post(app.pingback_url()).form(&form).send().await.unwrap();
    assert_eq!(reply.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(reply.headers().contains_key("retry-after"));
    let (status, ready) = app.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let summary = ready["summary"].as_str().unwrap();
    assert!(summary.starts_with("not ready: nothing can be stored"), "{summary}");
    // Reading goes on.
    assert_eq!(app.task(&id).await["status"], "submitted");
    other.unlock().await;

    assert_eq!(app.pingback(&captcha_id, "Friday").await, StatusCode::OK);
    assert_eq!(app.task(&id).await["status"], "solved");
    assert_eq!(app.get("/readyz").await.0, StatusCode::OK);
}
