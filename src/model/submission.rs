//! What a caller submits, checked: every field against the API document's limits before money is
//! spent, and every bad one named.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::check::Check;
use super::field::{FieldError, FieldValue, Fields};
use super::{CallerUrl, Captcha, CaptchaType};

/// How long pingbox tries when the caller does not say.
pub const DEFAULT_TTL: Duration = Duration::from_secs(900);
/// The longest time a caller may ask pingbox to try, in seconds: a day.
pub(super) const MAX_TTL_SECS: i64 = 86_400;
/// The longest `tag`, in characters.
pub(super) const MAX_TAG_CHARS: usize = 255;
/// The highest and, negated, the lowest `priority`.
pub(super) const MAX_PRIORITY: i64 = 1_000_000;

/// A captcha with the wishes that every type takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// What the provider is to solve.
    pub captcha: Captcha,
    /// The caller's own word for it.
    pub tag: Option<String>,
    /// Higher is sent first.
    pub priority: i32,
    /// How long pingbox tries before the task expires.
    pub ttl: Duration,
    /// Where its end is told by a signed webhook.
    pub webhook_url: Option<CallerUrl>,
}

impl Submission {
    /// Checks the fields of a request.
    ///
    /// # Errors
    /// Every field that is missing, unknown, or outside its limits.
    pub fn parse(mut fields: Fields) -> Result<Self, Vec<FieldError>> {
        let mut errors = fields.duplicates();
        let kind = match kind(&mut fields) {
            Ok(kind) => kind,
            Err(error) => return Err([vec![error], errors].concat()),
        };
        let mut check = Check { fields, errors: std::mem::take(&mut errors) };
        let tag = check.label("tag", MAX_TAG_CHARS);
        let priority = check.number("priority", -MAX_PRIORITY, MAX_PRIORITY);
        let ttl = check.seconds("ttl", MAX_TTL_SECS);
        let webhook_url = check.url("webhook_url");
        let captcha = check.captcha(kind);
        if !check.errors.is_empty() {
            return Err(check.errors);
        }
        Ok(Self {
            captcha,
            tag,
            priority: priority.and_then(|priority| i32::try_from(priority).ok()).unwrap_or(0),
            ttl: ttl.map_or(DEFAULT_TTL, |secs| Duration::from_secs(secs.unsigned_abs())),
            webhook_url,
        })
    }

    /// Equal for equal submissions, however they were encoded: what an `Idempotency-Key` is held to.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        // Each part is preceded by its length, so that no two submissions run together the same way.
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(self.captcha.kind.as_str().as_bytes());
        part(&[u8::from(self.tag.is_some())]);
        part(self.tag.as_deref().unwrap_or_default().as_bytes());
        part(&self.priority.to_be_bytes());
        part(&self.ttl.as_secs().to_be_bytes());
        if let Some(url) = &self.webhook_url {
            part(b"webhook_url");
            part(url.text().as_bytes());
        }
        let mut params: Vec<_> = self.captcha.params.iter().collect();
        params.sort();
        for (name, value) in params {
            part(name.as_bytes());
            part(value.as_bytes());
        }
        part(b"files");
        for file in &self.captcha.files {
            part(file.field.as_bytes());
            part(&file.content);
        }
        hash.finalize().into()
    }
}

fn kind(fields: &mut Fields) -> Result<CaptchaType, FieldError> {
    let names = || CaptchaType::ALL.map(CaptchaType::as_str).join(", ");
    match fields.take("type") {
        None => Err(FieldError::new("type", format!("is missing; it is one of {}", names()))),
        Some(FieldValue::Text(text)) => {
            text.parse().map_err(|()| FieldError::new("type", format!("is none of {}", names())))
        }
        Some(_) => Err(FieldError::new("type", format!("is text: one of {}", names()))),
    }
}

#[cfg(test)]
mod tests;
