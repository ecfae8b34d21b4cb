//! The parameters of a request, whichever way they were encoded: query string, form, multipart, or
//! JSON, whatever it is labelled.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::HeaderMap;
use bytes::Bytes;
use serde_json::value::RawValue;

use super::reply::{Format, Refusal};
use crate::http::body::{self, Encoding};
use crate::http::error::ApiError;
use crate::model::{ErrorCode, FieldValue, Fields, JsonFields};

/// The most parameters of a request; no method takes more.
const MAX_PARAMS: usize = 200;

/// Named values, each given once: what came last counts, and the body stands over the query.
#[derive(Debug, Default)]
pub(super) struct Params(BTreeMap<String, FieldValue>);

impl Params {
    pub(super) fn of_query(query: &str) -> Self {
        let mut params = Self::default();
        params.add_form(query.as_bytes());
        params
    }

    /// Adds what the body holds, if it has at most `limit` bytes.
    pub(super) async fn add_body(
        &mut self,
        headers: &HeaderMap,
        body: Body,
        limit: usize,
    ) -> Result<(), Refusal> {
        let bytes = body::read(body, limit).await.map_err(|error| unreadable(&error))?;
        match Encoding::of(headers) {
            // An empty array is what PHP makes of no parameters.
            _ if [&b""[..], b"[]", b"null"].contains(&bytes.trim_ascii()) => {}
            Encoding::Multipart(boundary) => self.add_multipart(bytes, &boundary).await?,
            _ if bytes.trim_ascii_start().starts_with(b"{") => self.add_json(&bytes)?,
            Encoding::Json => return Err(Refusal::parameter("the body is not a JSON object")),
            Encoding::Form | Encoding::Unstated | Encoding::Other(_) => self.add_form(&bytes),
        }
        if self.0.len() > MAX_PARAMS {
            return Err(Refusal::parameter(format!("there are more than {MAX_PARAMS} parameters")));
        }
        Ok(())
    }

    fn add_form(&mut self, form: &[u8]) {
        let pairs = form_urlencoded::parse(form).into_owned().take(MAX_PARAMS + 1);
        self.0.extend(pairs.map(|(name, text)| (name, FieldValue::Text(text))));
    }

    fn add_json(&mut self, body: &[u8]) -> Result<(), Refusal> {
        let parsed = serde_json::from_slice::<JsonFields<MAX_PARAMS, Box<RawValue>>>(body);
        let JsonFields(members) =
            parsed.map_err(|error| Refusal::parameter(format!("the body is not JSON: {error}")))?;
        self.0.extend(members.into_iter().map(|(name, value)| (name, FieldValue::Text(as_form(&value)))));
        Ok(())
    }

    async fn add_multipart(&mut self, body: Bytes, boundary: &str) -> Result<(), Refusal> {
        let parts = body::parts(body, boundary, MAX_PARAMS).await;
        for part in parts.map_err(|error| Refusal::parameter(error.to_string()))? {
            let text = if part.is_file { None } else { std::str::from_utf8(&part.content).ok() };
            let value = text.map(|text| FieldValue::Text(text.to_owned()));
            self.0.insert(part.name, value.unwrap_or(FieldValue::File(part.content)));
        }
        Ok(())
    }

    /// The text of a parameter; `None` when it is missing, empty, or a file.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name) {
            Some(FieldValue::Text(text)) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// Whether the parameter was given, even if it is empty.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// What `json` and `header_acao` ask for.
    pub(super) fn format(&self) -> Format {
        let is_on = |name| matches!(self.text(name), Some("1" | "true"));
        Format { is_json: is_on("json"), any_origin: is_on("header_acao") }
    }

    /// All of them, as a captcha is read from.
    pub(super) fn into_fields(self) -> Result<Fields, Refusal> {
        let mut fields = Fields::default();
        for (name, value) in self.0 {
            // The parser put it in place of what is not UTF-8. Solving it would be paid for in vain.
            if matches!(&value, FieldValue::Text(text) if text.contains(char::REPLACEMENT_CHARACTER)) {
                return Err(Refusal::parameter(format!("{name} is not UTF-8")));
            }
            fields.push(name, value);
        }
        Ok(fields)
    }
}

/// A JSON value as a form would have sent it: text as it is, switches as 1 and 0, the rest as written.
fn as_form(value: &RawValue) -> String {
    match value.get() {
        "true" => "1".to_owned(),
        "false" => "0".to_owned(),
        raw => serde_json::from_str::<String>(raw).unwrap_or_else(|_| raw.to_owned()),
    }
}

fn unreadable(error: &ApiError) -> Refusal {
    let code = if matches!(error, ApiError::TooLarge(_)) { ErrorCode::TOO_BIG } else { "ERROR_UPLOAD" };
    Refusal::new(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use axum::http::header::CONTENT_TYPE;

    use super::*;

    const LIMIT: usize = 1024;

    async fn read(label: &'static str, body: &'static [u8]) -> Result<Params, Refusal> {
        let mut params = Params::of_query("key=k&method=query&id=1");
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(label))]);
        params.add_body(&headers, Body::from(body), LIMIT).await.map(|()| params)
    }

    #[tokio::test]
    async fn the_body_stands_over_the_query_in_every_encoding() {
        const FORM: &[u8] = b"method=body&calc=1&id=12345678901";
        const JSON: &[u8] = br#" {"method":"body","calc":true,"phrase":null,"id":12345678901}"#;
        const PARTS: &[u8] =
            b"--=_b c/d:e\r\nContent-Disposition: form-data; name=\"method\"\r\n\r\nbody\r\n--=_b c/d:e\r\n\
              Content-Disposition: form-data; name=\"calc\"\r\n\r\n1\r\n--=_b c/d:e\r\n\
              Content-Disposition: form-data; name=\"id\"\r\n\r\n12345678901\r\n--=_b c/d:e--\r\n";
        for (label, body) in [
            ("application/x-www-form-urlencoded", FORM),
            ("", FORM),
            ("text/plain", FORM),
            ("application/json", JSON),
            ("text/plain;charset=UTF-8", JSON),
            ("application/x-www-form-urlencoded", JSON),
            ("multipart/form-data; boundary=\"=_b c/d:e\"", PARTS),
            ("Multipart/Form-Data; charset=utf-8; Boundary=\"=_b c/d:e\"", PARTS),
        ] {
            let params = read(label, body).await.unwrap();
            for (name, value) in [("key", "k"), ("method", "body"), ("calc", "1"), ("id", "12345678901")] {
                assert_eq!(params.text(name), Some(value), "{label} {name}");
            }
            assert_eq!(params.text("phrase"), None);
        }
    }

    #[tokio::test]
    async fn a_file_needs_no_extension_and_no_name() {
        const PARTS: &[u8] =
            b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"upload\"\r\n\r\ntext\r\n--b\r\n\
              Content-Disposition: form-data; name=\"raw\"\r\n\r\n\xff\xd8\r\n--b--\r\n";
        let params = read("multipart/form-data; boundary=b", PARTS).await.unwrap();
        assert_eq!(params.0["file"], FieldValue::File(Bytes::from_static(b"text")));
        assert_eq!(params.0["raw"], FieldValue::File(Bytes::from_static(b"\xff\xd8")));
    }

    #[tokio::test]
    async fn nested_json_goes_on_as_it_is_written() {
        let params = read("application/json", br#"{"data":{"a":[1, 2]},"n":1.50,"s":"q\"\u00e9"}"#).await;
        let params = params.unwrap();
        assert_eq!(params.text("data"), Some(r#"{"a":[1, 2]}"#));
        assert_eq!(params.text("n"), Some("1.50"));
        assert_eq!(params.text("s"), Some("q\"é"));
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_refused_in_the_familys_words() {
        for (label, body) in [
            ("application/json", &b"{\"method\":"[..]),
            ("application/json", b"[1]"),
            (
                "multipart/form-data; boundary=b",
                b"--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1",
            ),
        ] {
            assert_eq!(read(label, body).await.unwrap_err().as_str(), "ERROR_BAD_PARAMETERS", "{label}");
        }
        let large: &'static [u8] = vec![b'a'; LIMIT + 1].leak();
        assert_eq!(read("", large).await.unwrap_err().as_str(), "ERROR_TOO_BIG_CAPTCHA_FILESIZE");
        let broken = read("", b"textcaptcha=caf\xe9").await.unwrap().into_fields();
        assert_eq!(broken.unwrap_err().as_str(), "ERROR_BAD_PARAMETERS");
    }

    #[tokio::test]
    async fn many_parameters_are_refused() {
        let query: Vec<String> = (0..=MAX_PARAMS).map(|number| format!("p{number}=1")).collect();
        let mut params = Params::of_query(&query.join("&"));
        let added = params.add_body(&HeaderMap::new(), Body::empty(), LIMIT).await;
        assert_eq!(added.unwrap_err().as_str(), "ERROR_BAD_PARAMETERS");
    }
}
