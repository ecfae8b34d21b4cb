//! How a call of our own is known, and its answer.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::model::{Secret, hex};

/// Bytes that make two calls differ.
const NONCE_BYTES: usize = 16;
/// Hex digits of an HMAC.
const MAC_DIGITS: usize = 64;

/// Proves that a call is from this service, and its answer too. It is of the database: every process that works on it
/// knows the calls of all of them, and nobody else does.
#[derive(Clone, Debug)]
pub(crate) struct CheckKey(Secret);

/// What a call says, and what it has to hear.
pub(super) struct Question {
    /// The query of its URL.
    pub(super) query: String,
    answer: Secret,
}

impl Question {
    /// Whether this was said by who has the key.
    pub(super) fn is_answered_by(&self, body: &str) -> bool {
        self.answer.matches(body)
    }
}

impl CheckKey {
    /// One that tells nothing of the key that it is made from.
    pub(crate) fn of(key: &Secret) -> Self {
        Self(mac(key, "self-check", ""))
    }

    /// A call that was never made before.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub(super) fn question(&self) -> Result<Question, getrandom::Error> {
        let nonce = Secret::random_hex(NONCE_BYTES)?;
        let nonce = nonce.expose();
        let query = format!("check={nonce}.{}", mac(&self.0, "check", nonce).expose());
        Ok(Question { query, answer: mac(&self.0, "answer", nonce) })
    }

    /// What a call with this query is to hear; `None` when it is not one of ours.
    pub(crate) fn answer(&self, query: &str) -> Option<String> {
        let check = query.split('&').find_map(|pair| pair.strip_prefix("check="))?;
        let (nonce, proof) = check.split_once('.')?;
        let is_hex = |text: &str, digits| text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_hex(nonce, NONCE_BYTES * 2) || !is_hex(proof, MAC_DIGITS) {
            return None;
        }
        let is_ours = mac(&self.0, "check", nonce).matches(proof);
        is_ours.then(|| mac(&self.0, "answer", nonce).expose().to_owned())
    }
}

/// One purpose's HMAC is none of another's.
fn mac(key: &Secret, purpose: &str, text: &str) -> Secret {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes()).expect("a key may have any length");
    mac.update(format!("{purpose}\n{text}\n").as_bytes());
    Secret::new(hex(&mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> CheckKey {
        CheckKey::of(&Secret::new(text))
    }

    #[test]
    fn a_call_is_known_and_answered_by_who_has_the_key_alone() {
        let question = key("one").question().unwrap();
        let answer = key("one").answer(&question.query).unwrap();
        assert!(question.is_answered_by(&answer));
        assert!(!question.is_answered_by(&answer[1..]) && !question.is_answered_by(""));
        assert_eq!(key("other").answer(&question.query), None);
        let next = key("one").question().unwrap();
        assert!(!next.is_answered_by(&answer), "an answer is of one call");
    }

    #[test]
    fn a_call_that_was_changed_anywhere_is_not_ours() {
        let key = key("one");
        let query = key.question().unwrap().query;
        for place in 0..query.len() {
            let mut bytes = query.clone().into_bytes();
            bytes[place] = if bytes[place] == b'1' { b'2' } else { b'1' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(key.answer(&changed), None, "{changed}");
        }
        assert_eq!(key.answer(&query[..query.len() - 1]), None);
        assert_eq!(key.answer(""), None);
    }

    #[test]
    fn what_a_proxy_adds_to_the_query_does_no_harm() {
        let key = key("one");
        let query = key.question().unwrap().query;
        assert!(key.answer(&format!("via=edge&{query}&x=1")).is_some());
    }

    #[test]
    fn an_answer_is_no_proof_of_a_call() {
        let key = key("one");
        let query = key.question().unwrap().query;
        let (nonce, _) = query.strip_prefix("check=").unwrap().split_once('.').unwrap();
        let answer = key.answer(&query).unwrap();
        assert_eq!(key.answer(&format!("check={nonce}.{answer}")), None);
    }
}
