//! `/openapi.json`: the api listener, described for programs; `docs` makes a page of it. What is described stands in the files of this folder; fields
//! of replies are described by the types that are sent, submissions by the tables that they are checked against.

mod account;
mod drop_in;
mod events;
mod operation;
mod service;
mod tasks;
mod tokens;

use std::sync::LazyLock;

use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::response::{IntoResponse as _, Response};
use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use self::operation::{Operation, Parameter, Shape};
use super::error::Problem;
use crate::model::hex;

/// The parts of the document, in the order in which they are read.
const TAGS: [(&str, &str); 6] = [
    ("Tasks", "Captchas to solve: submit, wait, read, report."),
    ("Events", "What happens, by long-poll, as a stream, or by signed webhooks."),
    ("Account", "The account at the provider, what was spent there, and the URLs that it knows."),
    ("Tokens", "Who may call, and what they may do."),
    ("Service", "Health, metrics, this document."),
    ("Drop-in", "The provider's own scripts, for what was written for it."),
];

/// A number as text: the name of a webhook or a delivery, a cursor.
const NUMBER: &str = "^[0-9]{1,18}$";

const ABOUT: &str = "A self-hosted pingback receiver for the SolveCaptcha API. Submit a captcha, and be told of its answer as \
soon as the provider sends it.

Ids are strings, times are RFC 3339 in UTC with milliseconds, amounts are decimals in strings, in the account's currency. \
Lists are `{\"<noun>\":[…],\"cursor\":\"…\"}`: pass `cursor` on until it is `null`. Fields may be added to replies. \
In requests a parameter that is empty, or a field of JSON that is `null`, is not given.

A token has scopes: `read`, `submit`, or `admin`, which includes both. It sees its own tasks, `admin` sees all. A listener on \
loopback for which no token was ever made is open to local callers.

Errors are `application/problem+json` (RFC 9457) with a stable `code`. Besides those of each operation there are 404 \
`path_not_found`, 405 `method_not_allowed`, and 508 `loop_detected` for requests of pingbox that were meant for the provider.

Every reply has an `X-Request-Id`: the one of its request, if that is made of up to 128 letters, digits and `-_.:+/=`, else a new \
one. The log has it too.";

static DOCUMENT: LazyLock<Kept> = LazyLock::new(|| Kept::new("application/json", text()));

/// A text that stays the same as long as the process runs, and what names this state of it.
pub(super) struct Kept {
    media_type: &'static str,
    text: String,
    tag: String,
}

impl Kept {
    pub(super) fn new(media_type: &'static str, text: String) -> Self {
        let digest = hex(&Sha256::digest(&text)[..8]);
        Self { media_type, text, tag: format!("\"{digest}\"") }
    }

    /// The text, or that the caller has it already.
    pub(super) fn reply(&'static self, headers: &HeaderMap) -> Response {
        let common = [(ETAG, self.tag.as_str()), (CACHE_CONTROL, "no-cache")];
        let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        if known
            .flat_map(|value| value.split(','))
            .any(|known| known.trim().trim_start_matches("W/") == self.tag)
        {
            return (StatusCode::NOT_MODIFIED, common).into_response();
        }
        (common, [(CONTENT_TYPE, self.media_type)], self.text.as_str()).into_response()
    }
}

/// `GET /openapi.json`.
pub(super) async fn get_openapi(headers: HeaderMap) -> Response {
    DOCUMENT.reply(&headers)
}

/// The document as text, for people too.
pub(crate) fn text() -> String {
    let text = serde_json::to_string_pretty(&document()).expect("JSON can be written");
    text + "\n"
}

/// The document.
pub(super) fn document() -> Value {
    let mut settings = SchemaSettings::draft2020_12().for_serialize();
    settings.definitions_path = "/components/schemas".into();
    let mut generator = settings.with_transform(RecursiveTransform(one_line)).into_generator();
    // Errors refer to it.
    generator.subschema_for::<Problem<'_>>();

    let mut paths: Map<String, Value> = Map::new();
    let mut responses = Map::new();
    for (tag, operations) in operations() {
        for operation in operations {
            let (path, method) = (operation.path, operation.method);
            let described = operation.into_json(tag, &mut generator, &mut responses);
            paths.entry(path).or_insert_with(|| json!({}))[method] = described;
        }
    }
    let mut schemas = generator.take_definitions(true);
    schemas.extend(tasks::schemas());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "pingbox",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "MIT", "identifier": "MIT" },
        },
        "servers": [{ "url": "/", "description": "Where this document is from; by default http://127.0.0.1:8081" }],
        "security": [{ "bearer": [] }],
        "tags": TAGS.map(|(name, about)| json!({ "name": name, "description": about })),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": responses,
            "securitySchemes": {
                "bearer": {
                    "type": "http", "scheme": "bearer",
                    "description": "A token: 32 hexadecimal characters, unless you have chosen another `api.token`.",
                },
                "key": {
                    "type": "apiKey", "in": "query", "name": "key",
                    "description": "The same token, where the provider takes its API key; also as a field of the body.",
                },
            },
        },
    })
}

/// A comment in the source is broken into lines; its words are not.
fn one_line(schema: &mut Schema) {
    if let Some(Value::String(about)) = schema.get_mut("description") {
        *about = about.replace('\n', " ");
    }
}

/// The operations, by method and path, in the order in which people read.
pub(super) fn order() -> Vec<(&'static str, &'static str)> {
    let all = operations().into_iter().flat_map(|(_, operations)| operations);
    all.map(|operation| (operation.method, operation.path)).collect()
}

/// All operations, by the part of the document that they are in.
fn operations() -> [(&'static str, Vec<Operation>); 6] {
    [
        ("Tasks", tasks::operations()),
        ("Events", events::operations()),
        ("Account", account::operations()),
        ("Tokens", tokens::operations()),
        ("Service", service::operations()),
        ("Drop-in", drop_in::operations()),
    ]
}

/// `wait`, in whole seconds.
fn wait(about: &str) -> Parameter {
    let about = format!("{about}: whole seconds, cut to `api.max_wait` (300 by default).");
    Parameter::query(
        "wait",
        about,
        Shape::Said(json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX, "examples": [60] })),
    )
}

/// The length of a page.
fn limit(default: u32) -> Parameter {
    let schema = json!({ "type": "integer", "minimum": 1, "maximum": 1000, "default": default });
    Parameter::query("limit", "The most that one reply holds.", Shape::Said(schema))
}

/// A number as text.
fn number(example: &str) -> Shape {
    Shape::Said(json!({ "type": "string", "pattern": NUMBER, "examples": [example] }))
}

/// Where a page begins.
fn page_cursor(shape: Shape) -> Parameter {
    Parameter::query("cursor", "The `cursor` of the page before.", shape)
}
