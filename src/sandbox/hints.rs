//! What a submitter says of the characters on an image.

use super::reply::Code;
use super::request::Parameters;

/// The hints that shape the answer to an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "the provider's parameters are switches, each for itself")]
pub(super) struct Hints {
    pub(super) two_words: bool,
    pub(super) case_sensitive: bool,
    pub(super) calculation: bool,
    pub(super) cyrillic: bool,
    /// 0 to 4, as the parameter `numeric`.
    pub(super) numeric: u32,
    /// 1 to 20; `None` where not said.
    pub(super) min_len: Option<u32>,
    /// 1 to 20; `None` where not said.
    pub(super) max_len: Option<u32>,
}

impl Hints {
    /// Reads the hints.
    ///
    /// # Errors
    /// When one is outside its range, or the lengths contradict each other.
    pub(super) fn parse(parameters: &Parameters) -> Result<Self, Code> {
        let length = |name| Ok(parameters.number(name, 0..=20)?.filter(|length| *length > 0));
        let hints = Self {
            two_words: parameters.flag("phrase")?,
            case_sensitive: parameters.flag("regsense")?,
            calculation: parameters.flag("calc")?,
            cyrillic: parameters.number("language", 0..=2)? == Some(1),
            numeric: parameters.number("numeric", 0..=4)?.unwrap_or(0),
            min_len: length("min_len")?,
            max_len: length("max_len")?,
        };
        match (hints.min_len, hints.max_len) {
            (Some(min), Some(max)) if min > max => Err(Code::BAD_PARAMETERS),
            _ => Ok(hints),
        }
    }
}
