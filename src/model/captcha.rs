//! The types of captcha, and the parameters that each one takes.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Serialize;

/// A type of captcha, named as callers name it in `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is a chapter of the API document, named beside its fields")]
pub enum CaptchaType {
    Image,
    Text,
    RecaptchaV2,
    RecaptchaImage,
    Click,
    Rotate,
    Funcaptcha,
    Keycaptcha,
    Raw,
}

impl CaptchaType {
    /// Every type, in the order of the API document.
    pub const ALL: [Self; 9] = [
        Self::Image,
        Self::Text,
        Self::RecaptchaV2,
        Self::RecaptchaImage,
        Self::Click,
        Self::Rotate,
        Self::Funcaptcha,
        Self::Keycaptcha,
        Self::Raw,
    ];

    /// The name, as in `type`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Text => "text",
            Self::RecaptchaV2 => "recaptcha_v2",
            Self::RecaptchaImage => "recaptcha_image",
            Self::Click => "click",
            Self::Rotate => "rotate",
            Self::Funcaptcha => "funcaptcha",
            Self::Keycaptcha => "keycaptcha",
            Self::Raw => "raw",
        }
    }

    /// How long the provider works on one before it gives up: 300 s for reCAPTCHA V2, 90 s for the
    /// rest (API document, `ERROR_CAPTCHA_UNSOLVABLE`). What `raw` hides is unknown, so it gets the
    /// longer time.
    #[must_use]
    pub const fn give_up_time(self) -> Duration {
        match self {
            Self::RecaptchaV2 | Self::Raw => Duration::from_secs(300),
            _ => Duration::from_secs(90),
        }
    }

    /// How long to wait before asking for an answer: 20 s for reCAPTCHA and the other slow types, 5 s
    /// for the rest (API document, "Solving Captchas").
    #[must_use]
    pub const fn first_wait(self) -> Duration {
        match self {
            Self::RecaptchaV2 | Self::Funcaptcha | Self::Keycaptcha | Self::Raw => Duration::from_secs(20),
            _ => Duration::from_secs(5),
        }
    }

    /// How long one usually takes: the API document's speeds (a normal captcha 3 s, FunCaptcha 25 s,
    /// the slowest token 36 s), else its first wait.
    #[must_use]
    pub const fn usual_solve_time(self) -> Duration {
        match self {
            Self::Image | Self::Text => Duration::from_secs(3),
            Self::Funcaptcha => Duration::from_secs(25),
            Self::Raw => Duration::from_secs(36),
            _ => self.first_wait(),
        }
    }

    /// What one costs at most, in billionths of the account's currency (API document, "Rates"; what
    /// `raw` hides counts as the dearest).
    #[must_use]
    pub const fn rate_nanos(self) -> i64 {
        match self {
            Self::Image | Self::Text => 1_000_000,
            Self::RecaptchaImage | Self::Click => 1_200_000,
            Self::Rotate => 500_000,
            Self::RecaptchaV2 | Self::Funcaptcha | Self::Keycaptcha | Self::Raw => 2_990_000,
        }
    }

    /// Whether several answers of the type can be told apart when they come joined by `|`: tokens, cells
    /// and coordinates hold none, and neither does what is written on an image. Questions may be answered
    /// with anything.
    #[must_use]
    pub const fn is_safe_in_batches(self) -> bool {
        matches!(self, Self::Image | Self::RecaptchaV2 | Self::RecaptchaImage | Self::Click)
    }

    /// The fields that a caller may give, beside the common ones.
    pub(super) fn fields(self) -> &'static [Field] {
        match self {
            Self::Image => IMAGE,
            Self::Text => TEXT,
            Self::RecaptchaV2 => RECAPTCHA_V2,
            Self::RecaptchaImage => RECAPTCHA_IMAGE,
            Self::Click => CLICK,
            Self::Rotate => ROTATE,
            Self::Funcaptcha => FUNCAPTCHA,
            Self::Keycaptcha => KEYCAPTCHA,
            Self::Raw => RAW,
        }
    }

    /// Where the type's images come from.
    pub(super) const fn images(self) -> Images {
        match self {
            Self::Image | Self::RecaptchaImage | Self::Click => Images::One,
            Self::Rotate => Images::Several,
            Self::Raw => Images::AsGiven,
            Self::Text | Self::RecaptchaV2 | Self::Funcaptcha | Self::Keycaptcha => Images::None,
        }
    }

    /// The parameters that say the type to the provider, beside `method=post` or `base64`, which
    /// follows from how the image came.
    pub(super) const fn fixed_params(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Image | Self::Text | Self::Raw => &[],
            Self::RecaptchaV2 => &[("method", "userrecaptcha")],
            Self::RecaptchaImage => &[("recaptcha", "1")],
            Self::Click => &[("coordinatescaptcha", "1")],
            Self::Rotate => &[("method", "rotatecaptcha")],
            Self::Funcaptcha => &[("method", "funcaptcha")],
            Self::Keycaptcha => &[("method", "keycaptcha")],
        }
    }
}

impl fmt::Display for CaptchaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for CaptchaType {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(())
    }
}

/// Where the images of a type come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Images {
    /// It has none.
    None,
    /// One: `file`, or `body` in base64.
    One,
    /// `file_1` to `file_n`, or the list `files`.
    Several,
    /// Files of any name, unchecked.
    AsGiven,
}

impl Images {
    /// The names of the fields that they come in.
    pub(super) const fn fields(self) -> &'static [&'static str] {
        match self {
            Self::One => &["file", "body"],
            Self::Several => &["file_1", "files"],
            Self::None | Self::AsGiven => &[],
        }
    }
}

/// A field of a type: its name at the provider and what it takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) rule: Rule,
    pub(super) required: bool,
}

/// What a field takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// A whole number from the first to the second.
    Number(i64, i64),
    /// Text of 1 to this many characters.
    Text(usize),
    /// The full address of a web page.
    PageUrl,
    /// `[login:password@]host:port`
    Proxy,
    /// One of these, in any case.
    OneOf(&'static [&'static str]),
    /// A small image that instructs the worker.
    Instruction,
}

const fn required(name: &'static str, rule: Rule) -> Field {
    Field { name, rule, required: true }
}

const fn optional(name: &'static str, rule: Rule) -> Field {
    Field { name, rule, required: false }
}

const FLAG: Rule = Rule::Number(0, 1);
/// Site keys, signatures and user agents have no documented limit; this one keeps a row small.
const TOKEN: Rule = Rule::Text(2048);
/// The most characters of `textinstructions` and `textcaptcha`, by the API document.
const INSTRUCTION_CHARS: usize = 140;

const LANGUAGE: Field = optional("language", Rule::Number(0, 2));
const TEXT_INSTRUCTIONS: Field = optional("textinstructions", Rule::Text(INSTRUCTION_CHARS));
const IMAGE_INSTRUCTIONS: Field = optional("imginstructions", Rule::Instruction);
const PAGE_URL: Field = required("pageurl", Rule::PageUrl);
const PROXY: Field = optional("proxy", Rule::Proxy);
const PROXY_TYPE: Field = optional("proxytype", Rule::OneOf(&["HTTP", "HTTPS", "SOCKS4", "SOCKS5"]));

/// Chapters "Normal Captcha" and "reCAPTCHA V1".
const IMAGE: &[Field] = &[
    optional("phrase", FLAG),
    optional("regsense", FLAG),
    optional("numeric", Rule::Number(0, 4)),
    optional("calc", FLAG),
    optional("min_len", Rule::Number(0, 20)),
    optional("max_len", Rule::Number(0, 20)),
    LANGUAGE,
    TEXT_INSTRUCTIONS,
    IMAGE_INSTRUCTIONS,
];

/// Chapter "Text Captcha". The method is said by `textcaptcha` itself.
const TEXT: &[Field] = &[required("textcaptcha", Rule::Text(INSTRUCTION_CHARS)), LANGUAGE];

/// Chapters "reCAPTCHA V2" and "Invisible reCAPTCHA V2".
const RECAPTCHA_V2: &[Field] =
    &[required("googlekey", TOKEN), PAGE_URL, optional("invisible", FLAG), PROXY, PROXY_TYPE];

/// Chapter "reCAPTCHA V2 (old deprecated method)" with "Canvas method". Cells past the sixteenth
/// have no name in the answer.
const RECAPTCHA_IMAGE: &[Field] = &[
    optional("canvas", FLAG),
    optional("recaptcharows", Rule::Number(1, 16)),
    optional("recaptchacols", Rule::Number(1, 16)),
    optional("can_no_answer", FLAG),
    TEXT_INSTRUCTIONS,
    IMAGE_INSTRUCTIONS,
    LANGUAGE,
];

/// Chapter "ClickCaptcha".
const CLICK: &[Field] = &[TEXT_INSTRUCTIONS, LANGUAGE];

/// Chapter "RotateCaptcha".
const ROTATE: &[Field] = &[optional("angle", Rule::Number(1, 360))];

/// Chapter "FunCaptcha Token Method".
const FUNCAPTCHA: &[Field] = &[
    required("publickey", TOKEN),
    PAGE_URL,
    optional("nojs", FLAG),
    optional("userAgent", TOKEN),
    PROXY,
    PROXY_TYPE,
];

/// Chapter "KeyCaptcha".
const KEYCAPTCHA: &[Field] = &[
    required("s_s_c_user_id", TOKEN),
    required("s_s_c_session_id", TOKEN),
    required("s_s_c_web_server_sign", TOKEN),
    required("s_s_c_web_server_sign2", TOKEN),
    PAGE_URL,
];

/// Anything newer than the API document: only the method must be there.
const RAW: &[Field] = &[required("method", Rule::Text(64))];

/// A captcha that passed every check: what `in.php` is sent, but for the key, the pingback address
/// and the reply format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captcha {
    /// Its type.
    pub kind: CaptchaType,
    /// The parameters, `method` included, in the API document's own names.
    pub params: Vec<(String, String)>,
    /// The images. With `method=base64` they travel as text, otherwise as multipart.
    pub files: Vec<CaptchaFile>,
}

/// An image of a captcha.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptchaFile {
    /// The parameter it travels as: `file`, `body`, `file_1`, `imginstructions`.
    pub field: String,
    /// Its bytes.
    pub content: Bytes,
}

impl Captcha {
    /// The value of a parameter, if it was given.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}
