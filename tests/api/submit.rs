//! Submitting: what each type makes of its fields, what `in.php` gets, and what comes back.

use std::collections::HashSet;

use pingbox::sandbox::LoggedValue;
use reqwest::StatusCode;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;

use crate::harness::{TestApp, base64, data_file, never_solved, reply, solved_at_once, text_captcha};

const PNG: &str = "captcha-01-x7k2p.png";
const JPEG: &str = "captcha-06-p9fs3.jpg";
const GIF: &str = "captcha-10-n8wcu.gif";
const CLICK: &str = "click-39-36-192-72.png";
const GRID: &str = "grid-3x3-2-4-9.jpg";
const INSTRUCTION: &str = "instruction-stars.png";
const ROTATE: [&str; 3] = ["rotate-1-turned-40.png", "rotate-2-turned-200.png", "rotate-3-turned-240.png"];

const PAGE: &str = "https://example.com/login?next=%2F&lang=ru#form";

/// What a field is given.
#[derive(Clone, Copy)]
enum Given {
    Text(&'static str),
    /// A file of `tests/data`: attached where there are attachments, else in base64.
    Image(&'static str),
}
use Given::{Image, Text};

type Fields = [(&'static str, Given)];

#[derive(Clone, Copy, Debug)]
enum Encoding {
    Json,
    Form,
    Multipart,
}

const ENCODINGS: [Encoding; 3] = [Encoding::Json, Encoding::Form, Encoding::Multipart];

impl Encoding {
    fn encode(self, request: reqwest::RequestBuilder, fields: &Fields) -> reqwest::RequestBuilder {
        let text = |given: Given| match given {
            Text(text) => text.to_owned(),
            Image(name) => base64(&bytes(name)),
        };
        match self {
            Self::Json => {
                let object = fields.iter().map(|&(name, given)| (name.to_owned(), json!(text(given))));
                request.json(&Value::Object(object.collect()))
            }
            Self::Form => {
                request.form(&fields.iter().map(|&(name, given)| (name, text(given))).collect::<Vec<_>>())
            }
            Self::Multipart => {
                request.multipart(fields.iter().fold(Form::new(), |form, &(name, given)| match given {
                    Text(text) => form.text(name, text),
                    Image(image) => form.part(name, attachment(image)),
                }))
            }
        }
    }
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(data_file(name)).unwrap()
}

/// An image as an upload whose name and type say nothing.
fn attachment(name: &str) -> Part {
    Part::bytes(bytes(name)).file_name("upload")
}

/// An image as the emulated provider logs it.
fn logged(name: &str) -> Value {
    let content = bytes(name);
    let digits: Vec<_> = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
    let sha256 = digits.concat();
    serde_json::to_value(LoggedValue::File { sha256, bytes: content.len() }).unwrap()
}

/// The task of a submission that is taken.
async fn created(request: reqwest::RequestBuilder) -> Value {
    let (status, task) = reply(request).await;
    assert_eq!(status, StatusCode::CREATED, "{task}");
    task
}

fn id(task: &Value) -> &str {
    task["id"].as_str().unwrap()
}

/// What `in.php` got for the latest task, but for what it gets with every one.
async fn sent(app: &TestApp, task: &Value) -> Value {
    app.until(id(task), |task| task["captcha_id"].is_string()).await;
    let mut parameters = app.submissions().pop().unwrap()["parameters"].take();
    for always in ["json", "pingback"] {
        assert!(parameters.as_object_mut().unwrap().remove(always).is_some(), "{always}");
    }
    parameters
}

/// Submits the fields in every encoding and compares what `in.php` got.
async fn is_sent_as(fields: &Fields, expected: Value) {
    let app = TestApp::spawn().await;
    for encoding in ENCODINGS {
        let task = created(encoding.encode(app.submission(), fields)).await;
        assert_eq!(sent(&app, &task).await, expected, "{encoding:?}");
    }
}

/// The answer to a captcha with these fields, when the provider says `text`.
async fn answer(app: &TestApp, fields: &Fields, text: &str) -> Value {
    let task = created(Encoding::Multipart.encode(app.submission(), fields)).await;
    let task = app.until(id(&task), |task| task["captcha_id"].is_string()).await;
    let captcha_id = task["captcha_id"].as_str().unwrap().parse().unwrap();
    app.sandbox.solve(&captcha_id, text).unwrap();
    let (_, task) = app.get(&format!("/v1/tasks/{}?wait=15", id(&task))).await;
    assert_eq!(task["status"], "solved", "{task}");
    task["answer"].clone()
}

#[tokio::test]
async fn a_file_is_sent_as_a_file_unchanged() {
    for image in [PNG, JPEG, GIF] {
        let fields = [("type", Text("image")), ("file", Image(image))];
        is_sent_as(&fields, json!({"method": "post", "file": logged(image)})).await;
    }
}

#[tokio::test]
async fn a_body_is_sent_as_base64_unchanged() {
    for image in [PNG, JPEG, GIF] {
        let fields = [("type", Text("image")), ("body", Image(image))];
        is_sent_as(&fields, json!({"method": "base64", "body": logged(image)})).await;
    }
}

#[tokio::test]
async fn base64_may_be_a_data_uri_have_line_breaks_or_lack_its_padding() {
    let app = TestApp::spawn().await;
    let plain = base64(&bytes(PNG));
    let lines: Vec<_> = plain.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    for body in [
        format!("data:image/png;base64,{plain}"),
        format!("data:image/jpeg;charset=utf-8;base64,{plain}"),
        lines.join("\r\n"),
        plain.trim_end_matches('=').to_owned(),
    ] {
        let task = created(app.submission().json(&json!({"type": "image", "body": body}))).await;
        assert_eq!(sent(&app, &task).await, json!({"method": "base64", "body": logged(PNG)}), "{body}");
        let task = created(app.submission().form(&[("type", "image"), ("file", &body)])).await;
        assert_eq!(sent(&app, &task).await, json!({"method": "post", "file": logged(PNG)}), "{body}");
    }
}

#[tokio::test]
async fn every_hint_of_an_image_goes_on() {
    let fields = [
        ("type", Text("image")),
        ("file", Image(PNG)),
        ("phrase", Text("1")),
        ("regsense", Text("1")),
        ("numeric", Text("4")),
        ("calc", Text("1")),
        ("min_len", Text("2")),
        ("max_len", Text("20")),
        ("language", Text("2")),
        ("textinstructions", Text("только красные буквы 🔴")),
        ("imginstructions", Image(INSTRUCTION)),
    ];
    let expected = json!({
        "method": "post", "file": logged(PNG), "phrase": "1", "regsense": "1", "numeric": "4", "calc": "1",
        "min_len": "2", "max_len": "20", "language": "2", "textinstructions": "только красные буквы 🔴",
        "imginstructions": logged(INSTRUCTION),
    });
    is_sent_as(&fields, expected).await;
}

#[tokio::test]
async fn json_may_have_numbers_and_booleans() {
    let app = TestApp::spawn().await;
    let body = json!({"type": "image", "file": base64(&bytes(PNG)), "phrase": true, "regsense": false,
                      "numeric": 2, "language": null});
    let task = created(app.submission().json(&body)).await;
    let expected =
        json!({"method": "post", "file": logged(PNG), "phrase": "1", "regsense": "0", "numeric": "2"});
    assert_eq!(sent(&app, &task).await, expected);
}

#[tokio::test]
async fn a_text_captcha_is_sent_as_it_is() {
    let question = "Если завтра суббота, какой сегодня день? + & = % 日本";
    let fields = [("type", Text("text")), ("textcaptcha", Text(question)), ("language", Text("1"))];
    is_sent_as(&fields, json!({"textcaptcha": question, "language": "1"})).await;
}

#[tokio::test]
async fn a_recaptcha_is_sent_with_its_key_and_page() {
    let fields = [("type", Text("recaptcha_v2")), ("googlekey", Text("6Le-wvkS_x")), ("pageurl", Text(PAGE))];
    is_sent_as(&fields, json!({"method": "userrecaptcha", "googlekey": "6Le-wvkS_x", "pageurl": PAGE})).await;
}

#[tokio::test]
async fn a_recaptcha_may_be_invisible_and_have_a_proxy() {
    let fields = [
        ("type", Text("recaptcha_v2")),
        ("googlekey", Text("6Le-wvkS_x")),
        ("pageurl", Text(PAGE)),
        ("invisible", Text("1")),
        ("proxy", Text("user:p4ss@203.0.113.9:3128")),
        ("proxytype", Text("socks5")),
    ];
    let expected = json!({
        "method": "userrecaptcha", "googlekey": "6Le-wvkS_x", "pageurl": PAGE, "invisible": "1",
        // The sandbox shows no login; that it arrives is seen in `scripted`.
        "proxy": "***@203.0.113.9:3128", "proxytype": "SOCKS5",
    });
    is_sent_as(&fields, expected).await;
}

#[tokio::test]
async fn a_grid_is_sent_with_its_size_and_instruction() {
    let fields = [
        ("type", Text("recaptcha_image")),
        ("file", Image(GRID)),
        ("recaptcharows", Text("4")),
        ("recaptchacols", Text("4")),
        ("can_no_answer", Text("1")),
        ("imginstructions", Image(INSTRUCTION)),
    ];
    let expected = json!({
        "method": "post", "recaptcha": "1", "file": logged(GRID), "recaptcharows": "4", "recaptchacols": "4",
        "can_no_answer": "1", "imginstructions": logged(INSTRUCTION),
    });
    is_sent_as(&fields, expected).await;
}

#[tokio::test]
async fn an_instruction_beside_a_body_is_sent_as_base64_too() {
    let fields =
        [("type", Text("recaptcha_image")), ("body", Image(GRID)), ("imginstructions", Image(INSTRUCTION))];
    let expected = json!({"method": "base64", "recaptcha": "1", "body": logged(GRID),
                          "imginstructions": logged(INSTRUCTION)});
    is_sent_as(&fields, expected).await;
}

#[tokio::test]
async fn a_canvas_is_sent_as_one() {
    let fields = [
        ("type", Text("recaptcha_image")),
        ("file", Image(GRID)),
        ("canvas", Text("1")),
        ("textinstructions", Text("select the bus")),
        ("language", Text("2")),
    ];
    let expected = json!({"method": "post", "recaptcha": "1", "file": logged(GRID), "canvas": "1",
                          "textinstructions": "select the bus", "language": "2"});
    is_sent_as(&fields, expected).await;
}

#[tokio::test]
async fn a_click_captcha_is_sent_as_one() {
    let fields =
        [("type", Text("click")), ("body", Image(CLICK)), ("textinstructions", Text("click the stars"))];
    let expected = json!({"method": "base64", "coordinatescaptcha": "1", "body": logged(CLICK),
                          "textinstructions": "click the stars"});
    is_sent_as(&fields, expected).await;
}

/// What `in.php` gets of the three images that belong together.
fn three_to_rotate() -> Value {
    let [one, two, three] = ROTATE.map(logged);
    json!({"method": "rotatecaptcha", "angle": "40", "file_1": one, "file_2": two, "file_3": three})
}

#[tokio::test]
async fn images_to_rotate_are_sent_in_their_order() {
    let fields = [
        ("type", Text("rotate")),
        ("angle", Text("40")),
        ("file_3", Image(ROTATE[2])),
        ("file_1", Image(ROTATE[0])),
        ("file_2", Image(ROTATE[1])),
    ];
    is_sent_as(&fields, three_to_rotate()).await;
}

#[tokio::test]
async fn images_to_rotate_may_be_a_list() {
    let app = TestApp::spawn().await;
    let files = ROTATE.map(|name| base64(&bytes(name)));
    let json = app.submission().json(&json!({"type": "rotate", "angle": 40, "files": files}));
    let form = [("type", "rotate"), ("angle", "40")].into_iter();
    let form = app
        .submission()
        .form(&form.chain(files.iter().map(|file| ("files", file.as_str()))).collect::<Vec<_>>());
    let multipart = Form::new().text("type", "rotate").text("angle", "40");
    let multipart = ROTATE.iter().fold(multipart, |form, name| form.part("files", attachment(name)));
    for request in [json, form, app.submission().multipart(multipart)] {
        let task = created(request).await;
        assert_eq!(sent(&app, &task).await, three_to_rotate());
    }
}

#[tokio::test]
async fn one_image_to_rotate_may_be_the_whole_list() {
    let app = TestApp::spawn().await;
    let form = Form::new().text("type", "rotate").part("files", attachment(ROTATE[0]));
    let task = created(app.submission().multipart(form)).await;
    assert_eq!(sent(&app, &task).await, json!({"method": "rotatecaptcha", "file_1": logged(ROTATE[0])}));
}

#[tokio::test]
async fn a_funcaptcha_is_sent_with_all_it_takes() {
    let fields = [
        ("type", Text("funcaptcha")),
        ("publickey", Text("12AB34CD-56F7-AB8C-9D01-2EF3456789A0")),
        ("pageurl", Text(PAGE)),
        ("nojs", Text("1")),
        ("userAgent", Text("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")),
        ("proxy", Text("203.0.113.9:3128")),
        ("proxytype", Text("HTTP")),
    ];
    let expected = json!({
        "method": "funcaptcha", "publickey": "12AB34CD-56F7-AB8C-9D01-2EF3456789A0", "pageurl": PAGE,
        "nojs": "1", "userAgent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
        "proxy": "203.0.113.9:3128", "proxytype": "HTTP",
    });
    is_sent_as(&fields, expected).await;
}

const KEYCAPTCHA: [(&str, Given); 6] = [
    ("type", Text("keycaptcha")),
    ("s_s_c_user_id", Text("10")),
    ("s_s_c_session_id", Text("493e52c37c10c2bcdf4a00cbc9ccd1e8")),
    ("s_s_c_web_server_sign", Text("9006dc725760858e4c0715b835472f22-pz-")),
    ("s_s_c_web_server_sign2", Text("2ca3abe86d90c6142d5571db98af6714")),
    ("pageurl", Text("https://www.example.com/")),
];

#[tokio::test]
async fn a_keycaptcha_is_sent_with_its_four_signs() {
    let expected = json!({
        "method": "keycaptcha", "s_s_c_user_id": "10",
        "s_s_c_session_id": "493e52c37c10c2bcdf4a00cbc9ccd1e8",
        "s_s_c_web_server_sign": "9006dc725760858e4c0715b835472f22-pz-",
        "s_s_c_web_server_sign2": "2ca3abe86d90c6142d5571db98af6714", "pageurl": "https://www.example.com/",
    });
    is_sent_as(&KEYCAPTCHA, expected).await;
}

#[tokio::test]
async fn raw_parameters_are_sent_as_they_are() {
    let fields = [
        ("type", Text("raw")),
        ("method", Text("turnstile")),
        ("sitekey", Text("0x4AAAAAAAC3DHQFLr1GavRN")),
        ("pageurl", Text(PAGE)),
        ("data", Text(" a b\n+&=%41 ")),
    ];
    let expected = json!({"method": "turnstile", "sitekey": "0x4AAAAAAAC3DHQFLr1GavRN", "pageurl": PAGE,
                          "data": " a b\n+&=%41 "});
    is_sent_as(&fields, expected).await;
}

#[tokio::test]
async fn a_raw_file_is_sent_as_a_file() {
    let app = TestApp::spawn().await;
    let form = Form::new().text("type", "raw").text("method", "post").part("file", attachment(GIF));
    let task = created(app.submission().multipart(form)).await;
    assert_eq!(sent(&app, &task).await, json!({"method": "post", "file": logged(GIF)}));
}

#[tokio::test]
async fn the_answer_is_the_providers() {
    let app = TestApp::with(solved_at_once(), &[]).await;
    for (image, text) in [(PNG, "x7k2p"), (JPEG, "p9fs3"), (GIF, "n8wcu"), ("captcha-03-qwnrt.png", "QWNRT")]
    {
        for field in ["file", "body"] {
            let request = app.http.post(format!("{}/v1/tasks?wait=15", app.api));
            let fields = [("type", Text("image")), (field, Image(image))];
            let task = created(Encoding::Multipart.encode(request, &fields)).await;
            assert_eq!(
                (&task["status"], &task["answer"], &task["via"]),
                (&json!("solved"), &json!({ "text": text }), &json!("pingback"))
            );
        }
    }
}

#[tokio::test]
async fn a_click_answer_has_its_points() {
    let app = TestApp::with(solved_at_once(), &[]).await;
    let request = app.http.post(format!("{}/v1/tasks?wait=15", app.api));
    let fields = [("type", Text("click")), ("file", Image(CLICK))];
    let task = created(Encoding::Multipart.encode(request, &fields)).await;
    let points = json!([{"x": 39, "y": 36}, {"x": 192, "y": 72}]);
    assert_eq!(task["answer"], json!({"text": "coordinate:x=39,y=36;x=192,y=72", "points": points}));
}

const OF_A_GRID: [(&str, Given); 4] = [
    ("type", Text("recaptcha_image")),
    ("file", Image(GRID)),
    ("textinstructions", Text("stars")),
    ("can_no_answer", Text("1")),
];

#[tokio::test]
async fn a_grid_answer_has_its_cells() {
    let app = TestApp::spawn().await;
    let answer = answer(&app, &OF_A_GRID, "click:2/4/9/a/g/").await;
    assert_eq!(answer, json!({"text": "click:2/4/9/a/g/", "cells": [2, 4, 9, 10, 16]}));
}

#[tokio::test]
async fn a_canvas_answer_has_its_areas() {
    let app = TestApp::spawn().await;
    let fields = [
        ("type", Text("recaptcha_image")),
        ("file", Image(GRID)),
        ("canvas", Text("1")),
        ("textinstructions", Text("bus")),
    ];
    let answer = answer(&app, &fields, "canvas:5,5,3,91,93,90;208,211,8,6,1,2;").await;
    let areas = json!([
        [{"x": 5, "y": 5}, {"x": 3, "y": 91}, {"x": 93, "y": 90}],
        [{"x": 208, "y": 211}, {"x": 8, "y": 6}, {"x": 1, "y": 2}],
    ]);
    assert_eq!(answer["areas"], areas);
}

#[tokio::test]
async fn no_matching_images_is_an_answer() {
    let app = TestApp::spawn().await;
    let answer = answer(&app, &OF_A_GRID, "No_matching_images").await;
    assert_eq!(answer, json!({"text": "No_matching_images", "no_match": true}));
}

#[tokio::test]
async fn a_rotate_answer_has_its_angles() {
    let app = TestApp::spawn().await;
    let fields = [("type", Text("rotate")), ("file_1", Image(ROTATE[0])), ("file_2", Image(ROTATE[1]))];
    let answer = answer(&app, &fields, "40|-120").await;
    assert_eq!(answer, json!({"text": "40|-120", "angles": [40, -120]}));
}

#[tokio::test]
async fn a_token_with_bars_is_text() {
    let app = TestApp::spawn().await;
    let token = "0d6b1|r=eu-west-1|pk=12AB&x=%23 +\u{fc}";
    assert_eq!(answer(&app, &KEYCAPTCHA, token).await, json!({ "text": token }));
}

#[tokio::test]
async fn a_finished_task_reads_the_same_after_a_restart() {
    let app = TestApp::spawn().await;
    for (fields, text) in [
        (
            vec![
                ("type", Text("image")),
                ("file", Image(PNG)),
                ("tag", Text("тег")),
                ("priority", Text("-7")),
            ],
            "x7k2p",
        ),
        (OF_A_GRID.to_vec(), "click:1/g/"),
        (vec![("type", Text("click")), ("body", Image(CLICK))], "coordinate:x=1,y=2"),
        (vec![("type", Text("rotate")), ("file_1", Image(ROTATE[0]))], "-40"),
        (KEYCAPTCHA.to_vec(), "a|b|c"),
    ] {
        answer(&app, &fields, text).await;
    }
    let (_, before) = app.get("/v1/tasks").await;
    let app = app.restart(never_solved()).await;
    let (_, after) = app.get("/v1/tasks").await;
    assert_eq!(after["tasks"].as_array().unwrap().len(), 5);
    assert_eq!(after, before);
}

#[tokio::test]
async fn a_queued_task_is_sent_unchanged_after_a_restart() {
    let app = TestApp::with(never_solved(), &[("PINGBOX_PROVIDER__SUBMIT_INTERVAL", "60s")]).await;
    let fields = [
        ("type", Text("recaptcha_image")),
        ("body", Image(GRID)),
        ("imginstructions", Image(INSTRUCTION)),
        ("recaptcharows", Text("3")),
    ];
    let task = created(Encoding::Multipart.encode(app.submission(), &fields)).await;
    assert_eq!(app.submissions().len(), 0);
    let app = app.restart(never_solved()).await;
    let expected = json!({"method": "base64", "recaptcha": "1", "body": logged(GRID),
                          "imginstructions": logged(INSTRUCTION), "recaptcharows": "3"});
    assert_eq!(sent(&app, &task).await, expected);
}

#[tokio::test]
async fn a_new_task_has_its_address_in_the_location_header() {
    let app = TestApp::spawn().await;
    let response = app.submission().json(&text_captcha()).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let task: Value = response.json().await.unwrap();
    let (status, found) = app.get(&location).await;
    assert_eq!((status, &found["id"]), (StatusCode::OK, &task["id"]));
}

#[tokio::test]
async fn a_task_keeps_its_tag_priority_and_ttl() {
    let app = TestApp::spawn().await;
    let tag = "вход / login & \"quotes\" 🔑";
    for encoding in ENCODINGS {
        let fields = [
            ("type", Text("text")),
            ("textcaptcha", Text("2 + 2?")),
            ("tag", Text(tag)),
            ("priority", Text("-1000000")),
            ("ttl", Text("86400")),
        ];
        let task = created(encoding.encode(app.submission(), &fields)).await;
        let task = app.task(id(&task)).await;
        assert_eq!((&task["tag"], &task["priority"]), (&json!(tag), &json!(-1_000_000)));
        assert_eq!(lifetime(&task), 86_400);
    }
}

#[tokio::test]
async fn a_task_without_wishes_lives_fifteen_minutes() {
    let app = TestApp::spawn().await;
    let (_, task) = app.post(&text_captcha()).await;
    assert_eq!((&task["tag"], &task["priority"], lifetime(&task)), (&Value::Null, &json!(0), 900));
}

/// Seconds from the making of a task to its end.
fn lifetime(task: &Value) -> i64 {
    let time = |name: &str| task[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    time("created_at").duration_until(time("expires_at")).as_secs()
}

#[tokio::test]
async fn a_task_is_on_disk_with_its_images_before_the_reply() {
    let app = TestApp::with(never_solved(), &[("PINGBOX_PROVIDER__SUBMIT_INTERVAL", "60s")]).await;
    let mut database = app.connect().await;
    let fields = [("type", Text("image")), ("file", Image(PNG)), ("imginstructions", Image(INSTRUCTION))];
    for encoding in ENCODINGS {
        let task = created(encoding.encode(app.submission(), &fields)).await;
        let rows: Vec<(i64, String, Vec<u8>)> = database
            .rows("SELECT task.id, field, content FROM task_file JOIN task ON task.id = task_id ORDER BY position")
            .await;
        let of_task = rows.into_iter().filter(|(number, ..)| number.to_string() == id(&task));
        let stored: Vec<_> = of_task.map(|(_, field, content)| (field, content)).collect();
        let expected = [("file".to_owned(), bytes(PNG)), ("imginstructions".to_owned(), bytes(INSTRUCTION))];
        assert_eq!(stored, expected);
    }
}

/// Submits with an `Idempotency-Key`; status and body.
async fn keyed(app: &TestApp, key: &str, encoding: Encoding, fields: &Fields) -> (StatusCode, Value) {
    reply(encoding.encode(app.submission().header("idempotency-key", key), fields)).await
}

#[tokio::test]
async fn a_repeat_gets_the_same_task_however_it_is_encoded() {
    let app = TestApp::spawn().await;
    let fields = [("type", Text("image")), ("file", Image(PNG)), ("numeric", Text("1")), ("tag", Text("a"))];
    let (status, first) = keyed(&app, "k1", Encoding::Multipart, &fields).await;
    assert_eq!(status, StatusCode::CREATED);
    for encoding in ENCODINGS {
        let (status, again) = keyed(&app, "k1", encoding, &fields).await;
        assert_eq!((status, &again["id"]), (StatusCode::OK, &first["id"]), "{encoding:?}");
    }
    let typed = json!({"numeric": true, "tag": "a", "file": base64(&bytes(PNG)), "type": "image"});
    let (status, again) = reply(app.submission().header("idempotency-key", "k1").json(&typed)).await;
    assert_eq!((status, &again["id"]), (StatusCode::OK, &first["id"]));
}

#[tokio::test]
async fn a_repeat_after_a_restart_gets_the_same_task() {
    let app = TestApp::spawn().await;
    let fields = [("type", Text("text")), ("textcaptcha", Text("2 + 2?"))];
    let (_, first) = keyed(&app, "k1", Encoding::Json, &fields).await;
    let app = app.restart(never_solved()).await;
    let (status, again) = keyed(&app, "k1", Encoding::Json, &fields).await;
    assert_eq!((status, &again["id"]), (StatusCode::OK, &first["id"]));
}

#[tokio::test]
async fn a_key_for_another_submission_is_refused() {
    let app = TestApp::spawn().await;
    let fields = [("type", Text("image")), ("file", Image(PNG))];
    keyed(&app, "k1", Encoding::Json, &fields).await;
    for other in [
        vec![("type", Text("image")), ("file", Image(GIF))],
        vec![("type", Text("image")), ("body", Image(PNG))],
        vec![("type", Text("image")), ("file", Image(PNG)), ("tag", Text("other"))],
        vec![("type", Text("image")), ("file", Image(PNG)), ("priority", Text("1"))],
        vec![("type", Text("image")), ("file", Image(PNG)), ("ttl", Text("60"))],
        vec![("type", Text("click")), ("file", Image(PNG))],
    ] {
        let (status, problem) = keyed(&app, "k1", Encoding::Json, &other).await;
        assert_eq!(
            (status, &problem["code"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!("idempotency_key_reused"))
        );
    }
    assert_eq!(app.stored_tasks().await, 1);
}

#[tokio::test]
async fn twenty_repeats_at_once_make_one_task() {
    let app = TestApp::spawn().await;
    let mut posting = JoinSet::new();
    for _ in 0..20 {
        posting.spawn(reply(app.submission().header("idempotency-key", "k1").json(&text_captcha())));
    }
    let replies = posting.join_all().await;
    let created = replies.iter().filter(|(status, _)| *status == StatusCode::CREATED).count();
    let repeated = replies.iter().filter(|(status, _)| *status == StatusCode::OK).count();
    let ids: HashSet<_> = replies.iter().map(|(_, task)| id(task)).collect();
    assert_eq!((created, repeated, ids.len(), app.stored_tasks().await), (1, 19, 1, 1));
}

#[tokio::test]
async fn a_submission_without_a_key_is_new_each_time() {
    let app = TestApp::spawn().await;
    assert_ne!(app.submit().await, app.submit().await);
}
