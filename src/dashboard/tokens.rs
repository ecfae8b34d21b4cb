//! `/tokens`: who may call. For admins.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::Dashboard;
use super::page::{Frame, PageError, go_to};
use super::visitor::{Posted, Visitor};
use super::when::When;
use crate::http::{Admin, ApiError, RowId};
use crate::model::{Secret, Timestamp, Token, TokenId};

/// The scopes that the form has a box for.
const SCOPES: [&str; 3] = ["submit", "read", "admin"];

#[derive(Template)]
#[template(path = "tokens.html")]
struct TokensPage {
    frame: Frame,
    rows: Vec<Row>,
    /// The one that was just made.
    made: Option<Made>,
    needs_token: bool,
    /// Whether the next one would be the first, which has to be admin.
    is_first: bool,
}

struct Made {
    name: String,
    secret: Secret,
    is_first: bool,
}

struct Row {
    id: i64,
    name: String,
    scopes: String,
    created: When,
    used: Option<When>,
}

impl Row {
    fn new(token: &Token, now: Timestamp) -> Self {
        Self {
            id: token.id.number(),
            name: token.name.clone(),
            scopes: token.scopes.words().join(", "),
            created: When::new(token.created_at, now),
            used: token.last_used_at.map(|at| When::new(at, now)),
        }
    }
}

/// `GET /tokens`.
pub(super) async fn list(
    visitor: Visitor<Admin>,
    State(dashboard): State<Arc<Dashboard>>,
) -> Result<Response, PageError> {
    page(&visitor, &dashboard, None).await
}

/// `POST /tokens` with `name` and the boxes `submit`, `read`, `admin`: the only page that shows the token.
pub(super) async fn create(
    State(dashboard): State<Arc<Dashboard>>,
    Posted { visitor, mut fields }: Posted<Admin>,
) -> Result<Response, PageError> {
    let chosen: Vec<&str> = SCOPES.into_iter().filter(|scope| fields.text(scope).is_some()).collect();
    fields.put("scopes", chosen.join(","));
    let is_first = dashboard.app.access.is_ajar();
    match dashboard.app.make_token(visitor.identity, fields).await {
        Ok((token, secret)) => {
            let made = Made { name: token.name, secret, is_first };
            page(&visitor, &dashboard, Some(made)).await
        }
        Err(error) => Err(visitor.told(error)),
    }
}

/// `POST /tokens/{id}/revoke`: it opens nothing any more.
pub(super) async fn revoke(
    State(dashboard): State<Arc<Dashboard>>,
    Path(id): Path<String>,
    posted: Posted<Admin>,
) -> Result<Response, PageError> {
    posted.fields.finish("no fields")?;
    let id = id.parse::<RowId>().map_err(|()| ApiError::TokenNotFound);
    let revoked = match id {
        Ok(RowId(id)) => dashboard.app.revoke_token(TokenId::from_number(id)).await,
        Err(error) => Err(error),
    };
    revoked.map_err(|error| posted.visitor.told(error))?;
    Ok(go_to("/tokens"))
}

async fn page(
    visitor: &Visitor<Admin>,
    dashboard: &Dashboard,
    made: Option<Made>,
) -> Result<Response, PageError> {
    let now = Timestamp::now();
    let tokens = dashboard.app.tokens().await?;
    let page = TokensPage {
        frame: visitor.frame("Tokens", "/tokens"),
        rows: tokens.iter().map(|token| Row::new(token, now)).collect(),
        made,
        needs_token: visitor.needs_token(),
        is_first: dashboard.app.access.is_ajar(),
    };
    Ok(visitor.browser().show(&page))
}
