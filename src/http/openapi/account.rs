//! The account at the provider, its pingback URLs, and the statistics, described.

use axum::http::StatusCode;
use serde_json::json;

use super::operation::{Operation, Parameter, Shape};
use crate::http::account::AccountBody;
use crate::http::checks::ChecksBody;
use crate::http::error::ApiError;
use crate::http::pingbacks::{self, DeletedBody, RotatingBody, UrlBody};
use crate::http::stats::StatsBody;

pub(super) fn operations() -> Vec<Operation> {
    let mut operations = vec![
        Operation::get("/v1/account", "get_account")
            .does(
                "Read balance, spending, credit, pauses and registration",
                "The provider is asked for the balance once a minute at most, and for nothing else.",
            )
            .for_scope("read")
            .replies::<AccountBody>(StatusCode::OK, "The account."),
        Operation::post("/v1/account/resume", "resume_account")
            .does("Try again", "An operator has put right what stopped all sending, such as a wrong key.")
            .for_scope("admin")
            .replies::<AccountBody>(StatusCode::OK, "The account."),
        Operation::get("/v1/stats", "get_stats")
            .does(
                "Count tasks",
                "Of the newest 100,000 tasks, your own or, for `admin`, everybody's; solve times of the newest 10,000.",
            )
            .for_scope("read")
            .replies::<StatsBody>(StatusCode::OK, "The figures."),
        Operation::post("/v1/checks", "run_checks")
            .does(
                "Look at the server from outside",
                "It calls its own `public.url`, every 5 s at most, and tells how far its clock is off and what room its disk \
                 has. Nothing changes.",
            )
            .for_scope("read")
            .replies::<ChecksBody>(StatusCode::OK, "What was found.")
            .fails([ApiError::ShuttingDown]),
    ];
    operations.extend(urls());
    operations
}

fn urls() -> [Operation; 4] {
    let unasked = || {
        [
            ApiError::ProviderRefused("ERROR_IP_ADDRES: …".to_owned()),
            ApiError::ProviderUnavailable("it does not answer".to_owned()),
        ]
    };
    let url = json!({
        "description": "The URL, with or without a scheme. It holds no space, `|` or `*`.",
        "type": "string", "format": "url", "maxLength": pingbacks::MAX_URL_BYTES,
    });
    [
        Operation::get("/v1/pingbacks", "list_pingbacks")
            .does("List the pingback URLs that the provider knows", "")
            .for_scope("admin")
            .replies::<pingbacks::ListBody>(StatusCode::OK, "The URLs.")
            .fails(unasked()),
        Operation::post("/v1/pingbacks", "add_pingback")
            .does("Have the provider know a URL for others", "pingbox keeps its own registered by itself.")
            .for_scope("admin")
            .reads(
                json!({
                    "type": "object", "properties": { "url": url }, "required": ["url"], "additionalProperties": false,
                }),
                json!({ "url": "https://example.com/answers" }),
                pingbacks::MAX_BODY_BYTES,
            )
            .replies::<UrlBody>(StatusCode::CREATED, "The URL.")
            .fails(unasked()),
        Operation::delete("/v1/pingbacks", "delete_pingback")
            .does("Have the provider forget a URL", "One that was not added here, pingbox's own and `all` need `force`.")
            .for_scope("admin")
            .takes([
                Parameter::query(
                    "url",
                    "The URL as the list has it, or `all`.",
                    Shape::Said(json!({ "type": "string", "minLength": 1, "examples": ["https://example.com/answers"] })),
                )
                .required(),
                Parameter::query(
                    "force",
                    "Delete also what was not added here.",
                    Shape::Said(json!({ "type": "boolean", "default": false })),
                ),
            ])
            .replies::<DeletedBody>(StatusCode::OK, "It is deleted.")
            .fails([ApiError::PingbackNotFound, ApiError::PingbackInUse("pingbox did not add this URL: add force=true")])
            .fails(unasked()),
        Operation::post("/v1/pingbacks/rotate", "rotate_pingback")
            .does("Change the secret of pingbox's own URL", "The old URL stays valid until its tasks are done.")
            .for_scope("admin")
            .replies::<RotatingBody>(StatusCode::ACCEPTED, "The new URL is used as soon as the provider knows it.")
            .fails([
                ApiError::NoRotation("public.url is not set: there is no URL to change"),
                ApiError::ProviderUnavailable("the system gives no randomness".to_owned()),
            ]),
    ]
}
