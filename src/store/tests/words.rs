//! What rows are made of: few of each kind, so that they meet.

use std::ops::Range;

use crate::model::{CallerUrl, CaptchaId, EventKind, SigningSecret};

/// Whatever may be in a text.
const TEXTS: [&str; 12] = [
    "a",
    "",
    "ü 🦀 𝔘",
    "it's \"quoted\" \\ so",
    "100%_",
    "line\nbreak\ttab\u{1}\u{7f}",
    "null",
    "{\"a\":[1]}",
    "1e999",
    "0012",
    "\u{2028}\u{feff}",
    "-1",
];
/// Codes: what is an answer, what fails the task, what is a notice.
pub(super) const CODES: [&str; 8] = [
    "ERROR_CAPTCHA_UNSOLVABLE",
    "ERROR_ZERO_BALANCE",
    "ERROR_BAD_DUPLICATES",
    "x",
    "click:1/2",
    "7|8",
    "",
    "\\\"ü\n",
];
const URLS: [&str; 6] = [
    "http://a.example/x?y=ü",
    "http://A.example/other",
    "https://b.example:8443/",
    "c.example",
    "http://[::1]:81/'",
    "https://b.example:8443/2",
];
pub(super) const NAMES: [&str; 4] = ["probed_at", "pingback_secret", "used_with", "x"];
pub(super) const OWNERS: Range<i64> = 0..4;

pub(super) fn text(at: usize) -> &'static str {
    TEXTS[at % TEXTS.len()]
}

pub(super) fn url(at: usize) -> CallerUrl {
    CallerUrl::parse(URLS[at % URLS.len()]).unwrap()
}

pub(super) fn captcha_id(at: usize) -> CaptchaId {
    // Few, so that they meet; one is as long as they may be.
    let long = if at % 9 == 8 { "0".repeat(31) } else { String::new() };
    format!("{long}{}", at % 9).parse().unwrap()
}

pub(super) fn secret(at: usize) -> SigningSecret {
    let letter = ["A", "B", "C"][at % 3];
    SigningSecret::parse(&letter.repeat(32)).unwrap()
}

pub(super) fn kinds(mask: u8) -> Vec<EventKind> {
    EventKind::ALL
        .into_iter()
        .enumerate()
        .filter(|(at, _)| mask & (1 << at) != 0)
        .map(|(_, kind)| kind)
        .collect()
}

pub(super) fn unique_digest(serial: u64, place: usize) -> [u8; 32] {
    let mut digest = [0xa5; 32];
    digest[..8].copy_from_slice(&serial.to_be_bytes());
    digest[8..16].copy_from_slice(&(place as u64).to_le_bytes());
    digest
}
