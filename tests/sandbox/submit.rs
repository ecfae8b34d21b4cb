//! `in.php`: each method, and replies that get lost.

use pingbox::sandbox::{Answers, DEFAULT_KEY, Knobs, Share};
use serde_json::{Value, json};

use crate::harness::{Provider, gif, gif_base64, never_solved, solved_at_once};

const PAGE: (&str, &str) = ("pageurl", "http://site.example/page?a=1");
const RECAPTCHA: [(&str, &str); 3] = [("method", "userrecaptcha"), ("googlekey", "6Le-wvkSAAAA_x"), PAGE];
const FUN: [(&str, &str); 3] = [("method", "funcaptcha"), ("publickey", "12AB-CD"), PAGE];

#[tokio::test]
async fn an_id_has_11_digits_in_text_and_json_and_ids_rise() {
    let provider = Provider::spawn(never_solved()).await;
    let first = provider.id(&RECAPTCHA).await;
    let form = [RECAPTCHA.as_slice(), &[("json", "1")]].concat();
    let reply: Value = provider.submit(&form).await.parse().unwrap();
    let second = reply["request"].as_str().unwrap();
    assert_eq!(reply["status"], 1);
    assert_eq!((first.len(), second.len()), (11, 11));
    assert!(first.as_str() < second);
}

#[tokio::test]
async fn the_same_captcha_is_taken_in_every_encoding() {
    let provider = Provider::spawn(solved_at_once()).await;
    let (http, url) = (&provider.http, format!("{}/in.php", provider.base));
    let body = gif_base64(120, 40, 1);
    let fields = [("key", DEFAULT_KEY), ("method", "base64"), ("body", body.as_str())];
    let object = json!({"key": DEFAULT_KEY, "method": "base64", "body": body, "phrase": 0});
    let half = json!({"method": "base64", "body": body}).to_string();
    for request in [
        http.post(&url).form(&fields),
        http.get(&url).query(&fields),
        http.post(&url).json(&object),
        http.post(&url).query(&fields[..1]).header("content-type", "text/plain").body(half),
    ] {
        let reply = request.send().await.unwrap().text().await.unwrap();
        assert!(reply.starts_with("OK|"), "{reply}");
    }
    let upload = provider.upload(&[("method", "post")], &[("file", gif(120, 40, 1))]).await;
    assert!(upload.starts_with("OK|"), "{upload}");

    let logged = provider.sandbox.requests();
    let images: Vec<_> = logged
        .iter()
        .map(|request| request.parameters.get("body").or(request.parameters.get("file")))
        .collect();
    assert_eq!(images.len(), 5);
    assert!(images.iter().all(|image| image.is_some() && *image == images[0]), "{images:?}");
}

#[tokio::test]
async fn an_answer_has_the_shape_of_its_type() {
    let provider = Provider::spawn(solved_at_once()).await;
    let image = gif(300, 300, 3);

    let text = provider.image_answer(&image, &[]).await;
    assert_eq!(text.len(), 6);
    assert!(text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()), "{text}");
    assert_eq!(text, provider.image_answer(&image, &[]).await, "the same image, the same answer");

    let word = provider.answer(&[("textcaptcha", "What day is tomorrow?")]).await;
    assert!(!word.is_empty() && !word.contains(' '));
    assert!(provider.answer(&RECAPTCHA).await.starts_with("03AHJ_"));
    let grid = [("recaptcha", "1"), ("textinstructions", "trees")];
    assert!(provider.image_answer(&image, &grid).await.starts_with("click:"));
    let canvas = [("recaptcha", "1"), ("textinstructions", "trees"), ("canvas", "1")];
    let canvas = provider.image_answer(&image, &canvas).await;
    assert!(canvas.starts_with("canvas:") && canvas.ends_with(';'), "{canvas}");
    let click = provider.image_answer(&image, &[("coordinatescaptcha", "1")]).await;
    assert!(click.starts_with("coordinate:x="), "{click}");
    assert!(provider.answer(&FUN).await.contains("|pk=12AB-CD|"));
    let short = provider.answer(&[FUN.as_slice(), &[("nojs", "1")]].concat()).await;
    assert_eq!(short.split('|').count(), 2, "{short}");
    let key = [
        ("method", "keycaptcha"),
        ("s_s_c_user_id", "10"),
        ("s_s_c_session_id", "493e52c3"),
        ("s_s_c_web_server_sign", "9006dc72-pz-"),
        ("s_s_c_web_server_sign2", "2ca3abe8"),
        PAGE,
    ];
    let key = provider.answer(&key).await;
    assert_eq!(key.split('|').count(), 5, "{key}");
    assert!(key.contains("|9006dc72|") && key.ends_with("|493e52c3|1"), "{key}");
    assert!(provider.answer(&[("method", "turnstile"), ("sitekey", "0x4AAA"), PAGE]).await.len() > 100);
}

#[tokio::test]
async fn rotated_images_get_one_angle_each() {
    let provider = Provider::spawn(solved_at_once()).await;
    let files = [("file_1", gif(200, 200, 1)), ("file_2", gif(200, 200, 2)), ("file_3", gif(200, 200, 3))];
    let reply = provider.upload(&[("method", "rotatecaptcha"), ("angle", "30")], &files).await;
    let answer = provider.result(&[("action", "get"), ("id", &reply[3..])]).await;
    let angles: Vec<i32> = answer[3..].split('|').map(|angle| angle.parse().unwrap()).collect();
    assert_eq!(angles.len(), 3);
    assert!(angles.iter().all(|angle| angle % 30 == 0 && *angle != 0), "{angles:?}");
}

#[tokio::test]
async fn the_same_captcha_counts_as_sent_twice_unless_the_first_has_failed() {
    let provider = Provider::spawn(never_solved()).await;
    let sent_twice = || provider.sandbox.counters().sent_twice;
    let body = gif_base64(120, 40, 1);
    let image = [("method", "base64"), ("body", body.as_str())];
    let first = provider.id(&image).await;
    provider.id(&RECAPTCHA).await;
    provider.id(&[("textcaptcha", "one?")]).await;
    assert_eq!(
        provider.submit(&[("method", "base64"), ("body", "%%%")]).await,
        "ERROR_IMAGE_TYPE_NOT_SUPPORTED"
    );
    assert_eq!(sent_twice(), 0);

    provider.sandbox.solve(&first.parse().unwrap(), "ERROR_CAPTCHA_UNSOLVABLE").unwrap();
    let second = provider.id(&image).await;
    assert_eq!(sent_twice(), 0);
    provider.sandbox.solve(&second.parse().unwrap(), "answer").unwrap();
    provider.id(&image).await;
    let elsewhere = [RECAPTCHA.as_slice(), &[("pingback", "http://127.0.0.1:9/other")]].concat();
    provider.id(&elsewhere).await;
    assert_eq!(sent_twice(), 2);
    assert!(provider.sandbox.broken_rules().is_empty());
}

#[tokio::test]
async fn a_known_answer_stands_over_the_made_up_one() {
    use sha2::Digest as _;
    let image = gif(120, 40, 9);
    let digest = format!("{:x}", bytes::Bytes::copy_from_slice(&sha2::Sha256::digest(&image)));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), json!({digest: "w9h5k"}).to_string()).unwrap();
    let provider = Provider::with_answers(solved_at_once(), Answers::load(file.path()).unwrap()).await;
    assert_eq!(provider.image_answer(&image, &[]).await, "w9h5k");
}

#[tokio::test]
async fn a_cut_reply_still_takes_the_captcha() {
    let knobs = Knobs { cut: Share::ALWAYS, limits: false, seed: Some(1), ..never_solved() };
    let provider = Provider::spawn(knobs).await;
    let form: Vec<_> = RECAPTCHA.into_iter().chain([("key", DEFAULT_KEY)]).collect();
    let (mut empty, mut closed, mut half) = (0, 0, 0);
    for _ in 0..20 {
        let sent = provider.http.post(format!("{}/in.php", provider.base)).form(&form).send().await;
        let Ok(mut response) = sent else {
            closed += 1;
            continue;
        };
        assert_eq!(response.status(), 200);
        let length = response.content_length();
        match response.chunk().await.unwrap() {
            None => empty += 1,
            Some(beginning) => {
                // `OK|` and 11 digits, of which half arrive.
                assert_eq!((length, beginning.len(), &beginning[..3]), (Some(14), 7, &b"OK|"[..]));
                response.chunk().await.unwrap_err();
                half += 1;
            }
        }
    }
    assert!(empty > 0 && closed > 0 && half > 0, "{empty} empty, {closed} closed, {half} halves");
    assert!(provider.sandbox.pending().len() >= 20);
}

#[tokio::test]
async fn an_error_page_and_a_hang_take_nothing() {
    let provider = Provider::spawn(Knobs { html_5xx: Share::ALWAYS, ..never_solved() }).await;
    let response = provider.http.get(format!("{}/res.php", provider.base)).send().await.unwrap();
    assert!(matches!(response.status().as_u16(), 500 | 502));
    assert!(provider.submit(&RECAPTCHA).await.starts_with("<html>"));

    provider.sandbox.set_knobs(Knobs { hang: Share::ALWAYS, ..never_solved() });
    let asked = tokio::spawn(provider.http.get(format!("{}/in.php?method=x", provider.base)).send());
    provider.until(|sandbox| sandbox.requests().len() == 3).await;
    assert!(!asked.is_finished());
    assert!(provider.sandbox.pending().is_empty());
}
