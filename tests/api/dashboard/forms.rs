//! Forms: whose they are, and what they do.

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::person::{ADMIN, Person, WITH_ADMIN, task, token};
use crate::harness::{TestApp, never_solved, reply, solved_at_once};

/// A service, and the number of a delivery on it whose receiver is not there.
async fn with_delivery() -> (TestApp, String) {
    let environment = [WITH_ADMIN, ("PINGBOX_WEBHOOKS__ALLOW_PRIVATE", "127.0.0.1/32")];
    let app = TestApp::with(solved_at_once(), &environment).await;
    let id = task(&app, ADMIN, json!({"webhook_url": "http://127.0.0.1:9/hook"})).await;
    let url = format!("{}/v1/tasks/{id}?wait=30", app.api);
    let (_, solved) = reply(app.http.get(url).bearer_auth(ADMIN)).await;
    assert_eq!(solved["status"], "solved", "{solved}");
    let (_, list) =
        reply(app.http.get(format!("{}/v1/webhooks/deliveries", app.api)).bearer_auth(ADMIN)).await;
    let delivery = list["deliveries"][0]["id"].as_str().unwrap().to_owned();
    (app, delivery)
}

#[tokio::test]
async fn a_form_that_is_of_no_page_of_this_browser_is_refused() {
    let (app, delivery) = with_delivery().await;
    let (id, _) = token(&app, "victim", &["read"]).await;
    let mut person = Person::with(&app, ADMIN).await;
    let form_token = person.open("/tokens").await.form_token();
    let of_another = Person::with(&app, ADMIN).await.open("/tokens").await.form_token();
    let base = app.api.clone();
    let (revoke, replay) = (format!("/tokens/{id}/revoke"), format!("/deliveries/{delivery}/replay"));
    let fields = [("token", ADMIN), ("name", "mine"), ("admin", "1")];
    for path in ["/sign-in", "/sign-out", "/tokens", &revoke, &replay] {
        for (why, carried, header) in [
            ("nothing carried", "", ("Origin", base.as_str())),
            ("of another browser", of_another.as_str(), ("Origin", base.as_str())),
            ("of another site", form_token.as_str(), ("Origin", "https://evil.example")),
            ("without an origin", form_token.as_str(), ("Origin", "null")),
            ("of another site by the browser's word", form_token.as_str(), ("Sec-Fetch-Site", "cross-site")),
            ("of another port of this host", form_token.as_str(), ("Sec-Fetch-Site", "same-site")),
        ] {
            let form: Vec<_> = fields.iter().chain(&[("form_token", carried)]).copied().collect();
            let request = person.request(Method::POST, path).header(header.0, header.1).form(&form);
            let page = person.send(request).await;
            assert_eq!(page.status, StatusCode::FORBIDDEN, "{path}: {why}");
        }
    }
    // Nothing came of it: nobody is signed out, no token made or gone.
    let page = person.open("/tokens").await;
    assert!(page.has("victim") && !page.has(">mine<"), "{}", page.text);
}

#[tokio::test]
async fn a_token_that_is_made_is_shown_once_and_opens_what_was_ticked() {
    let app = TestApp::with(never_solved(), &[WITH_ADMIN]).await;
    let mut person = Person::with(&app, ADMIN).await;
    let form_token = person.open("/tokens").await.form_token();
    let page = person.fill("/tokens", &form_token, &[("name", "<i>ci</i>"), ("read", "1")]).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    let (_, rest) = page.text.split_once(r#"readonly value=""#).unwrap();
    let made = rest.split_once('"').unwrap().0.to_owned();
    assert_eq!(made.len(), 32, "{made}");
    let page = person.open("/tokens").await;
    assert!(!page.has(&made) && page.has("&#60;i&#62;ci&#60;/i&#62;") && !page.has("<i>"), "{}", page.text);
    let status = |path: &str| app.http.get(format!("{}{path}", app.api)).bearer_auth(&made);
    assert_eq!(reply(status("/v1/tasks")).await.0, StatusCode::OK);
    assert_eq!(reply(status("/v1/tokens")).await.0, StatusCode::FORBIDDEN);

    let (_, list) = reply(app.http.get(format!("{}/v1/tokens", app.api)).bearer_auth(ADMIN)).await;
    let path = format!("/tokens/{}/revoke", list["tokens"][0]["id"].as_str().unwrap());
    assert_eq!(person.fill(&path, &form_token, &[]).await.leads_to(), "/tokens");
    assert_eq!(reply(status("/v1/tasks")).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_is_wrong_with_a_form_is_said_on_a_page() {
    let app = TestApp::with(never_solved(), &[WITH_ADMIN]).await;
    let mut person = Person::with(&app, ADMIN).await;
    let form_token = person.open("/tokens").await.form_token();
    let page = person.fill("/tokens", &form_token, &[("name", "nobody")]).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        page.has("Scopes is missing: a list of submit, read and admin.") && page.has("<nav"),
        "{}",
        page.text
    );
}

#[tokio::test]
async fn a_delivery_is_sent_again_from_its_page() {
    let (app, delivery) = with_delivery().await;
    let mut person = Person::with(&app, ADMIN).await;
    let path = format!("/deliveries/{delivery}");
    assert!(person.open("/deliveries").await.has(&format!(r#"href="{path}""#)));
    let page = person.open(&path).await;
    assert!(page.has("127.0.0.1:9") && page.has("task.solved"), "{}", page.text);
    let replayed = person.fill(&format!("{path}/replay"), &page.form_token(), &[]).await;
    assert_eq!(replayed.leads_to(), path);
    // Sent again, it begins anew: tries are counted from there.
    let url = format!("{}/v1/webhooks{path}", app.api);
    let (_, shown) = reply(app.http.get(url).bearer_auth(ADMIN)).await;
    assert_eq!(shown["status"], "waiting", "{shown}");
}

#[tokio::test]
async fn who_may_only_read_can_neither_replay_nor_see_tokens() {
    let (app, delivery) = with_delivery().await;
    let (_, reader) = token(&app, "reader", &["read"]).await;
    let mut person = Person::with(&app, &reader).await;
    let page = person.open("/").await;
    assert!(!page.has(r#"href="/tokens""#), "{}", page.text);
    let form_token = page.form_token();
    let page = person.open("/tokens").await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert!(page.has("The token lacks the scope admin.") && page.has("Sign out"), "{}", page.text);
    for (path, fields) in [
        (format!("/deliveries/{delivery}/replay"), &[][..]),
        ("/tokens".to_owned(), &[("name", "mine"), ("admin", "1")][..]),
        ("/tokens/1/revoke".to_owned(), &[][..]),
    ] {
        assert_eq!(person.fill(&path, &form_token, fields).await.status, StatusCode::FORBIDDEN, "{path}");
    }
    let (_, submitter) = token(&app, "submitter", &["submit"]).await;
    let mut person = Person::with(&app, &submitter).await;
    let page = person.open("/").await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert!(page.has("The token lacks the scope read.") && page.has("Sign out"), "{}", page.text);
    // It is not its delivery.
    let form_token = page.form_token();
    let replayed = person.fill(&format!("/deliveries/{delivery}/replay"), &form_token, &[]).await;
    assert_eq!(replayed.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_first_token_made_on_an_open_page_shuts_it() {
    let app = TestApp::spawn().await;
    let mut person = Person::at(&app);
    let page = person.open("/tokens").await;
    assert!(page.has("whoever reaches this listener may do everything"), "{}", page.text);
    let form_token = page.form_token();
    let page = person.fill("/tokens", &form_token, &[("name", "me"), ("admin", "1")]).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    assert!(page.has("from here on a token is needed"), "{}", page.text);
    assert_eq!(person.open("/").await.leads_to(), "/sign-in");
}
