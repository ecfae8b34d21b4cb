//! The checks of a submission's fields against the API document's limits.

use bytes::Bytes;

use super::captcha::{Field, Images, Rule};
use super::field::{self, FieldError, FieldValue, Fields};
use super::{CallerUrl, Captcha, CaptchaFile, CaptchaType, image};

/// The most images of one rotate captcha. The API document names no limit; this one bounds memory.
pub(super) const MAX_FILES: usize = 20;
/// The largest number of parameters and files of a `raw` captcha.
const MAX_RAW_FIELDS: usize = 100;
/// The longest parameter of a `raw` captcha, in characters.
pub(super) const MAX_RAW_CHARS: usize = 16_384;
/// What pingbox itself sends to `in.php`; a caller's own would contradict it.
pub(super) const SET_BY_PINGBOX: &[&str] = &["key", "method", "pingback", "json", "soft_id", "header_acao"];
/// The fields that every type takes.
const COMMON: &[&str] = &["type", "tag", "priority", "ttl", "webhook_url"];
/// The longest URL of a caller, in characters.
pub(super) const MAX_URL_CHARS: usize = 2048;

/// The fields that are left, and what was found wrong so far.
pub(super) struct Check {
    pub(super) fields: Fields,
    pub(super) errors: Vec<FieldError>,
}

impl Check {
    pub(super) fn captcha(&mut self, kind: CaptchaType) -> Captcha {
        let mut captcha = Captcha { kind, params: Vec::new(), files: Vec::new() };
        captcha.params.extend(kind.fixed_params().iter().map(|&(name, value)| (name.into(), value.into())));
        match kind.images() {
            Images::One => self.one_image(&mut captcha),
            Images::Several => self.several_images(&mut captcha),
            Images::None | Images::AsGiven => {}
        }
        for field in kind.fields() {
            self.field(field, &mut captcha);
        }
        self.cross_check(&captcha);
        if kind == CaptchaType::Raw {
            self.raw_fields(&mut captcha);
        }
        self.refuse_the_rest(kind);
        captcha
    }

    /// `file`, sent on as multipart, or `body`, sent on as base64: the way the caller chose.
    fn one_image(&mut self, captcha: &mut Captcha) {
        let (method, field, value) = match (self.fields.take("file"), self.fields.take("body")) {
            (Some(value), None) => ("post", "file", value),
            (None, Some(value)) => ("base64", "body", value),
            (Some(_), Some(_)) => {
                return self.wrong("body", "is given beside file: give one of the two");
            }
            (None, None) => {
                return self.wrong("file", "is missing: give the image as file (multipart) or body (base64)");
            }
        };
        captcha.params.insert(0, ("method".into(), method.into()));
        self.image(field, value, image::check_captcha, field.to_owned(), captcha);
    }

    /// `file_1` to `file_n`, or the list `files`, sent on as `file_1` to `file_n`.
    fn several_images(&mut self, captcha: &mut Captcha) {
        let mut images: Vec<(String, FieldValue)> = match self.fields.take("files") {
            Some(FieldValue::List(list)) => (0..).map(|index| format!("files/{index}")).zip(list).collect(),
            Some(one) => vec![("files".to_owned(), one)],
            None => Vec::new(),
        };
        let listed = images.len();
        for number in 1.. {
            let name = format!("file_{number}");
            let Some(value) = self.fields.take(&name) else {
                break;
            };
            images.push((name, value));
        }
        if listed > 0 && images.len() > listed {
            return self.wrong("files", "is given beside file_1: give one of the two");
        }
        if images.is_empty() {
            return self
                .wrong("file_1", "is missing: give the images as file_1 to file_n, or files as a list");
        }
        if images.len() > MAX_FILES {
            return self.wrong("files", format!("are {}; pingbox takes up to {MAX_FILES}", images.len()));
        }
        for (number, (pointer, value)) in (1..).zip(images) {
            self.image(&pointer, value, image::check_captcha, format!("file_{number}"), captcha);
        }
    }

    fn image(
        &mut self,
        pointer: &str,
        value: FieldValue,
        check: fn(&[u8]) -> Result<(), String>,
        field: String,
        captcha: &mut Captcha,
    ) {
        let checked = image_bytes(value).and_then(|content| check(&content).map(|()| content));
        match checked {
            Ok(content) => captcha.files.push(CaptchaFile { field, content }),
            Err(detail) => self.wrong(pointer, detail),
        }
    }

    fn field(&mut self, field: &Field, captcha: &mut Captcha) {
        let name = field.name;
        let value = match field.rule {
            Rule::Number(low, high) => self.number(name, low, high).map(|number| number.to_string()),
            Rule::Text(max) => self.text(name, max),
            Rule::PageUrl => self.text_that(name, field::page_url),
            Rule::Proxy => self.text_that(name, field::proxy),
            Rule::OneOf(options) => self.text_that(name, |text| field::one_of(&text, options)),
            Rule::Instruction => {
                if let Some(value) = self.fields.take(name) {
                    self.image(name, value, image::check_instruction, name.to_owned(), captcha);
                }
                return;
            }
        };
        match value {
            Some(value) => captcha.params.push((name.to_owned(), value)),
            None if field.required && !self.is_wrong(name) => self.wrong(name, "is missing"),
            None => {}
        }
    }

    /// The rules between fields.
    fn cross_check(&mut self, captcha: &Captcha) {
        let number = |name| captcha.param(name).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let (min, max) = (number("min_len"), number("max_len"));
        if captcha.kind == CaptchaType::Image && max != 0 && min > max {
            self.wrong("min_len", format!("is {min}, more than max_len, which is {max}"));
        }
        if captcha.kind == CaptchaType::RecaptchaImage {
            let cells = number("recaptcharows") * number("recaptchacols");
            if cells > 16 {
                self.wrong(
                    "recaptcharows",
                    format!("times recaptchacols is {cells}; a grid has up to 16 cells"),
                );
            }
            let instructed = captcha.param("textinstructions").is_some()
                || captcha.files.iter().any(|file| file.field == "imginstructions");
            if !instructed && !self.is_wrong("textinstructions") && !self.is_wrong("imginstructions") {
                self.wrong("textinstructions", "is missing: give textinstructions or imginstructions");
            }
        }
        if captcha.kind != CaptchaType::Raw {
            let given = |name| captcha.param(name).is_some();
            if given("proxy") && !given("proxytype") && !self.is_wrong("proxytype") {
                self.wrong("proxytype", "is missing beside proxy: HTTP, HTTPS, SOCKS4 or SOCKS5");
            }
            if given("proxytype") && !given("proxy") && !self.is_wrong("proxy") {
                self.wrong("proxy", "is missing beside proxytype");
            }
        }
    }

    /// Everything that is left goes on as it is, but for what pingbox sets itself.
    fn raw_fields(&mut self, captcha: &mut Captcha) {
        if self.fields.len() > MAX_RAW_FIELDS {
            return self.wrong("", format!("there are more than {MAX_RAW_FIELDS} fields"));
        }
        for name in self.fields.names() {
            if SET_BY_PINGBOX.contains(&name.as_str()) {
                continue;
            }
            match self.fields.take(&name) {
                Some(FieldValue::File(_)) if name.contains('\0') => {
                    self.wrong("", "the name of a file holds a NUL character");
                }
                Some(FieldValue::File(content)) if content.len() <= image::MAX_BYTES => {
                    captcha.files.push(CaptchaFile { field: name, content });
                }
                Some(FieldValue::File(_)) => self.wrong(&name, "is a file of more than 100 kB"),
                Some(value) => match value.into_text() {
                    Ok(text) if text.chars().count() <= MAX_RAW_CHARS => {
                        captcha.params.push((name, text));
                    }
                    Ok(_) => self.wrong(&name, format!("has more than {MAX_RAW_CHARS} characters")),
                    Err(detail) => self.wrong(&name, detail),
                },
                None => {}
            }
        }
    }

    fn refuse_the_rest(&mut self, kind: CaptchaType) {
        for name in self.fields.names() {
            if SET_BY_PINGBOX.contains(&name.as_str()) {
                self.wrong(&name, "is set by pingbox: leave it out");
            } else if name.starts_with("file_") && kind == CaptchaType::Rotate {
                self.wrong(&name, "does not follow: the images are file_1, file_2, … without a gap");
            } else {
                let images = kind.images().fields().iter().copied();
                let fields = kind.fields().iter().map(|field| field.name);
                let known: Vec<_> = images.chain(fields).chain(COMMON.iter().copied()).collect();
                self.wrong(&name, format!("is not a field of type {kind}, which takes {}", known.join(", ")));
            }
        }
    }

    /// A URL of the caller's that is to be called.
    pub(super) fn url(&mut self, name: &str) -> Option<CallerUrl> {
        let text = self.text(name, MAX_URL_CHARS)?;
        match CallerUrl::parse(&text) {
            Ok(url) => Some(url),
            Err(error) => {
                self.wrong(name, error.to_string());
                None
            }
        }
    }

    pub(super) fn number(&mut self, name: &str, low: i64, high: i64) -> Option<i64> {
        self.whole(name, "a whole number", low, high)
    }

    /// A whole number of seconds from 1.
    pub(super) fn seconds(&mut self, name: &str, most: i64) -> Option<i64> {
        self.whole(name, "a whole number of seconds", 1, most)
    }

    fn whole(&mut self, name: &str, expected: &str, low: i64, high: i64) -> Option<i64> {
        let value = self.fields.take(name)?;
        let number = value.into_number().filter(|number| (low..=high).contains(number));
        if number.is_none() {
            self.wrong(name, format!("is not {expected} from {low} to {high}"));
        }
        number
    }

    pub(super) fn text(&mut self, name: &str, max_chars: usize) -> Option<String> {
        self.text_that(name, |text| in_bounds(text, max_chars))
    }

    /// The same for text that is stored as it is: no database has to take NUL characters.
    pub(super) fn label(&mut self, name: &str, max_chars: usize) -> Option<String> {
        self.text_that(name, |text| match in_bounds(text, max_chars) {
            Ok(text) if text.contains('\0') => Err("holds a NUL character".to_owned()),
            checked => checked,
        })
    }

    fn text_that(
        &mut self,
        name: &str,
        check: impl FnOnce(String) -> Result<String, String>,
    ) -> Option<String> {
        let value = self.fields.take(name)?;
        match value.into_text().and_then(check) {
            Ok(text) => Some(text),
            Err(detail) => {
                self.wrong(name, detail);
                None
            }
        }
    }

    fn wrong(&mut self, pointer: &str, detail: impl Into<String>) {
        self.errors.push(FieldError::new(pointer, detail));
    }

    fn is_wrong(&self, name: &str) -> bool {
        self.errors.iter().any(|error| error.is_about(name))
    }
}

/// The bytes of an image, whether they came as a file or as base64 text.
fn image_bytes(value: FieldValue) -> Result<Bytes, String> {
    match value {
        FieldValue::File(content) if content.is_empty() || image::is_image(&content) => Ok(content),
        // A base64 text that was attached as a file, as forms for `body` and `imginstructions` do.
        FieldValue::File(content) => {
            let text = std::str::from_utf8(&content).ok();
            Ok(text.and_then(|text| image::from_base64(text).ok()).unwrap_or(content))
        }
        FieldValue::Text(text) if text.is_empty() => Err("is empty".to_owned()),
        FieldValue::Text(text) => image::from_base64(&text)
            .map_err(|detail| format!("{detail}: give a file part (with curl, file=@name) or base64 text")),
        _ => Err("is not an image: give a file (multipart) or base64 text".to_owned()),
    }
}

fn in_bounds(text: String, max_chars: usize) -> Result<String, String> {
    match text.chars().count() {
        0 => Err("is empty".to_owned()),
        count if count > max_chars => Err(format!("has {count} characters; up to {max_chars} are allowed")),
        _ => Ok(text),
    }
}
