//! What webhooks are signed with, as Standard Webhooks has it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{Secret, Timestamp};

/// What stands before a secret, so that scanners of source code know it for one.
const PREFIX: &str = "whsec_";
/// How long a key may be, in bytes, by the Standard Webhooks specification.
const SHORTEST: usize = 24;
const LONGEST: usize = 64;
/// Random bytes of a secret that we make.
const RANDOM_BYTES: usize = 32;

/// A secret that pingbox shares with a receiver, written as `whsec_` and the key in base64. It prints as `***`.
#[derive(Clone, Debug)]
pub struct SigningSecret {
    text: Secret,
    key: Key,
}

/// The key itself.
#[derive(Clone)]
struct Key(Hmac<Sha256>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Text that is no secret to sign with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not whsec_ and 24 to 64 bytes in base64: leave it out, and one is made")]
pub struct InvalidSecret;

impl SigningSecret {
    /// Reads a secret, with `whsec_` before it or without.
    ///
    /// # Errors
    /// When it is not base64 of 24 to 64 bytes.
    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        let text = text.trim();
        let encoded = text.strip_prefix(PREFIX).unwrap_or(text);
        let key = BASE64.decode(encoded).map_err(|_| InvalidSecret)?;
        if !(SHORTEST..=LONGEST).contains(&key.len()) {
            return Err(InvalidSecret);
        }
        Ok(Self::of_key(&key, encoded))
    }

    /// A new secret, made at random.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut key = [0; RANDOM_BYTES];
        getrandom::fill(&mut key)?;
        Ok(Self::of_key(&key, &BASE64.encode(key)))
    }

    fn of_key(key: &[u8], encoded: &str) -> Self {
        let mac = Hmac::new_from_slice(key).expect("a key may have any length");
        Self { text: Secret::new(format!("{PREFIX}{encoded}")), key: Key(mac) }
    }

    /// The text itself, for the one place that shows or stores it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.text.expose()
    }

    fn sign(&self, content: &str) -> String {
        let mut mac = self.key.0.clone();
        mac.update(content.as_bytes());
        format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))
    }
}

/// The secret that signs, and while it is new, the one before it.
#[derive(Clone, Debug)]
pub struct SigningKeys {
    /// The secret.
    pub current: SigningSecret,
    /// The one before, and until when it signs too.
    pub old: Option<(SigningSecret, Timestamp)>,
}

impl SigningKeys {
    /// The value of `webhook-signature`: a signature by each secret. `id` and `body` are as they are sent, `now`
    /// is sent as `webhook-timestamp`, in seconds since 1970.
    #[must_use]
    pub fn sign(&self, id: &str, body: &str, now: Timestamp) -> String {
        let content = format!("{id}.{}.{body}", now.as_secs());
        let old = self.old.iter().filter(|(_, until)| now < *until).map(|(secret, _)| secret.sign(&content));
        std::iter::once(self.current.sign(&content)).chain(old).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by the Python package `standardwebhooks` 1.0.0.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn a_secret_is_24_to_64_bytes_with_a_prefix_or_without() {
        for bytes in [24, 32, 64] {
            let text = BASE64.encode(vec![7; bytes]);
            let secret = SigningSecret::parse(&text).unwrap();
            assert_eq!(secret.expose(), format!("whsec_{text}"));
            assert_eq!(SigningSecret::parse(secret.expose()).unwrap().expose(), secret.expose());
        }
        for wrong in ["", "whsec_", "secret", "whsec_!!!", &BASE64.encode([7; 23]), &BASE64.encode([7; 65])] {
            assert_eq!(SigningSecret::parse(wrong).err(), Some(InvalidSecret), "{wrong}");
        }
    }

    #[test]
    fn a_secret_prints_as_stars() {
        let secret = SigningSecret::parse(SECRET).unwrap();
        assert_eq!(format!("{secret:?}"), "SigningSecret { text: ***, key: *** }");
    }

    #[test]
    fn both_secrets_sign_until_the_old_ones_time_is_over() {
        let secret = |text| SigningSecret::parse(text).unwrap();
        let until = Timestamp::from_micros(2_000_000_000);
        let old = secret("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD");
        let keys = SigningKeys { current: secret(SECRET), old: Some((old, until)) };
        let before = keys.sign("msg_1", "{}", Timestamp::from_micros(1_999_999_999));
        let after = keys.sign("msg_1", "{}", until);
        assert_eq!((before.split(' ').count(), after.split(' ').count()), (2, 1));
        assert_ne!(before.split(' ').next(), before.split(' ').nth(1));
    }
}
