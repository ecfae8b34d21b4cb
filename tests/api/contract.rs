//! Holds replies to what `/openapi.json` says of them. Every test that reads JSON does so through here.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use pingbox::app;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value};

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| app::openapi().parse().unwrap());

/// Words of JSON Schema that say nothing about what is allowed, or that are left to tests of the types.
const UNCHECKED: &[&str] =
    &["$defs", "default", "description", "discriminator", "examples", "format", "pattern", "title"];

/// The paths of the document, with what it says of each.
pub(crate) fn paths() -> &'static Map<String, Value> {
    DOCUMENT["paths"].as_object().unwrap()
}

/// Fails when the reply is not as the document says. Paths that it does not know are not ours.
pub(crate) fn hold(method: &Method, path: &str, status: StatusCode, headers: &HeaderMap, body: &Value) {
    let Some(described) = described(path) else { return };
    let place = format!("{method} {path}: {status}");
    let Some(operation) = described.get(method.as_str().to_lowercase()) else {
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{place} is not described: {body}");
        return;
    };
    let replies = &operation["responses"];
    let reply = replies.get(status.as_str()).unwrap_or_else(|| panic!("{place} is not described: {body}"));
    let reply = resolve(reply);
    let media_type = headers.get(CONTENT_TYPE).map_or("", |value| value.to_str().unwrap());
    let content = reply["content"].get(media_type).unwrap_or_else(|| panic!("{place} is not {media_type}"));
    if let Err(difference) = check_whole(&content["schema"], body, "") {
        panic!("{place} is not as described: {difference}: {body}");
    }
}

/// What is said of the path: of the one with the fewest parts left open, where several fit.
fn described(path: &str) -> Option<&'static Value> {
    let fits = |template: &str| {
        let (parts, wanted): (Vec<_>, Vec<_>) = (path.split('/').collect(), template.split('/').collect());
        let is_same = |(part, wanted): (&&str, &&str)| wanted.starts_with('{') || part == wanted;
        parts.len() == wanted.len() && parts.iter().zip(&wanted).all(is_same)
    };
    let fitting = paths().iter().filter(|(template, _)| fits(template));
    fitting.min_by_key(|(template, _)| template.matches('{').count()).map(|(_, described)| described)
}

fn resolve(schema: &'static Value) -> &'static Value {
    match schema.get("$ref") {
        Some(reference) => {
            let pointer = reference.as_str().unwrap().trim_start_matches('#');
            DOCUMENT.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
        }
        None => schema,
    }
}

/// Whether the value is as its schema says, without a field that the schema does not name.
fn check_whole(schema: &'static Value, value: &Value, place: &str) -> Result<(), String> {
    let mut named = BTreeSet::new();
    check(schema, value, place, &mut named)?;
    let fields = value.as_object().into_iter().flat_map(Map::keys);
    match fields.into_iter().find(|name| !named.contains(*name)) {
        Some(name) => Err(format!("{place}/{name} is not described")),
        None => Ok(()),
    }
}

/// Whether the value is as the schema says; collects the fields that are named.
fn check(
    schema: &'static Value,
    value: &Value,
    place: &str,
    named: &mut BTreeSet<String>,
) -> Result<(), String> {
    let words = match schema {
        Value::Bool(true) => return Ok(()),
        Value::Bool(false) => return Err(format!("{place} is not allowed")),
        schema => schema.as_object().unwrap(),
    };
    for (word, wanted) in words {
        let list = || wanted.as_array().unwrap().iter();
        let differs = || Err(format!("{place} is not {word} {wanted}"));
        match word.as_str() {
            "$ref" => check(resolve(schema), value, place, named)?,
            "type" => {
                let is_one = |name: &Value| is_type(value, name.as_str().unwrap());
                if !(if wanted.is_array() { list().any(is_one) } else { is_one(wanted) }) {
                    return differs();
                }
            }
            "const" if value != wanted => return differs(),
            "enum" if !list().any(|one| one == value) => return differs(),
            "minimum" if value.as_f64().is_some_and(|number| number < wanted.as_f64().unwrap()) => {
                return differs();
            }
            "maximum" if value.as_f64().is_some_and(|number| number > wanted.as_f64().unwrap()) => {
                return differs();
            }
            "const" | "enum" | "minimum" | "maximum" => {}
            "required" => {
                let lacks = |name: &&Value| value.is_object() && value.get(name.as_str().unwrap()).is_none();
                if let Some(name) = list().find(lacks) {
                    return Err(format!("{place} lacks {name}"));
                }
            }
            "properties" => {
                for (name, schema) in wanted.as_object().unwrap() {
                    let Some(field) = value.get(name) else { continue };
                    named.insert(name.clone());
                    check_whole(schema, field, &format!("{place}/{name}"))?;
                }
            }
            "additionalProperties" => {
                let known = words.get("properties").and_then(Value::as_object);
                let rest = value.as_object().into_iter().flatten();
                for (name, field) in
                    rest.filter(|(name, _)| known.is_none_or(|known| !known.contains_key(*name)))
                {
                    named.insert(name.clone());
                    if wanted != &Value::Bool(true) {
                        check_whole(wanted, field, &format!("{place}/{name}"))?;
                    }
                }
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check_whole(wanted, item, &format!("{place}/{index}"))?;
                }
            }
            "allOf" => list().try_for_each(|schema| check(schema, value, place, named))?,
            "anyOf" | "oneOf" => {
                let mut differences = Vec::new();
                let fits = list().any(|schema| {
                    let mut of_this = BTreeSet::new();
                    match check(schema, value, place, &mut of_this) {
                        Ok(()) => {
                            named.append(&mut of_this);
                            true
                        }
                        Err(difference) => {
                            differences.push(difference);
                            false
                        }
                    }
                });
                if !fits {
                    return Err(differences.join("; or "));
                }
            }
            word => assert!(UNCHECKED.contains(&word), "{place}: {word} is not known here"),
        }
    }
    Ok(())
}

fn is_type(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        name => panic!("{name} is no type"),
    }
}
