//! Who is let in.

use crate::program::TOKEN;
use crate::stage::Stage;

#[tokio::test]
async fn one_signs_in_with_a_token_and_out_again() {
    let Some(stage) = Stage::open(&[]).await else { return };
    let browser = &stage.browser;
    stage.go("/tasks").await;
    assert_eq!(browser.path().await, "/sign-in?next=%2Ftasks");
    browser.type_into("#token", "00000000000000000000000000000000").await;
    browser.click("main button").await;
    browser.until_it_says("no token that pingbox knows").await;

    browser.type_into("#token", TOKEN).await;
    browser.click("main button").await;
    browser.until_it_says("There are none yet").await;
    assert_eq!(browser.path().await, "/tasks");

    browser.click("form.out button").await;
    browser.until_it_says("Sign in").await;
    stage.go("/tasks").await;
    assert_eq!(browser.path().await, "/sign-in?next=%2Ftasks");
    // The wrong token.
    stage.close_after(&["status of 401"]).await;
}

#[tokio::test]
async fn a_page_leads_to_the_sign_in_once_the_session_is_over() {
    let Some(stage) = Stage::signed_in(&[]).await else { return };
    let browser = &stage.browser;
    stage.go("/tasks").await;
    browser.forget_cookies().await;
    // Somebody comes back to the page.
    browser.script("document.dispatchEvent(new Event('visibilitychange'))").await;
    browser.until("return location.pathname + location.search === '/sign-in?next=%2Ftasks'").await;
    stage.close().await;
}
