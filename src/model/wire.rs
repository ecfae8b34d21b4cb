//! A captcha as a request to `in.php` has it: known by its parameters, images taken out, everything
//! else left as it came, so that what is newer than the API document goes through.
//!
//! Only what the API document itself has a code for is checked here. The rest is the provider's to
//! judge: it charges nothing for a request that it refuses.

use bytes::Bytes;

use super::field::{FieldValue, Fields};
use super::{Captcha, CaptchaFile, CaptchaType, DEFAULT_TTL, ErrorCode, Submission, image};

/// What is said to pingbox, or is said to the provider by pingbox itself.
const NOT_PASSED_ON: &[&str] = &["key", "pingback", "json", "header_acao"];
/// Switches of the API document that some SDKs set with the words of their language.
const SWITCHES: &[&str] = &[
    "calc",
    "can_no_answer",
    "canvas",
    "coordinatescaptcha",
    "invisible",
    "nojs",
    "phrase",
    "recaptcha",
    "regsense",
];
/// Images that are not the captcha itself.
const INSTRUCTION: &str = "imginstructions";
/// The most images of one rotate captcha.
const MAX_FILES: usize = 20;

/// Why a request to `in.php` holds no captcha that can be solved: the provider's own code for it, and
/// what it is about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct WireError {
    /// The code.
    pub code: ErrorCode,
    /// What is wrong, for people.
    pub detail: String,
}

impl WireError {
    fn new(code: &str, detail: impl Into<String>) -> Self {
        Self { code: ErrorCode::known(code), detail: detail.into() }
    }

    /// Of a parameter that has no code of its own.
    #[must_use]
    pub fn parameter(detail: impl Into<String>) -> Self {
        Self::new("ERROR_BAD_PARAMETERS", detail)
    }
}

impl Submission {
    /// Reads the parameters of a request to `in.php`, each given once.
    ///
    /// # Errors
    /// When an image is outside the API document's limits, or what names the captcha is missing.
    pub fn from_wire(mut fields: Fields) -> Result<Self, WireError> {
        for name in NOT_PASSED_ON {
            drop(fields.take(name));
        }
        let kind = kind(&fields)?;
        let mut captcha = Captcha { kind, params: Vec::new(), files: Vec::new() };
        match kind {
            CaptchaType::Image | CaptchaType::Click | CaptchaType::RecaptchaImage => {
                one_image(&mut fields, &mut captcha)?;
            }
            CaptchaType::Rotate => several_images(&mut fields, &mut captcha)?,
            _ => {}
        }
        if let Some(value) = fields.take(INSTRUCTION) {
            match content(value) {
                Ok(content) => captcha.files.push(CaptchaFile { field: INSTRUCTION.to_owned(), content }),
                Err(value) => fields.push(INSTRUCTION.to_owned(), value),
            }
        }
        for (name, value) in fields {
            match value {
                FieldValue::File(content) => captcha.files.push(CaptchaFile { field: name, content }),
                value => {
                    let text = value
                        .into_text()
                        .map_err(|detail| WireError::parameter(format!("{name} {detail}")))?;
                    let text = if SWITCHES.contains(&name.as_str()) { switch(text) } else { text };
                    captcha.params.push((name, text));
                }
            }
        }
        let missing = |name: &&&str| captcha.param(name).is_none_or(str::is_empty);
        if let Some(name) = required(kind).iter().find(missing) {
            let code = match *name {
                "pageurl" => "ERROR_PAGEURL",
                "googlekey" => "ERROR_GOOGLEKEY",
                _ => "ERROR_BAD_PARAMETERS",
            };
            return Err(WireError::new(code, format!("{name} is missing")));
        }
        Ok(Self { captcha, tag: None, priority: 0, ttl: DEFAULT_TTL, webhook_url: None })
    }
}

/// The type of captcha that these parameters ask for: it decides how long an answer may take, what it
/// may cost, and how it is read.
fn kind(fields: &Fields) -> Result<CaptchaType, WireError> {
    let text = |name| fields.text(name).unwrap_or_default();
    let is_on = |name| matches!(text(name), "1" | "true");
    let has_image = ["file", "body"].into_iter().any(|name| fields.has(name));
    Ok(match text("method") {
        "" | "post" | "base64" | "textcaptcha" if fields.has("textcaptcha") && !has_image => {
            CaptchaType::Text
        }
        "" | "post" | "base64" => {
            if is_on("coordinatescaptcha") {
                CaptchaType::Click
            } else if is_on("recaptcha") {
                CaptchaType::RecaptchaImage
            } else if fields.has("bounding_box") {
                CaptchaType::Raw
            } else if text("method").is_empty() && !has_image {
                return Err(WireError::parameter("method is missing"));
            } else {
                CaptchaType::Image
            }
        }
        "userrecaptcha" if !text("version").eq_ignore_ascii_case("v3") => CaptchaType::RecaptchaV2,
        "rotatecaptcha" => CaptchaType::Rotate,
        "funcaptcha" => CaptchaType::Funcaptcha,
        "keycaptcha" => CaptchaType::Keycaptcha,
        _ => CaptchaType::Raw,
    })
}

/// What names a captcha that has no image (API document, the chapters of the types).
const fn required(kind: CaptchaType) -> &'static [&'static str] {
    match kind {
        CaptchaType::RecaptchaV2 => &["googlekey", "pageurl"],
        CaptchaType::Funcaptcha => &["publickey", "pageurl"],
        CaptchaType::Keycaptcha => &[
            "s_s_c_user_id",
            "s_s_c_session_id",
            "s_s_c_web_server_sign",
            "s_s_c_web_server_sign2",
            "pageurl",
        ],
        _ => &[],
    }
}

/// The image, from `file` or `body`, as a file or as base64; it travels on the way that `method` says.
fn one_image(fields: &mut Fields, captcha: &mut Captcha) -> Result<(), WireError> {
    let as_text = fields.text("method") == Some("base64");
    drop(fields.take("method"));
    let (method, field) = if as_text { ("base64", "body") } else { ("post", "file") };
    captcha.params.push(("method".to_owned(), method.to_owned()));
    let file = fields.take("file").filter(|value| !is_empty(value));
    let body = fields.take("body").filter(|value| !is_empty(value));
    let value = if as_text { body.or(file) } else { file.or(body) };
    let content = checked(field, value.unwrap_or(FieldValue::File(Bytes::new())))?;
    captcha.files.push(CaptchaFile { field: field.to_owned(), content });
    Ok(())
}

/// The images from `file_1` to `file_n`, or a single one from `file` or `body`. They travel as files,
/// as the API document asks.
fn several_images(fields: &mut Fields, captcha: &mut Captcha) -> Result<(), WireError> {
    let mut images: Vec<FieldValue> =
        (1..=MAX_FILES + 1).map_while(|number| fields.take(&format!("file_{number}"))).collect();
    if images.is_empty() {
        images.extend(["file", "body"].into_iter().find_map(|name| fields.take(name)));
    }
    if images.len() > MAX_FILES {
        return Err(WireError::parameter(format!("there are more than {MAX_FILES} images")));
    }
    if images.is_empty() {
        return Err(WireError::new(ErrorCode::ZERO_SIZE, "file_1 is missing"));
    }
    for (number, value) in (1..).zip(images) {
        let field = format!("file_{number}");
        let content = checked(&field, value)?;
        captcha.files.push(CaptchaFile { field, content });
    }
    Ok(())
}

/// The image in a field, within the provider's limits.
fn checked(field: &str, value: FieldValue) -> Result<Bytes, WireError> {
    let content = content(value).map_err(|_| {
        WireError::new("ERROR_IMAGE_TYPE_NOT_SUPPORTED", format!("{field} is neither a file nor base64"))
    })?;
    match image::check_captcha(&content) {
        Ok(()) => Ok(content),
        Err(detail) => Err(WireError::new(image::refusal(&content), format!("{field} {detail}"))),
    }
}

/// The bytes of an image, which may have come as base64, also where it was attached as a file; what is
/// neither is given back.
fn content(value: FieldValue) -> Result<Bytes, FieldValue> {
    match value {
        FieldValue::File(content) if image::is_image(&content) => Ok(content),
        FieldValue::File(content) => {
            let text = std::str::from_utf8(&content).ok();
            Ok(text.and_then(|text| image::from_base64(text).ok()).unwrap_or(content))
        }
        // A form turns a + into a blank, which base64 has none of.
        FieldValue::Text(text) => {
            image::from_base64(&text.trim().replace(' ', "+")).map_err(|_| FieldValue::Text(text))
        }
        other => Err(other),
    }
}

fn switch(text: String) -> String {
    match text.as_str() {
        "true" => "1".to_owned(),
        "false" => "0".to_owned(),
        _ => text,
    }
}

fn is_empty(value: &FieldValue) -> bool {
    match value {
        FieldValue::Text(text) => text.is_empty(),
        FieldValue::File(content) => content.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
