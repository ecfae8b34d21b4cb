//! `in.php`: each thing that can be wrong with a captcha.

use pingbox::sandbox::{DEFAULT_KEY, Knobs};
use serde_json::{Value, json};

use crate::harness::{Provider, gif, gif_base64, never_solved};

const PAGE: (&str, &str) = ("pageurl", "http://site.example/page?a=1");
const RECAPTCHA: [(&str, &str); 3] = [("method", "userrecaptcha"), ("googlekey", "6Le-wvkSAAAA_x"), PAGE];
const FUN: [(&str, &str); 3] = [("method", "funcaptcha"), ("publickey", "12AB-CD"), PAGE];

/// Each of `forms` is refused with the code beside it.
async fn refuses(cases: &[(&[(&str, &str)], &str)]) {
    let provider = Provider::spawn(Knobs { limits: false, ..never_solved() }).await;
    for (form, code) in cases {
        assert_eq!(provider.submit(form).await, *code, "{form:?}");
    }
    assert!(provider.sandbox.pending().is_empty());
}

#[tokio::test]
async fn a_bad_key_is_refused_by_its_shape() {
    let other = "0".repeat(32);
    refuses(&[
        (&[("key", "")], "ERROR_WRONG_USER_KEY"),
        (&[("key", "short")], "ERROR_WRONG_USER_KEY"),
        (&[("key", &other)], "ERROR_KEY_DOES_NOT_EXIST"),
    ])
    .await;
}

#[tokio::test]
async fn a_token_method_needs_its_fields() {
    refuses(&[
        (&[], "ERROR_BAD_PARAMETERS"),
        (&[("method", "userrecaptcha"), PAGE], "ERROR_GOOGLEKEY"),
        (&[("method", "userrecaptcha"), ("googlekey", "a b"), PAGE], "ERROR_GOOGLEKEY"),
        (&RECAPTCHA[..2], "ERROR_PAGEURL"),
        (&[RECAPTCHA[0], RECAPTCHA[1], ("pageurl", "no url")], "ERROR_PAGEURL"),
        (&FUN[..2], "ERROR_PAGEURL"),
        (&[FUN[0], PAGE], "ERROR_BAD_PARAMETERS"),
        (&[("method", "keycaptcha"), PAGE], "ERROR_BAD_PARAMETERS"),
        (&[RECAPTCHA[0], RECAPTCHA[1], PAGE, ("invisible", "2")], "ERROR_BAD_PARAMETERS"),
        (&[RECAPTCHA[0], RECAPTCHA[1], PAGE, ("proxy", "nonsense")], "ERROR_PROXY_FORMAT"),
        (
            &[RECAPTCHA[0], RECAPTCHA[1], PAGE, ("proxy", "1.2.3.4:80"), ("proxytype", "FTP")],
            "ERROR_PROXY_FORMAT",
        ),
        (&[RECAPTCHA[0], RECAPTCHA[1], PAGE, ("soft_id", "me")], "ERROR_BAD_PARAMETERS"),
    ])
    .await;
}

#[tokio::test]
async fn an_image_outside_its_limits_is_refused() {
    let provider = Provider::spawn(Knobs { limits: false, ..never_solved() }).await;
    let padded = |start: &[u8], length: usize| [start, &vec![0; length]].concat();
    for (image, code) in [
        (vec![], "ERROR_ZERO_CAPTCHA_FILESIZE"),
        (padded(b"GIF89a\x10\0\x10\0", 50), "ERROR_ZERO_CAPTCHA_FILESIZE"),
        (padded(b"GIF89a\x10\0\x10\0", 102_400), "ERROR_TOO_BIG_CAPTCHA_FILESIZE"),
        (padded(b"BM", 200), "ERROR_WRONG_FILE_EXTENSION"),
        (padded(b"<html>", 200), "ERROR_IMAGE_TYPE_NOT_SUPPORTED"),
    ] {
        assert_eq!(provider.upload(&[("method", "post")], &[("file", image)]).await, code);
    }
    assert_eq!(provider.upload(&[("method", "post")], &[]).await, "ERROR_ZERO_CAPTCHA_FILESIZE");
    let rotate = [("method", "rotatecaptcha")];
    assert_eq!(provider.upload(&rotate, &[]).await, "ERROR_ZERO_CAPTCHA_FILESIZE");
    assert_eq!(
        provider.upload(&rotate, &[("file_1", padded(b"x", 200))]).await,
        "ERROR_IMAGE_TYPE_NOT_SUPPORTED"
    );
    let fields = [("method", "post"), ("recaptcha", "1")];
    let instructed = [("file", gif(300, 300, 1)), ("imginstructions", gif(101, 20, 1))];
    assert_eq!(provider.upload(&fields, &instructed).await, "ERROR_BAD_PARAMETERS");
    let instructed = [("file", gif(300, 300, 1)), ("imginstructions", padded(b"GIF89a\x10\0\x10\0", 25_600))];
    assert_eq!(provider.upload(&fields, &instructed).await, "ERROR_TOO_BIG_CAPTCHA_FILESIZE");
    let instructed = [("file", gif(300, 300, 1)), ("imginstructions", gif(100, 100, 1))];
    assert!(provider.upload(&fields, &instructed).await.starts_with("OK|"));
}

#[tokio::test]
async fn a_hint_outside_its_range_is_refused() {
    let body = gif_base64(120, 40, 1);
    let long = "x".repeat(141);
    let provider = Provider::spawn(Knobs { limits: false, ..never_solved() }).await;
    for hints in [
        &[("phrase", "2")][..],
        &[("regsense", "-1")],
        &[("numeric", "5")],
        &[("calc", "yes")],
        &[("min_len", "21")],
        &[("max_len", "21")],
        &[("min_len", "6"), ("max_len", "5")],
        &[("language", "3")],
        &[("textinstructions", &long)],
        &[("header_acao", "2")],
        &[("recaptcha", "1")],
        &[("recaptcha", "1"), ("textinstructions", "x"), ("recaptcharows", "5"), ("recaptchacols", "4")],
        &[("recaptcha", "1"), ("textinstructions", "x"), ("canvas", "2")],
        &[("recaptcha", "1"), ("coordinatescaptcha", "1"), ("textinstructions", "x")],
    ] {
        let form = [&[("method", "base64"), ("body", body.as_str())], hints].concat();
        assert_eq!(provider.submit(&form).await, "ERROR_BAD_PARAMETERS", "{hints:?}");
    }
    assert_eq!(provider.submit(&[("textcaptcha", &long)]).await, "ERROR_BAD_PARAMETERS");
    assert_eq!(
        provider.submit(&[("method", "base64"), ("body", "%%%")]).await,
        "ERROR_IMAGE_TYPE_NOT_SUPPORTED"
    );
}

#[tokio::test]
async fn an_error_in_json_says_what_it_means_and_status_is_200() {
    let provider = Provider::spawn(never_solved()).await;
    let form = [
        ("key", DEFAULT_KEY),
        ("json", "1"),
        ("header_acao", "1"),
        ("method", "funcaptcha"),
        ("publickey", "x"),
    ];
    let response = provider.http.post(format!("{}/in.php", provider.base)).form(&form).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    let reply: Value = response.json().await.unwrap();
    assert_eq!((&reply["status"], &reply["request"]), (&json!(0), &json!("ERROR_PAGEURL")));
    assert!(reply["error_text"].is_string());
}

#[tokio::test]
async fn a_set_code_refuses_every_captcha() {
    let provider = Provider::spawn(Knobs { code: Some("IP_BANNED".to_owned()), ..Knobs::default() }).await;
    assert_eq!(provider.submit(&RECAPTCHA).await, "IP_BANNED");
}

#[tokio::test]
async fn a_set_code_refuses_every_result_but_no_captcha_and_no_wrong_key() {
    let code = Some("ERROR: 1005".to_owned());
    let provider = Provider::spawn(Knobs { result_code: code, ..never_solved() }).await;
    let id = provider.id(&RECAPTCHA).await;
    for query in [&[("action", "get"), ("id", id.as_str())][..], &[("action", "getbalance")], &[]] {
        assert_eq!(provider.result(query).await, "ERROR: 1005");
    }
    assert_eq!(provider.result(&[("key", "wrong")]).await, "ERROR_WRONG_USER_KEY");
}

#[tokio::test]
async fn a_body_over_16_mib_gets_a_page() {
    let provider = Provider::spawn(Knobs::default()).await;
    let body = vec![b'a'; 16 * 1024 * 1024 + 1];
    let sent = provider.http.post(format!("{}/in.php", provider.base)).body(body).send().await;
    // The connection may close while the client is still sending.
    if let Ok(response) = sent {
        assert_eq!(response.status(), 413);
    }
    assert!(provider.sandbox.requests().is_empty());
}
