//! A captcha as it was submitted, checked against every limit of its type.

use sha2::{Digest as _, Sha256};
use url::Url;

use super::hints::Hints;
use super::image;
pub(super) use super::image::ImageSize;
use super::proxy;
use super::reply::Code;
use super::request::Parameters;

/// The most characters in a text for workers: `textcaptcha`, `textinstructions`.
const MAX_TEXT_CHARS: usize = 140;
/// The most characters in a value taken from the page: a site key, a session id.
const MAX_FIELD_CHARS: usize = 1000;
/// One step of rotation, in degrees, unless `angle` says otherwise.
const DEFAULT_ANGLE: u32 = 40;
/// The most images to rotate at once; no challenge that is known has more.
const MAX_ROTATE_FILES: usize = 50;
/// The most cells in a grid: answers number them 1 to 9, then a to g.
const MAX_CELLS: u32 = 16;

/// The SHA-256 of what is to be solved.
pub(super) type Digest = [u8; 32];

/// What kind of captcha it is, with the hints that shape its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Characters on an image.
    Image {
        hints: Hints,
        size: ImageSize,
    },
    /// A question in words.
    Text {
        cyrillic: bool,
    },
    /// reCAPTCHA V2 by token, invisible or not.
    Recaptcha,
    /// reCAPTCHA V2 as an image: which cells of the grid to click.
    Grid {
        rows: u32,
        columns: u32,
        can_no_answer: bool,
    },
    /// reCAPTCHA V2 as an image: points around an object.
    Canvas {
        size: ImageSize,
        can_no_answer: bool,
    },
    /// Points to click on an image.
    Click {
        size: ImageSize,
    },
    /// Images to be turned in steps of `step` degrees.
    Rotate {
        files: usize,
        step: u32,
    },
    FunCaptcha {
        public_key: String,
        first_part_only: bool,
    },
    KeyCaptcha {
        session: String,
        sign: String,
    },
    /// A newer type, which ends in a token.
    Other {
        method: String,
    },
}

/// One captcha, worth solving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Captcha {
    pub(super) kind: Kind,
    /// Of the image, of the first of several, of the question, or of all that names a token.
    pub(super) digest: Digest,
}

impl Captcha {
    /// Checks what was sent to `in.php`.
    ///
    /// # Errors
    /// With the code that the provider has for the first thing that is wrong.
    pub(super) fn parse(parameters: &Parameters) -> Result<Self, Code> {
        if parameters.is_malformed() {
            return Err(Code::BAD_PARAMETERS);
        }
        check_common(parameters)?;
        let has_image = parameters.file("file").is_some() || parameters.text("body").is_some();
        match parameters.text("method") {
            None | Some("post" | "base64") if parameters.text("textcaptcha").is_some() && !has_image => {
                question(parameters)
            }
            Some("textcaptcha") => question(parameters),
            Some("post") => {
                let bytes = parameters.file("file").ok_or(Code::TOO_SMALL)?;
                picture(parameters, bytes)
            }
            Some("base64") => {
                let body = parameters.text("body").ok_or(Code::TOO_SMALL)?;
                picture(parameters, &image::decode_base64(body)?)
            }
            Some("rotatecaptcha") => rotation(parameters),
            Some(method) => {
                Ok(Self { kind: token(method, parameters)?, digest: digest_of_fields(parameters) })
            }
            None => Err(Code::BAD_PARAMETERS),
        }
    }
}

/// Checks what every method takes.
fn check_common(parameters: &Parameters) -> Result<(), Code> {
    for name in ["json", "header_acao"] {
        parameters.flag(name)?;
    }
    parameters.number("soft_id", 0..=u32::MAX)?;
    parameters.number("language", 0..=2)?;
    proxy::check(parameters)
}

fn question(parameters: &Parameters) -> Result<Captcha, Code> {
    let text = parameters.required("textcaptcha", MAX_TEXT_CHARS)?;
    let cyrillic = parameters.number("language", 0..=2)? == Some(1);
    Ok(Captcha { kind: Kind::Text { cyrillic }, digest: Sha256::digest(text).into() })
}

/// One image, and what is to be done with it.
fn picture(parameters: &Parameters, bytes: &[u8]) -> Result<Captcha, Code> {
    let size = image::check(bytes)?;
    let has_text = parameters.text("textinstructions").is_some();
    if has_text {
        parameters.required("textinstructions", MAX_TEXT_CHARS)?;
    }
    let has_instruction = image::check_instruction(parameters)? || has_text;
    let hints = Hints::parse(parameters)?;
    let (recaptcha, click) = (parameters.flag("recaptcha")?, parameters.flag("coordinatescaptcha")?);
    let kind = match (recaptcha, click) {
        (true, true) => return Err(Code::BAD_PARAMETERS),
        (true, false) if !has_instruction => return Err(Code::BAD_PARAMETERS),
        (true, false) => recaptcha_image(parameters, size)?,
        (false, true) => Kind::Click { size },
        (false, false) => Kind::Image { hints, size },
    };
    Ok(Captcha { kind, digest: Sha256::digest(bytes).into() })
}

fn recaptcha_image(parameters: &Parameters, size: ImageSize) -> Result<Kind, Code> {
    let can_no_answer = parameters.flag("can_no_answer")?;
    // The provider's own guess where the grid is not given.
    let usual = if size == (ImageSize { width: 300, height: 300 }) { 3 } else { 4 };
    let rows = parameters.number("recaptcharows", 1..=MAX_CELLS)?.unwrap_or(usual);
    let columns = parameters.number("recaptchacols", 1..=MAX_CELLS)?.unwrap_or(usual);
    if parameters.flag("canvas")? {
        return Ok(Kind::Canvas { size, can_no_answer });
    }
    if rows * columns > MAX_CELLS {
        return Err(Code::BAD_PARAMETERS);
    }
    Ok(Kind::Grid { rows, columns, can_no_answer })
}

/// Several images, which are taken as files only: `file_1`, `file_2` and so on without a gap.
fn rotation(parameters: &Parameters) -> Result<Captcha, Code> {
    let step = parameters.number("angle", 1..=360)?.unwrap_or(DEFAULT_ANGLE);
    let files: Vec<_> = (1..).map_while(|number| parameters.file(&format!("file_{number}"))).collect();
    let first = files.first().ok_or(Code::TOO_SMALL)?;
    if files.len() > MAX_ROTATE_FILES {
        return Err(Code::BAD_PARAMETERS);
    }
    for file in &files {
        image::check(file)?;
    }
    let kind = Kind::Rotate { files: files.len(), step };
    Ok(Captcha { kind, digest: Sha256::digest(first).into() })
}

fn token(method: &str, parameters: &Parameters) -> Result<Kind, Code> {
    let field = |name| parameters.required(name, MAX_FIELD_CHARS).map(str::to_owned);
    match method {
        "userrecaptcha" => {
            let key = field("googlekey").map_err(|_| Code::GOOGLE_KEY)?;
            if !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
                return Err(Code::GOOGLE_KEY);
            }
            check_page_url(parameters)?;
            parameters.flag("invisible")?;
            Ok(Kind::Recaptcha)
        }
        "funcaptcha" => {
            let public_key = field("publickey")?;
            check_page_url(parameters)?;
            Ok(Kind::FunCaptcha { public_key, first_part_only: parameters.flag("nojs")? })
        }
        "keycaptcha" => {
            field("s_s_c_user_id")?;
            field("s_s_c_web_server_sign2")?;
            let (session, sign) = (field("s_s_c_session_id")?, field("s_s_c_web_server_sign")?);
            check_page_url(parameters)?;
            Ok(Kind::KeyCaptcha { session, sign })
        }
        other => Ok(Kind::Other { method: other.to_owned() }),
    }
}

/// Checks that `pageurl` is the full URL of a page.
fn check_page_url(parameters: &Parameters) -> Result<(), Code> {
    let url = parameters.text("pageurl").and_then(|text| Url::parse(text).ok());
    match url {
        Some(url) if matches!(url.scheme(), "http" | "https") => Ok(()),
        _ => Err(Code::PAGE_URL),
    }
}

/// The digest of all fields that say what is to be solved.
fn digest_of_fields(parameters: &Parameters) -> Digest {
    use super::request::Value;
    const ASIDE: [&str; 5] = ["key", "json", "header_acao", "pingback", "soft_id"];
    let mut hash = Sha256::new();
    for (name, value) in parameters.iter().filter(|(name, _)| !ASIDE.contains(name)) {
        let bytes: &[u8] = match value {
            Value::Text(text) => text.as_bytes(),
            Value::File(bytes) => bytes,
        };
        for part in [name.as_bytes(), bytes] {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
    }
    hash.finalize().into()
}
