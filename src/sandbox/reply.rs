//! What `in.php` and `res.php` answer: as text, as JSON, or as an error page.

use std::borrow::Cow;

use axum::http::StatusCode;
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::account::Amount;
use super::request::Parameters;

/// An error code of the provider, as it goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Code(Cow<'static, str>);

impl Code {
    pub(super) const BAD_PARAMETERS: Self = Self::named("ERROR_BAD_PARAMETERS");
    pub(super) const CAPTCHA_IMAGE_BLOCKED: Self = Self::named("ERROR_CAPTCHAIMAGE_BLOCKED");
    pub(super) const DUPLICATE_REPORT: Self = Self::named("ERROR_DUPLICATE_REPORT");
    pub(super) const GOOGLE_KEY: Self = Self::named("ERROR_GOOGLEKEY");
    pub(super) const IMAGE_TYPE: Self = Self::named("ERROR_IMAGE_TYPE_NOT_SUPPORTED");
    pub(super) const IP_ADDRESS: Self = Self::named("ERROR_IP_ADDRES");
    pub(super) const KEY_DOES_NOT_EXIST: Self = Self::named("ERROR_KEY_DOES_NOT_EXIST");
    pub(super) const MAX_USER_TURN: Self = Self::named("MAX_USER_TURN");
    pub(super) const NO_SLOT_AVAILABLE: Self = Self::named("ERROR_NO_SLOT_AVAILABLE");
    pub(super) const NOT_READY: Self = Self::named("CAPCHA_NOT_READY");
    pub(super) const PAGE_URL: Self = Self::named("ERROR_PAGEURL");
    pub(super) const PROXY_FORMAT: Self = Self::named("ERROR_PROXY_FORMAT");
    pub(super) const REPORT_NOT_RECORDED: Self = Self::named("REPORT_NOT_RECORDED");
    pub(super) const TOO_BIG: Self = Self::named("ERROR_TOO_BIG_CAPTCHA_FILESIZE");
    pub(super) const TOO_SMALL: Self = Self::named("ERROR_ZERO_CAPTCHA_FILESIZE");
    pub(super) const UNSOLVABLE: Self = Self::named("ERROR_CAPTCHA_UNSOLVABLE");
    pub(super) const WRONG_CAPTCHA_ID: Self = Self::named("ERROR_WRONG_CAPTCHA_ID");
    pub(super) const WRONG_FILE_EXTENSION: Self = Self::named("ERROR_WRONG_FILE_EXTENSION");
    pub(super) const WRONG_ID_FORMAT: Self = Self::named("ERROR_WRONG_ID_FORMAT");
    pub(super) const WRONG_USER_KEY: Self = Self::named("ERROR_WRONG_USER_KEY");
    pub(super) const ZERO_BALANCE: Self = Self::named("ERROR_ZERO_BALANCE");

    /// `ERROR: 1001` and its like: a ban for too many requests.
    pub(super) const fn ban(text: &'static str) -> Self {
        Self::named(text)
    }

    const fn named(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// Any code, known to this emulation or not.
    pub(super) fn other(text: &str) -> Self {
        Self(Cow::Owned(text.to_owned()))
    }

    /// The code in an answer that, as a whole, is one of the `ERROR_…` codes.
    pub(super) fn in_answer(answer: &str) -> Option<Self> {
        let name = answer.strip_prefix("ERROR_")?;
        let is_code = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        is_code.then(|| Self::other(answer))
    }

    /// The code itself.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// What it means, for people.
    fn text(&self) -> &'static str {
        match self.as_str() {
            "CAPCHA_NOT_READY" => "No answer yet, ask again in 5 seconds",
            "ERROR_BAD_PARAMETERS" => "A parameter is missing, malformed or out of range",
            "ERROR_CAPTCHA_UNSOLVABLE" => "Nobody could solve it; nothing was charged",
            "ERROR_IP_ADDRES" => "A pingback URL can only be added from the address it points to",
            "ERROR_KEY_DOES_NOT_EXIST" => "There is no such key",
            "ERROR_NO_SLOT_AVAILABLE" => "The queue is full, try again in 5 seconds",
            "ERROR_PAGEURL" => "The full URL of the page is missing",
            "ERROR_TOO_BIG_CAPTCHA_FILESIZE" => "The image is too large",
            "ERROR_ZERO_CAPTCHA_FILESIZE" => "The image has less than 100 bytes",
            "ERROR_WRONG_CAPTCHA_ID" => "There is no such captcha",
            "ERROR_WRONG_ID_FORMAT" => "An id holds digits only",
            "ERROR_WRONG_USER_KEY" => "A key has 32 characters",
            "ERROR_ZERO_BALANCE" => "The account is empty",
            "MAX_USER_TURN" => "More than 60 requests in 3 seconds; banned for 10 seconds",
            _ => "The request was refused; the list of error codes says why",
        }
    }
}

/// One reply, before it is encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// `OK|` and a value: an id or an answer.
    Value(String),
    /// A value without `OK|`: a balance, a batch of answers, the word for a recorded report.
    Bare(String),
    /// An answer and what it cost.
    Priced(String, Amount),
    /// A pingback URL was added or deleted.
    PingbackChanged,
    /// The registered pingback URLs.
    Pingbacks(Vec<String>),
    /// A refusal.
    Error(Code),
}

impl From<Result<Self, Code>> for Reply {
    fn from(result: Result<Self, Code>) -> Self {
        result.unwrap_or_else(Self::Error)
    }
}

/// How the caller wants the reply.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Format {
    json: bool,
    any_origin: bool,
}

impl Format {
    /// What `json` and `header_acao` ask for; anything but 1 is no.
    pub(super) fn of(parameters: &Parameters) -> Self {
        Self {
            json: parameters.text("json") == Some("1"),
            any_origin: parameters.text("header_acao") == Some("1"),
        }
    }

    /// The reply on the wire: status 200 even for errors.
    pub(super) fn encode(self, reply: &Reply) -> Response {
        let (content_type, body) = if self.json {
            ("application/json", json_text(reply))
        } else {
            ("text/plain; charset=utf-8", plain_text(reply))
        };
        let mut response = ([(CONTENT_TYPE, content_type)], body).into_response();
        if self.any_origin {
            response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        }
        response
    }
}

fn plain_text(reply: &Reply) -> String {
    match reply {
        Reply::Value(value) => format!("OK|{value}"),
        Reply::Bare(value) => value.clone(),
        Reply::Priced(answer, price) => format!("OK|{answer}|{price}"),
        Reply::PingbackChanged => "OK".to_owned(),
        Reply::Pingbacks(urls) => format!("OK|{}", urls.join("|")),
        Reply::Error(code) => code.as_str().to_owned(),
    }
}

fn json_text(reply: &Reply) -> String {
    let value = match reply {
        Reply::Value(value) | Reply::Bare(value) => json!({"status": 1, "request": value}),
        Reply::Priced(answer, price) => json!({"status": 1, "request": answer, "price": price}),
        Reply::PingbackChanged => json!({"status": 1, "request": "OK_PINGBACK"}),
        Reply::Pingbacks(urls) => json!({"status": 1, "request": urls}),
        Reply::Error(code) => {
            json!({"status": 0, "request": code.as_str(), "error_text": code.text()})
        }
    };
    value.to_string()
}

/// An HTML page, as a web server in front of the service sends it on its own.
pub(super) fn page(status: StatusCode) -> Response {
    let html = format!(
        "<html>\r\n<head><title>{status}</title></head>\r\n<body><h1>{status}</h1></body>\r\n</html>\r\n"
    );
    (status, [(CONTENT_TYPE, "text/html")], html).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reply_has_a_text_and_a_json_form() {
        let (a, b) = ("http://a/".to_owned(), "http://b/".to_owned());
        for (reply, text, json) in [
            (Reply::Value("1|2".to_owned()), "OK|1|2", r#"{"request":"1|2","status":1}"#),
            (Reply::Bare("0.5".to_owned()), "0.5", r#"{"request":"0.5","status":1}"#),
            (
                Reply::Priced("x".to_owned(), Amount::from_micros(500)),
                "OK|x|0.0005",
                r#"{"price":"0.0005","request":"x","status":1}"#,
            ),
            (Reply::PingbackChanged, "OK", r#"{"request":"OK_PINGBACK","status":1}"#),
            (Reply::Pingbacks(vec![]), "OK|", r#"{"request":[],"status":1}"#),
            (
                Reply::Pingbacks(vec![a, b]),
                "OK|http://a/|http://b/",
                r#"{"request":["http://a/","http://b/"],"status":1}"#,
            ),
        ] {
            assert_eq!(plain_text(&reply), text);
            assert_eq!(
                json_text(&reply).parse::<serde_json::Value>().unwrap(),
                json.parse::<serde_json::Value>().unwrap()
            );
        }
        let error: serde_json::Value = json_text(&Reply::Error(Code::NOT_READY)).parse().unwrap();
        assert_eq!((&error["status"], &error["request"]), (&json!(0), &json!("CAPCHA_NOT_READY")));
        assert!(error["error_text"].is_string());
    }

    #[test]
    fn only_an_answer_that_is_a_code_as_a_whole_counts_as_one() {
        assert!(Code::in_answer("ERROR_BAD_DUPLICATES").is_some());
        for answer in ["ERROR_", "ERROR_x", "an ERROR_A", "ERROR_A B", "ERROR"] {
            assert_eq!(Code::in_answer(answer), None, "{answer}");
        }
    }
}
