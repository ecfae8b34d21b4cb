//! `in.php` and `res.php`, as scripts and SDKs of the family call them.

mod answers;
mod encodings;
mod keys;
mod polling;
mod refusals;
mod urls;

use reqwest::StatusCode;

use crate::harness::{PATIENCE, TestApp};

/// The two scripts of a service.
pub(crate) struct Scripts {
    pub(crate) url: String,
    pub(crate) http: reqwest::Client,
    /// The caller's key.
    pub(crate) key: String,
}

impl Scripts {
    /// Of a service that is open: any key will do.
    pub(crate) fn of(app: &TestApp) -> Self {
        Self::at(&app.api)
    }

    pub(crate) fn at(url: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Self { url: url.to_owned(), http, key: "any key at all".to_owned() }
    }

    /// `POST in.php` with a form; what it says.
    pub(crate) async fn submit(&self, form: &[(&str, &str)]) -> String {
        let form = [form, &[("key", self.key.as_str())]].concat();
        body(self.http.post(format!("{}/in.php", self.url)).form(&form)).await
    }

    /// `GET res.php`; what it says.
    pub(crate) async fn ask(&self, query: &[(&str, &str)]) -> String {
        let query = [query, &[("key", self.key.as_str())]].concat();
        body(self.http.get(format!("{}/res.php", self.url)).query(&query)).await
    }

    /// Submits a text captcha; its id.
    pub(crate) async fn submitted(&self) -> String {
        let reply = self.submit(&[("textcaptcha", "If tomorrow is Saturday, what day is today?")]).await;
        let id = reply.strip_prefix("OK|").unwrap_or_else(|| panic!("{reply}"));
        assert!(id.bytes().all(|byte| byte.is_ascii_digit()), "{id}");
        id.to_owned()
    }
}

/// The body of a reply, whose status is 200 whatever it says.
pub(crate) async fn body(request: reqwest::RequestBuilder) -> String {
    let reply = request.send().await.unwrap();
    assert_eq!(reply.status(), StatusCode::OK);
    reply.text().await.unwrap()
}
