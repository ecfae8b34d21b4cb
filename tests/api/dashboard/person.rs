//! Somebody in front of a browser: keeps a cookie, reads forms, follows nothing by itself.

use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::json;

use crate::harness::{PATIENCE, TestApp, reply};

pub(super) const ADMIN: &str = "0123456789abcdef0123456789abcdef";
pub(super) const WITH_ADMIN: (&str, &str) = ("PINGBOX_API__TOKEN", ADMIN);

pub(super) struct Person {
    http: reqwest::Client,
    base: String,
    /// That of a session.
    pub(super) cookie: Option<String>,
    /// What forms are bound to without one.
    pub(super) form_cookie: Option<String>,
}

/// What came of a request.
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) headers: reqwest::header::HeaderMap,
    pub(super) text: String,
}

impl Page {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Where the browser is sent.
    pub(super) fn leads_to(&self) -> &str {
        assert_eq!(self.status, StatusCode::SEE_OTHER, "{}", self.text);
        self.header(LOCATION.as_str())
    }

    pub(super) fn has(&self, text: &str) -> bool {
        self.text.contains(text)
    }

    /// What the forms of the page carry.
    pub(super) fn form_token(&self) -> String {
        let (_, rest) = self.text.split_once(r#"name="form_token" value=""#).expect("the page has a form");
        rest.split_once('"').unwrap().0.to_owned()
    }
}

impl Person {
    pub(super) fn at(app: &TestApp) -> Self {
        let http = reqwest::Client::builder().no_proxy().redirect(Policy::none()).timeout(PATIENCE);
        Self { http: http.build().unwrap(), base: app.api.clone(), cookie: None, form_cookie: None }
    }

    /// One who has signed in with this token.
    pub(super) async fn with(app: &TestApp, token: &str) -> Self {
        let mut person = Self::at(app);
        let page = person.sign_in(token, "/").await;
        assert_eq!(page.leads_to(), "/");
        person
    }

    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        let cookies =
            ["theme=dark"].into_iter().chain(self.form_cookie.as_deref()).chain(self.cookie.as_deref());
        request.header(COOKIE, cookies.collect::<Vec<_>>().join("; "))
    }

    pub(super) async fn send(&mut self, request: RequestBuilder) -> Page {
        let response = request.send().await.unwrap();
        for cookie in response.headers().get_all(SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            let pair =
                Some(cookie.split(';').next().unwrap().to_owned()).filter(|_| !cookie.contains("Max-Age=0;"));
            if cookie.contains("pingbox_session=") {
                self.cookie = pair;
            } else {
                self.form_cookie = pair;
            }
        }
        let (status, headers) = (response.status(), response.headers().clone());
        Page { status, headers, text: response.text().await.unwrap() }
    }

    pub(super) async fn open(&mut self, path: &str) -> Page {
        let request = self.request(Method::GET, path);
        self.send(request).await
    }

    /// Sends a form with what it carries.
    pub(super) async fn fill(&mut self, path: &str, form_token: &str, fields: &[(&str, &str)]) -> Page {
        let fields: Vec<_> = fields.iter().chain(&[("form_token", form_token)]).copied().collect();
        let request = self.request(Method::POST, path).header("Origin", &self.base).form(&fields);
        self.send(request).await
    }

    pub(super) async fn sign_in(&mut self, token: &str, next: &str) -> Page {
        let form_token = self.open("/sign-in").await.form_token();
        self.fill("/sign-in", &form_token, &[("token", token), ("next", next)]).await
    }
}

/// A token of these scopes, made by the one that is configured: its id and its text.
pub(super) async fn token(app: &TestApp, name: &str, scopes: &[&str]) -> (String, String) {
    let request = app.http.post(format!("{}/v1/tokens", app.api)).bearer_auth(ADMIN);
    let (status, token) = reply(request.json(&json!({"name": name, "scopes": scopes}))).await;
    assert_eq!(status, StatusCode::CREATED, "{token}");
    (token["id"].as_str().unwrap().to_owned(), token["token"].as_str().unwrap().to_owned())
}

/// A task of this token; its id.
pub(super) async fn task(app: &TestApp, token: &str, fields: serde_json::Value) -> String {
    let mut body = crate::harness::text_captcha();
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let (status, task) = reply(app.submission().bearer_auth(token).json(&body)).await;
    assert_eq!(status, StatusCode::CREATED, "{task}");
    task["id"].as_str().unwrap().to_owned()
}
