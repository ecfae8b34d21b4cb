//! Text that must not be seen.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// A key, a token or a URL segment that opens something. It prints as `***`, is compared in
/// constant time, and is wiped from memory when dropped.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes `text` as secret from here on.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// A new secret of `bytes` random bytes, written as twice as many lower-case hex digits.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn random_hex(bytes: usize) -> Result<Self, getrandom::Error> {
        let mut random = vec![0; bytes];
        getrandom::fill(&mut random)?;
        Ok(Self::new(hex(&random)))
    }

    /// The text itself, for the one place that sends or stores it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether `guess` is the secret. Takes as long for a near miss as for a far one, and tells
    /// nothing of the length either: what is compared are digests.
    #[must_use]
    pub fn matches(&self, guess: &str) -> bool {
        let guess: [u8; 32] = Sha256::digest(guess).into();
        self.digest().ct_eq(&guess).into()
    }

    /// Its SHA-256: stored in its place, it tells nothing of a secret that was made at random.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.expose()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Bytes as lower-case hex digits, two each.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String never fails");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_prints_as_stars_wherever_it_stands() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "*** Some(***)");
    }

    #[test]
    fn only_the_whole_secret_matches() {
        let secret = Secret::new("0123456789abcdefghijkl");
        assert!(secret.matches("0123456789abcdefghijkl"));
        for guess in ["", "0123456789abcdefghijk", "0123456789abcdefghijkL", "0123456789abcdefghijkl0"] {
            assert!(!secret.matches(guess), "{guess}");
        }
    }

    #[test]
    fn random_ones_differ_and_are_hex() {
        let (one, other) = (Secret::random_hex(16).unwrap(), Secret::random_hex(16).unwrap());
        assert_eq!(one.expose().len(), 32);
        assert!(one.expose().bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(one.expose(), other.expose());
    }
}
