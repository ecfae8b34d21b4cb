//! The page: the document, put in the order in which people read.

use std::collections::BTreeMap;

use askama::Template;
use serde_json::Value;

use super::curl::curl;
use super::shape::{REQUIRED, Rich, Row, fields, kind, limits, paragraphs, prose, values};

#[derive(Template)]
#[template(path = "docs.html")]
pub(super) struct Page {
    version: String,
    about: Vec<Rich>,
    parts: Vec<Part>,
    types: Vec<Type>,
}

/// Operations about one noun.
struct Part {
    name: String,
    about: Rich,
    operations: Vec<Operation>,
}

struct Operation {
    id: String,
    method: String,
    path: String,
    summary: Rich,
    about: Vec<Rich>,
    parameters: Vec<Row>,
    /// Whether the body may be left out; `None` where there is none.
    body_is_required: Option<bool>,
    bodies: Vec<Content>,
    replies: Vec<Reply>,
    errors: Vec<Reply>,
    curl: String,
}

/// A body of one or several media types.
struct Content {
    media_types: Vec<String>,
    kind: Rich,
    fields: Vec<Row>,
}

struct Reply {
    status: String,
    about: Vec<Rich>,
    contents: Vec<Content>,
}

struct Type {
    name: String,
    about: Vec<Rich>,
    /// What it is, where it has neither fields nor values that are explained.
    kind: Option<Rich>,
    limits: Rich,
    fields: Vec<Row>,
    values: Vec<Row>,
}

impl Page {
    /// The document, with its operations, each by method and path, in this order.
    pub(super) fn of(document: &Value, order: &[(&str, &str)]) -> Self {
        let parts = document["tags"].as_array().into_iter().flatten().map(|tag| Part {
            name: text(&tag["name"]).to_owned(),
            about: prose(text(&tag["description"])),
            operations: operations(document, order, text(&tag["name"])),
        });
        let schemas = document["components"]["schemas"].as_object().into_iter().flatten();
        Self {
            version: text(&document["info"]["version"]).to_owned(),
            about: paragraphs(text(&document["info"]["description"])),
            parts: parts.collect(),
            types: schemas.map(|(name, schema)| Type::of(name, schema)).collect(),
        }
    }

    pub(super) fn to_html(&self) -> String {
        self.render().expect("writing to a String never fails")
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Those that are in this part of the document.
fn operations(document: &Value, order: &[(&str, &str)], tag: &str) -> Vec<Operation> {
    let all = order.iter().map(|(method, path)| (method, path, &document["paths"][path][method]));
    all.filter(|(_, _, operation)| operation["tags"][0] == tag)
        .map(|(method, path, operation)| Operation::of(document, method, path, operation))
        .collect()
}

impl Operation {
    fn of(document: &Value, method: &str, path: &str, operation: &Value) -> Self {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let mut replies = Vec::new();
        let mut errors = Vec::new();
        for (status, reply) in operation["responses"].as_object().into_iter().flatten() {
            // What several operations reply is said once in the document.
            let shared =
                reply["$ref"].as_str().and_then(|path| document.pointer(path.trim_start_matches('#')));
            let described = Reply {
                status: status.clone(),
                about: paragraphs(text(&shared.unwrap_or(reply)["description"])),
                contents: contents(&reply["content"]),
            };
            if shared.is_some() { errors.push(described) } else { replies.push(described) }
        }
        Self {
            id: text(&operation["operationId"]).to_owned(),
            method: method.to_uppercase(),
            path: path.to_owned(),
            summary: prose(text(&operation["summary"])),
            about: paragraphs(text(&operation["description"])),
            parameters: parameters.map(parameter).collect(),
            body_is_required: operation.get("requestBody").map(|body| body["required"] == true),
            bodies: contents(&operation["requestBody"]["content"]),
            replies,
            errors,
            curl: curl(document, method, path, operation),
        }
    }
}

fn parameter(parameter: &Value) -> Row {
    Row {
        name: text(&parameter["name"]).to_owned(),
        place: text(&parameter["in"]).to_owned(),
        mark: if parameter["required"] == true { REQUIRED } else { "" },
        kind: kind(&parameter["schema"]),
        limits: limits(&parameter["schema"]),
        about: prose(text(&parameter["description"])),
    }
}

/// Content by what it looks like: media types that look the same are named together.
fn contents(content: &Value) -> Vec<Content> {
    let mut by_schema: BTreeMap<String, (Vec<String>, &Value)> = BTreeMap::new();
    for (media_type, content) in content.as_object().into_iter().flatten() {
        let schema = &content["schema"];
        let entry = by_schema.entry(schema.to_string()).or_insert_with(|| (Vec::new(), schema));
        entry.0.push(media_type.clone());
    }
    let mut all: Vec<Content> = by_schema
        .into_values()
        .map(|(media_types, schema)| Content { media_types, kind: kind(schema), fields: fields(schema) })
        .collect();
    all.sort_by(|one, other| one.media_types.cmp(&other.media_types));
    all
}

impl Type {
    fn of(name: &str, schema: &Value) -> Self {
        let (fields, values) = (fields(schema), values(schema));
        let kind = (fields.is_empty() && values.is_empty()).then(|| kind(schema));
        Self {
            name: name.to_owned(),
            about: paragraphs(text(&schema["description"])),
            kind,
            limits: limits(schema),
            fields,
            values,
        }
    }
}
