//! One operation of the API, described: who may call it, what it takes and replies, how it fails.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::http::error::ApiError;
use crate::ingest::WriteError;

/// Who may call an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Whoever reaches the listener.
    Anybody,
    /// Whoever shows a token with this scope, or with `admin`.
    Scope(&'static str),
    /// Whoever gives a token as `key`, with a scope that follows from what is asked.
    Key,
}

/// What a value looks like.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// A type of ours.
    Of(fn(&mut SchemaGenerator) -> Schema),
    /// Said here.
    Said(Value),
}

impl Shape {
    pub(super) fn of<T: JsonSchema>() -> Self {
        Self::Of(SchemaGenerator::subschema_for::<T>)
    }

    fn schema(self, generator: &mut SchemaGenerator) -> Value {
        match self {
            Self::Of(schema) => schema(generator).into(),
            Self::Said(schema) => schema,
        }
    }
}

/// A parameter in the path, the query or a header.
#[derive(Clone, Debug)]
pub(super) struct Parameter {
    pub(super) name: String,
    /// `path`, `query` or `header`.
    pub(super) place: &'static str,
    pub(super) about: String,
    pub(super) is_required: bool,
    pub(super) shape: Shape,
}

impl Parameter {
    pub(super) fn path(name: &str, about: &str, shape: Shape) -> Self {
        Self { name: name.to_owned(), place: "path", about: about.to_owned(), is_required: true, shape }
    }

    pub(super) fn query(name: &str, about: impl Into<String>, shape: Shape) -> Self {
        Self { name: name.to_owned(), place: "query", about: about.into(), is_required: false, shape }
    }

    pub(super) fn header(name: &str, about: &str, shape: Shape) -> Self {
        Self { name: name.to_owned(), place: "header", about: about.to_owned(), is_required: false, shape }
    }

    pub(super) fn required(self) -> Self {
        Self { is_required: true, ..self }
    }

    fn into_json(self, generator: &mut SchemaGenerator) -> Value {
        json!({
            "name": self.name,
            "in": self.place,
            "description": self.about,
            "required": self.is_required,
            "schema": self.shape.schema(generator),
        })
    }
}

/// Content by its media type.
type Contents = Vec<(&'static str, Shape)>;

struct Reply {
    status: u16,
    about: &'static str,
    contents: Contents,
    headers: Map<String, Value>,
}

struct RequestBody {
    is_required: bool,
    contents: Contents,
    examples: Map<String, Value>,
}

/// One method of one path.
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    id: &'static str,
    access: Access,
    summary: &'static str,
    description: String,
    parameters: Vec<Parameter>,
    body: Option<RequestBody>,
    replies: Vec<Reply>,
    errors: Vec<ApiError>,
}

impl Operation {
    fn new(method: &'static str, path: &'static str, id: &'static str) -> Self {
        Self {
            method,
            path,
            id,
            access: Access::Anybody,
            summary: "",
            description: String::new(),
            parameters: Vec::new(),
            body: None,
            replies: Vec::new(),
            errors: Vec::new(),
        }
    }

    pub(super) fn get(path: &'static str, id: &'static str) -> Self {
        Self::new("get", path, id)
    }

    pub(super) fn post(path: &'static str, id: &'static str) -> Self {
        Self::new("post", path, id)
    }

    pub(super) fn delete(path: &'static str, id: &'static str) -> Self {
        Self::new("delete", path, id)
    }

    /// What it does, in a line and in as many as it takes.
    pub(super) fn does(mut self, summary: &'static str, description: impl Into<String>) -> Self {
        self.summary = summary;
        self.description = description.into();
        self
    }

    /// Who may call it; the errors that all such operations have follow from that.
    pub(super) fn for_scope(mut self, scope: &'static str) -> Self {
        self.access = Access::Scope(scope);
        self.errors.extend([
            ApiError::Unauthorized,
            ApiError::Forbidden("the token lacks the scope"),
            ApiError::Panicked,
            ApiError::Write(WriteError::Failed),
        ]);
        if self.path.starts_with("/v1/") {
            self.errors.push(ApiError::field("limits", "is not a parameter of this path"));
        }
        self
    }

    pub(super) fn by_key(mut self) -> Self {
        self.access = Access::Key;
        self
    }

    pub(super) fn takes(mut self, parameters: impl IntoIterator<Item = Parameter>) -> Self {
        self.parameters.extend(parameters);
        self
    }

    /// A JSON body of this shape, of at most so many bytes.
    pub(super) fn reads(self, shape: Value, example: Value, limit: usize) -> Self {
        let example = Map::from_iter([("value".to_owned(), example)]);
        let examples = Map::from_iter([("example".to_owned(), example.into())]);
        self.reads_one_of(vec![("application/json", Shape::Said(shape))], examples, limit)
    }

    /// The same, but the body may be left out.
    pub(super) fn may_read(self, shape: Value, example: Value, limit: usize) -> Self {
        let mut operation = self.reads(shape, example, limit);
        if let Some(body) = &mut operation.body {
            body.is_required = false;
        }
        operation
    }

    pub(super) fn reads_one_of(
        mut self,
        contents: Contents,
        examples: Map<String, Value>,
        limit: usize,
    ) -> Self {
        self.body = Some(RequestBody { is_required: true, contents, examples });
        self.fails([
            ApiError::BadRequest("the body is not a JSON object".to_owned()),
            ApiError::BodyTooSlow(crate::http::body::BODY_DEADLINE.as_secs()),
            ApiError::TooLarge(limit),
        ])
    }

    /// The same without the errors: the family's replies are all of status 200.
    pub(super) fn reads_anyhow(mut self, contents: Contents) -> Self {
        self.body = Some(RequestBody { is_required: false, contents, examples: Map::new() });
        self
    }

    pub(super) fn replies<T: JsonSchema>(self, status: StatusCode, about: &'static str) -> Self {
        self.replies_with(status, about, vec![("application/json", Shape::of::<T>())])
    }

    pub(super) fn replies_with(
        mut self,
        status: StatusCode,
        about: &'static str,
        contents: Contents,
    ) -> Self {
        self.replies.push(Reply { status: status.as_u16(), about, contents, headers: Map::new() });
        self
    }

    /// A header of the last reply.
    pub(super) fn with_header(mut self, name: &str, about: &str) -> Self {
        if let Some(reply) = self.replies.last_mut() {
            reply
                .headers
                .insert(name.to_owned(), json!({ "description": about, "schema": { "type": "string" } }));
        }
        self
    }

    pub(super) fn fails(mut self, errors: impl IntoIterator<Item = ApiError>) -> Self {
        self.errors.extend(errors);
        self
    }

    /// The operation as the document has it, in the part `tag`. Errors that several operations share are put into `responses`.
    pub(super) fn into_json(
        self,
        tag: &str,
        generator: &mut SchemaGenerator,
        responses: &mut Map<String, Value>,
    ) -> Value {
        let mut replies = Map::new();
        for reply in self.replies {
            let mut described = json!({ "description": reply.about });
            if !reply.contents.is_empty() {
                described["content"] = contents(reply.contents, &Map::new(), generator);
            }
            if !reply.headers.is_empty() {
                described["headers"] = reply.headers.into();
            }
            replies.insert(reply.status.to_string(), described);
        }
        let mut errors: BTreeMap<u16, Vec<ApiError>> = BTreeMap::new();
        for error in self.errors {
            errors.entry(error.status_and_code().0.as_u16()).or_default().push(error);
        }
        for (status, errors) in errors {
            let name = errors.iter().map(|error| error.status_and_code().1).collect::<Vec<_>>().join("-");
            replies.insert(status.to_string(), json!({ "$ref": format!("#/components/responses/{name}") }));
            responses.entry(name).or_insert_with(|| problem(errors));
        }
        let mut operation = json!({
            "operationId": self.id,
            "tags": [tag],
            "summary": self.summary,
            "responses": replies,
        });
        let scope = match self.access {
            Access::Anybody => "No token is needed.".to_owned(),
            Access::Scope(scope) => format!("Scope: `{scope}`."),
            Access::Key => "`key` is a token.".to_owned(),
        };
        operation["description"] = format!("{}\n\n{scope}", self.description).trim_start().into();
        match self.access {
            Access::Anybody => operation["security"] = json!([]),
            Access::Key => operation["security"] = json!([{ "key": [] }]),
            Access::Scope(_) => {}
        }
        if !self.parameters.is_empty() {
            operation["parameters"] =
                self.parameters.into_iter().map(|parameter| parameter.into_json(generator)).collect();
        }
        if let Some(body) = self.body {
            operation["requestBody"] = json!({
                "required": body.is_required,
                "content": contents(body.contents, &body.examples, generator),
            });
        }
        operation
    }
}

fn contents(contents: Contents, examples: &Map<String, Value>, generator: &mut SchemaGenerator) -> Value {
    let described = contents.into_iter().map(|(media_type, shape)| {
        let mut described = json!({ "schema": shape.schema(generator) });
        if media_type == "application/json" && !examples.is_empty() {
            described["examples"] = examples.clone().into();
        }
        (media_type.to_owned(), described)
    });
    Value::Object(described.collect())
}

/// The reply to errors of one status. What it says is made from the errors themselves.
fn problem(errors: Vec<ApiError>) -> Value {
    let mut meanings = Vec::new();
    let mut codes = Vec::new();
    let mut examples = Map::new();
    let mut headers = Map::new();
    for error in errors {
        let code = error.status_and_code().1;
        meanings.push(format!("`{code}`: {}", about(&error)));
        codes.push(code);
        examples.insert(code.to_owned(), json!({ "value": error.problem() }));
        for (name, value) in error.into_response().headers() {
            if name != "content-type" && name != "content-length" {
                let value = value.to_str().unwrap_or_default();
                headers.insert(name.to_string(), json!({ "schema": { "type": "string" }, "example": value }));
            }
        }
    }
    let schema =
        json!({ "$ref": "#/components/schemas/Problem", "properties": { "code": { "enum": codes } } });
    let mut described = json!({
        "description": meanings.join("\n\n"),
        "content": { "application/problem+json": { "schema": schema, "examples": examples } },
    });
    if !headers.is_empty() {
        described["headers"] = headers.into();
    }
    described
}

/// What an error says in general.
fn about(error: &ApiError) -> String {
    match error {
        ApiError::BadRequest(_) => "the body or a header is malformed; `detail` says how".to_owned(),
        ApiError::InvalidFields(_) => {
            "fields or query parameters that cannot be taken, each named in `errors`".to_owned()
        }
        ApiError::DailyLimit(_) => "less is left of `spend.daily_limit` than this one may cost".to_owned(),
        ApiError::UnsupportedMediaType(_) => "the body is of another media type".to_owned(),
        ApiError::TooLarge(limit) => format!("the body has more than {limit} bytes"),
        error => error.to_string(),
    }
}
