//! The provider's error codes: what each says, and what it asks of us.

use std::fmt;
use std::time::Duration;

/// What a code asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The task itself is at fault: it fails with the code.
    FailTask,
    /// The task is fine; nothing is sent to `in.php` for this long.
    Wait(Duration),
    /// The account or the address is at fault: an operator must act. Sending goes on being
    /// refused until then.
    Operator,
    /// Nothing is wrong with the task or the account: the answer is not there yet, or the code
    /// belongs to another act.
    Nothing,
}

/// A code as the provider writes it, such as `ERROR_CAPTCHA_UNSOLVABLE` or `ERROR: 1003`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ErrorCode(String);

struct Entry {
    code: &'static str,
    remedy: Remedy,
    retryable: bool,
    message: &'static str,
}

const fn entry(code: &'static str, remedy: Remedy, message: &'static str) -> Entry {
    Entry { code, remedy, retryable: false, message }
}

/// Like [`entry`], for a task that may well succeed when it is submitted again as it is.
const fn retryable(code: &'static str, message: &'static str) -> Entry {
    Entry { code, remedy: Remedy::FailTask, retryable: true, message }
}

const fn wait(code: &'static str, seconds: u64, message: &'static str) -> Entry {
    Entry { code, remedy: Remedy::Wait(Duration::from_secs(seconds)), retryable: true, message }
}

/// How long `in.php` is left alone after a reply that says neither yes nor no: an HTML page, a 5xx,
/// an unknown suspension. API document, chapter "Error Handling".
pub const WAIT_AFTER_GARBAGE: Duration = Duration::from_secs(5);

/// The account's codes by remedy, then those of tasks. API document, chapters "Error Handling" and
/// "Request limits"; the codes that it leaves out were seen at services of the same family.
const TABLE: &[Entry] = {
    use Remedy::{FailTask, Nothing, Operator};
    &[
        entry("ERROR_WRONG_USER_KEY", Operator, "the API key does not have 32 symbols"),
        entry("ERROR_KEY_DOES_NOT_EXIST", Operator, "the API key does not exist"),
        entry(
            "ERROR_IP_NOT_ALLOWED",
            Operator,
            "this address is not on the account's list of allowed addresses",
        ),
        entry(
            "IP_BANNED",
            Operator,
            "this address is banned for using wrong keys: the provider's support lifts it",
        ),
        wait("ERROR_ZERO_BALANCE", 60, "the account has no money left"),
        wait(
            "ERROR_NO_SLOT_AVAILABLE",
            5,
            "the provider's queue is full, or the account's highest rate is too low",
        ),
        wait("MAX_USER_TURN", 10, "more than 60 submissions within 3 seconds"),
        wait("ERROR: 1001", 600, "suspended for asking on while the bid was too low"),
        wait("ERROR: 1002", 300, "suspended for asking on without a balance"),
        wait("ERROR: 1003", 30, "suspended for uploading faster than the queue drains"),
        wait("ERROR: 1004", 600, "this address is blocked for using a wrong key"),
        wait("ERROR: 1005", 300, "suspended for asking for answers too often"),
        entry("CAPCHA_NOT_READY", Nothing, "the captcha is not solved yet"),
        entry("REPORT_NOT_RECORDED", Nothing, "the report was not recorded"),
        entry("ERROR_DUPLICATE_REPORT", Nothing, "the captcha was reported before"),
        retryable("ERROR_CAPTCHA_UNSOLVABLE", "the workers could not solve it; it was not charged"),
        retryable("ERROR_BAD_DUPLICATES", "too few workers gave the same answer"),
        retryable("ERROR_PROXY_CONNECTION_FAILED", "the provider could not connect through the proxy"),
        retryable("ERROR_UPLOAD", "the upload did not arrive whole"),
        entry("ERROR_PAGEURL", FailTask, "pageurl is missing"),
        entry("ERROR_GOOGLEKEY", FailTask, "googlekey is missing or malformed"),
        entry("ERROR_BAD_TOKEN_OR_PAGEURL", FailTask, "googlekey and pageurl do not belong together"),
        entry("ERROR_ZERO_CAPTCHA_FILESIZE", FailTask, "the image has less than 100 bytes"),
        entry("ERROR_TOO_BIG_CAPTCHA_FILESIZE", FailTask, "the image has more than 100 kB"),
        entry("ERROR_WRONG_FILE_EXTENSION", FailTask, "the image is not jpg, jpeg, gif or png"),
        entry("ERROR_IMAGE_TYPE_NOT_SUPPORTED", FailTask, "the image's type was not recognised"),
        entry("ERROR_CAPTCHAIMAGE_BLOCKED", FailTask, "the provider knows this image as unrecognisable"),
        entry("ERROR_PROXY_FORMAT", FailTask, "the proxy is malformed"),
        entry("ERROR_BAD_PROXY", FailTask, "the proxy is marked as bad"),
        entry("ERROR_TOKEN_EXPIRED", FailTask, "the captcha's own token has expired"),
        entry("ERROR_EMPTY_ACTION", FailTask, "the action is missing"),
        entry("ERROR_BAD_PARAMETERS", FailTask, "a parameter is missing or malformed"),
        entry("ERROR_WRONG_ID_FORMAT", FailTask, "the captcha ID is not a number"),
        entry("ERROR_WRONG_CAPTCHA_ID", FailTask, "the provider does not know the captcha ID"),
        entry("ERROR_IP_ADDRES", FailTask, "a pingback URL is registered only from the address it points to"),
        // Ours, for tasks that end without the provider's word.
        retryable(ErrorCode::EXPIRED, "no answer came within the task's ttl"),
        retryable(ErrorCode::UNCONFIRMED, "the task was sent, but no reply came: it may have been charged"),
    ]
};

impl ErrorCode {
    /// The code of a task that pingbox gave up on.
    pub const EXPIRED: &str = "EXPIRED";
    /// The code of a task that was sent without a reply, when `provider.unconfirmed` is `fail`.
    pub const UNCONFIRMED: &str = "UNCONFIRMED";
    /// Longer texts are answers that happen to look like a code.
    const MAX_LENGTH: usize = 64;

    /// The code that `text` is as a whole; `None` for an answer, even one that contains a code.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (is_listed(text) || is_unlisted_error(text) || is_suspension(text)).then(|| Self(text.to_owned()))
    }

    /// A code that was parsed before, or one of our own.
    #[must_use]
    pub fn known(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// What a service that says so elsewhere gives as the reason of a failure: its word, if it is
    /// short and plain enough to be one.
    #[must_use]
    pub fn foreign(text: &str) -> Self {
        let is_word =
            (1..=Self::MAX_LENGTH).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        Self::known(if is_word { text } else { "ERROR_CAPTCHA_UNSOLVABLE" })
    }

    /// The code as the provider writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What to do about it. An unknown code fails the task; an unknown suspension is waited out.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        match self.entry() {
            Some(entry) => entry.remedy,
            None if is_suspension(&self.0) => Remedy::Wait(WAIT_AFTER_GARBAGE),
            None => Remedy::FailTask,
        }
    }

    /// What it means, for people.
    #[must_use]
    pub fn message(&self) -> &'static str {
        self.entry().map_or("the provider gave this code and no explanation", |entry| entry.message)
    }

    /// Whether the same task may succeed when it is submitted again unchanged.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.entry().is_some_and(|entry| entry.retryable)
    }

    fn entry(&self) -> Option<&'static Entry> {
        TABLE.iter().find(|entry| entry.code == self.0)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_listed(text: &str) -> bool {
    let ours = [ErrorCode::EXPIRED, ErrorCode::UNCONFIRMED].contains(&text);
    !ours && TABLE.iter().any(|entry| entry.code == text)
}

/// `ERROR_` and more capitals: how every code of the family that we do not list yet looks.
fn is_unlisted_error(text: &str) -> bool {
    text.len() <= ErrorCode::MAX_LENGTH
        && text.strip_prefix("ERROR_").is_some_and(|rest| {
            !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        })
}

/// `ERROR: NNNN`, a numbered suspension.
fn is_suspension(text: &str) -> bool {
    text.strip_prefix("ERROR: ")
        .is_some_and(|number| number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remedy(text: &str) -> Option<Remedy> {
        ErrorCode::parse(text).map(|code| code.remedy())
    }

    #[test]
    fn a_code_is_the_whole_text_or_it_is_an_answer() {
        for answer in [
            "",
            "ERROR",
            "ERROR_",
            "an ERROR_PAGEURL",
            "ERROR_PAGEURL ",
            "error_pageurl",
            "ERROR_404",
            "ERROR: 1",
            "ERROR: 10055",
            "ERROR 1001",
            "EXPIRED",
            "UNCONFIRMED",
            "OK|ERROR_PAGEURL",
        ] {
            assert_eq!(ErrorCode::parse(answer), None, "{answer:?}");
        }
        assert_eq!(ErrorCode::parse(&format!("ERROR_{}", "A".repeat(59))), None);
    }

    #[test]
    fn each_kind_of_code_asks_for_its_own_remedy() {
        assert_eq!(remedy("ERROR_CAPTCHA_UNSOLVABLE"), Some(Remedy::FailTask));
        assert_eq!(remedy("ERROR_NEVER_SEEN_BEFORE"), Some(Remedy::FailTask));
        assert_eq!(remedy("ERROR_NO_SLOT_AVAILABLE"), Some(Remedy::Wait(Duration::from_secs(5))));
        assert_eq!(remedy("ERROR: 1001"), Some(Remedy::Wait(Duration::from_secs(600))));
        assert_eq!(remedy("ERROR: 9999"), Some(Remedy::Wait(WAIT_AFTER_GARBAGE)));
        assert_eq!(remedy("IP_BANNED"), Some(Remedy::Operator));
        assert_eq!(remedy("CAPCHA_NOT_READY"), Some(Remedy::Nothing));
    }

    #[test]
    fn no_code_is_listed_twice() {
        for (index, entry) in TABLE.iter().enumerate() {
            assert!(TABLE[index + 1..].iter().all(|later| later.code != entry.code), "{}", entry.code);
        }
    }
}
