//! What a value looks like, in words: from its JSON schema.

use askama::Template;
use serde_json::{Map, Value};

/// The largest number that all readers of JSON hold. A limit beyond it is that of our own type, and says nothing.
const LARGEST: u64 = 1 << 53;

/// A piece of text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Code(String),
    /// The name of a type that has a place on the page.
    Type(String),
}

/// Text with code and links in it. Its `Display` is HTML, with all that comes from outside escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Template)]
#[template(
    ext = "html",
    source = r##"{% for piece in pieces %}{% match piece %}{% when Piece::Text(text) %}{{ text }}{% when Piece::Code(text) %}<code>{{ text }}</code>{% when Piece::Type(name) %}<a href="#type-{{ name }}">{{ name }}</a>{% endmatch %}{% endfor %}"##
)]
pub(super) struct Rich {
    pieces: Vec<Piece>,
}

impl Rich {
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    fn text(mut self, text: impl Into<String>) -> Self {
        self.pieces.push(Piece::Text(text.into()));
        self
    }

    fn code(mut self, text: impl Into<String>) -> Self {
        self.pieces.push(Piece::Code(text.into()));
        self
    }

    fn then(mut self, other: Self) -> Self {
        self.pieces.extend(other.pieces);
        self
    }

    /// These with something between them.
    fn joined(parts: impl IntoIterator<Item = Self>, between: &str) -> Self {
        let mut parts = parts.into_iter();
        let first = parts.next().unwrap_or_default();
        parts.fold(first, |all, part| all.text(between).then(part))
    }
}

/// Text in which code stands between backticks.
pub(super) fn prose(text: &str) -> Rich {
    let pieces = text.split('`').zip([false, true].into_iter().cycle());
    let pieces = pieces.filter(|(text, _)| !text.is_empty());
    Rich {
        pieces: pieces
            .map(
                |(text, is_code)| {
                    if is_code { Piece::Code(text.to_owned()) } else { Piece::Text(text.to_owned()) }
                },
            )
            .collect(),
    }
}

/// The same, by paragraph.
pub(super) fn paragraphs(text: &str) -> Vec<Rich> {
    text.split("\n\n").filter(|text| !text.is_empty()).map(prose).collect()
}

/// The name of the type that a schema refers to.
pub(super) fn reference(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.rsplit('/').next()
}

/// What kind of value it is.
pub(super) fn kind(schema: &Value) -> Rich {
    if let Some(name) = reference(schema) {
        return Rich { pieces: vec![Piece::Type(name.to_owned())] };
    }
    if let Some(value) = schema.get("const") {
        return Rich::default().code(plain(value));
    }
    if let Some(values) = schema["enum"].as_array() {
        return Rich::joined(values.iter().map(|value| Rich::default().code(plain(value))), ", ");
    }
    if let Some(choices) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
        return Rich::joined(choices.iter().map(kind), " or ");
    }
    let names = match &schema["type"] {
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        name => name.as_str().into_iter().collect::<Vec<_>>(),
    };
    if names.is_empty() {
        return Rich::default().text("anything");
    }
    Rich::joined(names.into_iter().map(|name| named(name, schema)), " or ")
}

fn named(name: &str, schema: &Value) -> Rich {
    let rich = Rich::default();
    match name {
        "array" => rich.text("list of ").then(kind(&schema["items"])),
        "object" => match schema.get("additionalProperties") {
            Some(value) if value.is_object() => rich.text("object, each value ").then(kind(value)),
            _ => rich.text("object"),
        },
        "string" => rich.text(match schema["format"].as_str() {
            Some("binary") => "file",
            Some("image-base64") => "base64",
            Some("uri") => "URL",
            Some("date-time") => "time",
            _ => "text",
        }),
        "integer" => rich.text("whole number"),
        "number" => rich.text("number"),
        "boolean" => rich.code("true").text(" or ").code("false"),
        name => rich.code(name),
    }
}

/// What else holds of the value: its limits, its default, an example. Empty when there is nothing.
pub(super) fn limits(schema: &Value) -> Rich {
    let number = |name: &str| schema[name].as_number();
    let largest = number("maximum").filter(|most| most.as_u64().is_none_or(|most| most <= LARGEST));
    // That of a 16 bit field is no promise either.
    let range = match (number("minimum"), largest) {
        (Some(least), Some(most)) => Some(Rich::default().text(format!("{least} to {most}"))),
        (None, Some(most)) => Some(Rich::default().text(format!("at most {most}"))),
        (Some(least), None) if least.as_u64() != Some(0) => {
            Some(Rich::default().text(format!("at least {least}")))
        }
        _ => None,
    };
    let length = span(number("minLength"), number("maxLength"), "characters");
    let items = span(number("minItems"), number("maxItems"), "of them");
    let default = schema.get("default").map(|value| Rich::default().text("default ").code(plain(value)));
    let example = schema["examples"]
        .as_array()
        .and_then(|examples| examples.first())
        .map(|value| Rich::default().text("such as ").code(plain(value)));
    // An example says more to people than a pattern.
    let pattern = schema["pattern"].as_str().filter(|_| example.is_none());
    let pattern = pattern.map(|pattern| Rich::default().text("like ").code(pattern));
    let all = [range, length, items, default, example, pattern];
    Rich::joined(all.into_iter().flatten(), "; ")
}

fn span(least: Option<&serde_json::Number>, most: Option<&serde_json::Number>, what: &str) -> Option<Rich> {
    let words = match (least, most) {
        (Some(least), Some(most)) => format!("{least} to {most} {what}"),
        (None, Some(most)) => format!("at most {most} {what}"),
        (Some(least), None) => format!("at least {least} {what}"),
        (None, None) => return None,
    };
    Some(Rich::default().text(words))
}

/// A value as people write it: text without quotes.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Marks what a request must have.
pub(super) const REQUIRED: &str = "required";

/// A field of an object, a parameter, or a value of an enumeration.
pub(super) struct Row {
    pub(super) name: String,
    /// `path`, `query` or `header`; empty for fields.
    pub(super) place: String,
    /// What is to be known first; may be empty.
    pub(super) mark: &'static str,
    pub(super) kind: Rich,
    pub(super) limits: Rich,
    pub(super) about: Rich,
}

/// The fields of an object: those that must be there first, in their own order.
pub(super) fn fields(schema: &Value) -> Vec<Row> {
    let nothing = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&nothing);
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut others: Vec<&String> =
        properties.keys().filter(|name| !required.contains(&name.as_str())).collect();
    others.sort_by_key(|name| numbered(name));
    let first = required.iter().filter_map(|name| properties.get_key_value(*name));
    let rest = others.iter().filter_map(|name| properties.get_key_value(name.as_str()));
    // Replies may get more fields, requests may not.
    let marks =
        if schema["additionalProperties"] == false { [REQUIRED, ""] } else { ["", "not always there"] };
    first
        .map(|field| (field, marks[0]))
        .chain(rest.map(|field| (field, marks[1])))
        // A field that is refused is there to be refused.
        .filter(|((_, schema), _)| schema.is_object())
        .map(|((name, schema), mark)| Row {
            name: name.clone(),
            place: String::new(),
            mark,
            kind: kind(schema),
            limits: limits(schema),
            about: prose(schema["description"].as_str().unwrap_or_default()),
        })
        .collect()
}

/// `file_2` comes before `file_10`.
fn numbered(name: &str) -> (&str, u32) {
    let stem = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    (stem, name[stem.len()..].parse().unwrap_or(0))
}

/// The values of an enumeration whose values are explained.
pub(super) fn values(schema: &Value) -> Vec<Row> {
    let choices = schema["oneOf"].as_array().into_iter().flatten();
    choices
        .filter_map(|choice| {
            Some(Row {
                name: plain(choice.get("const")?),
                place: String::new(),
                mark: "",
                kind: Rich::default(),
                limits: Rich::default(),
                about: prose(choice["description"].as_str()?),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(schema: &Value) -> String {
        kind(schema).to_string()
    }

    #[test]
    fn what_is_shown_is_escaped() {
        assert_eq!(
            prose("a <b> `<script>` & c").to_string(),
            "a &#60;b&#62; <code>&#60;script&#62;</code> &#38; c"
        );
    }

    #[test]
    fn kinds_are_said_in_words() {
        let list = json!({ "type": "array", "items": { "$ref": "#/components/schemas/Point" } });
        assert_eq!(shown(&list), r##"list of <a href="#type-Point">Point</a>"##);
        let maybe = json!({ "anyOf": [{ "$ref": "#/components/schemas/Price" }, { "type": "null" }] });
        assert_eq!(shown(&maybe), r##"<a href="#type-Price">Price</a> or <code>null</code>"##);
        assert_eq!(shown(&json!({ "enum": ["any", "all"] })), "<code>any</code>, <code>all</code>");
        assert_eq!(shown(&json!({ "type": ["integer", "null"] })), "whole number or <code>null</code>");
    }

    #[test]
    fn a_limit_that_is_none_is_not_said() {
        let wait = json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX, "examples": [60] });
        assert_eq!(limits(&wait).to_string(), "such as <code>60</code>");
        let tag = json!({ "type": "string", "minLength": 1, "maxLength": 255 });
        assert_eq!(limits(&tag).to_string(), "1 to 255 characters");
    }

    #[test]
    fn fields_that_must_be_there_come_first_and_numbers_in_their_order() {
        let schema = json!({
            "properties": {
                "file_10": { "type": "string" }, "file_2": { "type": "string" }, "type": { "const": "rotate" }, "no": false,
            },
            "required": ["type"],
            "additionalProperties": false,
        });
        let rows = fields(&schema);
        let names: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.mark)).collect();
        assert_eq!(names, [("type", REQUIRED), ("file_2", ""), ("file_10", "")]);
    }
}
