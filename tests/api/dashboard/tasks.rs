//! Tasks on pages, and who sees and changes them there.

use pingbox::sandbox::Knobs;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::person::{ADMIN, Person, WITH_ADMIN, task, token};
use crate::harness::{PATIENCE, TestApp, never_solved, reply, solved_at_once};

/// Text that begins as a GIF does.
const IMAGE: &str = concat!("GIF89a", "<script>alert(1)</script>");

/// A `click` task with this content, the text of a page in it, and the tag `click & tell`; its id.
async fn with_image(app: &TestApp, token: &str) -> String {
    use base64::Engine as _;
    let content = format!("{IMAGE:x<200}");
    let body = base64::engine::general_purpose::STANDARD.encode(content);
    let body = json!({"type": "click", "textinstructions": "Click <b>here</b>", "body": body, "tag": "click & tell"});
    let (status, task) = reply(app.submission().bearer_auth(token).json(&body)).await;
    assert_eq!(status, StatusCode::CREATED, "{task}");
    task["id"].as_str().unwrap().to_owned()
}

/// The task as the API tells this token of it, once it is as `wanted`.
async fn until(app: &TestApp, token: &str, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let poll = async {
        loop {
            let (status, task) =
                reply(app.http.get(format!("{}/v1/tasks/{id}", app.api)).bearer_auth(token)).await;
            assert_eq!(status, StatusCode::OK, "{task}");
            if wanted(&task) {
                return task;
            }
        }
    };
    timeout(PATIENCE, poll).await.expect("it comes about")
}

#[tokio::test]
async fn no_page_shows_a_task_of_another_token() {
    let app = TestApp::with(never_solved(), &[WITH_ADMIN]).await;
    let (_, one) = token(&app, "one", &["submit", "read"]).await;
    let (_, other) = token(&app, "other", &["submit", "read"]).await;
    let id = with_image(&app, &one).await;
    let task = until(&app, &one, &id, |task| task["captcha_id"].is_string()).await;
    let captcha_id = task["captcha_id"].as_str().unwrap();
    let paths = [format!("/tasks/{id}"), format!("/tasks/{id}/images/0")];
    let named = format!("href=\"/tasks/{id}\"");
    for (token, status) in [(&one, StatusCode::OK), (&other, StatusCode::NOT_FOUND)] {
        let mut person = Person::with(&app, token).await;
        for path in &paths {
            assert_eq!(person.open(path).await.status, status, "{path}");
        }
        for query in ["", &id, captcha_id, "click+%26+tell"] {
            let list = format!("/tasks?type=click&q={query}");
            let page = person.open(&list).await;
            assert_eq!(page.has(&named), status == StatusCode::OK, "{list}: {}", page.text);
        }
        assert_eq!(person.open("/solve").await.status, StatusCode::FORBIDDEN);
    }
}

#[tokio::test]
async fn no_page_changes_a_task_of_another_token() {
    let app = TestApp::with(solved_at_once(), &[WITH_ADMIN]).await;
    let (_, one) = token(&app, "one", &["submit", "read"]).await;
    let (_, other) = token(&app, "other", &["submit", "read"]).await;
    let id = task(&app, &one, json!({})).await;
    let solved = until(&app, &one, &id, |task| task["status"] == "solved").await;
    app.sandbox.set_knobs(Knobs { code: Some("ERROR_ZERO_BALANCE".to_owned()), ..solved_at_once() });
    let id = task(&app, &one, json!({})).await;
    let queued = until(&app, &one, &id, |task| task["status"] == "queued" && !task["reason"].is_null()).await;

    let acts = [("report", &solved, &[("verdict", "bad")][..]), ("cancel", &queued, &[])];
    let mut stranger = Person::with(&app, &other).await;
    let form_token = stranger.open("/tasks").await.form_token();
    for (act, task, fields) in acts {
        let id = task["id"].as_str().unwrap();
        let page = stranger.fill(&format!("/tasks/{id}/{act}"), &form_token, fields).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{act}: {}", page.text);
        assert_eq!(&until(&app, &one, id, |_| true).await, task, "{act}");
    }
    assert_eq!(app.number("SELECT COUNT(*) FROM report").await, 0);
    // Whose they are may.
    let mut owner = Person::with(&app, &one).await;
    let form_token = owner.open("/tasks").await.form_token();
    for (act, task, fields) in acts {
        let path = format!("/tasks/{}", task["id"].as_str().unwrap());
        let page = owner.fill(&format!("{path}/{act}"), &form_token, fields).await;
        assert_eq!(page.leads_to(), path, "{act}");
    }
}

#[tokio::test]
async fn an_image_is_sent_as_what_it_is_and_never_as_a_page() {
    let app = TestApp::with(never_solved(), &[WITH_ADMIN]).await;
    let id = with_image(&app, ADMIN).await;
    let mut person = Person::with(&app, ADMIN).await;
    let image = person.open(&format!("/tasks/{id}/images/0")).await;
    assert_eq!(image.header("content-type"), "image/gif");
    assert_eq!(image.header("x-content-type-options"), "nosniff");
    assert!(image.header("content-security-policy").contains("default-src 'none'"));
    for other in ["1", "x", "-1"] {
        assert_eq!(person.open(&format!("/tasks/{id}/images/{other}")).await.status, StatusCode::NOT_FOUND);
    }
    let page = person.open(&format!("/tasks/{id}")).await;
    assert!(page.has("Click &#60;b&#62;here&#60;/b&#62;"), "{}", page.text);
    assert!(!page.has("<script>"), "{}", page.text);
}

#[tokio::test]
async fn a_task_is_found_by_its_id_its_tag_and_filtered() {
    let app = TestApp::with(never_solved(), &[WITH_ADMIN]).await;
    let one = task(&app, ADMIN, json!({"tag": "one & only"})).await;
    let two = with_image(&app, ADMIN).await;
    let mut person = Person::with(&app, ADMIN).await;
    for (query, found) in [
        (format!("q={one}"), [true, false]),
        ("q=one+%26+only".to_owned(), [true, false]),
        (format!("q={two}&type=click"), [false, true]),
        (format!("q={two}&type=text"), [false, false]),
        ("status=solved".to_owned(), [false, false]),
        ("type=text&q=".to_owned(), [true, false]),
        ("q=%00".to_owned(), [false, false]),
        (format!("cursor={two}"), [true, false]),
    ] {
        let page = person.open(&format!("/tasks?{query}")).await;
        assert_eq!(page.status, StatusCode::OK, "{query}");
        let has = [&one, &two].map(|id| page.has(&format!("href=\"/tasks/{id}\"")));
        assert_eq!(has, found, "{query}: {}", page.text);
    }
    assert_eq!(person.open("/tasks?status=wrong").await.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn an_answer_is_reported_once_and_only_with_the_scope_for_it() {
    let app = TestApp::with(solved_at_once(), &[WITH_ADMIN]).await;
    let (_, reader) = token(&app, "reader", &["read", "submit"]).await;
    let id = task(&app, &reader, json!({})).await;
    let wait = app.http.get(format!("{}/v1/tasks/{id}?wait=30", app.api)).bearer_auth(&reader);
    assert_eq!(wait.send().await.unwrap().status(), StatusCode::OK);
    let mut person = Person::with(&app, &reader).await;
    let page = person.open(&format!("/tasks/{id}")).await;
    assert!(page.has("id=\"report-bad\""), "{}", page.text);
    let path = format!("/tasks/{id}/report");
    // A form without what is bound to the browser.
    assert_eq!(person.fill(&path, "x", &[("verdict", "bad")]).await.status, StatusCode::FORBIDDEN);
    let form_token = page.form_token();
    let told = person.fill(&path, &form_token, &[("verdict", "good")]).await;
    assert_eq!(told.leads_to(), format!("/tasks/{id}"));
    let page = person.open(&format!("/tasks/{id}")).await;
    assert!(page.has("Reported as good") && !page.has("id=\"report-bad\""), "{}", page.text);
    assert_eq!(person.fill(&path, &form_token, &[("verdict", "bad")]).await.status, StatusCode::CONFLICT);
}
