//! What cannot be taken: each request is told what is wrong with it, nothing is stored, and the next
//! caller is served.

use reqwest::header::{ALLOW, CONTENT_TYPE};
use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::harness::{TestApp, base64, data_file, never_solved, reply, text_captcha};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// The problem that a request is refused with. Every one has the fields that callers rely on.
async fn problem(request: RequestBuilder) -> Value {
    let response = request.send().await.unwrap();
    let status = response.status();
    assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["status"], status.as_u16(), "{problem}");
    assert_eq!(problem["title"], status.canonical_reason().unwrap(), "{problem}");
    assert!(problem["type"].is_string() && problem["code"].is_string(), "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{problem}");
    problem
}

/// Status, code, and the pointers of the fields that are named: `422 invalid_fields /ttl /tag`.
fn gist(problem: &Value) -> String {
    let errors = problem["errors"].as_array().into_iter().flatten();
    let pointers = errors.map(|error| {
        assert!(error["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
        error["pointer"].as_str().unwrap()
    });
    let code = format!("{} {}", problem["status"], problem["code"].as_str().unwrap());
    std::iter::once(code.as_str()).chain(pointers).collect::<Vec<_>>().join(" ")
}

impl TestApp {
    fn raw(&self, content_type: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.submission().header(CONTENT_TYPE, content_type).body(body)
    }

    /// Submits this, which has to be refused; the gist of why.
    async fn refuses(&self, content_type: &str, body: impl Into<reqwest::Body>) -> String {
        gist(&problem(self.raw(content_type, body)).await)
    }

    /// The gist of why JSON is refused.
    async fn refuses_json(&self, body: &Value) -> String {
        gist(&problem(self.submission().json(body)).await)
    }

    /// The gist of why a multipart form is refused.
    async fn refuses_form(&self, form: Form) -> String {
        gist(&problem(self.submission().multipart(form)).await)
    }

    /// Nothing was stored, and the next caller is served.
    async fn is_unharmed(&self) {
        assert_eq!(self.stored_tasks().await, 0);
        self.submitted().await;
    }
}

/// The head of a PNG, and as many bytes in all.
fn png(bytes: usize) -> Vec<u8> {
    let mut content = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x40\0\0\0\x20\x08\x02\0\0\0".to_vec();
    content.resize(bytes, 0);
    content
}

fn image_of(bytes: usize) -> Form {
    let content = if bytes == 0 { Vec::new() } else { png(bytes) };
    Form::new().text("type", "image").part("file", Part::bytes(content).file_name("captcha.png"))
}

#[tokio::test]
async fn json_that_is_none_is_refused() {
    let app = TestApp::spawn().await;
    let deep = |open: &str| open.repeat(100_000).into_bytes();
    for body in [
        b"".to_vec(),
        b"{".to_vec(),
        b"\xef\xbb\xbf".to_vec(),
        b"null".to_vec(),
        b"5".to_vec(),
        b"\"type=text\"".to_vec(),
        b"[]".to_vec(),
        b"[{\"type\":\"text\",\"textcaptcha\":\"2 + 2?\"}]".to_vec(),
        b"{\"type\":\"text\",\"textcaptcha\":\"2 + 2?\"}}".to_vec(),
        b"{'type':'text'}".to_vec(),
        b"type=text&textcaptcha=x".to_vec(),
        b"{\"type\":\"text\",\"textcaptcha\":\"\xff\xfe\"}".to_vec(),
        b"{\"type\":\"text\",\"textcaptcha\":\"\\ud800\"}".to_vec(),
        b"{\"type\":\"text\",\"textcaptcha\":\"x\",\"ttl\":1e400}".to_vec(),
        deep("["),
        deep("{\"a\":"),
        [b"{\"type\":\"text\",\"textcaptcha\":".to_vec(), deep("[")].concat(),
    ] {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert_eq!(app.refuses(JSON, body).await, "400 bad_request", "{shown}");
    }
    app.is_unharmed().await;
}

#[tokio::test]
async fn text_that_is_not_utf_8_is_refused() {
    let app = TestApp::spawn().await;
    for (body, expected) in [
        ("type=text&textcaptcha=a%FFb", "422 invalid_fields /textcaptcha"),
        ("type=text&textcaptcha=%C3%28", "422 invalid_fields /textcaptcha"),
        ("type=text&textcaptcha=x&%FF=1", "422 invalid_fields /\u{fffd}"),
        ("type=%80", "422 invalid_fields /type"),
    ] {
        assert_eq!(app.refuses(FORM, body).await, expected, "{body}");
    }
    assert_eq!(
        app.refuses(FORM, b"type=text&textcaptcha=\xff".as_slice()).await,
        "422 invalid_fields /textcaptcha"
    );
    let part = Form::new().text("type", "text").part("textcaptcha", Part::bytes(b"a\xffb".as_slice()));
    assert_eq!(app.refuses_form(part).await, "422 invalid_fields /textcaptcha");
    app.is_unharmed().await;
}

#[tokio::test]
async fn values_of_the_wrong_type_or_size_are_refused_each_by_name() {
    let app = TestApp::spawn().await;
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    for (field, values) in [
        ("type", vec![json!(5), json!(["text"]), json!({}), json!("Text"), json!(""), json!("hcaptcha")]),
        ("textcaptcha", vec![json!([]), json!({"a": 1}), json!(""), json!("й".repeat(141)), deep]),
        ("language", vec![json!(3), json!(-1), json!("ru"), json!(1.5), json!([1]), json!("")]),
        ("tag", vec![json!({}), json!(["a"]), json!(""), json!("й".repeat(256))]),
        ("priority", vec![json!(1_000_001), json!(-1_000_001), json!("high"), json!(1e300), json!(0.5)]),
        ("ttl", vec![json!(0), json!(-1), json!(86_401), json!("10m"), json!([60]), json!(u64::MAX)]),
        (
            "webhook_url",
            vec![
                json!(1),
                json!(["https://example.com/"]),
                json!(""),
                json!("ftp://example.com/"),
                json!("http://169.254.169.254/latest"),
                json!("http://10.0.0.1/"),
                json!("http://localhost:8080/"),
                json!(format!("https://example.com/{}", "x".repeat(2048))),
            ],
        ),
    ] {
        for value in values {
            let mut body = text_captcha();
            body[field] = value.clone();
            assert_eq!(app.refuses_json(&body).await, format!("422 invalid_fields /{field}"), "{value}");
        }
    }
    for number in ["99999999999999999999", "-99999999999999999999", "1e20", "1e-5"] {
        let body = format!(r#"{{"type":"text","textcaptcha":"x","ttl":{number}}}"#);
        assert_eq!(app.refuses(JSON, body).await, "422 invalid_fields /ttl", "{number}");
    }
    app.is_unharmed().await;
}

#[tokio::test]
async fn each_type_names_what_it_misses() {
    let app = TestApp::spawn().await;
    for (body, expected) in [
        (json!({}), "/type"),
        (json!({"type": null}), "/type"),
        (json!({"type": "image"}), "/file"),
        (json!({"type": "text"}), "/textcaptcha"),
        (json!({"type": "recaptcha_v2"}), "/googlekey /pageurl"),
        (json!({"type": "recaptcha_image"}), "/file /textinstructions"),
        (json!({"type": "click"}), "/file"),
        (json!({"type": "rotate"}), "/file_1"),
        (json!({"type": "funcaptcha"}), "/publickey /pageurl"),
        (
            json!({"type": "keycaptcha"}),
            "/s_s_c_user_id /s_s_c_session_id /s_s_c_web_server_sign /s_s_c_web_server_sign2 /pageurl",
        ),
        (json!({"type": "raw"}), "/method"),
    ] {
        assert_eq!(app.refuses_json(&body).await, format!("422 invalid_fields {expected}"), "{body}");
    }
    app.is_unharmed().await;
}

#[tokio::test]
async fn fields_that_contradict_each_other_are_refused() {
    let app = TestApp::spawn().await;
    let image = base64(&png(200));
    let page = "https://example.com/";
    for (body, expected) in [
        (json!({"type": "image", "file": image, "body": image}), "/body"),
        (json!({"type": "image", "file": image, "min_len": 5, "max_len": 4}), "/min_len"),
        (json!({"type": "recaptcha_v2", "googlekey": "k", "pageurl": page, "proxy": "h:1"}), "/proxytype"),
        (json!({"type": "recaptcha_v2", "googlekey": "k", "pageurl": page, "proxytype": "HTTP"}), "/proxy"),
        (
            json!({"type": "recaptcha_image", "file": image, "textinstructions": "x", "recaptcharows": 5,
                   "recaptchacols": 4}),
            "/recaptcharows",
        ),
        (json!({"type": "rotate", "files": [image], "file_1": image}), "/files"),
        (json!({"type": "rotate", "file_1": image, "file_3": image}), "/file_3"),
        (json!({"type": "rotate", "files": []}), "/file_1"),
        (json!({"type": "rotate", "files": vec![image.clone(); 21]}), "/files"),
        (json!({"type": "rotate", "files": [image, "!"]}), "/files/1"),
    ] {
        assert_eq!(app.refuses_json(&body).await, format!("422 invalid_fields {expected}"), "{body}");
    }
    app.is_unharmed().await;
}

#[tokio::test]
async fn addresses_are_checked() {
    let app = TestApp::spawn().await;
    for page in ["example.com", "/login", "ftp://example.com/", "javascript:alert(1)", "https://", ""] {
        let body = json!({"type": "recaptcha_v2", "googlekey": "k", "pageurl": page});
        assert_eq!(app.refuses_json(&body).await, "422 invalid_fields /pageurl", "{page}");
    }
    for proxy in ["http://203.0.113.9:3128", "203.0.113.9", "h:0", "h:65536", "u@h:1", "a b:1", ":1", ""] {
        let body = json!({"type": "funcaptcha", "publickey": "k", "pageurl": "https://example.com/",
                          "proxy": proxy, "proxytype": "HTTP"});
        assert_eq!(app.refuses_json(&body).await, "422 invalid_fields /proxy", "{proxy}");
    }
    app.is_unharmed().await;
}

#[tokio::test]
async fn unknown_fields_are_refused_and_so_are_those_that_pingbox_sets() {
    let app = TestApp::spawn().await;
    for field in
        ["txetcaptcha", "googlekey", "file", "key", "method", "pingback", "json", "soft_id", "", "Tag"]
    {
        let mut body = text_captcha();
        body[field] = json!("1");
        let pointer = if field.is_empty() { String::new() } else { format!("/{field}") };
        assert_eq!(app.refuses_json(&body).await, format!("422 invalid_fields {pointer}"));
    }
    for field in ["key", "pingback", "json", "soft_id", "header_acao"] {
        let body = json!({"type": "raw", "method": "turnstile", field: "1"});
        assert_eq!(app.refuses_json(&body).await, format!("422 invalid_fields /{field}"));
    }
    app.is_unharmed().await;
}

#[tokio::test]
async fn fields_that_come_twice_are_refused() {
    let app = TestApp::spawn().await;
    let twice = "type=text&textcaptcha=a&textcaptcha=a";
    assert_eq!(app.refuses(FORM, twice).await, "422 invalid_fields /textcaptcha");
    let twice = "type=text&textcaptcha=a&type=image";
    assert_eq!(app.refuses(FORM, twice).await, "422 invalid_fields /type");
    let twice = image_of(200).part("file", Part::bytes(png(300)).file_name("b.png"));
    assert_eq!(app.refuses_form(twice).await, "422 invalid_fields /file");
    app.is_unharmed().await;
}

#[tokio::test]
async fn images_outside_the_providers_limits_are_refused() {
    let app = TestApp::spawn().await;
    for bytes in [0, 1, 99, 102_401, 1024 * 1024] {
        assert_eq!(app.refuses_form(image_of(bytes)).await, "422 invalid_fields /file", "{bytes} bytes");
    }
    for bytes in [1, 99, 102_401, 1024 * 1024] {
        let body = json!({"type": "image", "body": base64(&png(bytes))});
        assert_eq!(app.refuses_json(&body).await, "422 invalid_fields /body", "{bytes} bytes");
    }
    app.is_unharmed().await;
}

#[tokio::test]
async fn images_at_the_providers_limits_are_taken() {
    let app = TestApp::spawn().await;
    for bytes in [100, 102_400] {
        let (status, task) = reply(app.submission().multipart(image_of(bytes))).await;
        assert_eq!(status, StatusCode::CREATED);
        app.until(task["id"].as_str().unwrap(), |task| task["captcha_id"].is_string()).await;
        assert_eq!(app.submissions().pop().unwrap()["parameters"]["file"]["bytes"], bytes);
    }
}

#[tokio::test]
async fn what_is_no_image_is_refused() {
    let app = TestApp::spawn().await;
    let pad = |head: &[u8]| [head, &[b' '; 200]].concat();
    for content in [pad(b"<html>"), pad(b"BM"), pad(b"RIFF\0\0\0\0WEBP"), pad(b"%PDF-1.4"), vec![0; 200]] {
        let form = Form::new().text("type", "image").part("file", Part::bytes(content).file_name("a.png"));
        assert_eq!(app.refuses_form(form).await, "422 invalid_fields /file");
    }
    for body in
        [json!("not base64"), json!("data:image/png,raw"), json!(""), json!(5), json!({}), json!(["x"])]
    {
        let body = json!({"type": "image", "body": body});
        assert_eq!(app.refuses_json(&body).await, "422 invalid_fields /body", "{body}");
    }
    app.is_unharmed().await;
}

#[tokio::test]
async fn instruction_images_outside_the_providers_limits_are_refused() {
    let app = TestApp::spawn().await;
    let wide = std::fs::read(data_file("captcha-01-x7k2p.png")).unwrap();
    for instruction in [Vec::new(), b"stars".to_vec(), png(25_601), wide] {
        let form = image_of(200).part("imginstructions", Part::bytes(instruction).file_name("i.png"));
        assert_eq!(app.refuses_form(form).await, "422 invalid_fields /imginstructions");
    }
    app.is_unharmed().await;
}

#[tokio::test]
async fn a_body_past_the_limit_is_refused() {
    let app = TestApp::spawn().await;
    let five = 5 * 1024 * 1024;
    assert_eq!(app.refuses_form(image_of(five)).await, "413 body_too_large");
    assert_eq!(app.refuses(JSON, vec![b' '; five]).await, "413 body_too_large");
    assert_eq!(app.refuses(FORM, vec![b'a'; five]).await, "413 body_too_large");
    app.is_unharmed().await;
}

#[tokio::test]
async fn ten_thousand_fields_are_refused() {
    let app = TestApp::spawn().await;
    let pairs = || (0..10_000).map(|number| (format!("f{number}"), "x"));
    let form: Vec<_> = pairs().map(|(name, value)| format!("{name}={value}")).collect();
    let form = form.join("&") + "&type=raw&method=x";
    assert_eq!(app.refuses(FORM, form).await, "422 invalid_fields ");
    let mut object: serde_json::Map<_, _> = pairs().map(|(name, value)| (name, json!(value))).collect();
    object.extend([("type".to_owned(), json!("raw")), ("method".to_owned(), json!("x"))]);
    assert_eq!(app.refuses_json(&Value::Object(object)).await, "400 bad_request");
    let part = |name| format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\nx\r\n");
    let parts: Vec<_> = pairs().map(|(name, _)| part(name)).collect();
    let parts = parts.concat() + "--x--\r\n";
    assert_eq!(app.refuses("multipart/form-data; boundary=x", parts).await, "400 bad_request");
    app.is_unharmed().await;
}

#[tokio::test]
async fn a_content_type_that_is_none_of_ours_is_refused() {
    let app = TestApp::spawn().await;
    let json = text_captcha().to_string();
    for content_type in ["text/plain", "application/xml", "image/png", "multipart/mixed; boundary=x", "json"]
    {
        assert_eq!(
            app.refuses(content_type, json.clone()).await,
            "415 unsupported_media_type",
            "{content_type}"
        );
    }
    let unstated = problem(app.submission().body("type=text&textcaptcha=x")).await;
    assert_eq!(gist(&unstated), "415 unsupported_media_type");
    assert_eq!(app.refuses("multipart/form-data", "--x").await, "415 unsupported_media_type");
    app.is_unharmed().await;
}

#[tokio::test]
async fn a_multipart_body_that_is_malformed_is_refused() {
    let app = TestApp::spawn().await;
    let part = "--x\r\nContent-Disposition: form-data; name=\"type\"\r\n\r\ntext\r\n";
    for body in [
        String::new(),
        "type=text".to_owned(),
        part.to_owned(),
        part[..part.len() - 10].to_owned(),
        part.replace("--x", "--y") + "--y--\r\n",
        format!("{part}--x\r\nContent-Disposition: form-data; name=\"textcaptcha\"\r\n\r\n2 + 2"),
    ] {
        let refused = app.refuses("multipart/form-data; boundary=x", body.clone()).await;
        assert_eq!(refused, "400 bad_request", "{body:?}");
    }
    app.is_unharmed().await;
}

#[tokio::test]
async fn an_idempotency_key_that_is_none_is_refused() {
    let app = TestApp::spawn().await;
    for key in [b"".as_slice(), b"  ", "ключ".as_bytes(), &[b'k'; 256]] {
        let request = app.submission().header("idempotency-key", key).json(&text_captcha());
        assert_eq!(gist(&problem(request).await), "400 bad_request");
    }
    app.is_unharmed().await;
}

#[tokio::test]
async fn query_parameters_that_make_no_sense_are_refused_each_by_name() {
    let app = TestApp::spawn().await;
    for (path, expected) in [
        ("/v1/tasks/1?wait=abc", "/wait"),
        ("/v1/tasks/1?wait=-1", "/wait"),
        ("/v1/tasks/1?wait=1.5", "/wait"),
        ("/v1/tasks/1?wait=99999999999999999999", "/wait"),
        ("/v1/tasks/1?wiat=5", "/wiat"),
        ("/v1/tasks?ids=abc", "/ids"),
        ("/v1/tasks?ids=1,,2", "/ids"),
        ("/v1/tasks?ids=0", "/ids"),
        ("/v1/tasks?ids=1&until=both", "/until"),
        ("/v1/tasks?ids=1&wait=abc&until=x", "/wait /until"),
        ("/v1/tasks?ids=1&limit=5", "/limit"),
        ("/v1/tasks?limit=0", "/limit"),
        ("/v1/tasks?limit=1001", "/limit"),
        ("/v1/tasks?limit=-1", "/limit"),
        ("/v1/tasks?limit=99999999999", "/limit"),
        ("/v1/tasks?cursor=x", "/cursor"),
        ("/v1/tasks?cursor=0", "/cursor"),
        ("/v1/tasks?status=done&type=captcha", "/status /type"),
        ("/v1/tasks?wait=5", "/wait"),
        ("/v1/tasks?%FF=1", "/\u{fffd}"),
    ] {
        let problem = problem(app.http.get(format!("{}{path}", app.api))).await;
        assert_eq!(gist(&problem), format!("422 invalid_fields {expected}"), "{path}");
    }
    let deletion = app.http.delete(format!("{}/v1/tasks/1?wiat=5", app.api));
    assert_eq!(gist(&problem(deletion).await), "422 invalid_fields /wiat");
    let ids = format!("/v1/tasks?ids={}", (1..=1001).map(|id| id.to_string()).collect::<Vec<_>>().join(","));
    assert_eq!(gist(&problem(app.http.get(app.api.clone() + &ids)).await), "422 invalid_fields /ids");
    for query in ["wait=abc", "wait=-1", "tag=x"] {
        let request = app.http.post(format!("{}/v1/tasks?{query}", app.api)).json(&text_captcha());
        let name = query.split('=').next().unwrap();
        assert_eq!(gist(&problem(request).await), format!("422 invalid_fields /{name}"));
    }
    app.is_unharmed().await;
}

#[tokio::test]
async fn an_id_that_names_no_task_is_not_found() {
    let app = TestApp::spawn().await;
    for id in [
        "0",
        "1",
        "-1",
        "+1",
        "abc",
        "1.0",
        "0x1",
        "99999999999999999999",
        "9007199254740993",
        "%20",
        "%FF",
        "1%00",
    ] {
        for method in [Method::GET, Method::DELETE] {
            let request = app.http.request(method, format!("{}/v1/tasks/{id}", app.api));
            assert_eq!(gist(&problem(request).await), "404 task_not_found", "{id}");
        }
    }
    app.is_unharmed().await;
}

#[tokio::test]
async fn a_path_that_does_not_exist_is_not_found() {
    let app = TestApp::spawn().await;
    for path in ["/v1", "/v1/", "/v1/tasks/", "/v1/tasks/1/", "/v1/task", "/v2/tasks", "/%FF", "//v1/tasks"] {
        for method in [Method::GET, Method::POST, Method::PUT] {
            let request = app.http.request(method, format!("{}{path}", app.api));
            assert_eq!(gist(&problem(request).await), "404 path_not_found", "{path}");
        }
    }
    app.is_unharmed().await;
}

#[tokio::test]
async fn a_method_that_a_path_does_not_take_is_refused_with_those_it_takes() {
    let app = TestApp::spawn().await;
    for (path, allowed, methods) in [
        ("/v1/tasks", "GET,HEAD,POST", ["PUT", "PATCH", "DELETE"]),
        ("/v1/tasks/1", "GET,HEAD,DELETE", ["POST", "PUT", "BREW"]),
        ("/livez", "GET,HEAD", ["POST", "DELETE", "OPTIONS"]),
    ] {
        for method in methods {
            let method: Method = method.parse().unwrap();
            let request = || app.http.request(method.clone(), format!("{}{path}", app.api));
            assert_eq!(gist(&problem(request()).await), "405 method_not_allowed", "{method} {path}");
            assert_eq!(request().send().await.unwrap().headers()[ALLOW], allowed, "{method} {path}");
        }
    }
    app.is_unharmed().await;
}

#[tokio::test]
async fn a_missing_type_is_explained() {
    let app = TestApp::spawn().await;
    insta::assert_json_snapshot!(problem(app.submission().json(&json!({"textcaptcha": "x"}))).await, @r#"
    {
      "code": "invalid_fields",
      "detail": "type is missing; it is one of image, text, recaptcha_v2, recaptcha_image, click, rotate, funcaptcha, keycaptcha, raw",
      "errors": [
        {
          "detail": "is missing; it is one of image, text, recaptcha_v2, recaptcha_image, click, rotate, funcaptcha, keycaptcha, raw",
          "pointer": "/type"
        }
      ],
      "status": 422,
      "title": "Unprocessable Entity",
      "type": "about:blank"
    }
    "#);
}

#[tokio::test]
async fn an_image_that_is_too_large_is_told_the_limit() {
    let app = TestApp::spawn().await;
    insta::assert_json_snapshot!(problem(app.submission().multipart(image_of(1024 * 1024))).await, @r#"
    {
      "code": "invalid_fields",
      "detail": "file has 1048576 bytes; the provider takes images up to 102400 bytes (100 kB)",
      "errors": [
        {
          "detail": "has 1048576 bytes; the provider takes images up to 102400 bytes (100 kB)",
          "pointer": "/file"
        }
      ],
      "status": 422,
      "title": "Unprocessable Entity",
      "type": "about:blank"
    }
    "#);
}

#[tokio::test]
async fn several_bad_fields_are_all_explained() {
    let app = TestApp::spawn().await;
    let body =
        json!({"type": "text", "textcaptcha": "x".repeat(141), "langauge": 1, "ttl": "10m", "key": "k"});
    insta::assert_json_snapshot!(problem(app.submission().json(&body)).await, @r#"
    {
      "code": "invalid_fields",
      "detail": "ttl is not a whole number of seconds from 1 to 86400 (and 3 more)",
      "errors": [
        {
          "detail": "is not a whole number of seconds from 1 to 86400",
          "pointer": "/ttl"
        },
        {
          "detail": "has 141 characters; up to 140 are allowed",
          "pointer": "/textcaptcha"
        },
        {
          "detail": "is set by pingbox: leave it out",
          "pointer": "/key"
        },
        {
          "detail": "is not a field of type text, which takes textcaptcha, language, type, tag, priority, ttl, webhook_url",
          "pointer": "/langauge"
        }
      ],
      "status": 422,
      "title": "Unprocessable Entity",
      "type": "about:blank"
    }
    "#);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_told_the_limit() {
    let app = TestApp::spawn().await;
    insta::assert_json_snapshot!(problem(app.raw(JSON, vec![b' '; 5 * 1024 * 1024])).await, @r#"
    {
      "code": "body_too_large",
      "detail": "the body has more than 4194304 bytes; an image may have 102400 (100 kB)",
      "status": 413,
      "title": "Payload Too Large",
      "type": "about:blank"
    }
    "#);
}

#[tokio::test]
async fn a_wrong_content_type_is_told_the_right_ones() {
    let app = TestApp::spawn().await;
    insta::assert_json_snapshot!(problem(app.raw("text/plain", "{}")).await, @r#"
    {
      "code": "unsupported_media_type",
      "detail": "Content-Type says text/plain: send application/json, multipart/form-data or application/x-www-form-urlencoded",
      "status": 415,
      "title": "Unsupported Media Type",
      "type": "about:blank"
    }
    "#);
}

#[tokio::test]
async fn a_bad_query_is_explained() {
    let app = TestApp::spawn().await;
    let request = app.http.get(format!("{}/v1/tasks?wait=soon&status=done", app.api));
    insta::assert_json_snapshot!(problem(request).await, @r#"
    {
      "code": "invalid_fields",
      "detail": "status is not one of queued, submitting, submitted, unconfirmed, solved, failed, expired, cancelled (and 1 more)",
      "errors": [
        {
          "detail": "is not one of queued, submitting, submitted, unconfirmed, solved, failed, expired, cancelled",
          "pointer": "/status"
        },
        {
          "detail": "is not a parameter of this path, which takes ids with wait and until, or status, type, tag, limit and cursor",
          "pointer": "/wait"
        }
      ],
      "status": 422,
      "title": "Unprocessable Entity",
      "type": "about:blank"
    }
    "#);
}

#[tokio::test]
async fn an_unknown_path_is_told_where_the_api_is() {
    let app = TestApp::spawn().await;
    insta::assert_json_snapshot!(problem(app.http.get(format!("{}/task", app.api))).await, @r#"
    {
      "code": "path_not_found",
      "detail": "no such path: the API is under /v1/, and no path ends in a slash",
      "status": 404,
      "title": "Not Found",
      "type": "about:blank"
    }
    "#);
}

#[tokio::test]
async fn a_reused_idempotency_key_is_explained() {
    let app = TestApp::spawn().await;
    app.submission().header("idempotency-key", "k").json(&text_captcha()).send().await.unwrap();
    let mut other = text_captcha();
    other["tag"] = json!("other");
    let request = app.submission().header("idempotency-key", "k").json(&other);
    insta::assert_json_snapshot!(problem(request).await, @r#"
    {
      "code": "idempotency_key_reused",
      "detail": "this Idempotency-Key was used for another submission: use a new key for each new captcha",
      "status": 422,
      "title": "Unprocessable Entity",
      "type": "about:blank"
    }
    "#);
}

#[tokio::test]
async fn a_solved_task_has_this_body() {
    let app = TestApp::with(never_solved(), &[]).await;
    let mut body = text_captcha();
    body["tag"] = json!("login-page");
    let (_, task) = app.post(&body).await;
    let id = task["id"].as_str().unwrap();
    let task = app.until(id, |task| task["captcha_id"].is_string()).await;
    let captcha_id = task["captcha_id"].as_str().unwrap().parse().unwrap();
    app.sandbox.solve(&captcha_id, "Friday").unwrap();
    let (_, task) = app.get(&format!("/v1/tasks/{id}?wait=15")).await;
    insta::assert_json_snapshot!(task, {
        ".captcha_id" => "[captcha ID]",
        ".created_at" => "[time]",
        ".submitted_at" => "[time]",
        ".answered_at" => "[time]",
        ".expires_at" => "[time]",
        ".solve_ms" => "[ms]",
    }, @r#"
    {
      "answer": {
        "text": "Friday"
      },
      "answered_at": "[time]",
      "attempts": 1,
      "captcha_id": "[captcha ID]",
      "created_at": "[time]",
      "error": null,
      "expires_at": "[time]",
      "id": "1",
      "price": "0.0005",
      "priority": 0,
      "solve_ms": "[ms]",
      "status": "solved",
      "submitted_at": "[time]",
      "tag": "login-page",
      "type": "text",
      "via": "pingback"
    }
    "#);
}
