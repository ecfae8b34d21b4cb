//! Our pingback URL at the provider: registered, added again, changed; and URLs for others.

use pingbox::sandbox::{DEFAULT_KEY, Knobs};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{PATIENCE, SECRET, TestApp, never_solved, reply};

/// A service that makes its own secret.
const OWN_SECRET: [(&str, &str); 1] = [("PINGBOX_PINGBACK__SECRET", "")];

impl TestApp {
    /// The account once our URL is registered.
    pub(crate) async fn until_registered(&self) -> Value {
        let poll = async {
            loop {
                let account = self.account().await;
                if account["registration"]["state"] == "registered" {
                    return account;
                }
            }
        };
        tokio::time::timeout(PATIENCE, poll).await.expect("it is registered")
    }

    /// Has the registration looked at now, instead of within ten minutes: a URL of somebody else's goes.
    pub(crate) async fn look_at_registration(&self) {
        let knobs = self.sandbox.knobs();
        self.sandbox.set_knobs(Knobs { result_code: None, ..knobs.clone() });
        self.ask_provider("add_pingback", "http://127.0.0.1/others").await;
        let delete = format!("/v1/pingbacks?url={}&force=true", "http://127.0.0.1/others");
        // The look that follows meets the knobs as they were.
        let deleted = self.delete(&delete).await;
        self.sandbox.set_knobs(knobs);
        assert_eq!(deleted.0, StatusCode::OK, "{}", deleted.1);
    }

    /// Asks the emulated provider, as others who know the key may.
    async fn ask_provider(&self, action: &str, address: &str) -> String {
        let query = [("key", DEFAULT_KEY), ("action", action), ("addr", address)];
        let url = format!("{}/res.php", self.provider);
        self.http.get(url).query(&query).send().await.unwrap().text().await.unwrap()
    }

    async fn listed(&self) -> Vec<String> {
        let list = self.ask_provider("get_pingback", "").await;
        list.trim_start_matches("OK|").split('|').filter(|url| !url.is_empty()).map(str::to_owned).collect()
    }

    async fn add_url(&self, url: &str) -> (StatusCode, Value) {
        reply(self.http.post(format!("{}/v1/pingbacks", self.api)).json(&json!({ "url": url }))).await
    }

    async fn rotate(&self) -> (StatusCode, Value) {
        reply(self.http.post(format!("{}/v1/pingbacks/rotate", self.api))).await
    }
}

#[tokio::test]
async fn a_url_that_vanishes_is_added_again_and_others_stay() {
    let app = TestApp::spawn().await;
    app.until_registered().await;
    app.ask_provider("add_pingback", "http://127.0.0.1/theirs").await;
    let ours = app.pingback_url();
    app.ask_provider("del_pingback", &ours).await;
    assert_eq!(app.listed().await, ["http://127.0.0.1/theirs"]);
    app.look_at_registration().await;
    let back = async {
        while app.listed().await != ["http://127.0.0.1/theirs", ours.as_str()] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, back).await.expect("it is added again");
}

#[tokio::test]
async fn urls_are_listed_without_our_secret() {
    let app = TestApp::spawn().await;
    app.until_registered().await;
    app.ask_provider("add_pingback", "http://127.0.0.1/theirs").await;
    let (status, list) = app.get("/v1/pingbacks").await;
    let ours = format!("{}/pingback/***", app.public);
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        list,
        json!({"pingbacks": [
            {"url": ours, "is_ours": true, "is_added_here": true},
            {"url": "http://127.0.0.1/theirs", "is_ours": false, "is_added_here": false},
        ], "cursor": null})
    );
    assert!(!app.account().await.to_string().contains(SECRET));
}

#[tokio::test]
async fn what_was_added_here_is_deleted_and_what_others_added_needs_force() {
    let app = TestApp::spawn().await;
    app.until_registered().await;
    let (status, added) = app.add_url("http://127.0.0.1/mine").await;
    assert_eq!(status, StatusCode::CREATED, "{added}");
    app.ask_provider("add_pingback", "http://127.0.0.1/theirs").await;
    let delete = async |query: &str| app.delete(&format!("/v1/pingbacks?{query}")).await;
    for guarded in [
        "url=http://127.0.0.1/theirs".to_owned(),
        "url=all".to_owned(),
        format!("url={}", app.pingback_url()),
    ] {
        let (status, problem) = delete(&guarded).await;
        assert_eq!((status.as_u16(), &problem["code"]), (409, &json!("force_needed")), "{guarded}");
    }
    assert_eq!(delete("url=http://127.0.0.1/unknown").await.1["code"], "pingback_not_found");
    assert_eq!(delete("url=http://127.0.0.1/mine").await.0, StatusCode::OK);
    assert_eq!(delete("url=http://127.0.0.1/theirs&force=true").await.0, StatusCode::OK);
    assert_eq!(app.listed().await, [app.pingback_url()]);
}

#[tokio::test]
async fn a_url_that_the_provider_refuses_is_explained_and_a_bad_one_not_sent() {
    let app = TestApp::spawn().await;
    app.until_registered().await;
    let (status, problem) = app.add_url("https://192.0.2.9/answers").await;
    assert_eq!((status.as_u16(), &problem["code"]), (502, &json!("provider_refused")));
    assert!(problem["detail"].as_str().unwrap().contains("ERROR_IP_ADDRES"), "{problem}");
    let before = app.sandbox.requests().len();
    for bad in ["", "all", "ftp://a.example/", "http://a.example/|x", "http://", "a b"] {
        let (status, problem) = app.add_url(bad).await;
        assert_eq!((status.as_u16(), &problem["code"]), (422, &json!("invalid_fields")), "{bad}");
    }
    assert_eq!(app.sandbox.requests().len(), before);
}

#[tokio::test]
async fn while_the_url_changes_the_old_one_stays_valid() {
    let app = TestApp::with(never_solved(), &OWN_SECRET).await;
    app.until_registered().await;
    let old_url = app.listed().await[0].clone();
    let (old, old_captcha) = app.submitted().await;
    assert_eq!(app.rotate().await, (StatusCode::ACCEPTED, json!({"state": "registering"})));
    let changed = async {
        loop {
            let (id, captcha_id) = app.submitted().await;
            let url = app.submissions().last().unwrap()["parameters"]["pingback"].clone();
            if url != json!(old_url) {
                return (id, captcha_id, url.as_str().unwrap().to_owned());
            }
        }
    };
    let (new, new_captcha, new_url) = tokio::time::timeout(PATIENCE, changed).await.expect("it changes");
    assert_eq!(app.listed().await, [old_url.clone(), new_url.clone()]);
    let app = app.restart_with(never_solved(), &OWN_SECRET).await;
    for (id, captcha_id, url) in [(old, old_captcha, old_url), (new, new_captcha, new_url)] {
        // The port is another one after the restart.
        let url = format!(
            "{}{}",
            app.public,
            url.split_once("/pingback").map(|(_, rest)| format!("/pingback{rest}")).unwrap()
        );
        let sent =
            app.http.post(url).form(&[("id", captcha_id.as_str()), ("code", "Friday")]).send().await.unwrap();
        assert_eq!(sent.status(), StatusCode::OK);
        assert_eq!(app.task(&id).await["status"], "solved");
    }
}

#[tokio::test]
async fn a_secret_that_is_configured_changes_in_the_configuration() {
    let app = TestApp::spawn().await;
    let (status, problem) = app.rotate().await;
    assert_eq!((status.as_u16(), &problem["code"]), (409, &json!("no_rotation")));
    let (id, captcha_id) = app.submitted().await;
    let other = [("PINGBOX_PINGBACK__SECRET", "another-secret-of-the-tests-01")];
    let app = app.restart_with(never_solved(), &other).await;
    // The tasks that were sent with the old one still get their answers.
    assert_eq!(app.pingback(&captcha_id, "Friday").await, StatusCode::OK);
    assert_eq!(app.task(&id).await["status"], "solved");
}

#[tokio::test]
async fn only_admins_touch_the_urls() {
    let app =
        TestApp::with(never_solved(), &[("PINGBOX_API__TOKEN", "0123456789abcdef0123456789abcdef")]).await;
    for (method, path) in [
        ("GET", "/v1/pingbacks"),
        ("POST", "/v1/pingbacks"),
        ("POST", "/v1/pingbacks/rotate"),
        ("DELETE", "/v1/pingbacks?url=all&force=true"),
        ("POST", "/v1/account/resume"),
        ("GET", "/v1/account"),
        ("GET", "/v1/stats"),
        ("GET", "/metrics"),
    ] {
        let request = app.http.request(method.parse().unwrap(), format!("{}{path}", app.api));
        assert_eq!(reply(request).await.0, StatusCode::UNAUTHORIZED, "{method} {path}");
    }
}

/// How many secrets from before are still taken.
const RETIRED: (&str, &str) = (
    "SELECT json_array_length(value, '$.retired') FROM memory WHERE name = 'pingback_secrets'",
    "SELECT json_array_length(value::json -> 'retired')::bigint FROM memory WHERE name = 'pingback_secrets'",
);

#[tokio::test]
async fn the_old_url_goes_when_its_tasks_are_done() {
    let app = TestApp::with(never_solved(), &OWN_SECRET).await;
    app.until_registered().await;
    let old_secret = app.listed().await[0].rsplit('/').next().unwrap().to_owned();
    let (id, captcha_id) = app.submitted().await;
    assert_eq!(app.rotate().await.0, StatusCode::ACCEPTED);
    let rotated = async {
        while app.number(RETIRED).await == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, rotated).await.expect("it changes");
    let post = async |app: &TestApp, captcha_id: &str| {
        let url = format!("{}/pingback/{old_secret}", app.public);
        app.http.post(url).form(&[("id", captcha_id), ("code", "Friday")]).send().await.unwrap().status()
    };
    // Long ago, but a task from before is open.
    let long_ago = (
        "UPDATE memory SET value = json_set(value, '$.retired[0][1]', (SELECT created_at + 1 FROM task))
         WHERE name = 'pingback_secrets'",
        "UPDATE memory SET value = jsonb_set(value::jsonb, '{retired,0,1}',
            (SELECT to_jsonb(created_at + 1) FROM task))::text WHERE name = 'pingback_secrets'",
    );
    app.connect_and("UPDATE task SET created_at = created_at - 901000000").await;
    app.connect_and(long_ago).await;
    let app = app.restart_with(never_solved(), &OWN_SECRET).await;
    app.until_registered().await;
    assert_eq!(post(&app, &captcha_id).await, StatusCode::OK);
    assert_eq!(app.task(&id).await["status"], "solved");

    let app = app.restart_with(never_solved(), &OWN_SECRET).await;
    let gone = async {
        while post(&app, "70000000001").await != StatusCode::NOT_FOUND {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("it goes");
    let requests = serde_json::to_value(app.sandbox.requests()).unwrap();
    let is_deletion = |request: &&Value| request["parameters"]["action"] == "del_pingback";
    let deletions: Vec<_> = requests.as_array().unwrap().iter().filter(is_deletion).collect();
    assert_eq!(deletions.len(), 1);
    assert!(deletions[0]["parameters"]["addr"].as_str().unwrap().ends_with(&old_secret), "{deletions:?}");
}
