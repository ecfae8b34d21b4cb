use serde_json::{Value, json};

use super::*;
use crate::model::{FieldValue, JsonFields};

fn submit(body: Value) -> Result<Submission, Vec<FieldError>> {
    let JsonFields(given) = serde_json::from_value::<JsonFields<100>>(body).unwrap();
    let mut fields = Fields::default();
    for (name, value) in given {
        fields.push(name, value);
    }
    Submission::parse(fields)
}

/// The pointers of all errors, in order.
fn wrong(body: Value) -> Vec<String> {
    submit(body).expect_err("it should be refused").into_iter().map(|error| error.pointer).collect()
}

/// What `in.php` gets, files by name and size.
fn wire(body: Value) -> (Vec<(String, String)>, Vec<String>) {
    let captcha = submit(body).expect("it should be taken").captcha;
    (captcha.params, captcha.files.into_iter().map(|file| file.field).collect())
}

fn png() -> String {
    use base64::Engine as _;
    let mut content = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x40\0\0\0\x20".to_vec();
    content.resize(200, 0);
    base64::engine::general_purpose::STANDARD.encode(content)
}

fn params(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn an_image_travels_the_way_it_came() {
    assert_eq!(
        wire(json!({"type": "image", "body": png(), "numeric": 1, "phrase": true})),
        (params(&[("method", "base64"), ("phrase", "1"), ("numeric", "1")]), vec!["body".to_owned()])
    );
    assert_eq!(
        wire(json!({"type": "image", "file": png()})),
        (params(&[("method", "post")]), vec!["file".to_owned()])
    );
}

#[test]
fn each_type_says_its_method_as_the_api_document_does() {
    let page = "https://example.com/login";
    for (body, expected) in [
        (
            json!({"type": "text", "textcaptcha": "2 + 2?", "language": 2}),
            vec![("textcaptcha", "2 + 2?"), ("language", "2")],
        ),
        (
            json!({"type": "recaptcha_v2", "googlekey": "6Le", "pageurl": page, "invisible": 1,
                   "proxy": "user:p4ss@203.0.113.9:3128", "proxytype": "socks5"}),
            vec![
                ("method", "userrecaptcha"),
                ("googlekey", "6Le"),
                ("pageurl", page),
                ("invisible", "1"),
                ("proxy", "user:p4ss@203.0.113.9:3128"),
                ("proxytype", "SOCKS5"),
            ],
        ),
        (
            json!({"type": "recaptcha_image", "body": png(), "canvas": 1, "textinstructions": "trees"}),
            vec![("method", "base64"), ("recaptcha", "1"), ("canvas", "1"), ("textinstructions", "trees")],
        ),
        (
            json!({"type": "click", "body": png(), "textinstructions": "ghosts"}),
            vec![("method", "base64"), ("coordinatescaptcha", "1"), ("textinstructions", "ghosts")],
        ),
        (
            json!({"type": "rotate", "files": [png()], "angle": 40}),
            vec![("method", "rotatecaptcha"), ("angle", "40")],
        ),
        (
            json!({"type": "funcaptcha", "publickey": "12AB", "pageurl": page, "nojs": 1, "userAgent": "UA"}),
            vec![
                ("method", "funcaptcha"),
                ("publickey", "12AB"),
                ("pageurl", page),
                ("nojs", "1"),
                ("userAgent", "UA"),
            ],
        ),
        (
            json!({"type": "keycaptcha", "s_s_c_user_id": 10, "s_s_c_session_id": "a", "s_s_c_web_server_sign": "b",
                   "s_s_c_web_server_sign2": "c", "pageurl": page}),
            vec![
                ("method", "keycaptcha"),
                ("s_s_c_user_id", "10"),
                ("s_s_c_session_id", "a"),
                ("s_s_c_web_server_sign", "b"),
                ("s_s_c_web_server_sign2", "c"),
                ("pageurl", page),
            ],
        ),
        (
            json!({"type": "raw", "method": "turnstile", "sitekey": "0x4", "enterprise": 1}),
            vec![("method", "turnstile"), ("enterprise", "1"), ("sitekey", "0x4")],
        ),
    ] {
        assert_eq!(wire(body).0, params(&expected));
    }
}

#[test]
fn rotate_takes_several_files_by_number_or_as_a_list() {
    let names = vec!["file_1".to_owned(), "file_2".to_owned()];
    assert_eq!(wire(json!({"type": "rotate", "files": [png(), png()]})).1, names);
    assert_eq!(wire(json!({"type": "rotate", "file_1": png(), "file_2": png()})).1, names);
    assert_eq!(wrong(json!({"type": "rotate", "file_1": png(), "file_3": png()})), ["/file_3"]);
    assert_eq!(wrong(json!({"type": "rotate", "files": [png(), "x"]})), ["/files/1"]);
    assert_eq!(wrong(json!({"type": "rotate", "files": []})), ["/file_1"]);
    assert_eq!(wrong(json!({"type": "rotate", "files": vec![png(); 21]})), ["/files"]);
}

#[test]
fn every_bad_field_is_named_at_once() {
    assert_eq!(
        wrong(
            json!({"type": "image", "numeric": 5, "phrase": "yes", "min_len": 21, "tag": "", "colour": "red",
                     "key": "mine", "ttl": 0, "textinstructions": "x".repeat(141)})
        ),
        ["/tag", "/ttl", "/file", "/phrase", "/numeric", "/min_len", "/textinstructions", "/colour", "/key"]
    );
}

#[test]
fn what_is_required_is_required() {
    assert_eq!(wrong(json!({})), ["/type"]);
    assert_eq!(wrong(json!({"type": "hcaptcha"})), ["/type"]);
    assert_eq!(wrong(json!({"type": 7})), ["/type"]);
    assert_eq!(wrong(json!({"type": "text"})), ["/textcaptcha"]);
    assert_eq!(wrong(json!({"type": "recaptcha_v2"})), ["/googlekey", "/pageurl"]);
    assert_eq!(wrong(json!({"type": "recaptcha_image", "body": png()})), ["/textinstructions"]);
    assert_eq!(wrong(json!({"type": "image", "file": png(), "body": png()})), ["/body"]);
    assert_eq!(wrong(json!({"type": "raw"})), ["/method"]);
}

#[test]
fn limits_hold_at_their_edges() {
    let text = |count: usize| json!({"type": "text", "textcaptcha": "ж".repeat(count)});
    assert!(submit(text(140)).is_ok());
    assert_eq!(wrong(text(141)), ["/textcaptcha"]);
    let lengths = |min: u8, max: u8| json!({"type": "image", "body": png(), "min_len": min, "max_len": max});
    assert!(submit(lengths(20, 0)).is_ok());
    assert_eq!(wrong(lengths(5, 4)), ["/min_len"]);
    let grid = |rows: u8, cols: u8| {
        json!({"type": "recaptcha_image", "body": png(), "textinstructions": "cars",
               "recaptcharows": rows, "recaptchacols": cols})
    };
    assert!(submit(grid(4, 4)).is_ok());
    assert_eq!(wrong(grid(4, 5)), ["/recaptcharows"]);
    for ttl in [json!(86_401), json!(-1), json!(1.5), json!(1e30), json!("soon")] {
        assert_eq!(wrong(json!({"type": "text", "textcaptcha": "?", "ttl": ttl})), ["/ttl"]);
    }
}

#[test]
fn a_proxy_has_a_host_a_port_and_a_type() {
    let proxied = |proxy: &str| {
        submit(
            json!({"type": "recaptcha_v2", "googlekey": "k", "pageurl": "http://a.example", "proxy": proxy,
                      "proxytype": "HTTP"}),
        )
    };
    for proxy in
        ["123.123.123.123:3128", "user:pa:ss@123.123.123.123:3128", "proxy.example:80", "[2001:db8::1]:80"]
    {
        assert!(proxied(proxy).is_ok(), "{proxy}");
    }
    for proxy in
        ["123.123.123.123", "h:0", "h:65536", "http://h:80", ":80", "user@h:80", "user:@h:80", "h:+8"]
    {
        let errors = proxied(proxy).expect_err(proxy);
        assert!(errors.iter().all(|error| error.pointer == "/proxy" && !error.detail.contains(proxy)));
    }
    let alone =
        json!({"type": "recaptcha_v2", "googlekey": "k", "pageurl": "http://a.example", "proxy": "h:80"});
    assert_eq!(wrong(alone), ["/proxytype"]);
}

#[test]
fn a_page_url_is_a_full_web_address() {
    for url in ["example.com", "ftp://example.com", "/login", "", "javascript:alert(1)"] {
        assert_eq!(
            wrong(json!({"type": "recaptcha_v2", "googlekey": "k", "pageurl": url})),
            ["/pageurl"],
            "{url}"
        );
    }
}

#[test]
fn the_digest_is_that_of_the_content_not_of_the_encoding() {
    let digest = |body| submit(body).unwrap().digest();
    assert_eq!(
        digest(json!({"type": "text", "textcaptcha": "?", "language": 1})),
        digest(json!({"language": "1", "textcaptcha": "?", "type": "text", "priority": 0}))
    );
    assert_ne!(
        digest(json!({"type": "text", "textcaptcha": "?"})),
        digest(json!({"type": "text", "textcaptcha": "?", "tag": "x"}))
    );
    assert_ne!(
        digest(json!({"type": "raw", "method": "a", "b": "c"})),
        digest(json!({"type": "raw", "method": "ab", "": "c"}))
    );
}

#[test]
fn a_field_given_twice_is_refused() {
    let mut fields = Fields::default();
    for (name, value) in [("type", "text"), ("textcaptcha", "a"), ("textcaptcha", "b")] {
        fields.push(name.to_owned(), FieldValue::Text(value.to_owned()));
    }
    let errors = Submission::parse(fields).expect_err("it should be refused");
    assert_eq!(errors, [FieldError::new("textcaptcha", "is given twice")]);
}
