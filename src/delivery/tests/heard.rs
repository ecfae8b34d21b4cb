//! Signed messages, as receivers read them.

use std::collections::HashMap;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use standardwebhooks::Webhook;

use super::receiver::Receiver;

/// A signed message that came to a receiver.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) id: String,
    pub(super) headers: HashMap<String, String>,
    pub(super) text: String,
    pub(super) body: Value,
}

impl Heard {
    fn read(request: &str) -> Self {
        let (head, text) = request.split_once("\r\n\r\n").unwrap();
        let lines = head.lines().skip(1).map(|line| line.split_once(": ").unwrap());
        let headers: HashMap<_, _> = lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let (id, body) = (headers["webhook-id"].clone(), text.parse().unwrap());
        Self { id, headers, text: text.to_owned(), body }
    }

    /// What every receiver does: it checks the signature with a library for that.
    pub(super) fn is_signed_with(&self, secret: &str) -> bool {
        let header = |(name, value): (&String, &String)| {
            (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())
        };
        let headers: HeaderMap = self.headers.iter().map(header).collect();
        Webhook::new(secret).unwrap().verify(self.text.as_bytes(), &headers).is_ok()
    }
}

impl Receiver {
    /// The signed messages so far.
    pub(super) fn heard(&self) -> Vec<Heard> {
        self.seen().iter().map(|request| Heard::read(request)).collect()
    }
}
