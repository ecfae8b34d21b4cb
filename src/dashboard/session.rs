//! Who a browser is, by its cookie; and that a form came from a page of ours.
//!
//! Nothing is kept of a session. The cookie says until when it counts and of which token it is, under an HMAC that the
//! token's digest goes into: a token that is revoked or exchanged ends its sessions, and a cookie is no token.

use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::model::{Secret, Timestamp, TokenId, hex};

/// How long a session lasts: a working day.
pub(super) const LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// What the cookie is called that says who somebody is.
const SESSION_COOKIE: &str = "pingbox_session";
/// What the one is called that forms are bound to before that. It has a name of its own: a browser that comes from
/// another site brings neither, and is given this one, which must not take the place of a session.
const FORM_COOKIE: &str = "pingbox_form";
/// The same on an encrypted connection: with this prefix no other host, and nothing unencrypted, can set them.
const SECURE_SESSION_COOKIE: &str = "__Host-pingbox_session";
const SECURE_FORM_COOKIE: &str = "__Host-pingbox_form";
/// The form of a session's cookie.
const SESSION: &str = "s1";
/// The form of the cookie of a browser that nobody has signed in from.
const STRANGER: &str = "a1";
/// Bytes that make two cookies differ.
const NONCE_BYTES: usize = 16;

/// What a cookie is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It says who somebody is.
    Session,
    /// Forms are bound to it.
    Form,
}

impl Purpose {
    /// What the cookie is called.
    pub(super) const fn cookie(self, is_secure: bool) -> &'static str {
        match (self, is_secure) {
            (Self::Session, false) => SESSION_COOKIE,
            (Self::Session, true) => SECURE_SESSION_COOKIE,
            (Self::Form, false) => FORM_COOKIE,
            (Self::Form, true) => SECURE_FORM_COOKIE,
        }
    }

    /// Whether a cookie has its form. What it says is another question.
    pub(super) fn is_form_of(self, cookie: &str) -> bool {
        match self {
            Self::Session => claim(cookie).is_some(),
            Self::Form => is_stranger(cookie),
        }
    }
}

/// Makes and reads cookies.
#[derive(Debug)]
pub(super) struct Sessions {
    key: Secret,
}

/// What a session's cookie says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim<'a> {
    /// Whose session it would be.
    pub(super) token: TokenId,
    /// Until when it would count.
    pub(super) until: Timestamp,
    /// What is under the HMAC, and the HMAC.
    signed: &'a str,
    mac: &'a str,
}

impl Sessions {
    pub(super) fn new(key: Secret) -> Self {
        Self { key }
    }

    /// The cookie of a session that begins now.
    pub(super) fn begin(
        &self,
        token: TokenId,
        digest: &[u8; 32],
        now: Timestamp,
    ) -> Result<String, getrandom::Error> {
        let until = now.after(LIFETIME).as_micros();
        let nonce = Secret::random_hex(NONCE_BYTES)?;
        let signed = format!("{SESSION}.{until}.{}.{}", token.number(), nonce.expose());
        let mac = self.mac("session", &signed, digest);
        Ok(format!("{signed}.{mac}"))
    }

    /// The cookie of a browser that nobody has signed in from.
    pub(super) fn stranger() -> Result<String, getrandom::Error> {
        Ok(format!("{STRANGER}.{}", Secret::random_hex(NONCE_BYTES)?.expose()))
    }

    /// Whether the claim is of the token with this digest, and of this time.
    pub(super) fn proves(&self, claim: &Claim<'_>, digest: &[u8; 32], now: Timestamp) -> bool {
        let mac = self.mac("session", claim.signed, digest);
        let is_ours: bool = mac.as_bytes().ct_eq(claim.mac.as_bytes()).into();
        is_ours && now < claim.until
    }

    /// What the forms carry that a browser with this cookie is shown.
    pub(super) fn form_token(&self, cookie: &str) -> String {
        self.mac("form", cookie, &[])
    }

    /// Whether a form was shown to the browser with this cookie.
    pub(super) fn is_of_form(&self, cookie: &str, token: &str) -> bool {
        self.form_token(cookie).as_bytes().ct_eq(token.as_bytes()).into()
    }

    /// One purpose's HMAC is none of the other's, and where the text ends is in it.
    fn mac(&self, purpose: &str, text: &str, digest: &[u8]) -> String {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.key.expose().as_bytes()).expect("a key may have any length");
        mac.update(format!("{purpose}\n{text}\n").as_bytes());
        mac.update(digest);
        hex(&mac.finalize().into_bytes())
    }
}

/// What a cookie says, if it is a session's.
pub(super) fn claim(cookie: &str) -> Option<Claim<'_>> {
    let (signed, mac) = cookie.rsplit_once('.')?;
    let mut parts = signed.split('.');
    let mut next = || parts.next();
    if next()? != SESSION {
        return None;
    }
    let until = Timestamp::from_micros(next()?.parse().ok()?);
    let token = TokenId::from_number(next()?.parse().ok()?);
    let _nonce = next()?;
    next().is_none().then_some(Claim { token, until, signed, mac })
}

/// Whether a cookie has the form of one of a browser that nobody has signed in from.
fn is_stranger(cookie: &str) -> bool {
    let nonce = cookie.strip_prefix(STRANGER).and_then(|rest| rest.strip_prefix('.'));
    nonce.is_some_and(|nonce| {
        nonce.len() == NONCE_BYTES * 2 && nonce.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: [u8; 32] = [7; 32];

    fn sessions() -> Sessions {
        Sessions::new(Secret::new("0123456789abcdef"))
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(0).after(Duration::from_secs(seconds))
    }

    #[test]
    fn a_session_counts_for_its_token_until_its_time_is_over() {
        let sessions = sessions();
        let cookie = sessions.begin(TokenId::from_number(7), &DIGEST, at(100)).unwrap();
        let claim = claim(&cookie).unwrap();
        assert_eq!((claim.token.number(), claim.until), (7, at(100).after(LIFETIME)));
        assert!(sessions.proves(&claim, &DIGEST, at(100 + 12 * 3600 - 1)));
        assert!(!sessions.proves(&claim, &DIGEST, at(100 + 12 * 3600)));
        assert!(!sessions.proves(&claim, &[8; 32], at(100)), "another token has its id");
        assert!(!Sessions::new(Secret::new("another key")).proves(&claim, &DIGEST, at(100)));
    }

    #[test]
    fn a_cookie_that_was_changed_anywhere_proves_nothing() {
        let sessions = sessions();
        let cookie = sessions.begin(TokenId::from_number(7), &DIGEST, at(100)).unwrap();
        for place in 0..cookie.len() {
            let mut bytes = cookie.clone().into_bytes();
            bytes[place] = if bytes[place] == b'1' { b'2' } else { b'1' };
            let changed = String::from_utf8(bytes).unwrap();
            let proves = claim(&changed).is_some_and(|claim| sessions.proves(&claim, &DIGEST, at(100)));
            assert!(!proves, "{changed}");
        }
    }

    #[test]
    fn a_form_is_of_the_browser_that_it_was_shown_to() {
        let sessions = sessions();
        let (one, other) = (Sessions::stranger().unwrap(), Sessions::stranger().unwrap());
        let token = sessions.form_token(&one);
        assert!(is_stranger(&one) && one != other);
        assert!(sessions.is_of_form(&one, &token));
        for (cookie, token) in [(&other, token.as_str()), (&one, ""), (&one, &token[1..])] {
            assert!(!sessions.is_of_form(cookie, token), "{cookie} {token}");
        }
    }

    #[test]
    fn what_has_not_the_form_of_a_cookie_is_none() {
        for text in ["", "a1", "a1.", "a1.xyz", "s1.1.1.x", "s1.1.1.x.y.z", "s1.x.1.n.m", "s2.1.1.n.m"] {
            assert!(!Purpose::Session.is_form_of(text) && !Purpose::Form.is_form_of(text), "{text}");
        }
    }
}
