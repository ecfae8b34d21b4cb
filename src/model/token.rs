//! Tokens of callers: who they are, and what they may do.

use std::fmt;
use std::str::FromStr;

use super::{Secret, Timestamp, TokenId};

/// The longest name of a token, in characters.
pub const MAX_NAME: usize = 100;

/// What a token may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes {
    /// Submit, cancel, report, and have webhooks.
    pub submit: bool,
    /// See tasks, answers and events.
    pub read: bool,
    /// See and do everything.
    pub admin: bool,
}

/// A word that is no scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be of submit, read and admin, at least one, with commas between them")]
pub struct InvalidScopes;

impl Scopes {
    /// Everything.
    pub const ADMIN: Self = Self { submit: true, read: true, admin: true };

    /// The words for them. `admin` includes the others.
    #[must_use]
    pub fn words(self) -> Vec<&'static str> {
        if self.admin {
            return vec!["admin"];
        }
        let words = [(self.submit, "submit"), (self.read, "read")];
        words.into_iter().filter_map(|(has, word)| has.then_some(word)).collect()
    }
}

impl FromStr for Scopes {
    type Err = InvalidScopes;

    fn from_str(text: &str) -> Result<Self, InvalidScopes> {
        let mut scopes = Self::default();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "submit" => scopes.submit = true,
                "read" => scopes.read = true,
                "admin" => scopes = Self::ADMIN,
                _ => return Err(InvalidScopes),
            }
        }
        if scopes == Self::default() { Err(InvalidScopes) } else { Ok(scopes) }
    }
}

impl fmt::Display for Scopes {
    /// As they are stored, and given on a command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(","))
    }
}

/// A token that is to be stored.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// For people.
    pub name: String,
    /// SHA-256 of the token, which itself is kept nowhere.
    pub digest: [u8; 32],
    /// What it may do.
    pub scopes: Scopes,
}

impl NewToken {
    /// A token of this name, made at random: 128 bits as 32 hex digits, as SDKs want their keys. It is shown
    /// once, by whoever asked for it.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn random(name: &str, scopes: Scopes) -> Result<(Self, Secret), getrandom::Error> {
        let secret = Secret::random_hex(16)?;
        let new = Self { name: name.to_owned(), digest: secret.digest(), scopes };
        Ok((new, secret))
    }
}

/// A stored token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Names it, and is the owner of what it submits.
    pub id: TokenId,
    /// For people.
    pub name: String,
    /// SHA-256 of the token.
    pub digest: [u8; 32],
    /// What it may do.
    pub scopes: Scopes,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last shown, to the minute; `None` if it never was.
    pub last_used_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_words_with_commas_and_admin_is_all_of_them() {
        let read_it = |text: &str| text.parse::<Scopes>().map(|scopes| scopes.to_string());
        assert_eq!(read_it("read, submit").as_deref(), Ok("submit,read"));
        assert_eq!(read_it("read").as_deref(), Ok("read"));
        assert_eq!(read_it("submit,admin,").as_deref(), Ok("admin"));
        assert_eq!("admin".parse(), Ok(Scopes::ADMIN));
        for wrong in ["", ",", "reed", "Read", "read admin", "read;submit"] {
            assert_eq!(read_it(wrong), Err(InvalidScopes), "{wrong:?}");
        }
    }

    #[test]
    fn a_random_token_has_128_bits_and_is_known_by_its_digest() {
        let (new, secret) = NewToken::random("ci", Scopes::ADMIN).unwrap();
        assert_eq!(secret.expose().len(), 32);
        assert!(secret.expose().bytes().all(|digit| digit.is_ascii_hexdigit()));
        assert_eq!(new.digest, secret.digest());
        let (_, other) = NewToken::random("ci", Scopes::ADMIN).unwrap();
        assert!(!other.matches(secret.expose()));
    }
}
