//! Tokens, described.

use axum::http::StatusCode;
use serde_json::json;

use super::number;
use super::operation::{Operation, Parameter};
use crate::http::error::ApiError;
use crate::http::query;
use crate::http::tokens::{ListBody, TokenBody};
use crate::ingest::MOST_TOKENS;
use crate::model::MAX_NAME;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/v1/tokens", "list_tokens")
            .does("List tokens", "All but the configured `api.token`. What they are is not shown.")
            .for_scope("admin")
            .replies::<ListBody<'_>>(StatusCode::OK, "The tokens."),
        Operation::post("/v1/tokens", "add_token")
            .does(
                "Make a token",
                "It is shown in this reply alone. The first one, on a listener that was open until then, has the scope \
                 `admin`.",
            )
            .for_scope("admin")
            .reads(
                json!({
                    "type": "object",
                    "properties": {
                        "name": {
                            "description": "Who is to have it. It holds no control characters.",
                            "type": "string", "minLength": 1, "maxLength": MAX_NAME,
                            "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]+$",
                        },
                        "scopes": {
                            "description": "What it may do; `admin` includes the others.",
                            "type": "array", "items": { "type": "string", "enum": ["submit", "read", "admin"] }, "minItems": 1,
                        },
                    },
                    "required": ["name", "scopes"],
                    "additionalProperties": false,
                }),
                json!({ "name": "ci", "scopes": ["submit", "read"] }),
                query::MAX_BODY_BYTES,
            )
            .replies::<TokenBody<'_>>(StatusCode::CREATED, "The token.")
            .with_header("Location", "The path of the token.")
            .fails([ApiError::TooManyTokens(MOST_TOKENS)]),
        Operation::delete("/v1/tokens/{id}", "revoke_token")
            .does(
                "Revoke a token",
                "It opens nothing any more, and its webhooks go with it. Its tasks stay; those with the scope `admin` see them.",
            )
            .for_scope("admin")
            .takes([Parameter::path("id", "The token.", number("1"))])
            .replies_with(StatusCode::NO_CONTENT, "It is revoked.", Vec::new())
            .fails([ApiError::TokenNotFound, ApiError::LastAdmin]),
    ]
}
