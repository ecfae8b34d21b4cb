//! The door for the fuzzers to `in.php`.

use std::fmt::Write as _;

use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use bytes::Bytes;

use super::params::Params;
use super::reply::{Refusal, Reply};
use crate::http::fuzzing::{Written, run};
use crate::model::{FieldValue, Fields, Submission};

/// Far more than an input has.
const LIMIT: usize = 1024 * 1024;

/// A submission in any encoding. What is taken is within the limits, and is the same captcha in every encoding that
/// can say it; what is not is refused in the family's words, with status 200.
pub(crate) fn in_php(input: &[u8]) {
    let Some(request) = Written::read(input) else { return };
    let submission = match read(&request) {
        Ok(submission) => submission,
        Err(refusal) => {
            let is_code = |byte: u8| byte.is_ascii_uppercase() || byte == b'_';
            assert!(refusal.as_str().bytes().all(is_code), "{refusal:?}");
            return;
        }
    };
    let captcha = &submission.captcha;
    for name in ["key", "pingback", "json", "header_acao"] {
        assert!(captcha.params.iter().all(|(param, _)| param != name), "{name} is not passed on");
    }
    assert!(captcha.params.len() + captcha.files.len() <= 201, "more than was taken");
    let size = |text: &String| text.len();
    let text: usize = captcha.params.iter().map(|(name, value)| size(name) + size(value)).sum();
    let files: usize = captcha.files.iter().map(|file| file.content.len()).sum();
    assert!(text + files <= 3 * input.len() + 64, "more than came");
    for (way, again) in encoded(&submission) {
        // Written down again it may be longer than what is taken.
        if again.body.len() > LIMIT {
            continue;
        }
        let again = read(&again).unwrap_or_else(|refusal| panic!("{refusal:?} as {way}: {submission:?}"));
        assert_eq!(again.digest(), submission.digest(), "as {way}: {again:?} {submission:?}");
    }
}

fn read(request: &Written) -> Result<Submission, Refusal> {
    let mut params = Params::of_query(&request.query);
    let format = {
        let added = params.add_body(&request.headers, request.body(), LIMIT);
        run(added)?;
        params.format()
    };
    let refused = |refusal: Refusal| {
        let reply = format.encode(&Reply::Error(refusal.clone())).into_response();
        assert_eq!(reply.status(), StatusCode::OK);
        refusal
    };
    let fields: Fields = params.into_fields().map_err(refused)?;
    Submission::from_wire(fields).map_err(|error| refused(Refusal::from(error)))
}

/// The captcha in each encoding that can say it: files travel only as parts of a multipart body.
fn encoded(submission: &Submission) -> Vec<(&'static str, Written)> {
    let captcha = &submission.captcha;
    let mut ways = Vec::new();
    if captcha.files.is_empty() {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(&captcha.params).finish();
        let object: serde_json::Map<_, _> =
            captcha.params.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        let json = serde_json::Value::Object(object).to_string();
        ways.extend([
            ("query", Written::new(b"", &form, Bytes::new())),
            ("form", Written::new(b"application/x-www-form-urlencoded", "", form.clone().into())),
            ("JSON", Written::new(b"text/plain", "", json.into())),
        ]);
    }
    let boundary = "=_ a'(b)+/:?9";
    let label = format!("multipart/form-data; boundary=\"{boundary}\"");
    if let Some(body) = multipart(submission, boundary) {
        ways.push(("multipart", Written::new(label.as_bytes(), "", body.into())));
    }
    ways.into_iter().map(|(way, written)| (way, written.expect("plain text"))).collect()
}

/// `None` when a name cannot be written into a header, or a value could be mistaken for a boundary.
fn multipart(submission: &Submission, boundary: &str) -> Option<Vec<u8>> {
    let captcha = &submission.captcha;
    let mut body = Vec::new();
    let texts = captcha.params.iter().map(|(name, value)| (name, FieldValue::Text(value.clone())));
    let files = captcha.files.iter().map(|file| (&file.field, FieldValue::File(file.content.clone())));
    for (name, value) in texts.chain(files) {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_[]-. ".contains(c);
        if name.is_empty() || name.trim() != name || !name.chars().all(is_plain) {
            return None;
        }
        let (content, file_name) = match &value {
            FieldValue::Text(text) => (text.as_bytes(), ""),
            FieldValue::File(content) => (&content[..], "; filename=\"upload\""),
            _ => unreachable!("made above"),
        };
        if content.windows(boundary.len()).any(|window| window == boundary.as_bytes()) {
            return None;
        }
        let mut head = String::new();
        write!(head, "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"{file_name}\r\n\r\n")
            .ok()?;
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Some(body)
}
