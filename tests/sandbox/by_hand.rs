//! Captchas that a person solves.

use pingbox::sandbox::{Answers, Knobs, Share};
use serde_json::{Value, json};

use crate::harness::{Provider, Receiver, base64_of, gif, gif_base64, never_solved};

/// Captchas wait for a person; without one they would be solved before their id is known.
fn by_hand() -> Knobs {
    Knobs { by_hand: true, early: Share::ALWAYS, ..never_solved() }
}

async fn get(provider: &Provider, path: &str) -> reqwest::Response {
    provider.http.get(format!("{}{path}", provider.base)).send().await.unwrap()
}

async fn questions(provider: &Provider) -> Vec<Value> {
    let mut shown: Value = get(provider, "/sandbox/questions").await.json().await.unwrap();
    serde_json::from_value(shown["questions"].take()).unwrap()
}

async fn solve(provider: &Provider, body: Value) -> u16 {
    let url = format!("{}/sandbox/solve", provider.base);
    provider.http.post(url).json(&body).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_captcha_waits_with_its_picture_until_a_person_answers() {
    let provider = Provider::spawn(by_hand()).await;
    let instruction = base64_of(&gif(100, 40, 3));
    let body = gif_base64(300, 80, 9);
    let form = [
        ("method", "base64"),
        ("body", body.as_str()),
        ("coordinatescaptcha", "1"),
        ("textinstructions", "Click the stars"),
        ("imginstructions", instruction.as_str()),
        ("language", "2"),
    ];
    let id = provider.id(&form).await;
    assert_eq!(provider.result(&[("action", "get"), ("id", &id)]).await, "CAPCHA_NOT_READY");

    let asked = questions(&provider).await.remove(0);
    assert_eq!(
        (&asked["id"], &asked["form"], &asked["text"]),
        (&json!(id), &json!("points"), &json!("Click the stars"))
    );
    assert_eq!(asked["parameters"], json!({"language": "2"}));
    let reply = get(&provider, asked["images"][0].as_str().unwrap()).await;
    assert_eq!(reply.headers()["content-type"], "image/gif");
    assert_eq!(reply.headers()["x-content-type-options"], "nosniff");
    assert_eq!(reply.bytes().await.unwrap(), gif(300, 80, 9));
    let reply = get(&provider, asked["instruction"].as_str().unwrap()).await;
    assert_eq!(reply.bytes().await.unwrap(), gif(100, 40, 3));
    for unknown in ["2", "0", "x"] {
        assert_eq!(get(&provider, &format!("/sandbox/questions/{id}/{unknown}")).await.status(), 404);
    }

    assert_eq!(solve(&provider, json!({"id": id, "answer": "coordinate:x=1,y=2"})).await, 204);
    assert_eq!(provider.result(&[("action", "get"), ("id", &id)]).await, "OK|coordinate:x=1,y=2");
    assert_eq!(questions(&provider).await, Vec::<Value>::new());
    assert_eq!(get(&provider, &format!("/sandbox/questions/{id}/1")).await.status(), 404);
}

#[tokio::test]
async fn a_person_may_say_that_it_cannot_be_solved() {
    let provider = Provider::spawn(by_hand()).await;
    let mut receiver = Receiver::registered(&provider).await;
    let id = provider.id(&[("textcaptcha", "Who am I?"), ("pingback", &receiver.url)]).await;
    assert_eq!(solve(&provider, json!({"id": id, "answer": "x", "unsolvable": true})).await, 422);
    assert_eq!(solve(&provider, json!({"id": id})).await, 422);
    assert_eq!(solve(&provider, json!({"id": id, "unsolvable": true})).await, 204);
    let pingback = receiver.next().await;
    assert_eq!((&pingback["id"], &pingback["code"]), (&id, &"ERROR_CAPTCHA_UNSOLVABLE".to_owned()));
    assert_eq!(provider.result(&[("action", "getbalance")]).await, "1000");
}

#[tokio::test]
async fn nobody_is_asked_for_what_is_known_or_cannot_be_solved() {
    let answers = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/answers.json");
    let provider = Provider::with_answers(by_hand(), Answers::load(&answers).unwrap()).await;
    let known = std::fs::read("tests/data/captcha-01-x7k2p.png").unwrap();
    assert_eq!(provider.image_answer(&known, &[]).await, "x7k2p");

    provider.sandbox.set_knobs(Knobs { unsolvable: Share::ALWAYS, ..by_hand() });
    let id = provider.id(&[("textcaptcha", "Who am I?")]).await;
    assert_eq!(provider.result(&[("action", "get"), ("id", &id)]).await, "ERROR_CAPTCHA_UNSOLVABLE");
    assert_eq!(questions(&provider).await, Vec::<Value>::new());
}

#[tokio::test]
async fn turning_the_knob_leaves_those_that_wait() {
    let provider = Provider::spawn(by_hand()).await;
    let id = provider.id(&[("textcaptcha", "Who am I?")]).await;
    provider.sandbox.set_by_hand(false);
    provider.answer(&[("textcaptcha", "Who are you?")]).await;
    assert_eq!(questions(&provider).await[0]["id"], json!(id));
    assert_eq!(solve(&provider, json!({"id": id, "answer": "me"})).await, 204);
    assert_eq!(provider.result(&[("action", "get"), ("id", &id)]).await, "OK|me");
}
