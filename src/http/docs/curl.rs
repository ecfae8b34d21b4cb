//! An operation as a line for the shell. It works once `PINGBOX_SERVER` and `PINGBOX_TOKEN` are set.

use std::fmt::Write as _;

use serde_json::Value;

use super::shape::{plain, reference};

/// What shows best what an operation is for, where that does not follow from its description.
struct Pick {
    operation: &'static str,
    query: &'static str,
    /// Arguments of curl.
    body: &'static [&'static str],
}

const PICKS: &[Pick] = &[
    Pick { operation: "submit_task", query: "wait=60", body: &["-F type=image", "-F file=@captcha.png"] },
    Pick { operation: "list_tasks", query: "status=solved&limit=10", body: &[] },
    Pick { operation: "get_events", query: "cursor=earliest&wait=60", body: &[] },
    Pick {
        operation: "submit_by_query",
        query: "key=$PINGBOX_TOKEN&method=userrecaptcha&googlekey=6Le-wvkSVVABCPBMRTvw0Q4Muexq1bi0DJwx_mJ-\
                &pageurl=https://example.com/login&json=1",
        body: &[],
    },
    Pick {
        operation: "submit_by_form",
        query: "",
        body: &["-F \"key=$PINGBOX_TOKEN\"", "-F method=post", "-F file=@captcha.png"],
    },
    Pick { operation: "ask_by_query", query: "key=$PINGBOX_TOKEN&action=get&id=1042", body: &[] },
    Pick {
        operation: "ask_by_form",
        query: "",
        body: &["-d \"key=$PINGBOX_TOKEN\"", "-d action=getbalance"],
    },
];

/// How one calls this operation of the `document`.
pub(super) fn curl(document: &Value, method: &str, path: &str, operation: &Value) -> String {
    let id = operation["operationId"].as_str().unwrap_or_default();
    let pick = PICKS.iter().find(|pick| pick.operation == id);
    let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
    let mut url = path.to_owned();
    let mut query = pick.map_or("", |pick| pick.query).to_owned();
    for parameter in parameters {
        let name = parameter["name"].as_str().unwrap_or_default();
        let value = example(document, &parameter["schema"]);
        match parameter["in"].as_str() {
            Some("path") => url = url.replace(&format!("{{{name}}}"), &value),
            Some("query") if pick.is_none() && (parameter["required"] == true || name == "wait") => {
                let between = if query.is_empty() { "" } else { "&" };
                write!(query, "{between}{name}={value}").expect("writing to a String never fails");
            }
            _ => {}
        }
    }
    let mark = if query.is_empty() { "" } else { "?" };
    let mut arguments = vec![format!("\"$PINGBOX_SERVER{url}{mark}{query}\"")];
    if operation.get("security").is_none() {
        arguments.push("-H \"Authorization: Bearer $PINGBOX_TOKEN\"".to_owned());
    }
    let body = body(pick, operation);
    let implied = if body.is_empty() { "get" } else { "post" };
    if method != implied {
        arguments.insert(0, format!("-X {}", method.to_uppercase()));
    }
    arguments.extend(body);
    format!("curl {}", arguments.join(" \\\n  "))
}

/// The arguments that send a body.
fn body(pick: Option<&Pick>, operation: &Value) -> Vec<String> {
    if let Some(pick) = pick {
        return pick.body.iter().map(|&argument| argument.to_owned()).collect();
    }
    let examples = operation["requestBody"]["content"]["application/json"]["examples"].as_object();
    let Some(example) = examples.and_then(|examples| examples.values().next()) else {
        return Vec::new();
    };
    let text = example["value"].to_string().replace('\'', r"'\''");
    vec!["-H 'Content-Type: application/json'".to_owned(), format!("-d '{text}'")]
}

/// A value of this schema.
fn example(document: &Value, schema: &Value) -> String {
    if let Some(value) = schema["examples"].as_array().and_then(|examples| examples.first()) {
        return plain(value);
    }
    let Some(name) = reference(schema) else { return String::new() };
    document["components"]["schemas"][name]["examples"][0].as_str().unwrap_or_default().to_owned()
}
