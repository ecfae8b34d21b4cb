//! `in.php` and `res.php`, described as far as the provider's own document does not.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::operation::{Operation, Parameter, Shape};
use super::service::PLAIN;
use crate::http::compat;

pub(super) fn operations() -> Vec<Operation> {
    [in_php(), res_php()].into_iter().flat_map(both_methods).collect()
}

/// What one of the scripts of the family takes.
struct Script {
    path: &'static str,
    ids: [&'static str; 2],
    summary: &'static str,
    about: &'static str,
    parameters: Value,
}

fn in_php() -> Script {
    Script {
        path: "/in.php",
        ids: ["submit_by_query", "submit_by_form"],
        summary: "Submit a captcha in the provider's own format",
        about: "Takes what the provider's `in.php` takes. `OK|id` once the provider has the captcha, or after 4 s with the task \
                on disk; else a code of the provider's.",
        parameters: json!({
            "method": {
                "description": "The provider's name of the method: `post`, `base64`, `userrecaptcha`, …", "type": "string",
            },
            "pingback": { "description": "Where the answer is POSTed, as `id=…&code=…`.", "type": "string" },
        }),
    }
}

fn res_php() -> Script {
    Script {
        path: "/res.php",
        ids: ["ask_by_query", "ask_by_form"],
        summary: "Ask for an answer in the provider's own format",
        about: "Takes what the provider's `res.php` takes. `get` is held for `compat.hold` until the answer comes, else \
                `CAPCHA_NOT_READY`.",
        parameters: json!({
            "action": {
                "description": "What is asked.",
                "type": "string",
                "enum": [
                    "get", "get2", "getbalance", "reportbad", "reportgood", "add_pingback", "get_pingback", "del_pingback",
                ],
            },
            "id": { "description": "With `get`, `get2` and reports: the id that `in.php` gave.", "type": "string" },
            "ids": { "description": "With `get`: several ids, separated by commas.", "type": "string" },
            "addr": { "description": "With `add_pingback` and `del_pingback`: the URL.", "type": "string" },
        }),
    }
}

/// Both scripts take their parameters from the query and from the body.
fn both_methods(script: Script) -> [Operation; 2] {
    let flag = |about: &str| json!({ "description": about, "type": "integer", "enum": [0, 1], "default": 0 });
    let mut fields = script.parameters;
    fields["json"] = flag("1: the reply is JSON.");
    fields["header_acao"] = flag("1: web pages of any site may read the reply.");
    let about = format!(
        "{}\n\nThe status is always 200, for errors too; with another method than GET and POST the reply is a code as well. \
         Parameters come in the query, as a form, multipart or JSON; the body stands over the query. A parameter that the \
         provider may know and pingbox does not is passed on.",
        script.about
    );
    let parameters = fields.as_object().into_iter().flatten().map(|(name, schema)| Parameter {
        name: name.clone(),
        place: "query",
        about: schema["description"].as_str().unwrap_or_default().to_owned(),
        is_required: false,
        shape: Shape::Said(schema.clone()),
    });
    let described = |operation: Operation| {
        operation.does(script.summary, about.clone()).by_key().replies_with(
            StatusCode::OK,
            "Text such as `OK|2122988149` or `ERROR_ZERO_BALANCE`, without a newline; with `json=1` an object.",
            vec![(PLAIN, Shape::Said(json!({ "type": "string" }))), ("application/json", Shape::of::<compat::JsonReply<'_>>())],
        )
    };
    let [by_query, by_form] = script.ids;
    let body = || Shape::Said(json!({ "type": "object", "properties": fields }));
    [
        described(Operation::get(script.path, by_query)).takes(parameters),
        described(Operation::post(script.path, by_form)).reads_anyhow(
            ["application/x-www-form-urlencoded", "multipart/form-data", "application/json"]
                .map(|kind| (kind, body()))
                .into(),
        ),
    ]
}
