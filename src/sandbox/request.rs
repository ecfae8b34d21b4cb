//! A request, however it was encoded, as named parameters.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::Value as Json;

use super::reply::Code;

/// The largest body that is read, in bytes: 16 MiB. The largest legal request is a multipart form of
/// a few images of 100 kB.
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

/// One value: text, or the bytes of an uploaded file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    File(Bytes),
}

/// The parameters of one request: those of the query string, and over them those of the body.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    values: BTreeMap<String, Value>,
    malformed: bool,
}

/// Why a body could not be read at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    TooLarge,
    BrokenOff,
}

impl Parameters {
    /// Whether the body could be understood only in part.
    pub(super) fn is_malformed(&self) -> bool {
        self.malformed
    }

    /// Every parameter, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The text of a parameter; `None` when it is missing, empty, or a file.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.values.get(name) {
            Some(Value::Text(text)) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// The text of a parameter that must be there, with at most `max` characters.
    pub(super) fn required(&self, name: &str, max: usize) -> Result<&str, Code> {
        let text = self.text(name).ok_or(Code::BAD_PARAMETERS)?;
        if text.chars().count() > max {
            return Err(Code::BAD_PARAMETERS);
        }
        Ok(text)
    }

    /// What was uploaded under this name; `None` when it is missing or is text.
    pub(super) fn file(&self, name: &str) -> Option<&Bytes> {
        match self.values.get(name) {
            Some(Value::File(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// A number in `range`; `None` when the parameter is missing or empty.
    pub(super) fn number(&self, name: &str, range: RangeInclusive<u32>) -> Result<Option<u32>, Code> {
        let Some(text) = self.text(name) else {
            return if self.file(name).is_some() { Err(Code::BAD_PARAMETERS) } else { Ok(None) };
        };
        match text.parse() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(Code::BAD_PARAMETERS),
        }
    }

    /// A switch: 0, 1, or missing, which is 0.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Code> {
        Ok(self.number(name, 0..=1)? == Some(1))
    }

    /// Adds what is in a form, or in a query string.
    pub(super) fn add_form(&mut self, form: &[u8]) {
        for (name, value) in form_urlencoded::parse(form) {
            self.values.insert(name.into_owned(), Value::Text(value.into_owned()));
        }
    }

    /// Adds the members of a JSON object; text, numbers and switches as a form would send them.
    fn add_json(&mut self, body: &[u8]) {
        let Ok(Json::Object(members)) = serde_json::from_slice(body) else {
            self.malformed = true;
            return;
        };
        for (name, value) in members {
            let text = match value {
                Json::Null => continue,
                Json::String(text) => text,
                Json::Bool(switch) => u8::from(switch).to_string(),
                other => other.to_string(),
            };
            self.values.insert(name, Value::Text(text));
        }
    }

    async fn add_multipart(&mut self, body: Bytes, boundary: &str) {
        let mut parts = multer::Multipart::new(Body::from(body).into_data_stream(), boundary);
        loop {
            let part = match parts.next_field().await {
                Ok(Some(part)) => part,
                Ok(None) => return,
                Err(_) => break,
            };
            let (name, is_file) = (part.name().map(str::to_owned), part.file_name().is_some());
            let (Some(name), Ok(bytes)) = (name, part.bytes().await) else {
                break;
            };
            let text = if is_file { None } else { String::from_utf8(bytes.to_vec()).ok() };
            self.values.insert(name, text.map_or(Value::File(bytes), Value::Text));
        }
        self.malformed = true;
    }
}

/// Reads a request: query string and body, urlencoded, multipart or JSON, whatever JSON is labelled.
///
/// # Errors
/// When the body is larger than 16 MiB, or did not arrive. A body that arrived but is garbled gives
/// what could be made out, marked as malformed.
pub(super) async fn decode(request: Request) -> Result<Parameters, Unreadable> {
    let (head, body) = request.into_parts();
    let mut parameters = Parameters::default();
    parameters.add_form(head.uri.query().unwrap_or_default().as_bytes());

    let body = match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(Unreadable::TooLarge),
        Err(_) => return Err(Unreadable::BrokenOff),
    };
    let label = head.headers.get(CONTENT_TYPE).and_then(|label| label.to_str().ok()).unwrap_or_default();
    let media_type = label.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let looks_like_json = body.trim_ascii_start().starts_with(b"{");
    match media_type.as_str() {
        _ if body.is_empty() => {}
        "multipart/form-data" => match boundary(label) {
            Some(boundary) => parameters.add_multipart(body, boundary).await,
            None => parameters.malformed = true,
        },
        "application/json" => parameters.add_json(&body),
        "application/x-www-form-urlencoded" => parameters.add_form(&body),
        _ if looks_like_json => parameters.add_json(&body),
        _ => parameters.add_form(&body),
    }
    Ok(parameters)
}

/// The boundary in a multipart content type. Read by hand, because clients quote boundaries that
/// hold spaces, slashes and colons.
fn boundary(label: &str) -> Option<&str> {
    const NAME: &str = "boundary=";
    let start = label.to_ascii_lowercase().find(NAME)? + NAME.len();
    let rest = &label[start..];
    let boundary = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?,
        None => rest.split(';').next()?.trim(),
    };
    (!boundary.is_empty()).then_some(boundary)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn decoded(label: &str, body: &str) -> Parameters {
        let request = Request::post("/in.php?key=k&method=query")
            .header(CONTENT_TYPE, label)
            .body(Body::from(body.to_owned()))
            .unwrap();
        decode(request).await.unwrap()
    }

    #[tokio::test]
    async fn the_body_stands_over_the_query_in_every_encoding() {
        let form = "--b c/d:e\r\nContent-Disposition: form-data; name=\"method\"\r\n\r\nbody\r\n--b c/d:e\r\n\
                    Content-Disposition: form-data; name=\"calc\"\r\n\r\n1\r\n--b c/d:e--\r\n";
        for (label, body) in [
            ("application/x-www-form-urlencoded", "method=body&calc=1"),
            ("application/json", r#"{"method":"body","calc":1,"phrase":null}"#),
            ("text/plain;charset=UTF-8", r#" {"method":"body","calc":true}"#),
            ("", "method=body&calc=1"),
            ("multipart/form-data; boundary=\"b c/d:e\"", form),
        ] {
            let parameters = decoded(label, body).await;
            assert_eq!(parameters.text("key"), Some("k"), "{label}");
            assert_eq!(parameters.text("method"), Some("body"), "{label}");
            assert_eq!(parameters.flag("calc"), Ok(true), "{label}");
            assert!(!parameters.is_malformed(), "{label}");
        }
    }

    #[tokio::test]
    async fn a_garbled_body_gives_what_could_be_made_out() {
        for (label, body) in [
            ("application/json", "{\"method\":"),
            ("application/json", "[1]"),
            ("multipart/form-data", "x"),
            ("multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1"),
        ] {
            let parameters = decoded(label, body).await;
            assert!(parameters.is_malformed(), "{label} {body}");
            assert_eq!(parameters.text("key"), Some("k"));
        }
    }

    #[tokio::test]
    async fn a_part_with_a_file_name_or_without_text_is_a_file() {
        let body = b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"upload\"\r\n\r\ntext\r\n--b\r\n\
                     Content-Disposition: form-data; name=\"raw\"\r\n\r\n\xff\xd8\r\n--b--\r\n";
        let request = Request::post("/in.php")
            .header(CONTENT_TYPE, "multipart/form-data; boundary=b")
            .body(Body::from(body.to_vec()))
            .unwrap();
        let parameters = decode(request).await.unwrap();
        assert_eq!(parameters.file("file").unwrap(), "text");
        assert_eq!(parameters.file("raw").unwrap().as_ref(), b"\xff\xd8");
    }

    #[tokio::test]
    async fn a_number_outside_its_range_is_refused() {
        let parameters = decoded("", "a=20&b=21&c=-1&d=1.5&e=&f=x").await;
        assert_eq!(parameters.number("a", 0..=20), Ok(Some(20)));
        assert_eq!(parameters.number("e", 0..=20), Ok(None));
        for name in ["b", "c", "d", "f"] {
            assert_eq!(parameters.number(name, 0..=20), Err(Code::BAD_PARAMETERS), "{name}");
        }
    }

    #[tokio::test]
    async fn a_body_over_16_mib_is_not_read() {
        let request = Request::post("/in.php").body(Body::from(vec![b'a'; MAX_BODY_BYTES + 1])).unwrap();
        assert_eq!(decode(request).await.unwrap_err(), Unreadable::TooLarge);
    }
}
