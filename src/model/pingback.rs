//! The provider's POST to our public URL, and what its `code` means for the task.

use super::error_code::Remedy;
use super::{CaptchaId, ErrorCode, Price, Timestamp};

/// A pingback that was received and understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pingback {
    /// The captcha it speaks of.
    pub captcha_id: CaptchaId,
    /// The text of `code`, as it came.
    pub code: String,
    /// What the code means.
    pub outcome: Outcome,
    /// The price, when the provider named one.
    pub price: Option<Price>,
    /// Fields that we do not know, as a JSON object; `None` when there were none.
    pub extra: Option<String>,
    /// When it came.
    pub received_at: Timestamp,
}

/// What a pingback, or a reply of `res.php`, says of a captcha.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is solved; the text is the answer.
    Answer(String),
    /// It has failed with this code.
    Failed(ErrorCode),
    /// It says something of the account, or asks for patience: kept, and nothing follows from it.
    Notice,
}

/// Text from outside as every database can keep it: PostgreSQL takes no NUL. Like bytes that are no text, it becomes
/// U+FFFD: a damaged answer is better than a lost one.
#[must_use]
pub fn without_nul(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

impl Outcome {
    /// What a `code` means: the exact codes of the family are errors or notices, everything else is
    /// an answer, even if it contains the word ERROR.
    #[must_use]
    pub fn of(code: &str) -> Self {
        match ErrorCode::parse(code) {
            None => Self::Answer(code.to_owned()),
            Some(error) if error.remedy() == Remedy::FailTask => Self::Failed(error),
            Some(_) => Self::Notice,
        }
    }
}

#[cfg(test)]
impl Pingback {
    /// One that came just now.
    pub(crate) fn of(captcha_id: &CaptchaId, code: &str) -> Self {
        Self {
            captcha_id: captcha_id.clone(),
            code: code.to_owned(),
            outcome: Outcome::of(code),
            price: None,
            extra: None,
            received_at: Timestamp::now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_database_takes_becomes_a_sign_of_damage() {
        assert_eq!(without_nul("Fri\0day".to_owned()), "Fri\u{fffd}day");
        assert_eq!(without_nul("Friday".to_owned()), "Friday");
    }

    #[test]
    fn task_errors_fail_account_errors_do_nothing_and_the_rest_is_an_answer() {
        assert_eq!(
            Outcome::of("ERROR_CAPTCHA_UNSOLVABLE"),
            Outcome::Failed(ErrorCode::known("ERROR_CAPTCHA_UNSOLVABLE"))
        );
        assert_eq!(Outcome::of("ERROR_BRAND_NEW"), Outcome::Failed(ErrorCode::known("ERROR_BRAND_NEW")));
        for notice in [
            "CAPCHA_NOT_READY",
            "MAX_USER_TURN",
            "IP_BANNED",
            "ERROR_ZERO_BALANCE",
            "ERROR_NO_SLOT_AVAILABLE",
            "ERROR_WRONG_USER_KEY",
            "ERROR_KEY_DOES_NOT_EXIST",
            "ERROR: 1001",
            "ERROR: 1005",
        ] {
            assert_eq!(Outcome::of(notice), Outcome::Notice, "{notice}");
        }
        for answer in ["ERROR 404: page not found", "no ERROR_PAGEURL", "a|b+c&d=e", "404"] {
            assert_eq!(Outcome::of(answer), Outcome::Answer(answer.to_owned()));
        }
    }
}
