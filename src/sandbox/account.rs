//! The money on the account, and what captchas cost.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::captcha::{ImageSize, Kind};

/// Text that is no amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an amount is a decimal number such as 12.5, with at most 6 decimals")]
pub struct InvalidAmount;

/// Money in the account's currency, exact to a millionth. As text and in JSON it is a decimal
/// number without needless zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Amount(i64);

impl Amount {
    /// This many millionths.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The millionths in it.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, micros) = (self.0.unsigned_abs() / 1_000_000, self.0.unsigned_abs() % 1_000_000);
        if micros == 0 {
            return write!(f, "{sign}{whole}");
        }
        let decimals = format!("{micros:06}");
        write!(f, "{sign}{whole}.{}", decimals.trim_end_matches('0'))
    }
}

impl FromStr for Amount {
    type Err = InvalidAmount;

    fn from_str(text: &str) -> Result<Self, InvalidAmount> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(decimals) || decimals.len() > 6 {
            return Err(InvalidAmount);
        }
        let micros: i64 = format!("{decimals:0<6}").parse().map_err(|_| InvalidAmount)?;
        whole
            .parse::<i64>()
            .ok()
            .and_then(|whole| whole.checked_mul(1_000_000)?.checked_add(micros))
            .map(Self)
            .ok_or(InvalidAmount)
    }
}

impl TryFrom<String> for Amount {
    type Error = InvalidAmount;

    fn try_from(text: String) -> Result<Self, InvalidAmount> {
        text.parse()
    }
}

impl From<Amount> for String {
    fn from(amount: Amount) -> Self {
        amount.to_string()
    }
}

/// What one captcha of this kind costs once solved: the provider's table of rates, at the lower
/// end where the table gives a range.
pub(super) fn price(kind: &Kind) -> Amount {
    let per_thousand_cents = match kind {
        Kind::Image { size, .. } if is_big(*size) => 100,
        Kind::Image { .. } | Kind::Text { .. } | Kind::Rotate { .. } => 50,
        Kind::Grid { .. } | Kind::Canvas { .. } | Kind::Click { .. } => 120,
        Kind::Other { method } if method == "turnstile" => 145,
        Kind::Recaptcha | Kind::FunCaptcha { .. } | Kind::KeyCaptcha { .. } | Kind::Other { .. } => 299,
    };
    Amount(per_thousand_cents * 10)
}

/// Whether the image is charged as a big one: its width and height add up to more than 400 pixels.
const fn is_big(size: ImageSize) -> bool {
    size.width as u64 + size.height as u64 > 400
}

/// The account: what is on it, and how much of that is promised to captchas still being solved, so
/// that it never falls below zero.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    pub(super) balance: Amount,
    reserved: Amount,
}

impl Account {
    /// An account with this much on it.
    pub(super) fn with_balance(balance: Amount) -> Self {
        Self { balance, ..Self::default() }
    }

    /// Sets `price` aside; `false` when too little is left.
    pub(super) fn reserve(&mut self, price: Amount) -> bool {
        if self.balance.0.saturating_sub(self.reserved.0) < price.0 {
            return false;
        }
        self.reserved.0 += price.0;
        true
    }

    /// Takes what was set aside off the balance.
    pub(super) fn charge(&mut self, price: Amount) {
        self.release(price);
        self.balance.0 -= price.0;
    }

    /// Gives up what was set aside: the captcha was not solved.
    pub(super) fn release(&mut self, price: Amount) {
        self.reserved.0 -= price.0;
    }

    /// Pays back what was charged.
    pub(super) fn refund(&mut self, price: Amount) {
        self.balance.0 = self.balance.0.saturating_add(price.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_reads_and_prints_as_a_decimal_number() {
        for text in ["0", "1000", "0.00299", "12.5", "0.000001"] {
            assert_eq!(text.parse::<Amount>().unwrap().to_string(), text);
        }
        assert_eq!("1.500".parse::<Amount>().unwrap().to_string(), "1.5");
        for text in ["", ".", "1.", ".5", "-1", "1e3", "0.0000001", "99999999999999999999"] {
            assert_eq!(text.parse::<Amount>(), Err(InvalidAmount), "{text}");
        }
    }

    #[test]
    fn prices_follow_the_table_of_rates() {
        let size = |width, height| ImageSize { width, height };
        let image = |size| Kind::Image { hints: crate::sandbox::hints::Hints::default(), size };
        assert_eq!(price(&image(size(200, 200))).to_string(), "0.0005");
        assert_eq!(price(&image(size(200, 201))).to_string(), "0.001");
        assert_eq!(price(&Kind::Recaptcha).to_string(), "0.00299");
        assert_eq!(price(&Kind::Click { size: size(300, 300) }).to_string(), "0.0012");
        assert_eq!(price(&Kind::Rotate { files: 3, step: 40 }).to_string(), "0.0005");
    }

    #[test]
    fn what_is_set_aside_cannot_be_spent_twice() {
        let mut account = Account { balance: Amount(700), ..Account::default() };
        assert!(account.reserve(Amount(500)));
        assert!(!account.reserve(Amount(500)));
        account.charge(Amount(500));
        assert_eq!(account.balance, Amount(200));
        account.refund(Amount(500));
        assert!(account.reserve(Amount(700)));
    }
}
