//! How far the registration of our pingback URL has come.

use std::fmt;

use crate::model::ErrorCode;

/// Where the registration stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Registration {
    /// Not tried yet.
    Pending,
    /// Nobody wants it: no public URL, or `pingback.register` is off.
    Off,
    /// The provider knows our URL.
    Done,
    /// The provider refuses our URL: answers are asked for instead.
    Refused(ErrorCode),
    /// The provider cannot be asked, for this reason.
    Unreachable(String),
}

impl Registration {
    /// Every word for it.
    pub(crate) const WORDS: [&'static str; 5] = ["pending", "off", "registered", "refused", "unreachable"];

    /// One word for it.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Off => "off",
            Self::Done => "registered",
            Self::Refused(_) => "refused",
            Self::Unreachable(_) => "unreachable",
        }
    }
}

impl Registration {
    /// As it is remembered.
    pub(super) fn to_word(&self) -> String {
        match self {
            Self::Refused(code) => format!("refused {code}"),
            Self::Unreachable(reason) => format!("unreachable {reason}"),
            other => other.as_str().to_owned(),
        }
    }

    /// What was remembered.
    pub(super) fn of_word(word: &str) -> Self {
        match word.split_once(' ') {
            Some(("refused", code)) => Self::Refused(ErrorCode::known(code)),
            Some(("unreachable", reason)) => Self::Unreachable(reason.to_owned()),
            _ if word == "registered" => Self::Done,
            _ if word == "off" => Self::Off,
            _ => Self::Pending,
        }
    }
}

impl fmt::Display for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(code) => write!(f, "refused: {code}: {}", remedy(code)),
            Self::Unreachable(reason) => write!(f, "unreachable: {reason}"),
            other => f.write_str(other.as_str()),
        }
    }
}

/// What to do about a refusal.
pub(crate) fn remedy(code: &ErrorCode) -> &'static str {
    match code.as_str() {
        "ERROR_IP_ADDRES" => {
            "the request must come from the address that public.url points to: run pingbox behind that \
             address, or add the URL once from there"
        }
        _ => code.message(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_replica_remembers_the_others_read() {
        for state in [
            Registration::Pending,
            Registration::Off,
            Registration::Done,
            Registration::Refused(ErrorCode::known("ERROR_IP_ADDRES")),
            Registration::Unreachable("no connection: refused".to_owned()),
        ] {
            assert_eq!(Registration::of_word(&state.to_word()), state);
        }
        assert_eq!(Registration::of_word("from a later version"), Registration::Pending);
    }
}
