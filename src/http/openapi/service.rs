//! What is beside the REST API: health, metrics, the document itself, described.

use axum::http::StatusCode;
use serde_json::json;

use super::operation::{Operation, Parameter, Shape};
use crate::http::health::ReadyBody;
use crate::http::metrics::Format;

/// Text.
pub(super) const PLAIN: &str = "text/plain; charset=utf-8";

pub(super) fn operations() -> Vec<Operation> {
    let text = || Shape::Said(json!({ "type": "string" }));
    vec![
        Operation::get("/livez", "get_livez")
            .does("Whether the process answers", "Does no I/O.")
            .replies_with(StatusCode::OK, "`ok`", vec![(PLAIN, text())]),
        Operation::get("/readyz", "get_readyz")
            .does(
                "Whether work can be taken",
                "Writes to the database. What only slows the way to the provider is told with 200.",
            )
            .replies::<ReadyBody>(StatusCode::OK, "It can.")
            .replies::<ReadyBody>(
                StatusCode::SERVICE_UNAVAILABLE,
                "The database takes no writes, or the server is ending.",
            ),
        Operation::get("/metrics", "get_metrics")
            .does("Figures for Prometheus", "They are of the replica that is asked, since its start. docs/metrics.md lists them. Text of Prometheus 0.0.4 for who accepts `text/plain` only.")
            .for_scope("read")
            .replies_with(
                StatusCode::OK,
                "The figures.",
                vec![(Format::OpenMetrics.media_type(), text()), (Format::Plain.media_type(), text())],
            ),
        Operation::get("/openapi.json", "get_openapi")
            .does("This document", "")
            .takes([Parameter::header("If-None-Match", "The `ETag` of what you have.", text())])
            .replies_with(
                StatusCode::OK,
                "OpenAPI 3.1.",
                vec![("application/json", Shape::Said(json!({ "type": "object" })))],
            )
            .with_header("ETag", "Changes with the document.")
            .replies_with(StatusCode::NOT_MODIFIED, "You have it already.", Vec::new()),
        Operation::get("/docs", "get_docs")
            .does("This document as a page", "It holds no script, and needs nothing from elsewhere.")
            .takes([Parameter::header("If-None-Match", "The `ETag` of what you have.", text())])
            .replies_with(StatusCode::OK, "HTML.", vec![("text/html; charset=utf-8", text())])
            .with_header("ETag", "Changes with the page.")
            .replies_with(StatusCode::NOT_MODIFIED, "You have it already.", Vec::new()),
    ]
}
