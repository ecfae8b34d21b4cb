//! The requests that were received, for users who want to see what they sent.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::answers::hex;
use super::image::decode_base64;
use super::proxy;
use super::request::{Parameters, Value};
use crate::model::Timestamp;

/// The most requests that are kept; past it the oldest go.
const MAX_ENTRIES: usize = 10_000;
/// The most that is kept of all parameters together, in bytes; past it the oldest requests go.
const MAX_TOTAL_BYTES: usize = 64 * 1024 * 1024;
/// The longest text that is kept of one parameter, in bytes; the rest is cut off.
const MAX_TEXT_BYTES: usize = 4096;
/// The most parameters that are kept of one request.
const MAX_PARAMETERS: usize = 100;

/// One request to `in.php` or `res.php`.
#[derive(Clone, Debug, Serialize)]
pub struct LoggedRequest {
    /// Counts the requests, from 1.
    pub number: u64,
    /// When it was read, RFC 3339.
    pub time: Timestamp,
    /// The same in microseconds since 1970.
    pub at_us: i64,
    /// `/in.php` or `/res.php`.
    pub path: &'static str,
    /// What was sent, however it was encoded, except the key and the login of a proxy. The first 100, by
    /// name.
    pub parameters: BTreeMap<String, LoggedValue>,
}

/// The value of one parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum LoggedValue {
    /// Text, its first 4096 bytes.
    Text(String),
    /// An image, uploaded or as base64.
    File {
        /// The SHA-256 of the image, lower-case hex.
        sha256: String,
        /// Its size in bytes.
        bytes: usize,
    },
}

impl LoggedValue {
    fn new(name: &str, value: &Value) -> Self {
        let file =
            |bytes: &[u8]| Self::File { sha256: hex(&Sha256::digest(bytes).into()), bytes: bytes.len() };
        match value {
            Value::File(bytes) => file(bytes),
            Value::Text(text) if matches!(name, "body" | "imginstructions") => {
                decode_base64(text).map_or_else(|_| Self::Text(beginning(text)), |bytes| file(&bytes))
            }
            Value::Text(text) if name.eq_ignore_ascii_case("proxy") => {
                Self::Text(beginning(&proxy::masked(text)))
            }
            Value::Text(text) => Self::Text(beginning(text)),
        }
    }

    fn size_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::File { sha256, .. } => sha256.len(),
        }
    }
}

fn beginning(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT_BYTES)].to_owned()
}

/// What of the parameters goes into the journal.
pub(super) fn loggable(parameters: &Parameters) -> BTreeMap<String, LoggedValue> {
    parameters
        .iter()
        .filter(|(name, _)| *name != "key")
        .take(MAX_PARAMETERS)
        .map(|(name, value)| (beginning(name), LoggedValue::new(name, value)))
        .collect()
}

/// The latest requests, oldest first.
#[derive(Debug, Default)]
pub(super) struct Journal {
    entries: VecDeque<LoggedRequest>,
    total_bytes: usize,
    count: u64,
}

impl Journal {
    /// Keeps a request, and drops old ones where there is no room.
    pub(super) fn add(
        &mut self,
        path: &'static str,
        parameters: BTreeMap<String, LoggedValue>,
        now: Timestamp,
    ) {
        self.count += 1;
        let entry = LoggedRequest { number: self.count, time: now, at_us: now.as_micros(), path, parameters };
        self.total_bytes += size_bytes(&entry);
        self.entries.push_back(entry);
        while self.entries.len() > MAX_ENTRIES || self.total_bytes > MAX_TOTAL_BYTES {
            match self.entries.pop_front() {
                Some(oldest) => self.total_bytes -= size_bytes(&oldest),
                None => return,
            }
        }
    }

    /// The requests with a number above `after`, oldest first.
    pub(super) fn after(&self, after: u64) -> Vec<LoggedRequest> {
        let start = self.entries.partition_point(|entry| entry.number <= after);
        self.entries.range(start..).cloned().collect()
    }

    /// Drops all requests; numbers go on.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.total_bytes = 0;
    }
}

fn size_bytes(entry: &LoggedRequest) -> usize {
    let parameters = entry.parameters.iter();
    size_of::<LoggedRequest>()
        + parameters.map(|(name, value)| name.len() + value.size_bytes() + 100).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_requests_give_way_by_number_and_by_size() {
        let now = Timestamp::from_micros(0);
        let mut journal = Journal::default();
        for _ in 0..=MAX_ENTRIES {
            journal.add("/in.php", BTreeMap::new(), now);
        }
        assert_eq!(journal.after(0).len(), MAX_ENTRIES);
        assert_eq!(journal.after(10_000)[0].number, 10_001);

        let text = LoggedValue::Text("x".repeat(MAX_TEXT_BYTES));
        let large: BTreeMap<_, _> =
            (0..MAX_PARAMETERS).map(|name| (name.to_string(), text.clone())).collect();
        for _ in 0..200 {
            journal.add("/in.php", large.clone(), now);
        }
        assert!(journal.after(0).len() < 200);
        assert!(journal.total_bytes <= MAX_TOTAL_BYTES);
    }
}
