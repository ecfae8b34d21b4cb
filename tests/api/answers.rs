//! Sink mode: answers by captcha ID, also to captchas that were not submitted with pingbox.

use pingbox::sandbox::{Knobs, Share};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{PATIENCE, TestApp, solved_at_once};
use crate::owners::{call, with_tokens};

/// A captcha that was not submitted with pingbox.
const FOREIGN: &str = "74372499131";

/// A task of Alice's that the provider has taken; its id and its captcha ID.
async fn submitted_by_alice(app: &TestApp) -> (String, String) {
    let (_, task) = call(app, "alice", Method::POST, "/v1/tasks").await;
    let id = task["id"].as_str().unwrap().to_owned();
    let poll = async {
        loop {
            let (_, task) = call(app, "alice", Method::GET, &format!("/v1/tasks/{id}")).await;
            if let Some(captcha_id) = task["captcha_id"].as_str() {
                return captcha_id.to_owned();
            }
        }
    };
    let captcha_id = timeout(PATIENCE, poll).await.expect("it is taken");
    (id, captcha_id)
}

fn codes(list: &Value) -> Vec<&str> {
    let answers = list["answers"].as_array().unwrap().iter();
    answers.map(|answer| answer["answer"]["text"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_pingback_of_no_task_wakes_who_waits_for_its_captcha() {
    let app = TestApp::spawn().await;
    let path = format!("/v1/answers/{FOREIGN}?wait=300");
    let form = [("id", FOREIGN), ("code", "Friday"), ("rate", "0.00299")];
    let pinging = app.http.post(app.pingback_url()).form(&form).send();
    let (reply, pinged) = tokio::join!(timeout(PATIENCE, app.get(&path)), pinging);
    assert_eq!(pinged.unwrap().status(), StatusCode::OK);
    let (status, mut answer) = reply.expect("woken in time");
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert!(answer["received_at"].take().is_string());
    let expected = json!({"captcha_id": FOREIGN, "answer": {"text": "Friday"}, "error": null,
                          "price": "0.00299", "received_at": null, "task_id": null});
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn the_answer_to_a_task_wakes_who_waits_for_its_captcha() {
    let app = TestApp::spawn().await;
    let (id, captcha_id) = app.submitted().await;
    let path = format!("/v1/answers/{captcha_id}?wait=300");
    let (reply, _) = tokio::join!(timeout(PATIENCE, app.get(&path)), app.pingback(&captcha_id, "Friday"));
    let (status, answer) = reply.expect("woken in time");
    assert_eq!((status, &answer["answer"]["text"]), (StatusCode::OK, &json!("Friday")));
    assert_eq!((&answer["task_id"], &answer["captcha_id"]), (&json!(id), &json!(captcha_id)));
}

#[tokio::test]
async fn a_wait_that_ends_without_an_answer_is_404() {
    let app = TestApp::spawn().await;
    for path in [format!("/v1/answers/{FOREIGN}"), format!("/v1/answers/{FOREIGN}?wait=1")] {
        let (status, problem) = app.get(&path).await;
        assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &json!("answer_not_found")), "{path}");
    }
}

#[tokio::test]
async fn what_is_no_captcha_id_is_not_waited_for() {
    let app = TestApp::spawn().await;
    for id in ["abc", "-1", "%FF", &"1".repeat(33)] {
        let reply = timeout(PATIENCE, app.get(&format!("/v1/answers/{id}?wait=300"))).await;
        let (status, problem) = reply.expect("answered at once");
        assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &json!("answer_not_found")), "{id}");
    }
}

#[tokio::test]
async fn the_answer_to_a_task_is_its_owners_and_the_admins() {
    let app = with_tokens(&[]).await;
    let (id, captcha_id) = submitted_by_alice(&app).await;
    let path = format!("/v1/answers/{captcha_id}");
    assert_eq!(call(&app, "alice", Method::GET, &path).await.0, StatusCode::NOT_FOUND, "it is open");
    // The second is evidence, which is the task's as well.
    for code in ["Friday", "Monday"] {
        assert_eq!(app.pingback(&captcha_id, code).await, StatusCode::OK);
    }
    for token in ["alice", "boss"] {
        let (status, answer) = call(&app, token, Method::GET, &path).await;
        assert_eq!((status, &answer["answer"]["text"]), (StatusCode::OK, &json!("Friday")), "{token}");
        assert_eq!(answer["task_id"], json!(id));
    }
    let missing = call(&app, "bob", Method::GET, "/v1/answers/1").await;
    for token in ["bob", "reader"] {
        assert_eq!(call(&app, token, Method::GET, &format!("{path}?wait=1")).await, missing, "{token}");
    }
    for token in ["alice", "bob", "reader", "boss"] {
        assert_eq!(codes(&call(&app, token, Method::GET, "/v1/answers").await.1), [""; 0], "{token}");
    }
}

#[tokio::test]
async fn what_no_task_waits_for_is_open_to_every_reader() {
    let app = with_tokens(&[]).await;
    assert_eq!(app.pingback(FOREIGN, "Friday").await, StatusCode::OK);
    for token in ["alice", "bob", "reader", "boss"] {
        let (status, answer) = call(&app, token, Method::GET, &format!("/v1/answers/{FOREIGN}")).await;
        assert_eq!((status, &answer["answer"]["text"]), (StatusCode::OK, &json!("Friday")), "{token}");
        assert_eq!(codes(&call(&app, token, Method::GET, "/v1/answers").await.1), ["Friday"], "{token}");
    }
    let (status, _) = call(&app, "nobody", Method::GET, &format!("/v1/answers/{FOREIGN}")).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_was_kept_with_a_task_goes_with_it() {
    let app = TestApp::spawn().await;
    let (_, captcha_id) = app.submitted().await;
    for code in ["Friday", "Monday"] {
        assert_eq!(app.pingback(&captcha_id, code).await, StatusCode::OK);
    }
    app.connect_and("DELETE FROM task").await;
    assert_eq!(app.get(&format!("/v1/answers/{captcha_id}")).await.0, StatusCode::NOT_FOUND);
    assert_eq!(codes(&app.get("/v1/answers").await.1), [""; 0]);
}

#[tokio::test]
async fn an_answer_that_came_early_is_its_tasks() {
    let app = TestApp::with(Knobs { early: Share::ALWAYS, ..solved_at_once() }, &[]).await;
    let id = app.submit().await;
    let task = app.until(&id, |task| task["status"] == "solved").await;
    let captcha_id = task["captcha_id"].as_str().unwrap();
    let (status, answer) = app.get(&format!("/v1/answers/{captcha_id}")).await;
    assert_eq!((status, &answer["task_id"]), (StatusCode::OK, &json!(id)));
    assert_eq!(answer["answer"], task["answer"]);
    assert_eq!(codes(&app.get("/v1/answers").await.1), [""; 0]);
}

#[tokio::test]
async fn a_failure_is_an_end_too() {
    let app = TestApp::spawn().await;
    let (id, captcha_id) = app.submitted().await;
    for (captcha_id, task_id) in [(FOREIGN, json!(null)), (&captcha_id, json!(id))] {
        assert_eq!(app.pingback(captcha_id, "ERROR_CAPTCHA_UNSOLVABLE").await, StatusCode::OK);
        let (status, answer) = app.get(&format!("/v1/answers/{captcha_id}")).await;
        assert_eq!((status, &answer["answer"]), (StatusCode::OK, &json!(null)));
        assert_eq!(answer["error"]["code"], "ERROR_CAPTCHA_UNSOLVABLE");
        assert_eq!((&answer["error"]["retryable"], &answer["task_id"]), (&json!(true), &task_id));
    }
}

#[tokio::test]
async fn a_notice_is_no_answer_and_of_several_answers_the_first_counts() {
    let app = TestApp::spawn().await;
    let path = format!("/v1/answers/{FOREIGN}");
    assert_eq!(app.pingback(FOREIGN, "ERROR_ZERO_BALANCE").await, StatusCode::OK);
    assert_eq!(app.get(&path).await.0, StatusCode::NOT_FOUND);
    for code in ["Friday", "Monday"] {
        assert_eq!(app.pingback(FOREIGN, code).await, StatusCode::OK);
    }
    assert_eq!(app.get(&path).await.1["answer"]["text"], "Friday");
    assert_eq!(codes(&app.get("/v1/answers").await.1), ["Monday", "Friday"]);
}

#[tokio::test]
async fn the_answer_of_an_erased_task_is_null() {
    let app = TestApp::spawn().await;
    let (id, captcha_id) = app.submitted().await;
    assert_eq!(app.pingback(&captcha_id, "Friday").await, StatusCode::OK);
    app.connect_and("UPDATE task SET answer = NULL, erased = 1").await;
    let (status, answer) = app.get(&format!("/v1/answers/{captcha_id}?wait=300")).await;
    assert_eq!((status, &answer["answer"], &answer["error"]), (StatusCode::OK, &json!(null), &json!(null)));
    assert_eq!(answer["task_id"], json!(id));
}

#[tokio::test]
async fn the_list_goes_page_by_page_newest_first() {
    let app = TestApp::spawn().await;
    for number in 1..=5 {
        assert_eq!(app.pingback(&number.to_string(), &format!("answer {number}")).await, StatusCode::OK);
    }
    let (mut pages, mut path) = (Vec::new(), "/v1/answers?limit=2".to_owned());
    loop {
        let (status, list) = app.get(&path).await;
        assert_eq!(status, StatusCode::OK, "{list}");
        pages.push(codes(&list).join(", "));
        let Some(cursor) = list["cursor"].as_str() else { break };
        path = format!("/v1/answers?limit=2&cursor={cursor}");
    }
    assert_eq!(pages, ["answer 5, answer 4", "answer 3, answer 2", "answer 1"]);
    let (_, list) = app.get("/v1/answers?limit=5").await;
    assert_eq!((codes(&list).len(), &list["cursor"]), (5, &json!(null)));
    for wrong in ["limit=0", "limit=1001", "limit=x", "cursor=x", "wait=1"] {
        let (status, problem) = app.get(&format!("/v1/answers?{wrong}")).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
        let name = wrong.split_once('=').unwrap().0;
        assert_eq!(problem["errors"][0]["pointer"], format!("/{name}"), "{wrong}");
    }
}

#[tokio::test]
async fn what_no_task_waits_for_is_counted() {
    let app = TestApp::spawn().await;
    // The repeat is not kept.
    for code in ["Friday", "Friday", "ERROR_ZERO_BALANCE"] {
        assert_eq!(app.pingback(FOREIGN, code).await, StatusCode::OK);
    }
    let (_, stats) = app.get("/v1/stats").await;
    assert_eq!(stats["unmatched"], json!({"received": 2, "dropped": 0}));
    let metrics = app.http.get(format!("{}/metrics", app.api)).send().await.unwrap().text().await.unwrap();
    for line in ["pingbox_unmatched_received_total 2\n", "pingbox_unmatched_dropped_total 0\n"] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

#[tokio::test]
async fn shutdown_ends_every_wait() {
    let app = TestApp::spawn().await;
    let address = app.api.trim_start_matches("http://").to_owned();
    let request = format!("GET /v1/answers/{FOREIGN}?wait=300 HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let mut waiting = TcpStream::connect(&address).await.unwrap();
    waiting.write_all(request.as_bytes()).await.unwrap();
    app.until_accepted().await;
    app.shutdown.cancel();
    let mut reply = String::new();
    let read = timeout(PATIENCE, waiting.read_to_string(&mut reply)).await;
    read.expect("answered in time").unwrap();
    assert!(reply.starts_with("HTTP/1.1 404") && reply.contains("answer_not_found"), "{reply}");
    app.stop().await;
}
