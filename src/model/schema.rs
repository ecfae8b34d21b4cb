//! How the words of the trade look in JSON, as JSON Schema, where that cannot be derived.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{AnswerForm, CaptchaId, EventKind, Point, Price, TaskId, Timestamp};

/// Says what a type looks like: its name, and the schema.
macro_rules! looks_like {
    ($type:ty, $name:literal, $generator:ident => $schema:expr) => {
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema($generator: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

looks_like!(TaskId, "TaskId", _generator => json_schema!({
    "description": "Names a task: a decimal number from 1 to 2^53, as text.",
    "type": "string",
    "pattern": "^([1-9][0-9]{0,14}|[1-8][0-9]{15})$",
    "examples": ["1042"],
}));

looks_like!(CaptchaId, "CaptchaId", _generator => json_schema!({
    "description": "Names a captcha at the provider: 1 to 32 decimal digits.",
    "type": "string",
    "pattern": "^[0-9]{1,32}$",
    "examples": ["2122988149"],
}));

looks_like!(Timestamp, "Timestamp", _generator => json_schema!({
    "description": "A point in time: RFC 3339 in UTC, with milliseconds.",
    "type": "string",
    "format": "date-time",
    "examples": ["2026-11-24T16:00:00.000Z"],
}));

looks_like!(Price, "Price", _generator => json_schema!({
    "description": "An amount in the account's currency: a decimal, as text, so that nothing is rounded.",
    "type": "string",
    "pattern": r"^[0-9]+(\.[0-9]+)?$",
    "examples": ["0.00299"],
}));

looks_like!(EventKind, "EventType", _generator => json_schema!({
    "description": "What happened. `pingback.unmatched` (a pingback that no task waits for) is told to tokens with \
                    the scope `admin` alone.",
    "type": "string",
    "enum": EventKind::ALL.map(EventKind::as_str),
}));

looks_like!(AnswerForm, "AnswerForm", generator => json_schema!({
    "type": "object",
    "properties": {
        "points": {
            "description": "`click`: where to click.",
            "type": "array",
            "items": generator.subschema_for::<Point>(),
        },
        "cells": {
            "description": "`recaptcha_image` with a grid: which cells, counted from 1, left to right, top to bottom.",
            "type": "array",
            "items": { "type": "integer", "minimum": 1, "maximum": 16 },
            "examples": [[3, 8, 16]],
        },
        "areas": {
            "description": "`recaptcha_image` with `canvas`: the corners of each area.",
            "type": "array",
            "items": { "type": "array", "items": generator.subschema_for::<Point>() },
        },
        "angles": {
            "description": "`rotate`: degrees for each image; positive is clockwise.",
            "type": "array",
            "items": { "type": "integer", "format": "int32" },
            "examples": [[40, 200, -120]],
        },
        "no_match": {
            "description": "`recaptcha_image` with `can_no_answer`: no image fits the instruction.",
            "type": "boolean",
            "const": true,
        },
    },
}));
