//! The doors for the fuzzers that lead into the listeners.
//!
//! A request is text, so that inputs can be read and written by hand: its content type, its query, and behind the
//! second line break its body.

use std::net::IpAddr;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::IntoResponse as _;
use bytes::Bytes;
use ipnet::IpNet;

use super::addresses::Addresses;
use super::pingback;
use crate::model::{Outcome, Pingback, Timestamp};

pub(crate) use super::compat::fuzzing::in_php;

/// A request of a fuzzer.
pub(super) struct Written {
    pub(super) headers: HeaderMap,
    pub(super) query: String,
    pub(super) body: Bytes,
}

impl Written {
    /// `None` when it could not have come through hyper.
    pub(super) fn read(input: &[u8]) -> Option<Self> {
        let mut parts = input.splitn(3, |byte| *byte == b'\n');
        let (label, query) = (parts.next()?, parts.next()?);
        let body = Bytes::copy_from_slice(parts.next().unwrap_or_default());
        Self::new(label, std::str::from_utf8(query).ok()?, body)
    }

    pub(super) fn new(label: &[u8], query: &str, body: Bytes) -> Option<Self> {
        let mut headers = HeaderMap::new();
        if !label.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_bytes(label).ok()?);
        }
        Some(Self { headers, query: query.to_owned(), body })
    }

    pub(super) fn body(&self) -> Body {
        Body::from(self.body.clone())
    }
}

/// Runs what waits for a body. Nothing else can be waited for here.
pub(super) fn run<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime without I/O can be made");
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

/// A pingback. What is understood is understood the same in every encoding; what is not is the sender's
/// mistake, never ours.
pub(crate) fn pingback(input: &[u8]) {
    let Some(request) = Written::read(input) else { return };
    let pingback = match read_pingback(&request) {
        Ok(pingback) => pingback,
        Err(status) => {
            assert!([StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE].contains(&status), "{status}");
            return;
        }
    };
    assert!(!pingback.code.is_empty() && !pingback.code.contains('\0'));
    assert!(pingback.code.len() <= 3 * input.len());
    let fields = fields_of(&pingback);
    let text = |pairs: &[(String, String)]| {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
    };
    let object: serde_json::Map<_, _> =
        fields.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    for (label, query, body) in [
        ("application/x-www-form-urlencoded", String::new(), text(&fields)),
        ("", text(&fields), String::new()),
        ("application/json", String::new(), serde_json::Value::Object(object).to_string()),
    ] {
        // Written down again it may be longer than what is taken.
        if body.len() > 64 * 1024 {
            continue;
        }
        let again = Written::new(label.as_bytes(), &query, body.into()).expect("plain text");
        let again =
            read_pingback(&again).unwrap_or_else(|status| panic!("{status} as {label:?}: {fields:?}"));
        assert_eq!(again, pingback, "as {label:?}");
    }
}

fn read_pingback(request: &Written) -> Result<Pingback, StatusCode> {
    let decoded = run(pingback::decode(&request.headers, Some(&request.query), request.body()));
    let pingback = decoded.map_err(|error| error.into_response().status())?;
    Ok(Pingback { received_at: Timestamp::from_micros(0), ..pingback })
}

/// The fields that say what a pingback says.
fn fields_of(pingback: &Pingback) -> Vec<(String, String)> {
    let mut fields =
        vec![("id".to_owned(), pingback.captcha_id.to_string()), ("code".to_owned(), pingback.code.clone())];
    if pingback.outcome != Outcome::of(&pingback.code) {
        fields.push(("status".to_owned(), "0".to_owned()));
    }
    if let Some(price) = &pingback.price {
        fields.push(("rate".to_owned(), price.as_str().to_owned()));
    }
    let extra = pingback.extra.as_deref().map(serde_json::from_str::<serde_json::Map<_, _>>);
    for (name, value) in extra.transpose().expect("a JSON object").unwrap_or_default() {
        fields.push((name, value.as_str().expect("text").to_owned()));
    }
    fields
}

/// Who is calling: the peer's address, the trusted networks with commas between them, and headers, one a line. The
/// caller is never a trusted proxy while there is somebody behind it, and nothing that a client puts in front of
/// what proxies add changes who it is.
pub(crate) fn forwarded(input: &[u8]) {
    let mut lines = input.split(|byte| *byte == b'\n');
    let (Some(peer), Some(trusted)) = (text(lines.next()), text(lines.next())) else { return };
    let Ok(peer) = peer.parse::<IpAddr>() else { return };
    let trusted: Vec<IpNet> = trusted.split(',').filter_map(|net| net.parse().ok()).collect();
    let headers: Vec<_> = lines.filter_map(header).collect();
    let addresses = Addresses::new(trusted.clone(), Vec::new());
    let caller = |headers: &[(HeaderName, HeaderValue)]| {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.clone(), value.clone());
        }
        addresses.caller(peer, &map)
    };
    let is_trusted = |ip: IpAddr| trusted.iter().any(|net| net.contains(&ip.to_canonical()));
    let found = caller(&headers);
    if let Some(ip) = found {
        assert_eq!(ip, ip.to_canonical());
    }
    if !is_trusted(peer) {
        assert_eq!(found, Some(peer.to_canonical()), "headers of a stranger are not believed");
    }
    if found.is_some_and(is_trusted) {
        // Everybody who was named is a proxy.
        return;
    }
    for forged in ["203.0.113.66", "for=203.0.113.66", "unknown", "\"", "\"203.0.113.66", ";", "for=\"", ""] {
        let forged = HeaderValue::from_static(forged);
        for named in ["x-forwarded-for", "forwarded"] {
            let Some(first) = headers.iter().position(|(name, _)| name == named) else { continue };
            let mut in_front = headers.clone();
            in_front.insert(first, (headers[first].0.clone(), forged.clone()));
            assert_eq!(caller(&in_front), found, "{forged:?} in front of {headers:?}");
            let mut within = headers.clone();
            let joined = [forged.as_bytes(), b", ", headers[first].1.as_bytes()].concat();
            within[first].1 = HeaderValue::from_bytes(&joined).expect("both were taken");
            assert_eq!(caller(&within), found, "{forged:?} in front of {headers:?}");
        }
    }
}

fn text(line: Option<&[u8]>) -> Option<&str> {
    std::str::from_utf8(line?).ok()
}

/// `Name: value`, of the headers that are looked at.
fn header(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = HeaderName::from_bytes(&line[..colon]).ok()?;
    let is_read = name == "x-forwarded-for" || name == "forwarded";
    // As hyper hands it on: without the blanks around it.
    let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
    is_read.then_some((name, value))
}
