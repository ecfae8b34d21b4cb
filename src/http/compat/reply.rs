//! A reply in the family's wire format: text or JSON, byte for byte as the API document has it.

use axum::http::HeaderValue;
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use schemars::JsonSchema;
use serde::Serialize;

use crate::model::{ErrorCode, Price, WireError};

/// One reply, before it is encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// `OK|` and a value: an id, an answer, a list of URLs.
    Value(String),
    /// A value without `OK|`: a balance, several answers, the word for a report.
    Bare(String),
    /// `OK|`, an answer, and what it cost.
    Priced(String, Price),
    /// `OK`: a pingback URL was added or deleted.
    PingbackChanged,
    /// A code.
    Error(Refusal),
}

/// A code, and what it is about here: JSON has room for both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    code: ErrorCode,
    detail: String,
}

impl Refusal {
    pub(super) fn new(code: &str, detail: impl Into<String>) -> Self {
        Self { code: ErrorCode::known(code), detail: detail.into() }
    }

    /// A parameter is missing or malformed.
    pub(super) fn parameter(detail: impl Into<String>) -> Self {
        WireError::parameter(detail).into()
    }

    pub(super) fn as_str(&self) -> &str {
        self.code.as_str()
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        let detail = code.message().to_owned();
        Self { code, detail }
    }
}

impl From<WireError> for Refusal {
    fn from(WireError { code, detail }: WireError) -> Self {
        Self { code, detail }
    }
}

/// How the caller wants the reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Format {
    /// `json=1`
    pub(super) is_json: bool,
    /// `header_acao=1`: pages of any site may read it.
    pub(super) any_origin: bool,
}

/// A reply with `json=1`.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "DropInReply")]
pub(in crate::http) struct Json<'a> {
    /// 1, or 0 with a code.
    #[schemars(range(max = 1))]
    status: u8,
    /// An id, an answer, or a code.
    #[schemars(example = &"2122988149")]
    request: &'a str,
    /// With `get2`: what it cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<&'a str>,
    /// What the code means here.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_text: Option<&'a str>,
}

impl Format {
    /// The reply as a response; its status is 200, also for errors.
    pub(super) fn encode(self, reply: &Reply) -> Response {
        let (content_type, body) = if self.is_json {
            ("application/json", json(reply))
        } else {
            ("text/plain; charset=utf-8", text(reply))
        };
        let headers = [(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-store")];
        let mut response = (headers, body).into_response();
        if self.any_origin {
            response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        }
        response
    }
}

fn text(reply: &Reply) -> String {
    match reply {
        Reply::Value(value) => format!("OK|{value}"),
        Reply::Bare(value) => value.clone(),
        Reply::Priced(answer, price) => format!("OK|{answer}|{}", price.as_str()),
        Reply::PingbackChanged => "OK".to_owned(),
        Reply::Error(refusal) => refusal.as_str().to_owned(),
    }
}

fn json(reply: &Reply) -> String {
    let yes = |request| Json { status: 1, request, price: None, error_text: None };
    let reply = match reply {
        Reply::Value(value) | Reply::Bare(value) => yes(value),
        Reply::Priced(answer, price) => Json { price: Some(price.as_str()), ..yes(answer) },
        Reply::PingbackChanged => yes("OK_PINGBACK"),
        Reply::Error(refusal) => {
            Json { status: 0, error_text: Some(&refusal.detail), ..yes(refusal.as_str()) }
        }
    };
    serde_json::to_string(&reply).expect("text and numbers are JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The API document's examples, and PROTOCOL's where it has none.
    #[test]
    fn each_reply_has_a_text_and_a_json_form() {
        let value = |text: &str| Reply::Value(text.to_owned());
        for (reply, as_text, as_json) in [
            (value("2122988149"), "OK|2122988149", r#"{"status":1,"request":"2122988149"}"#),
            (value("TEXT"), "OK|TEXT", r#"{"status":1,"request":"TEXT"}"#),
            (value("40|200|-120"), "OK|40|200|-120", r#"{"status":1,"request":"40|200|-120"}"#),
            (
                Reply::Bare("a|CAPCHA_NOT_READY".to_owned()),
                "a|CAPCHA_NOT_READY",
                r#"{"status":1,"request":"a|CAPCHA_NOT_READY"}"#,
            ),
            (
                Reply::Priced("a|b".to_owned(), "0.00299".parse().unwrap()),
                "OK|a|b|0.00299",
                r#"{"status":1,"request":"a|b","price":"0.00299"}"#,
            ),
            (Reply::PingbackChanged, "OK", r#"{"status":1,"request":"OK_PINGBACK"}"#),
            (value(""), "OK|", r#"{"status":1,"request":""}"#),
            (
                Reply::Error(ErrorCode::known("CAPCHA_NOT_READY").into()),
                "CAPCHA_NOT_READY",
                r#"{"status":0,"request":"CAPCHA_NOT_READY","error_text":"the captcha is not solved yet"}"#,
            ),
        ] {
            assert_eq!((text(&reply).as_str(), json(&reply).as_str()), (as_text, as_json));
        }
    }
}
