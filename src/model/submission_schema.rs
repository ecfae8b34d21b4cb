//! What a submission may hold, as JSON Schema: made of the tables that submissions are checked against.

use serde_json::{Map, Value, json};

use super::CaptchaType;
use super::captcha::{Field, Images, Rule};
use super::check::{MAX_FILES, MAX_RAW_CHARS, MAX_URL_CHARS, SET_BY_PINGBOX};
use super::submission::{DEFAULT_TTL, MAX_PRIORITY, MAX_TAG_CHARS, MAX_TTL_SECS};

/// How a captcha travels in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// Images are base64 text.
    Text,
    /// Images are files, or base64 text.
    Multipart,
}

impl Carrier {
    /// All of them.
    pub(crate) const ALL: [Self; 2] = [Self::Text, Self::Multipart];
}

impl CaptchaType {
    /// What its schema is called.
    pub(crate) fn schema_name(self, carrier: Carrier) -> String {
        let words = self.as_str().split('_').map(|word| {
            let (first, rest) = word.split_at(1);
            format!("{}{rest}", first.to_uppercase())
        });
        let kind: String = words.collect();
        match carrier {
            Carrier::Text => format!("Submit{kind}"),
            Carrier::Multipart => format!("Upload{kind}"),
        }
    }

    /// What callers may give for this type, as JSON Schema.
    pub(crate) fn schema(self, carrier: Carrier) -> Value {
        let mut properties = common_fields();
        properties.insert(
            "type".to_owned(),
            json!({ "description": "The type of captcha.", "type": "string", "const": self.as_str() }),
        );
        let mut required = vec!["type"];
        for Field { name, rule, required: is_required } in self.fields() {
            let mut schema = rule.schema(carrier);
            if let Some(about) = about(name) {
                schema["description"] = about.into();
            }
            if *is_required {
                required.push(name);
            }
            properties.insert((*name).to_owned(), schema);
        }
        let mut schema = json!({ "title": self.as_str(), "description": self.about(), "type": "object" });
        let mut rules = Vec::new();
        match self.images() {
            Images::One => {
                properties.insert("file".to_owned(), image(carrier, "The image; it goes on as a file."));
                properties
                    .insert("body".to_owned(), image(Carrier::Text, "The image; it goes on as base64."));
                rules.push(json!({ "oneOf": [{ "required": ["file"] }, { "required": ["body"] }] }));
            }
            Images::Several => {
                let mut follows = Map::new();
                for number in 1..=MAX_FILES {
                    properties.insert(format!("file_{number}"), image(carrier, "An image."));
                    if number > 1 {
                        follows.insert(format!("file_{number}"), json!([format!("file_{}", number - 1)]));
                    }
                }
                schema["dependentRequired"] = follows.into();
                properties.insert(
                    "files".to_owned(),
                    json!({
                        "description": "The images as a list, in place of `file_1` and those that follow.",
                        "type": "array",
                        "items": image(carrier, "An image."),
                        "minItems": 1,
                        "maxItems": MAX_FILES,
                    }),
                );
                rules.push(json!({ "oneOf": [{ "required": ["file_1"] }, { "required": ["files"] }] }));
            }
            Images::None | Images::AsGiven => {}
        }
        match self {
            Self::RecaptchaV2 | Self::Funcaptcha => {
                schema["dependentRequired"] = json!({ "proxy": ["proxytype"], "proxytype": ["proxy"] });
            }
            Self::RecaptchaImage => {
                let instructed =
                    ["textinstructions", "imginstructions"].map(|name| json!({ "required": [name] }));
                rules.push(json!({ "anyOf": instructed }));
            }
            Self::Raw => {
                let set = SET_BY_PINGBOX.iter().filter(|name| **name != "method");
                properties.extend(set.map(|name| ((*name).to_owned(), false.into())));
            }
            _ => {}
        }
        if !rules.is_empty() {
            schema["allOf"] = rules.into();
        }
        schema["properties"] = properties.into();
        schema["required"] = required.into();
        schema["additionalProperties"] = match self {
            Self::Raw => json!({ "type": "string", "maxLength": MAX_RAW_CHARS }),
            _ => false.into(),
        };
        schema
    }

    const fn about(self) -> &'static str {
        match self {
            Self::Image => {
                "Text on an image (\"Normal Captcha\", \"reCAPTCHA V1\"). Either `file` or `body`; `min_len` is not more \
                 than `max_len`, unless that is 0."
            }
            Self::Text => "A question in words (\"Text Captcha\").",
            Self::RecaptchaV2 => {
                "reCAPTCHA V2, also invisible: the answer is a token. `proxy` and `proxytype` go together."
            }
            Self::RecaptchaImage => {
                "The images of a reCAPTCHA V2 as a grid, or as a canvas. Either `file` or `body`; `textinstructions` or \
                 `imginstructions`; `recaptcharows` times `recaptchacols` is 16 at most."
            }
            Self::Click => "Where to click on an image (\"ClickCaptcha\"). Either `file` or `body`.",
            Self::Rotate => "Images to turn upright (\"RotateCaptcha\"): `file_1` to `file_n`, or `files`.",
            Self::Funcaptcha => "FunCaptcha: the answer is a token. `proxy` and `proxytype` go together.",
            Self::Keycaptcha => "KeyCaptcha: four values from the page's source.",
            Self::Raw => {
                "Anything that the provider knows and pingbox does not: up to 100 parameters and files are sent on as they are."
            }
        }
    }
}

impl Rule {
    fn schema(self, carrier: Carrier) -> Value {
        match self {
            Self::Number(low, high) => json!({ "type": "integer", "minimum": low, "maximum": high }),
            Self::Text(max) => json!({ "type": "string", "minLength": 1, "maxLength": max }),
            Self::PageUrl => {
                json!({ "type": "string", "format": "uri", "maxLength": 4096, "examples": ["https://example.com/login"] })
            }
            Self::Proxy => {
                json!({ "type": "string", "format": "proxy", "maxLength": 512, "examples": ["login:password@192.0.2.1:3128"] })
            }
            Self::OneOf(options) => json!({ "type": "string", "enum": options }),
            Self::Instruction => image(carrier, ""),
        }
    }
}

/// The fields that every type takes, but for `type` itself.
fn common_fields() -> Map<String, Value> {
    let fields = json!({
        "tag": {
            "description": "Your own word for it, to find it by. It holds no NUL character.",
            "type": "string", "minLength": 1, "maxLength": MAX_TAG_CHARS, "pattern": "^[^\\u0000]*$",
            "examples": ["login-page"],
        },
        "priority": {
            "description": "Of queued tasks those with a higher one are sent first.",
            "type": "integer", "minimum": -MAX_PRIORITY, "maximum": MAX_PRIORITY, "default": 0,
        },
        "ttl": {
            "description": "Seconds until pingbox gives up.",
            "type": "integer", "minimum": 1, "maximum": MAX_TTL_SECS, "default": DEFAULT_TTL.as_secs(),
        },
        "webhook_url": {
            "description": "Where the end of the task is told, by a signed POST. http or https, without a fragment; private \
                            and loopback addresses only where `webhooks.allow_private` names them.",
            "type": "string", "format": "uri", "maxLength": MAX_URL_CHARS,
            "examples": ["https://example.com/solved"],
        },
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn image(carrier: Carrier, about: &str) -> Value {
    match carrier {
        Carrier::Text => json!({ "description": about, "type": "string", "format": "image-base64" }),
        Carrier::Multipart => json!({ "description": about, "type": "string", "format": "binary" }),
    }
}

/// What a field of the API document means.
fn about(name: &str) -> Option<&'static str> {
    Some(match name {
        "phrase" => "1: the answer has several words.",
        "regsense" => "1: upper and lower case matter.",
        "numeric" => {
            "0: not said; 1: digits alone; 2: letters alone; 3: digits alone or letters alone; 4: both."
        }
        "calc" => "1: the image asks for a calculation.",
        "min_len" => "The fewest characters of the answer; 0: not said.",
        "max_len" => "The most characters of the answer; 0: not said.",
        "language" => "0: not said; 1: Cyrillic; 2: Latin.",
        "textinstructions" => "What the worker is told.",
        "imginstructions" => "What the worker is shown: an image of up to 25 kB and 100×100 pixels.",
        "textcaptcha" => "The question.",
        "googlekey" => "`data-sitekey` (or `k`) of the page.",
        "pageurl" => "The full address of the page with the captcha.",
        "invisible" => "1: the reCAPTCHA is invisible.",
        "proxy" => "The proxy that the worker uses: `host:port` or `login:password@host:port`.",
        "proxytype" => "The kind of `proxy`.",
        "canvas" => "1: areas are to be marked, not cells.",
        "recaptcharows" => "Rows of the grid.",
        "recaptchacols" => "Columns of the grid.",
        "can_no_answer" => "1: there may be no image that fits.",
        "angle" => "Degrees of one step; the provider's default is 40.",
        "publickey" => "`data-pkey` of the page.",
        "nojs" => "1: without JavaScript; the answer is then the first part of the token.",
        "userAgent" => "The user agent that the worker's browser shows.",
        "method" => "The provider's name of the method.",
        name if name.starts_with("s_s_c_") => "The variable of this name in the page's source.",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_explained() {
        for kind in CaptchaType::ALL {
            for field in kind.fields() {
                assert!(about(field.name).is_some(), "{} of {kind}", field.name);
            }
        }
    }
}
