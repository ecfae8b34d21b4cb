//! Captchas that a person solves on the page.

use serde_json::json;

use crate::stage::Stage;

#[tokio::test]
async fn one_solves_by_clicking_by_typing_and_by_giving_up() {
    let Some(stage) = Stage::signed_in(&[]).await else { return };
    let browser = &stage.browser;
    stage.go("/solve").await;
    browser.click("#by-hand-on").await;
    browser.until_it_says("Captchas wait here").await;

    // The next one shows up by itself, and is clicked in its middle.
    let fields = [("type", "click"), ("textinstructions", "Click the hat")];
    let clicked = stage.upload("/v1/tasks", &fields, &[("file", "captcha-01-x7k2p.png")]).await;
    browser.until_it_says("Click the hat").await;
    browser.click("svg[data-pick]").await;
    let off = "const box = document.querySelector('svg[data-pick]').viewBox.baseVal;
        const [x, y] = document.getElementById('answer').value.split(',');
        return Math.max(Math.abs(x - box.width / 2), Math.abs(y - box.height / 2))";
    assert!(browser.script(off).await.as_f64().unwrap() <= 1.0);
    assert_eq!(browser.count("circle.mark-dot").await, 1);
    browser.click("[data-undo]").await;
    assert_eq!(browser.script("return document.getElementById('answer').value").await, "");
    browser.type_into("#answer", "5").await;
    browser.click("#send").await;
    browser.until_it_says("pairs of numbers").await;
    browser.type_into("#answer", ",7 20,30").await;
    browser.click("#send").await;
    browser.until_it_says("No captcha waits").await;
    let task = stage.ended(&clicked).await;
    assert_eq!(task["answer"]["points"], json!([{"x": 5, "y": 7}, {"x": 20, "y": 30}]), "{task}");

    let hopeless = stage.submit(json!({"type": "text", "textcaptcha": "What am I thinking of?"})).await;
    browser.until_it_says("What am I thinking of?").await;
    browser.click("#unsolvable").await;
    browser.until_it_says("No captcha waits").await;
    assert_eq!(stage.ended(&hopeless).await["error"]["code"], "ERROR_CAPTCHA_UNSOLVABLE");
    stage.close().await;
}

#[tokio::test]
async fn undo_takes_back_the_last_click_whichever_cell_it_was_on() {
    let Some(stage) = Stage::signed_in(&["--by-hand"]).await else { return };
    let browser = &stage.browser;
    let fields = [("type", "recaptcha_image"), ("textinstructions", "Select all squares with stars")];
    stage.upload("/v1/tasks", &fields, &[("file", "grid-3x3-2-4-9.jpg")]).await;
    stage.go("/solve").await;
    browser.until_it_says("with stars").await;
    // The last one, the first one, and the last one once more, which is not chosen then.
    let clicks = "const svg = document.querySelector('svg[data-pick]');
        const box = svg.getBoundingClientRect();
        const typed = [];
        for (const part of [5 / 6, 1 / 6, 5 / 6]) {
            const [clientX, clientY] = [box.left + part * box.width, box.top + part * box.height];
            svg.dispatchEvent(new MouseEvent('click', { clientX, clientY, bubbles: true }));
            typed.push(document.getElementById('answer').value);
        }
        return typed";
    assert_eq!(browser.script(clicks).await, json!(["9", "1 9", "1"]));
    for left in ["1 9", "9", ""] {
        browser.click("[data-undo]").await;
        assert_eq!(browser.script("return document.getElementById('answer').value").await, left);
    }
    stage.close().await;
}
