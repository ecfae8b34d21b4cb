//! Pingbacks: on disk before 200, whatever they say, however they come.

use std::time::Duration;

use pingbox::sandbox::{Knobs, Share};
use reqwest::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{PATIENCE, SECRET, TestApp, never_solved, solved_at_once};

/// The codes that are kept beside the tasks, with the task they belong to.
async fn kept(app: &TestApp) -> Vec<(String, Option<i64>)> {
    app.connect().await.rows("SELECT code, task_id FROM pingback ORDER BY id").await
}

#[tokio::test]
async fn an_answer_settles_its_task() {
    let app = TestApp::spawn().await;
    let (id, captcha_id) = app.submitted().await;
    let form = [("id", captcha_id.as_str()), ("code", "Friday"), ("rate", "0.00299"), ("worker", "7")];
    let reply = app.http.post(app.pingback_url()).form(&form).send().await.unwrap();
    assert_eq!((reply.status(), reply.text().await.unwrap().as_str()), (StatusCode::OK, "OK"));
    let task = app.task(&id).await;
    assert_eq!(task["status"], "solved");
    assert_eq!(task["answer"], json!({"text": "Friday"}));
    assert_eq!((&task["via"], &task["price"]), (&json!("pingback"), &json!("0.00299")));
    let extra = app.connect().await.text("SELECT extra FROM task").await;
    assert_eq!(extra, r#"{"worker":"7"}"#);
}

#[tokio::test]
async fn a_pingback_before_the_reply_of_in_php_settles_the_task() {
    let knobs = Knobs { early: Share::ALWAYS, ..solved_at_once() };
    let app = TestApp::with(knobs, &[]).await;
    let (status, task) = app.get_solved().await;
    assert_eq!((status, &task["status"]), (StatusCode::OK, &json!("solved")));
    // It was parked, and is tied to its task.
    let number = task["id"].as_str().unwrap().parse().ok();
    assert_eq!(kept(&app).await, [(task["answer"]["text"].as_str().unwrap().to_owned(), number)]);
}

impl TestApp {
    async fn get_solved(&self) -> (StatusCode, serde_json::Value) {
        let id = self.submit().await;
        self.get(&format!("/v1/tasks/{id}?wait=15")).await
    }
}

#[tokio::test]
async fn a_repeated_pingback_gets_200_and_changes_nothing() {
    let app = TestApp::spawn().await;
    let (id, captcha_id) = app.submitted().await;
    assert_eq!(app.pingback(&captcha_id, "Friday").await, StatusCode::OK);
    let before = app.task(&id).await;
    assert_eq!(app.pingback(&captcha_id, "Friday").await, StatusCode::OK);
    assert_eq!(app.task(&id).await, before);
    assert_eq!(kept(&app).await, []);
}

#[tokio::test]
async fn a_differing_pingback_is_kept_and_never_applied() {
    let app = TestApp::spawn().await;
    let (id, captcha_id) = app.submitted().await;
    for code in ["Friday", "Monday", "ERROR_CAPTCHA_UNSOLVABLE", "Monday", "Friday"] {
        assert_eq!(app.pingback(&captcha_id, code).await, StatusCode::OK);
    }
    assert_eq!(app.task(&id).await["answer"]["text"], "Friday");
    let number = id.parse().ok();
    assert_eq!(
        kept(&app).await,
        [("Monday".to_owned(), number), ("ERROR_CAPTCHA_UNSOLVABLE".to_owned(), number)]
    );
}

#[tokio::test]
async fn an_unknown_captcha_id_is_parked_once() {
    let app = TestApp::spawn().await;
    for _ in 0..3 {
        assert_eq!(app.pingback("11122233344", "lost").await, StatusCode::OK);
    }
    assert_eq!(kept(&app).await, [("lost".to_owned(), None)]);
}

#[tokio::test]
async fn a_pingback_from_before_the_task_existed_does_not_settle_it() {
    let app = TestApp::spawn().await;
    let (_, captcha_id) = app.submitted().await;
    // The next id is not known beforehand, so a range of them is parked.
    let first: u64 = captcha_id.parse::<u64>().unwrap() + 1;
    for id in first..first + 200 {
        assert_eq!(app.pingback(&id.to_string(), "stale").await, StatusCode::OK);
    }
    let (id, captcha_id) = app.submitted().await;
    assert!((first..first + 200).contains(&captcha_id.parse().unwrap()), "the test needs a larger range");
    assert_eq!(app.task(&id).await["status"], "submitted");
}

#[tokio::test]
async fn an_error_code_fails_the_task_with_it() {
    let app = TestApp::spawn().await;
    for (code, retryable) in [("ERROR_CAPTCHA_UNSOLVABLE", true), ("ERROR_BRAND_NEW", false)] {
        let (id, captcha_id) = app.submitted().await;
        assert_eq!(app.pingback(&captcha_id, code).await, StatusCode::OK);
        let task = app.task(&id).await;
        assert_eq!((&task["status"], &task["answer"]), (&json!("failed"), &json!(null)));
        assert_eq!((&task["error"]["code"], &task["error"]["retryable"]), (&json!(code), &json!(retryable)));
    }
}

#[tokio::test]
async fn codes_about_the_account_or_about_waiting_change_nothing_and_are_kept() {
    let app = TestApp::spawn().await;
    let (id, captcha_id) = app.submitted().await;
    let before = app.task(&id).await;
    let codes = ["CAPCHA_NOT_READY", "MAX_USER_TURN", "IP_BANNED", "ERROR_ZERO_BALANCE", "ERROR: 1005"];
    for code in codes {
        assert_eq!(app.pingback(&captcha_id, code).await, StatusCode::OK);
    }
    assert_eq!(app.task(&id).await, before);
    let number = id.parse().ok();
    assert_eq!(kept(&app).await, codes.map(|code| (code.to_owned(), number)));
}

#[tokio::test]
async fn answers_of_any_shape_come_back_as_they_came() {
    let app = TestApp::spawn().await;
    let long = "x|y+z&".repeat(683);
    assert!(long.len() > 4096);
    for code in [
        "an ERROR in the answer",
        "ERROR 404",
        "3084f4.96|r=ap-southeast-1|pk=12AB|surl=https://funcaptcha.com",
        "1 + 1 = 2 & 100% \"quoted\" \\ back",
        "{\"token\": \"a|b\"}",
        "пятница ☃ 𝄞",
        " leading and trailing ",
        long.as_str(),
    ] {
        let (id, captcha_id) = app.submitted().await;
        assert_eq!(app.pingback(&captcha_id, code).await, StatusCode::OK);
        assert_eq!(app.task(&id).await["answer"]["text"], code);
    }
}

#[tokio::test]
async fn what_a_database_may_not_take_is_marked_as_damage() {
    let app = TestApp::spawn().await;
    let (id, captcha_id) = app.submitted().await;
    assert_eq!(app.pingback(&captcha_id, "with\0nul").await, StatusCode::OK);
    assert_eq!(app.task(&id).await["answer"]["text"], "with\u{fffd}nul");
}

#[tokio::test]
async fn the_variants_of_the_family_are_taken() {
    let app = TestApp::spawn().await;
    let url = app.pingback_url();
    let (ids, captcha_ids): (Vec<_>, Vec<_>) = {
        let mut submitted = Vec::new();
        for _ in 0..5 {
            submitted.push(app.submitted().await);
        }
        submitted.into_iter().unzip()
    };
    let [first, second, third, fourth, fifth] = captcha_ids.as_slice() else { panic!("five") };
    let requests = [
        app.http.get(format!("{url}?id={first}&code=v%7C1")),
        app.http.get(format!("{url}?captcha_id={second}&status=1&code=v%7C1")),
        app.http.post(&url).json(&json!({"id": third.parse::<u64>().unwrap(), "code": "v|1"})),
        app.http
            .post(&url)
            .header("content-type", "text/plain")
            .body(format!("{{\"id\":\"{fourth}\",\"code\":\"v|1\"}}")),
        app.http
            .post(&url)
            .multipart(reqwest::multipart::Form::new().text("id", fifth.clone()).text("code", "v|1")),
    ];
    for (request, id) in requests.into_iter().zip(&ids) {
        assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
        assert_eq!(app.task(id).await["answer"]["text"], "v|1");
    }
}

#[tokio::test]
async fn whoever_lacks_the_secret_sees_the_404_of_any_path() {
    let app = TestApp::spawn().await;
    let missing = app.http.get(format!("{}/no/such/path", app.public)).send().await.unwrap();
    let (status, headers, body) =
        (missing.status(), missing.headers().clone(), missing.text().await.unwrap());
    assert_eq!(status, StatusCode::NOT_FOUND);
    let wrong = &SECRET[..SECRET.len() - 1];
    for path in [
        format!("/pingback/{wrong}"),
        format!("/pingback/{SECRET}x"),
        format!("/pingback/{SECRET}/t0ken"),
        "/pingback/".to_owned(),
        "/v1/tasks".to_owned(),
        "/metrics".to_owned(),
    ] {
        for method in [reqwest::Method::GET, reqwest::Method::POST, reqwest::Method::DELETE] {
            // Judged before the body is looked at.
            let request = app.http.request(method, format!("{}{path}", app.public)).body("{");
            let reply = request.send().await.unwrap();
            let same = |name| reply.headers().get(name) == headers.get(name);
            assert!(same("content-type") && same("content-length") && same("allow"), "{path}");
            assert_eq!((reply.status(), reply.text().await.unwrap()), (status, body.clone()), "{path}");
        }
    }
}

#[tokio::test]
async fn what_is_no_pingback_is_400_and_what_is_too_long_413() {
    let app = TestApp::spawn().await;
    for body in ["", "id=1", "code=x", "id=abc&code=x", "id=1&code="] {
        let reply = app.http.post(app.pingback_url()).body(body).send().await.unwrap();
        assert_eq!(reply.status(), StatusCode::BAD_REQUEST, "{body}");
    }
    let long = |bytes: usize| format!("id=1&code={}", "x".repeat(bytes - "id=1&code=".len()));
    for (bytes, status) in [(64 * 1024, StatusCode::OK), (64 * 1024 + 1, StatusCode::PAYLOAD_TOO_LARGE)] {
        let reply = app.http.post(app.pingback_url()).body(long(bytes)).send().await.unwrap();
        assert_eq!(reply.status(), status, "{bytes}");
    }
    assert_eq!(kept(&app).await.len(), 1);
}

#[tokio::test]
async fn only_allowed_senders_are_heard() {
    let refused = TestApp::with(never_solved(), &[("PINGBOX_PUBLIC__ALLOW_FROM", "192.0.2.0/24")]).await;
    assert_eq!(refused.pingback("11122233344", "x").await, StatusCode::NOT_FOUND);
    assert_eq!(kept(&refused).await, []);

    let proxied =
        [("PINGBOX_PUBLIC__ALLOW_FROM", "192.0.2.0/24"), ("PINGBOX_PUBLIC__TRUSTED_PROXIES", "127.0.0.1")];
    let app = TestApp::with(never_solved(), &proxied).await;
    for (forwarded, status) in
        [("192.0.2.9", StatusCode::OK), ("192.0.2.9, 198.51.100.1", StatusCode::NOT_FOUND)]
    {
        let request = app.http.post(app.pingback_url()).header("x-forwarded-for", forwarded);
        let reply = request.form(&[("id", "11122233344"), ("code", "x")]).send().await.unwrap();
        assert_eq!(reply.status(), status, "{forwarded}");
    }
}

#[tokio::test]
async fn ownership_files_are_served_at_the_root() {
    let file = [("PINGBOX_PUBLIC__OWNERSHIP_FILES", "solvecaptcha.txt=4d1a")];
    let app = TestApp::with(never_solved(), &file).await;
    let reply = app.http.get(format!("{}/solvecaptcha.txt", app.public)).send().await.unwrap();
    assert_eq!(reply.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!((reply.status(), reply.text().await.unwrap().as_str()), (StatusCode::OK, "4d1a"));
}

#[tokio::test]
async fn strangers_are_slowed_down_and_the_provider_is_not() {
    let app = TestApp::spawn().await;
    let mut limited = 0;
    for _ in 0..400 {
        let reply = app.http.get(format!("{}/guess", app.public)).send().await.unwrap();
        limited += u32::from(reply.status() == StatusCode::TOO_MANY_REQUESTS);
    }
    assert!(limited > 0);
    assert_eq!(app.pingback("11122233344", "x").await, StatusCode::OK);
}

#[tokio::test]
async fn a_head_that_does_not_end_is_cut_off() {
    let app = TestApp::spawn().await;
    for begun in ["", "POST /pingback HTTP/1.1\r\nHost: x\r\n"] {
        let mut stream = TcpStream::connect(app.public.trim_start_matches("http://")).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        let read = timeout(Duration::from_secs(40), stream.read_to_end(&mut Vec::new())).await;
        assert!(read.is_ok(), "still open after {begun:?}");
    }
}

#[tokio::test]
async fn a_connection_may_rest_for_longer_than_a_head_may_take() {
    let app = TestApp::spawn().await;
    let mut stream = TcpStream::connect(app.public.trim_start_matches("http://")).await.unwrap();
    let body = "id=11122233344&code=x";
    let length = body.len();
    let request =
        format!("POST /pingback/{SECRET} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}");
    for _ in 0..2 {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = [0; 512];
        let read = timeout(PATIENCE, stream.read(&mut reply)).await.expect("answered").unwrap();
        assert!(reply[..read].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&reply[..read]));
        // What passes is the time that a proxy keeps its connection.
        tokio::time::sleep(Duration::from_secs(11)).await;
    }
}

#[tokio::test]
async fn a_body_that_trickles_in_is_cut_off() {
    let app = TestApp::spawn().await;
    let mut stream = TcpStream::connect(app.public.trim_start_matches("http://")).await.unwrap();
    let head = format!("POST /pingback/{SECRET} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nid=1");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    let read = timeout(Duration::from_secs(40), stream.read_to_end(&mut reply)).await;
    read.expect("cut off").unwrap();
    assert!(reply.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&reply));
}
