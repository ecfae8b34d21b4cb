//! What `in.php` takes, in which encodings, and what of it reaches the provider.

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Scripts, body};
use crate::harness::{PATIENCE, TestApp, base64, data_file, solved_at_once};

fn image(number: usize) -> Vec<u8> {
    let names = ["captcha-01-x7k2p.png", "captcha-06-p9fs3.jpg", "captcha-10-n8wcu.gif"];
    std::fs::read(data_file(names[number])).unwrap()
}

/// The answer to the captcha that was just submitted, by id.
async fn solved(app: &TestApp, scripts: &Scripts, reply: &str) -> String {
    let id = reply.strip_prefix("OK|").unwrap_or_else(|| panic!("{reply}"));
    app.until(id, |task| task["status"] == "solved").await;
    scripts.ask(&[("action", "get"), ("id", id)]).await
}

/// The parameters of the last request to the provider's `in.php`, but for those that pingbox sets.
fn passed_on(app: &TestApp) -> Value {
    let mut last = app.submissions().pop().expect("there is one");
    let parameters = last["parameters"].as_object_mut().unwrap();
    assert_eq!(parameters.remove("pingback").as_ref(), Some(&json!(app.pingback_url())));
    assert_eq!(parameters.remove("json"), Some(json!("1")));
    parameters.remove("key");
    last["parameters"].take()
}

#[tokio::test]
async fn an_image_comes_in_every_encoding() {
    let app = TestApp::with(solved_at_once(), &[]).await;
    let scripts = Scripts::of(&app);
    let url = format!("{}/in.php", app.api);
    let post = || app.http.post(&url);
    let text = base64(&image(0));
    let part = |number| Part::bytes(image(number)).file_name("upload");
    let mixed = post().query(&[("key", "k"), ("method", "base64"), ("soft_id", "3316")]);
    let requests = [
        post().multipart(Form::new().text("key", "k").text("method", "post").part("file", part(0))),
        post().form(&[("key", "k"), ("method", "base64"), ("body", &text)]),
        post().json(&json!({"key": "k", "method": "base64", "body": text, "phrase": 0})),
        post().query(&[("key", "k"), ("method", "base64"), ("body", &text)]),
        app.http.get(&url).query(&[("key", "k"), ("method", "base64"), ("body", &text)]),
        mixed.header("content-type", "text/plain;charset=UTF-8").body(json!({"body": text}).to_string()),
        // puppeteer-extra names no type at all.
        post().body(format!("key=k&method=base64&body={}", text.replace('+', "%2B"))),
    ];
    for (number, request) in requests.into_iter().enumerate() {
        assert_eq!(solved(&app, &scripts, &body(request).await).await, "OK|x7k2p", "{number}");
    }
}

#[tokio::test]
async fn a_plus_that_was_not_escaped_is_one_all_the_same() {
    let app = TestApp::with(solved_at_once(), &[]).await;
    let scripts = Scripts::of(&app);
    let text = base64(&image(0));
    assert!(text.contains('+'));
    let form = app.http.post(format!("{}/in.php", app.api));
    let form = form.header("content-type", "application/x-www-form-urlencoded");
    let reply = body(form.body(format!("key=k&method=base64&body={text}"))).await;
    assert_eq!(solved(&app, &scripts, &reply).await, "OK|x7k2p");
}

#[tokio::test]
async fn an_address_with_a_slash_too_many_will_do() {
    let app = TestApp::with(solved_at_once(), &[]).await;
    for path in ["//in.php", "/in.php/"] {
        let url = format!("{}{path}?key=k&textcaptcha=x", app.api);
        assert!(body(app.http.get(url)).await.starts_with("OK|"), "{path}");
    }
    for path in ["//res.php", "/res.php/"] {
        let url = format!("{}{path}?key=k&action=getbalance", app.api);
        // PHP's empty array is no parameters.
        let request = app.http.post(url).header("content-type", "application/json").body("[]");
        assert_ne!(body(request).await, "ERROR_BAD_PARAMETERS", "{path}");
    }
}

#[tokio::test]
async fn a_boundary_may_be_quoted_and_odd() {
    let app = TestApp::with(solved_at_once(), &[]).await;
    let scripts = Scripts::of(&app);
    let boundary = "----- a/b:c 11/24/2026 1:02 PM";
    let head = |disposition: &str| {
        format!("--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n").into_bytes()
    };
    let content = [
        head("name=\"key\""),
        b"k\r\n".to_vec(),
        head("name=\"method\""),
        b"post\r\n".to_vec(),
        head("name=\"file\"; filename=\"upload\""),
        image(2),
        format!("\r\n--{boundary}--\r\n").into_bytes(),
    ];
    let label = format!("multipart/form-data; boundary=\"{boundary}\"");
    let request = app.http.post(format!("{}/in.php", app.api)).header("content-type", label);
    assert_eq!(solved(&app, &scripts, &body(request.body(content.concat())).await).await, "OK|n8wcu");
}

#[tokio::test]
async fn each_type_reaches_the_provider_as_it_was_given() {
    let app = TestApp::with(solved_at_once(), &[]).await;
    let scripts = Scripts::of(&app);
    let page = "http://mysite.com/page/with/recaptcha?appear=1&here=now";
    let body = base64(&image(0));
    for (kind, form) in [
        ("text", vec![("textcaptcha", "If tomorrow is Saturday, what day is today?"), ("language", "2")]),
        ("image", vec![("method", "base64"), ("body", body.as_str()), ("numeric", "4"), ("min_len", "0")]),
        (
            "click",
            vec![
                ("method", "base64"),
                ("body", &body),
                ("coordinatescaptcha", "1"),
                ("textinstructions", "é+&=|"),
            ],
        ),
        (
            "recaptcha_image",
            vec![("method", "base64"), ("body", &body), ("recaptcha", "1"), ("textinstructions", "trees")],
        ),
        (
            "recaptcha_v2",
            vec![
                ("method", "userrecaptcha"),
                ("googlekey", "6Le-wvkSVVABCPBMRTvw0Q4Muexq1bi0DJwx_mJ-"),
                ("pageurl", page),
                ("version", "v2"),
                ("enterprise", "0"),
                ("proxy", "user:pass@123.123.123.123:3128"),
                ("proxytype", "HTTP"),
            ],
        ),
        (
            "funcaptcha",
            vec![("method", "funcaptcha"), ("publickey", "P-1"), ("pageurl", page), ("data[blob]", "x")],
        ),
        (
            "keycaptcha",
            vec![
                ("method", "keycaptcha"),
                ("s_s_c_user_id", "10"),
                ("s_s_c_session_id", "493e"),
                ("s_s_c_web_server_sign", "16e3"),
                ("s_s_c_web_server_sign2", "2ca4"),
                ("pageurl", page),
            ],
        ),
        ("raw", vec![("method", "turnstile"), ("sitekey", "0x4AAA"), ("pageurl", page), ("soft_id", "4580")]),
    ] {
        let reply = scripts.submit(&form).await;
        assert!(solved(&app, &scripts, &reply).await.starts_with("OK|"), "{kind}");
        assert_eq!(app.task(&reply[3..]).await["type"], kind);
        let passed_on = passed_on(&app);
        for (name, value) in &form {
            let sent = &passed_on[*name];
            let is_same = match *name {
                // The journal keeps neither images nor logins.
                "body" => sent.is_string() || sent.is_object(),
                "proxy" => sent.is_string(),
                _ => sent == value,
            };
            assert!(is_same, "{kind} {name}: {sent}");
        }
        assert_eq!(passed_on.as_object().unwrap().len(), form.len(), "{kind}: {passed_on}");
    }
}

#[tokio::test]
async fn one_image_to_rotate_travels_as_the_api_document_asks() {
    let app = TestApp::with(solved_at_once(), &[]).await;
    let scripts = Scripts::of(&app);
    let post = || app.http.post(format!("{}/in.php", app.api));
    let part = || Part::bytes(image(0)).file_name("upload");
    let fields = || Form::new().text("key", "k").text("method", "rotatecaptcha").text("angle", "45");
    for request in [
        post()
            .multipart(fields().part("file_1", part()).part("file_2", Part::bytes(image(1)).file_name("b"))),
        post().multipart(fields().part("file", part())),
        post().json(&json!({"key": "k", "method": "rotatecaptcha", "angle": 45, "body": base64(&image(0))})),
    ] {
        let reply = solved(&app, &scripts, &body(request).await).await;
        assert!(reply.starts_with("OK|"), "{reply}");
        assert!(passed_on(&app)["file_1"].is_object());
    }
}

#[tokio::test]
async fn the_reply_is_an_id_as_text_or_as_json() {
    let app = TestApp::with(solved_at_once(), &[]).await;
    let scripts = Scripts::of(&app);
    assert_eq!(scripts.submit(&[("textcaptcha", "2 + 2?")]).await, "OK|1");
    assert_eq!(
        scripts.submit(&[("textcaptcha", "2 + 2?"), ("json", "1")]).await,
        r#"{"status":1,"request":"2"}"#
    );
    assert_eq!(scripts.submit(&[("textcaptcha", "2 + 2?"), ("json", "0")]).await, "OK|3");
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_in_the_familys_words() {
    let app = TestApp::with(solved_at_once(), &[]).await;
    let scripts = Scripts::of(&app);
    let small = base64(&image(0)[..99]);
    let large = base64(&[image(0), vec![0; 102_400]].concat());
    let text = base64(&[b'x'; 200]);
    let page = ("pageurl", "https://example.com/");
    for (form, code) in [
        (vec![("method", "base64"), ("body", small.as_str())], "ERROR_ZERO_CAPTCHA_FILESIZE"),
        (vec![("method", "post")], "ERROR_ZERO_CAPTCHA_FILESIZE"),
        (vec![("method", "base64"), ("body", &large)], "ERROR_TOO_BIG_CAPTCHA_FILESIZE"),
        (vec![("method", "base64"), ("body", &text)], "ERROR_IMAGE_TYPE_NOT_SUPPORTED"),
        (vec![("method", "userrecaptcha"), ("googlekey", "k")], "ERROR_PAGEURL"),
        (vec![("method", "userrecaptcha"), page], "ERROR_GOOGLEKEY"),
        (vec![], "ERROR_BAD_PARAMETERS"),
    ] {
        assert_eq!(scripts.submit(&form).await, code);
    }
    let post = || app.http.post(format!("{}/in.php?key=k&json=1", app.api));
    let broken = post().header("content-type", "application/json").body("{\"method\":");
    assert!(body(broken).await.starts_with(r#"{"status":0,"request":"ERROR_BAD_PARAMETERS","error_text":""#));
    let flood = post().body(vec![b'a'; 5 * 1024 * 1024]);
    assert!(body(flood).await.starts_with(r#"{"status":0,"request":"ERROR_TOO_BIG_CAPTCHA_FILESIZE""#));
    // A reply without a body could not hold the id.
    for (method, reply) in [("PUT", "ERROR_BAD_PARAMETERS"), ("DELETE", "ERROR_BAD_PARAMETERS"), ("HEAD", "")]
    {
        let url = format!("{}/in.php?key=k&textcaptcha=x", app.api);
        let request = app.http.request(method.parse().unwrap(), url);
        assert_eq!(body(request).await, reply, "{method}");
    }
    assert_eq!(app.stored_tasks().await, 0);
    assert!(app.submissions().is_empty());
}

/// A request whose query is too long for most clients; the whole reply.
async fn long_request(app: &TestApp, line: &str, bytes: usize) -> String {
    let mut stream = TcpStream::connect(app.api.strip_prefix("http://").unwrap()).await.unwrap();
    let head =
        format!("{line}{} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", "a".repeat(bytes));
    let (first, rest) = head.as_bytes().split_at(head.len() / 2);
    stream.write_all(first).await.unwrap();
    if first.len() > 500_000 {
        // It is refused before it is whole, and all the rest is taken all the same.
        timeout(PATIENCE, stream.peek(&mut [0])).await.expect("it is refused").unwrap();
    }
    stream.write_all(rest).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    reply
}

#[tokio::test]
async fn a_query_that_is_too_long_is_refused_in_the_familys_words() {
    let app = TestApp::with(solved_at_once(), &[]).await;
    for bytes in [70_000, 180_000, 3_000_000] {
        let reply = long_request(&app, "POST /in.php?key=k&method=base64&body=", bytes).await;
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{bytes}: {head}");
        assert_eq!(body, "ERROR_TOO_BIG_CAPTCHA_FILESIZE", "{bytes}");
        let reply = long_request(&app, "GET /in.php?key=k&json=1&method=base64&body=", bytes).await;
        let body: Value = reply.split_once("\r\n\r\n").unwrap().1.parse().unwrap();
        assert_eq!(
            (&body["status"], &body["request"]),
            (&json!(0), &json!("ERROR_TOO_BIG_CAPTCHA_FILESIZE"))
        );
    }
    let fits = format!("{}/res.php?key=k&action=get&id=1&x={}", app.api, "a".repeat(65_000));
    assert_eq!(body(app.http.get(fits)).await, "ERROR_WRONG_CAPTCHA_ID");
    let elsewhere = long_request(&app, "GET /v1/tasks?ids=", 70_000).await;
    assert!(elsewhere.starts_with("HTTP/1.1 414 "), "{elsewhere}");
}
