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

    /// The amount of so many billionths; a negative one counts as nothing.
    #[must_use]
    pub fn from_nanos(nanos: i64) -> Self {
        let nanos = nanos.max(0);
        let (whole, part) = (nanos / NANOS, nanos % NANOS);
        let text = format!("{whole}.{part:09}");
        Self(text.trim_end_matches('0').trim_end_matches('.').to_owned())
    }

    /// Billionths of the currency, rounded up; what does not fit is as much as fits.
    #[must_use]
    pub fn nanos(&self) -> i64 {
        let (whole, fraction) = self.0.split_once('.').unwrap_or((&self.0, ""));
        let digits = fraction.get(..9).unwrap_or(fraction);
        let more = fraction.bytes().skip(9).any(|digit| digit != b'0');
        let parts = whole.parse::<i64>().ok().zip(format!("{digits:0<9}").parse::<i64>().ok());
        let nanos =
            parts.and_then(|(whole, part)| whole.checked_mul(NANOS)?.checked_add(part + i64::from(more)));
        nanos.unwrap_or(i64::MAX)
    }
}

const NANOS: i64 = 1_000_000_000;

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

    #[test]
    fn a_price_is_counted_in_billionths() {
        for (text, nanos) in [("0", 0), ("0.00299", 2_990_000), ("12.5", 12_500_000_000), ("0.0000000001", 1)]
        {
            assert_eq!(text.parse::<Price>().unwrap().nanos(), nanos, "{text}");
        }
        assert_eq!("99999999999999999999".parse::<Price>().unwrap().nanos(), i64::MAX);
        for text in ["0", "0.00299", "12.5", "7"] {
            assert_eq!(Price::from_nanos(text.parse::<Price>().unwrap().nanos()).as_str(), text);
        }
    }
}
