//! Money, as the provider writes it.

use std::str::FromStr;

use serde::Serialize;

/// An amount in the account's currency: a plain decimal such as `0.00299`, kept as the provider
/// wrote it so that nothing is rounded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Price(String);

impl Price {
    /// The decimal.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Text that is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a decimal amount")]
pub struct InvalidPrice;

impl FromStr for Price {
    type Err = InvalidPrice;

    fn from_str(text: &str) -> Result<Self, InvalidPrice> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if text.len() <= 24 && digits(whole) && digits(fraction) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidPrice)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_a_plain_decimal() {
        for text in ["0", "0.00299", "12.5"] {
            assert_eq!(text.parse::<Price>().map(|price| price.0), Ok(text.to_owned()));
        }
        for text in ["", ".", "1.", ".5", "-1", "+1", "1e-3", "NaN", "1,5", "0.0000000000000000000000001"] {
            assert!(text.parse::<Price>().is_err(), "{text:?}");
        }
    }
}
