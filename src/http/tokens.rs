//! `/v1/tokens`: who may call, and what they may do.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use axum::routing::{delete, get};
use schemars::JsonSchema;
use serde::Serialize;
use tracing::{Instrument as _, error, info};

use super::AppState;
use super::access::Identity;
use super::auth::{Admin, Caller};
use super::error::ApiError;
use super::query::{Query, RowId, named_in_path};
use super::tasks::{JsonReply, reply};
use crate::ingest::{Granted, MOST_TOKENS, WriteError};
use crate::model::{MAX_NAME, NewToken, Scopes, Secret, Timestamp, Token, TokenId};
use crate::store::Revoked;

/// Somebody who may call.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Token")]
pub(super) struct TokenBody<'a> {
    /// Names it.
    #[schemars(example = &"1")]
    id: String,
    /// Who has it.
    #[schemars(example = &"ci")]
    name: &'a str,
    /// What it may do: `submit`, `read`, `admin`, which includes both.
    #[schemars(example = &["submit", "read"])]
    scopes: Vec<&'static str>,
    /// The token itself: 32 hexadecimal characters. Only in the reply that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    /// When it was made.
    created_at: Timestamp,
    /// When it was last shown, to the minute; `null`: never.
    last_used_at: Option<Timestamp>,
}

/// Tokens.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Tokens")]
pub(super) struct ListBody<'a> {
    /// All of them, but for the one that is configured.
    tokens: Vec<TokenBody<'a>>,
    /// Always `null`: it is the whole list.
    cursor: Option<String>,
}

impl<'a> TokenBody<'a> {
    fn new(token: &'a Token, secret: Option<&'a Secret>) -> Self {
        let Token { id, name, scopes, created_at, last_used_at, .. } = token;
        Self {
            id: id.number().to_string(),
            name,
            scopes: scopes.words(),
            token: secret.map(Secret::expose),
            created_at: *created_at,
            last_used_at: *last_used_at,
        }
    }
}

pub(super) fn router() -> Router<Arc<AppState>> {
    Router::new().route("/v1/tokens", get(list).post(create)).route("/v1/tokens/{id}", delete(revoke))
}

/// The number of a token in the path.
struct NamedToken(TokenId);

impl<S: Send + Sync> FromRequestParts<S> for NamedToken {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let named = named_in_path(parts, state).await;
        named.map(|RowId(id)| Self(TokenId::from_number(id))).ok_or(ApiError::TokenNotFound)
    }
}

/// `GET /v1/tokens`: all of them, because there are few. The one that is configured is not among them.
async fn list(
    _: Caller<Admin>,
    State(app): State<Arc<AppState>>,
    query: Query,
) -> Result<JsonReply, ApiError> {
    query.finish("no parameters")?;
    let tokens = app.tokens().await?;
    let bodies = tokens.iter().map(|token| TokenBody::new(token, None));
    Ok(reply(ListBody { tokens: bodies.collect(), cursor: None }))
}

/// `POST /v1/tokens` with `{"name":"ci","scopes":["submit","read"]}`: 201, and the only time that the token is shown.
async fn create(
    caller: Caller<Admin>,
    State(app): State<Arc<AppState>>,
    query: Query,
    body: Body,
) -> Result<impl IntoResponse, ApiError> {
    query.finish("no parameters")?;
    let fields = Query::of_body(body, "{\"name\":\"ci\",\"scopes\":[\"submit\",\"read\"]}").await?;
    let (token, secret) = app.make_token(caller.identity(), fields).await?;
    let location = format!("/v1/tokens/{}", token.id.number());
    Ok((StatusCode::CREATED, [(LOCATION, location)], reply(TokenBody::new(&token, Some(&secret)))))
}

/// `DELETE /v1/tokens/{id}`: it opens nothing any more, and its webhooks go with it. Its tasks stay; only those
/// with the scope admin see them.
async fn revoke(
    _: Caller<Admin>,
    State(app): State<Arc<AppState>>,
    NamedToken(id): NamedToken,
    query: Query,
) -> Result<StatusCode, ApiError> {
    query.finish("no parameters")?;
    app.revoke_token(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl AppState {
    /// Every token but for the one that is configured.
    pub(crate) async fn tokens(&self) -> Result<Vec<Token>, ApiError> {
        let mut tokens = self.store.tokens().await?;
        // What has not been stored yet is of the last minute.
        for (id, at) in self.access.uses() {
            if let Some(token) = tokens.iter_mut().find(|token| token.id == id) {
                token.last_used_at = token.last_used_at.max(Some(at));
            }
        }
        Ok(tokens)
    }

    /// Makes a token of the fields `name` and `scopes`, which counts from here on; what opens, this time only.
    pub(crate) async fn make_token(
        self: &Arc<Self>,
        by: Identity,
        mut fields: Query,
    ) -> Result<(Token, Secret), ApiError> {
        let name = name(&mut fields);
        let scopes = scopes(&mut fields, self.access.is_ajar());
        fields.finish("name and scopes")?;
        // Without one of them, there was an error.
        let (name, scopes) = name.zip(scopes).ok_or_else(|| ApiError::field("name", "is missing"))?;
        let (new, secret) = NewToken::random(&name, scopes).map_err(|cause| {
            error!(%cause, "The system gives no randomness: {cause}");
            ApiError::Panicked
        })?;
        self.access.check(by)?;
        let token =
            match put_in_force(self, async move |app| app.ingest.add_token(by.token, new).await).await? {
                (Granted::Done(token), _) => token,
                (Granted::Full, _) => return Err(ApiError::TooManyTokens(MOST_TOKENS)),
                (Granted::Withdrawn, _) => return Err(ApiError::Unauthorized),
            };
        info!(token.id = token.id.number(), %scopes, "A token was made");
        Ok((token, secret))
    }

    /// Has a token open nothing any more.
    pub(crate) async fn revoke_token(self: &Arc<Self>, id: TokenId) -> Result<(), ApiError> {
        let has_other_admin = self.access.has_configured();
        let revoke = async move |app: Arc<Self>| app.ingest.revoke_token(id, has_other_admin).await;
        let (revoked, in_force) = put_in_force(self, revoke).await?;
        match revoked {
            Revoked::Unknown => return Err(ApiError::TokenNotFound),
            Revoked::LastAdmin => return Err(ApiError::LastAdmin),
            Revoked::Done(_) => in_force?,
        }
        info!(token.id = id.number(), "A token was revoked");
        Ok(())
    }
}

/// Stores a change of the tokens, and has it count here; also when the caller leaves meanwhile. Whether it counts
/// already: if not, the keeper of the tokens sees to it.
async fn put_in_force<T: Send + 'static, F>(
    app: &Arc<AppState>,
    change: impl FnOnce(Arc<AppState>) -> F,
) -> Result<(T, Result<(), ApiError>), ApiError>
where
    F: Future<Output = Result<T, WriteError>> + Send + 'static,
{
    let changing = change(Arc::clone(app));
    let app = Arc::clone(app);
    // It holds on to the writer's queue, and so the end of the service waits for it.
    let done = async move {
        let changed = changing.await?;
        let in_force = app.access.refresh(&app.store).await.map_err(ApiError::from);
        if in_force.is_err() {
            app.access.fell_behind();
        }
        Ok((changed, in_force))
    };
    tokio::spawn(done.in_current_span()).await.unwrap_or(Err(ApiError::Panicked))
}

fn name(fields: &mut Query) -> Option<String> {
    let Some(name) = fields.text("name") else {
        fields.missing("name", "is missing: who is to have the token?");
        return None;
    };
    let is_fine = name.chars().count() <= MAX_NAME && !name.chars().any(char::is_control);
    if !is_fine {
        fields.wrong(
            "name",
            format!("must have at most {MAX_NAME} characters, none of them a control character"),
        );
    }
    is_fine.then_some(name)
}

/// The first token shuts a door that was open to everybody here: it had better be able to make others.
fn scopes(fields: &mut Query, is_first: bool) -> Option<Scopes> {
    let Some(text) = fields.text("scopes") else {
        fields.missing("scopes", "is missing: a list of submit, read and admin");
        return None;
    };
    match text.parse::<Scopes>() {
        Ok(scopes) if is_first && !scopes.admin => {
            fields.wrong(
                "scopes",
                "must have admin: this is the first token, and without an admin nobody could make another",
            );
            None
        }
        Ok(scopes) => Some(scopes),
        Err(error) => {
            fields.wrong("scopes", error.to_string());
            None
        }
    }
}
