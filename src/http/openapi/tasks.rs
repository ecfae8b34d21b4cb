//! Tasks, reports on them, and the answers to other captchas, described.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::operation::{Operation, Parameter, Shape};
use super::{limit, number, page_cursor, wait};
use crate::http::error::ApiError;
use crate::http::reports::ReportBody;
use crate::http::{answers, reports, submit, tasks};
use crate::model::{AnswerBody, CaptchaId, CaptchaType, Carrier, ReportError, Status, TaskBody, TaskId};

pub(super) fn operations() -> Vec<Operation> {
    let mut operations = vec![submission(), list()];
    operations.extend(of_one_task());
    operations.extend(reports());
    operations.extend(answers());
    operations
}

fn list() -> Operation {
    Operation::get("/v1/tasks", "list_tasks")
        .does(
            "List tasks, or wait for several",
            "With `ids`: the tasks named, in that order, as soon as the first of them (`until=all`: each of them) has \
             ended, or as they stand when the wait is over. Ids that name no task of yours are left out, and no other \
             parameter but `wait` and `until` goes with `ids`.\n\n\
             Without: a page of all tasks, newest first. A page looks at 100,000 tasks at most, so with a filter it may \
             be short, or empty: go on until `cursor` is `null`.",
        )
        .for_scope("read")
        .takes([
            Parameter::query(
                "ids",
                "Ids of up to 1,000 tasks, separated by commas.",
                Shape::Said(json!({
                    "type": "string", "pattern": "^([1-9][0-9]{0,14}(,[1-9][0-9]{0,14})*)?$", "maxLength": 17_000,
                    "examples": ["1042,1043"],
                })),
            ),
            wait("With `ids`: how long to wait"),
            Parameter::query(
                "until",
                "With `ids`: whether one that has ended is enough.",
                Shape::Said(json!({ "type": "string", "enum": ["any", "all"], "default": "any" })),
            ),
            Parameter::query("status", "Tasks with this status alone.", Shape::of::<Status>()),
            Parameter::query("type", "Captchas of this type alone.", Shape::of::<CaptchaType>()),
            Parameter::query(
                "tag",
                "Tasks with this tag alone.",
                Shape::Said(json!({ "type": "string", "pattern": "^[^\\u0000]*$", "examples": ["login-page"] })),
            ),
            limit(tasks::DEFAULT_PAGE),
            page_cursor(Shape::of::<TaskId>()),
        ])
        .replies::<tasks::ListBody<'_>>(StatusCode::OK, "The tasks.")
}

fn of_one_task() -> [Operation; 2] {
    [
        Operation::get("/v1/tasks/{id}", "get_task")
            .does(
                "Read a task, or wait for its end",
                "The task as soon as it has ended, or as it stands when the wait is over.",
            )
            .for_scope("read")
            .takes([task_id(), wait("How long to wait for its end")])
            .replies::<TaskBody<'_>>(StatusCode::OK, "The task.")
            .fails([ApiError::TaskNotFound]),
        Operation::delete("/v1/tasks/{id}", "cancel_task")
            .does("Cancel a task", "Only a task that the provider certainly does not have can be cancelled.")
            .for_scope("submit")
            .takes([task_id()])
            .replies::<TaskBody<'_>>(StatusCode::OK, "The task, cancelled.")
            .fails([ApiError::TaskNotFound, ApiError::TooLateToCancel("solved")]),
    ]
}

fn reports() -> [Operation; 2] {
    [
        Operation::get("/v1/tasks/{id}/report", "get_report")
            .does("Read the report on an answer", "")
            .for_scope("read")
            .takes([task_id()])
            .replies::<ReportBody<'_>>(StatusCode::OK, "The report as it stands.")
            .fails([ApiError::TaskNotFound, ApiError::ReportNotFound]),
        Operation::post("/v1/tasks/{id}/report", "report_task")
            .does(
                "Tell the provider whether an answer was right",
                "Once for each task, within 15 minutes after it was submitted. The report is kept and sent until the provider \
                 has it. The same verdict again shows the first report.",
            )
            .for_scope("submit")
            .takes([task_id(), wait("How long to wait for the provider's word; 5 s if it is not given")])
            .reads(
                json!({
                    "type": "object",
                    "properties": { "verdict": {
                        "description": "Whether the answer was right.", "type": "string", "enum": ["bad", "good"],
                    } },
                    "required": ["verdict"],
                    "additionalProperties": false,
                }),
                json!({ "verdict": "bad" }),
                reports::MAX_BODY_BYTES,
            )
            .replies::<ReportBody<'_>>(StatusCode::OK, "The report, with the provider's word.")
            .replies::<ReportBody<'_>>(StatusCode::ACCEPTED, "The report, which waits to be sent.")
            .fails([
                ApiError::TaskNotFound,
                ApiError::NoReport(ReportError::NoAnswer),
                ApiError::NoReport(ReportError::TooLate),
                ApiError::AlreadyReported("good"),
            ]),
    ]
}

fn answers() -> [Operation; 2] {
    [
        Operation::get("/v1/answers", "list_answers")
            .does(
                "List the answers that no task waits for",
                "Newest first: answers to captchas that other programs submitted to the provider with pingbox's URL.",
            )
            .for_scope("read")
            .takes([limit(answers::DEFAULT_PAGE), page_cursor(number("943"))])
            .replies::<answers::ListBody<'_>>(StatusCode::OK, "The answers."),
        Operation::get("/v1/answers/{captcha_id}", "get_answer")
            .does(
                "Wait for the answer to a captcha",
                "By the provider's id, as soon as the answer is known. The captcha of a task is shown to the token that \
                 submitted it and to `admin`; one that no task has, to every token with `read`.",
            )
            .for_scope("read")
            .takes([
                Parameter::path("captcha_id", "The provider's id of the captcha.", Shape::of::<CaptchaId>()),
                wait("How long to wait for an answer"),
            ])
            .replies::<AnswerBody<'_>>(StatusCode::OK, "How the captcha ended.")
            .fails([ApiError::AnswerNotFound]),
    ]
}

fn task_id() -> Parameter {
    Parameter::path("id", "The task.", Shape::of::<TaskId>())
}

fn submission() -> Operation {
    let of_all = |carrier: Carrier| {
        let reference = |kind: CaptchaType| format!("#/components/schemas/{}", kind.schema_name(carrier));
        let mapping = CaptchaType::ALL.map(|kind| (kind.as_str().to_owned(), json!(reference(kind))));
        Shape::Said(json!({
            "oneOf": CaptchaType::ALL.map(|kind| json!({ "$ref": reference(kind) })),
            "discriminator": { "propertyName": "type", "mapping": Map::from_iter(mapping) },
        }))
    };
    Operation::post("/v1/tasks", "submit_task")
        .does(
            "Submit a captcha",
            "The task is on disk before the reply. Everything that the provider limits is checked before money is spent.\n\n\
             In a form every value is text; in JSON too a number may be given as text, and text as a number. An image is jpg, gif or png of 100 bytes to 100 kB (1 kB is 1024 bytes), by its \
             content: a file, or base64 with or without padding, line breaks or a `data:` URI in front.",
        )
        .for_scope("submit")
        .takes([
            wait("How long to wait for the end of the new task"),
            Parameter::header(
                "Prefer",
                "`wait=SECONDS` is the same as the parameter (RFC 7240).",
                Shape::Said(json!({ "type": "string", "examples": ["wait=60"] })),
            ),
            Parameter::header(
                "Idempotency-Key",
                "A repeat with the same key within 24 hours returns the first task with 200.",
                Shape::Said(json!({
                    "type": "string", "pattern": "^[!-~]{1,255}$", "maxLength": 255,
                    "examples": ["5f3c1c9e-login-42"],
                })),
            ),
        ])
        .reads_one_of(
            vec![
                ("application/json", of_all(Carrier::Text)),
                ("multipart/form-data", of_all(Carrier::Multipart)),
                ("application/x-www-form-urlencoded", of_all(Carrier::Text)),
            ],
            examples(),
            submit::MAX_BODY_BYTES,
        )
        .replies::<TaskBody<'_>>(StatusCode::CREATED, "The new task, after the wait if one was asked for.")
        .with_header("Location", "The path of the task.")
        .replies::<TaskBody<'_>>(StatusCode::OK, "The task that was submitted with this `Idempotency-Key` before.")
        .with_header("Location", "The path of the task.")
        .fails([
            ApiError::IdempotencyKeyReused,
            ApiError::UnsupportedMediaType("text/plain".to_owned()),
            ApiError::DailyLimit("5".parse().ok()),
            ApiError::ShuttingDown,
        ])
}

/// What the body of a submission refers to.
pub(super) fn schemas() -> impl Iterator<Item = (String, Value)> {
    let of_one =
        |kind: CaptchaType| Carrier::ALL.map(|carrier| (kind.schema_name(carrier), kind.schema(carrier)));
    CaptchaType::ALL.into_iter().flat_map(of_one)
}

fn examples() -> Map<String, Value> {
    let examples = [
        json!({ "type": "text", "textcaptcha": "If tomorrow is Saturday, what day is today?" }),
        json!({
            "type": "recaptcha_v2", "googlekey": "6Le-wvkSVVABCPBMRTvw0Q4Muexq1bi0DJwx_mJ-",
            "pageurl": "https://example.com/login", "tag": "login-page", "priority": 10, "ttl": 300,
        }),
    ];
    examples
        .into_iter()
        .map(|example| (example["type"].as_str().unwrap_or_default().to_owned(), json!({ "value": example })))
        .collect()
}
