//! The query of a request, or a small JSON body: every parameter of it used or refused.

use std::str::FromStr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path};
use axum::http::HeaderMap;
use axum::http::request::Parts;

use super::body;
use super::error::ApiError;
use crate::model::{FieldError, FieldValue, JsonFields};

/// The largest JSON body that is read like a query.
pub(super) const MAX_BODY_BYTES: usize = 8 * 1024;
/// The most fields of one.
const MAX_FIELDS: usize = 20;

/// The parameters of a query, to be taken out one by one.
pub(crate) struct Query {
    params: Vec<(String, String)>,
    errors: Vec<FieldError>,
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let params = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Ok(Self::of_pairs(params))
    }
}

impl Query {
    /// The fields of a form.
    pub(crate) fn of_pairs(params: Vec<(String, String)>) -> Self {
        Self { params, errors: Vec::new() }
    }

    /// Adds a parameter, as if it had been given.
    pub(crate) fn put(&mut self, name: &str, value: String) {
        self.params.push((name.to_owned(), value));
    }

    /// The fields of a JSON object, as if they had come in a query: a list of text is joined by commas. No body at
    /// all is an object without fields. `example` tells what it should have been.
    pub(super) async fn of_body(body: Body, example: &str) -> Result<Self, ApiError> {
        let bytes = body::read(body, MAX_BODY_BYTES).await?;
        let mut query = Self { params: Vec::new(), errors: Vec::new() };
        if bytes.trim_ascii().is_empty() {
            return Ok(query);
        }
        let JsonFields(fields) = serde_json::from_slice::<JsonFields<MAX_FIELDS>>(&bytes)
            .map_err(|_| ApiError::BadRequest(format!("the body is not a JSON object such as {example}")))?;
        for (name, value) in fields {
            if query.params.iter().any(|(known, _)| *known == name) {
                query.wrong(&name, "is given twice");
            }
            match text_of(value) {
                Some(text) => query.params.push((name, text)),
                None => query.wrong(&name, "is not text, a number, or a list of text"),
            }
        }
        Ok(query)
    }

    /// The text of a parameter; an empty one counts as not given.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        self.given(name).filter(|text| !text.is_empty())
    }

    /// The text of a parameter, also if it is empty.
    pub(super) fn given(&mut self, name: &str) -> Option<String> {
        let mut found = None;
        self.params.retain_mut(|(key, value)| {
            let hit = key == name;
            if hit {
                found = Some(std::mem::take(value));
            }
            !hit
        });
        found
    }

    /// A parameter that is parsed; `expected` tells what it should have been.
    pub(crate) fn parsed<T: FromStr>(&mut self, name: &str, expected: &str) -> Option<T> {
        let text = self.text(name)?;
        let value = text.parse().ok();
        if value.is_none() {
            self.errors.push(FieldError::new(name, format!("is not {expected}")));
        }
        value
    }

    /// `wait` in whole seconds, cut to `max`; zero if it is not given.
    pub(super) fn wait(&mut self, max: Duration) -> Duration {
        self.given_wait(max).unwrap_or_default()
    }

    /// `wait` in whole seconds, cut to `max`, if it is given.
    pub(super) fn given_wait(&mut self, max: Duration) -> Option<Duration> {
        let seconds = self.parsed::<u64>("wait", "a whole number of seconds");
        seconds.map(|seconds| Duration::from_secs(seconds).min(max))
    }

    pub(super) fn wrong(&mut self, name: &str, detail: impl Into<String>) {
        self.errors.push(FieldError::new(name, detail));
    }

    /// A parameter that is needed was not found. Where something is wrong with it already, that is why.
    pub(crate) fn missing(&mut self, name: &str, detail: impl Into<String>) {
        let error = FieldError::new(name, detail);
        if self.errors.iter().all(|known| known.pointer != error.pointer) {
            self.errors.push(error);
        }
    }

    /// Ends the reading: what was wrong, and what nobody took, is an error.
    pub(crate) fn finish(mut self, known: &str) -> Result<(), ApiError> {
        for (name, _) in std::mem::take(&mut self.params) {
            self.wrong(&name, format!("is not a parameter of this path, which takes {known}"));
        }
        if self.errors.is_empty() { Ok(()) } else { Err(ApiError::InvalidFields(self.errors)) }
    }
}

/// A value of JSON as a query would have it.
fn text_of(value: FieldValue) -> Option<String> {
    match value {
        FieldValue::Text(text) => Some(text),
        FieldValue::Number(number) => Some(number.to_string()),
        FieldValue::List(list) => {
            let texts = list.into_iter().map(|item| match item {
                FieldValue::Text(text) => Some(text),
                _ => None,
            });
            Some(texts.collect::<Option<Vec<_>>>()?.join(","))
        }
        FieldValue::Bool(_) | FieldValue::File(_) | FieldValue::Object => None,
    }
}

/// What the path names, if it is a `T`. What is no id names nothing, even where it is no text.
pub(super) async fn named_in_path<T: FromStr, S: Send + Sync>(parts: &mut Parts, state: &S) -> Option<T> {
    let path = Path::<String>::from_request_parts(parts, state).await;
    path.ok().and_then(|Path(id)| id.parse().ok())
}

/// A number that names something: digits alone, without a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowId(pub(crate) i64);

impl FromStr for RowId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { text.parse().map(Self).map_err(|_| ()) } else { Err(()) }
    }
}

/// `Prefer: wait=N` (RFC 7240) in whole seconds; other preferences are left to others.
pub(super) fn preferred_wait(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut preferences = values.flat_map(|value| value.split(','));
    preferences.find_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        let seconds = value.trim().trim_matches('"').parse().ok()?;
        name.trim().eq_ignore_ascii_case("wait").then(|| Duration::from_secs(seconds))
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_wait_is_read_out_of_other_preferences() {
        for (value, expected) in [
            ("wait=30", Some(30)),
            ("respond-async, Wait = \"30\"; foo", Some(30)),
            ("respond-async", None),
            ("wait=soon", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("prefer", HeaderValue::from_static(value));
            assert_eq!(preferred_wait(&headers), expected.map(Duration::from_secs), "{value}");
        }
    }
}
