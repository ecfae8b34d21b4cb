//! The fields of a request, whichever way they were encoded, and what can be wrong with one.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use url::{Host, Url};

/// The value of a field, before anybody knows what it should be.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldValue {
    /// Text: from a form, or a JSON string.
    Text(String),
    /// A JSON number.
    Number(serde_json::Number),
    /// A JSON boolean.
    Bool(bool),
    /// A multipart part that is not plain text.
    File(Bytes),
    /// A JSON array, or form fields of one name that may repeat.
    List(Vec<FieldValue>),
    /// A JSON object: no field takes one.
    Object,
}

impl FieldValue {
    /// As text: what a form would have said.
    pub(super) fn into_text(self) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Number(number) => {
                let text = number.to_string();
                // A number past 64 bits would be sent on rounded, in scientific notation.
                if text.contains('e') {
                    Err("is a number too large: give it as text".to_owned())
                } else {
                    Ok(text)
                }
            }
            Self::Bool(flag) => Ok(u8::from(flag).to_string()),
            Self::File(_) => Err("is a file, but should be text".to_owned()),
            Self::List(_) => Err("is a list, but should be text".to_owned()),
            Self::Object => Err("is an object, but should be text".to_owned()),
        }
    }

    /// As a whole number; `true` and `false` are 1 and 0.
    pub(super) fn into_number(self) -> Option<i64> {
        match self {
            Self::Number(number) => number.as_i64(),
            Self::Bool(flag) => Some(i64::from(flag)),
            Self::Text(text) => match text.trim() {
                "true" => Some(1),
                "false" => Some(0),
                text => text.parse().ok(),
            },
            _ => None,
        }
    }
}

/// The longest list that a field may hold. No type takes more than twenty images.
const MAX_LIST: usize = 100;

impl<'de> Deserialize<'de> for FieldValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

/// Reads any JSON value without ever holding more than a field may.
struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = FieldValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<FieldValue, E> {
        Ok(FieldValue::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<FieldValue, E> {
        Ok(FieldValue::Text(text))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<FieldValue, E> {
        Ok(FieldValue::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<FieldValue, E> {
        Ok(FieldValue::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<FieldValue, E> {
        Ok(FieldValue::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<FieldValue, E> {
        Ok(serde_json::Number::from_f64(number).map_or(FieldValue::Object, FieldValue::Number))
    }

    fn visit_unit<E>(self) -> Result<FieldValue, E> {
        Ok(FieldValue::Object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<FieldValue, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            if list.len() == MAX_LIST {
                return Err(A::Error::custom(format_args!("a list has more than {MAX_LIST} elements")));
            }
            list.push(item);
        }
        Ok(FieldValue::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<FieldValue, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(FieldValue::Object)
    }
}

/// The fields of a JSON object, at most `MAX`, in the order in which they came. `null` says that a
/// field is not given.
#[derive(Debug)]
pub struct JsonFields<const MAX: usize, V = FieldValue>(pub Vec<(String, V)>);

impl<'de, const MAX: usize, V: Deserialize<'de>> Deserialize<'de> for JsonFields<MAX, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor<const MAX: usize, V>(PhantomData<V>);

        impl<'de, const MAX: usize, V: Deserialize<'de>> Visitor<'de> for FieldsVisitor<MAX, V> {
            type Value = JsonFields<MAX, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<JsonFields<MAX, V>, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = entries.next_entry::<String, Option<V>>()? {
                    if fields.len() == MAX {
                        return Err(A::Error::custom(format_args!("there are more than {MAX} fields")));
                    }
                    fields.extend(value.map(|value| (name, value)));
                }
                Ok(JsonFields(fields))
            }
        }

        deserializer.deserialize_map(FieldsVisitor(PhantomData))
    }
}

/// Named values, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub struct Fields(Vec<(String, FieldValue)>);

impl Fields {
    /// Adds a field. `files` may come several times, and is then a list.
    pub fn push(&mut self, name: String, value: FieldValue) {
        if name == "files"
            && let Some((_, earlier)) = self.0.iter_mut().find(|(key, _)| *key == name)
        {
            match earlier {
                FieldValue::List(list) => list.push(value),
                one => *one = FieldValue::List(vec![one.clone(), value]),
            }
            return;
        }
        self.0.push((name, value));
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the field is there, and not empty.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, value)| {
            let is_empty = matches!(value, FieldValue::Text(text) if text.is_empty());
            key == name && !is_empty
        })
    }

    /// The text in a field, if that is what it holds.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|(key, value)| match value {
            FieldValue::Text(text) if key == name => Some(text.as_str()),
            _ => None,
        })
    }

    /// Takes the field out; what is left at the end is unknown.
    pub(super) fn take(&mut self, name: &str) -> Option<FieldValue> {
        let index = self.0.iter().position(|(key, _)| key == name)?;
        Some(self.0.remove(index).1)
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Removes the second and later values of a field, and complains of each.
    pub(super) fn duplicates(&mut self) -> Vec<FieldError> {
        let mut seen = std::collections::HashSet::new();
        let mut errors = Vec::new();
        self.0.retain(|(name, _)| {
            let first = seen.insert(name.clone());
            if !first {
                errors.push(FieldError::new(name, "is given twice"));
            }
            first
        });
        errors
    }
}

impl IntoIterator for Fields {
    type Item = (String, FieldValue);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// A field that cannot be taken, and why.
#[derive(Clone, Debug, JsonSchema, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// A JSON pointer to the field: `/pageurl`, `/files/1`; empty for the request as a whole.
    pub pointer: String,
    /// What is wrong with it: reads on from the field's name.
    pub detail: String,
}

impl FieldError {
    /// About the field of this name, or the element `name/index` of a list. A long name is cut.
    #[must_use]
    pub fn new(name: &str, detail: impl Into<String>) -> Self {
        const MAX_NAME_CHARS: usize = 100;
        let name: String = name.chars().take(MAX_NAME_CHARS).collect();
        let pointer = if name.is_empty() { name } else { format!("/{}", name.replace('~', "~0")) };
        Self { pointer, detail: detail.into() }
    }

    pub(super) fn is_about(&self, name: &str) -> bool {
        self.pointer.strip_prefix('/') == Some(name)
    }
}

/// The full address of a web page.
pub(super) fn page_url(text: String) -> Result<String, String> {
    const MAX_CHARS: usize = 4096;
    if text.chars().count() > MAX_CHARS {
        return Err(format!("has more than {MAX_CHARS} characters"));
    }
    match Url::parse(&text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(text),
        _ => Err("is not the full address of a page, such as https://example.com/login".to_owned()),
    }
}

/// `[login:password@]host:port`, without a scheme. The error does not repeat the login.
pub(super) fn proxy(text: String) -> Result<String, String> {
    let malformed = || "is not host:port or login:password@host:port".to_owned();
    let (login, address) = match text.rsplit_once('@') {
        Some((login, address)) => (Some(login), address),
        None => (None, text.as_str()),
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(malformed)?;
    let login_is_fine = login.is_none_or(|login| {
        let parts = login.split_once(':');
        parts.is_some_and(|(name, password)| !name.is_empty() && !password.is_empty())
    });
    let port_is_fine =
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse().is_ok_and(|port: u16| port != 0);
    let clean = !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/');
    if text.len() <= 512 && clean && login_is_fine && port_is_fine && Host::parse(host).is_ok() {
        Ok(text)
    } else {
        Err(malformed())
    }
}

/// One of these words, in their own spelling.
pub(super) fn one_of(text: &str, options: &[&str]) -> Result<String, String> {
    match options.iter().find(|option| option.eq_ignore_ascii_case(text.trim())) {
        Some(option) => Ok((*option).to_owned()),
        None => Err(format!("is none of {}", options.join(", "))),
    }
}
