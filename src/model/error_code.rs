//! The provider's error codes: what each says, and what it asks of us.

use std::fmt;
use std::time::Duration;

use super::error_table::{Entry, TABLE};

/// What a code asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The task itself is at fault: it fails with the code.
    FailTask,
    /// The task is fine; nothing is sent to `in.php` for this long.
    Wait(Duration),
    /// The account is suspended: neither `in.php` nor `res.php` is called for this long.
    Suspend(Duration),
    /// The account or the address is at fault: nothing is sent until an operator has acted.
    Operator,
    /// Nothing is wrong: the answer is not there yet.
    NotReady,
    /// The request that got it is at fault, such as a report that came too late. It says nothing of the
    /// task or the account.
    Request,
}

/// Where a code is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// API document, "List of in.php errors".
    InPhp,
    /// API document, "List of res.php errors".
    ResPhp,
    /// API document, both of these lists.
    Both,
    /// API document, "Error codes list for request limitations".
    Limits,
    /// Seen at services of the same family; the API document leaves it out.
    Family,
    /// pingbox's own, for tasks that end without the provider's word.
    Pingbox,
}

impl Source {
    const fn title(self) -> &'static str {
        match self {
            Self::InPhp => "API document, `in.php`",
            Self::ResPhp => "API document, `res.php`",
            Self::Both => "API document, `in.php` and `res.php`",
            Self::Limits => "API document, request limits",
            Self::Family => "seen at services of the family",
            Self::Pingbox => "pingbox",
        }
    }
}

/// A code as the provider writes it, such as `ERROR_CAPTCHA_UNSOLVABLE` or `ERROR: 1003`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ErrorCode(String);

/// How long `in.php` is left alone after a reply that says neither yes nor no: an HTML page, a 5xx,
/// an unknown suspension. API document, chapter "Error Handling".
pub const WAIT_AFTER_GARBAGE: Duration = Duration::from_secs(5);

impl ErrorCode {
    /// The code of a task that pingbox gave up on.
    pub const EXPIRED: &str = "EXPIRED";
    /// The code of a task that was sent without a reply, when `provider.unconfirmed` is `fail`.
    pub const UNCONFIRMED: &str = "UNCONFIRMED";
    /// The provider takes no captcha at the moment.
    pub const NO_SLOT: &str = "ERROR_NO_SLOT_AVAILABLE";
    /// The captcha is not solved yet.
    pub const NOT_READY: &str = "CAPCHA_NOT_READY";
    /// The account has no money left.
    pub const ZERO_BALANCE: &str = "ERROR_ZERO_BALANCE";
    /// The workers could not solve it.
    pub const UNSOLVABLE: &str = "ERROR_CAPTCHA_UNSOLVABLE";
    /// The image is too small to be one.
    pub const ZERO_SIZE: &str = "ERROR_ZERO_CAPTCHA_FILESIZE";
    /// The image is larger than the provider takes.
    pub const TOO_BIG: &str = "ERROR_TOO_BIG_CAPTCHA_FILESIZE";
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
        Self::known(if is_word { text } else { Self::UNSOLVABLE })
    }

    /// The code as the provider writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The code for those who know only the provider's: our own become `ERROR_CAPTCHA_UNSOLVABLE`.
    #[must_use]
    pub fn as_provider_code(&self) -> &str {
        if [Self::EXPIRED, Self::UNCONFIRMED].contains(&self.as_str()) { Self::UNSOLVABLE } else { &self.0 }
    }

    /// What to do about it. An unknown code fails the task; an unknown suspension is waited out.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        match self.entry() {
            Some(entry) => entry.remedy,
            None if is_suspension(&self.0) => Remedy::Suspend(WAIT_AFTER_GARBAGE),
            None => Remedy::FailTask,
        }
    }

    /// What it means, for people.
    #[must_use]
    pub fn message(&self) -> &'static str {
        self.entry().map_or("the provider gave this code and no explanation", |entry| entry.message)
    }

    /// Every code known by name, as a Markdown table for people.
    #[must_use]
    pub fn table_in_markdown() -> String {
        let head = ["| code | what pingbox does | meaning | known from |", "| --- | --- | --- | --- |"];
        let rows = TABLE.iter().map(|Entry { code, remedy, retryable, source, message }| {
            let does = match remedy {
                Remedy::FailTask if *retryable => "fails the task, which may be submitted again".to_owned(),
                Remedy::FailTask => "fails the task".to_owned(),
                Remedy::Wait(span) => {
                    format!("sends nothing to `in.php` for {} s, then one at a time", span.as_secs())
                }
                Remedy::Suspend(span) => format!("calls neither script for {} s", span.as_secs()),
                Remedy::Operator => "stops until the key changes or an operator resumes".to_owned(),
                Remedy::NotReady => "asks again later".to_owned(),
                Remedy::Request => {
                    "gives up the request and leaves the task as it is; `in.php`: fails the task".to_owned()
                }
            };
            format!("| `{code}` | {does} | {message} | {} |", source.title())
        });
        head.into_iter().map(str::to_owned).chain(rows).collect::<Vec<_>>().join("\n")
    }

    /// Whether its meaning is known.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.entry().is_some()
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
        assert_eq!(remedy("ERROR: 1001"), Some(Remedy::Suspend(Duration::from_secs(600))));
        assert_eq!(remedy("ERROR: 9999"), Some(Remedy::Suspend(WAIT_AFTER_GARBAGE)));
        assert_eq!(remedy("IP_BANNED"), Some(Remedy::Operator));
        assert_eq!(remedy("CAPCHA_NOT_READY"), Some(Remedy::NotReady));
        assert_eq!(remedy("ERROR_WRONG_CAPTCHA_ID"), Some(Remedy::Request));
    }

    #[test]
    fn no_code_is_listed_twice() {
        for (index, entry) in TABLE.iter().enumerate() {
            assert!(TABLE[index + 1..].iter().all(|later| later.code != entry.code), "{}", entry.code);
        }
    }

    #[test]
    fn every_code_of_the_two_lists_and_the_limits_is_known_by_name() {
        // API document, chapter "Error Handling"; the numbers from "Request limits".
        let documented = "ERROR_WRONG_USER_KEY ERROR_KEY_DOES_NOT_EXIST ERROR_ZERO_BALANCE ERROR_PAGEURL \
            ERROR_NO_SLOT_AVAILABLE ERROR_ZERO_CAPTCHA_FILESIZE ERROR_TOO_BIG_CAPTCHA_FILESIZE \
            ERROR_WRONG_FILE_EXTENSION ERROR_IMAGE_TYPE_NOT_SUPPORTED ERROR_IP_NOT_ALLOWED IP_BANNED \
            ERROR_CAPTCHAIMAGE_BLOCKED MAX_USER_TURN CAPCHA_NOT_READY ERROR_CAPTCHA_UNSOLVABLE \
            ERROR_WRONG_ID_FORMAT ERROR_WRONG_CAPTCHA_ID ERROR_BAD_DUPLICATES REPORT_NOT_RECORDED \
            ERROR_UPLOAD ERROR_GOOGLEKEY ERROR_BAD_TOKEN_OR_PAGEURL ERROR_PROXY_FORMAT ERROR_BAD_PROXY \
            ERROR_PROXY_CONNECTION_FAILED ERROR_TOKEN_EXPIRED ERROR_EMPTY_ACTION ERROR_IP_ADDRES \
            ERROR_DUPLICATE_REPORT";
        for code in documented.split_whitespace() {
            assert!(ErrorCode::known(code).entry().is_some(), "{code}");
        }
        for (number, seconds) in [(1001, 600), (1002, 300), (1003, 30), (1004, 600), (1005, 300)] {
            let expected = Some(Remedy::Suspend(Duration::from_secs(seconds)));
            assert_eq!(remedy(&format!("ERROR: {number}")), expected, "{number}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_text_is_a_code_with_a_remedy_or_an_answer(text in "(ERROR(_|: ))?[A-Z_0-9 ]{0,70}|.{0,80}") {
            if let Some(code) = ErrorCode::parse(&text) {
                assert_eq!(code.as_str(), text);
                let waits = match code.remedy() {
                    Remedy::Wait(span) | Remedy::Suspend(span) => !span.is_zero(),
                    _ => true,
                };
                assert!(waits && !code.message().is_empty());
            }
        }
    }
}
