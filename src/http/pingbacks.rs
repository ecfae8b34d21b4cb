//! `/v1/pingbacks`: the URLs that the provider knows.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::info;

use super::AppState;
use super::auth::{Admin, Caller};
use super::body;
use super::error::ApiError;
use super::query::Query;
use super::tasks::{JsonReply, reply};
use crate::account::{RESERVE, Unanswered, remedy};
use crate::model::Secret;
use crate::provider::{PingbackUrl, Question, Reply, Secrets, Shape, explain, is_same_url};

/// The largest body.
pub(super) const MAX_BODY_BYTES: usize = 4096;
/// The longest URL.
pub(super) const MAX_URL_BYTES: usize = 2048;
/// Bytes of a new secret: 128 bits.
const SECRET_BYTES: usize = 16;

/// What a wish to change the pingback URL leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rotation {
    /// The new URL is used as soon as the provider knows it.
    OnceRegistered,
    /// `pingback.secret` says what it is.
    Configured,
    /// Nobody would make it known: `pingback.register` is off.
    ByHand,
    /// There is no public URL.
    NoUrl,
}

/// A URL that the provider knows.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "PingbackUrl")]
pub(super) struct UrlBody {
    /// As the provider has it; ours without its secret.
    #[schemars(example = &"https://example.com/answers")]
    url: String,
    /// Answers to our own tasks arrive there.
    is_ours: bool,
    /// It was added here, so it can be deleted without `force`.
    is_added_here: bool,
}

/// The URLs that the provider knows.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "PingbackUrls")]
pub(super) struct ListBody {
    /// In the provider's order.
    pingbacks: Vec<UrlBody>,
    /// Always `null`: it is the whole list.
    cursor: Option<String>,
}

/// A URL that the provider knows no longer.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "DeletedPingbackUrl")]
pub(super) struct DeletedBody {
    /// As it was named.
    url: String,
    /// Always `true`.
    deleted: bool,
}

/// What becomes of a wish for another secret.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Rotating")]
pub(super) struct RotatingBody {
    /// The new URL is used as soon as the provider knows it.
    #[schemars(extend("enum" = ["registering"]))]
    state: &'static str,
}

/// A URL that the provider lists.
struct Listed {
    /// As the provider has it.
    text: String,
    /// Which of ours it is.
    ours: Option<PingbackUrl>,
    /// As it was added here, if it was.
    added: Option<String>,
}

/// A URL to delete.
struct Deletable {
    /// As the provider has it.
    address: String,
    /// As it was added here, if it was.
    added: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    url: String,
}

/// `GET /v1/pingbacks`.
pub(super) async fn list(
    _: Caller<Admin>,
    State(app): State<Arc<AppState>>,
    query: Query,
) -> Result<JsonReply, ApiError> {
    query.finish("no parameters")?;
    let urls = app.listed_urls().await?.into_iter().map(|listed| UrlBody {
        is_ours: listed.ours.is_some(),
        is_added_here: listed.added.is_some() || listed.ours.is_some(),
        url: listed.ours.map_or(listed.text, |url| url.to_string()),
    });
    Ok(reply(ListBody { pingbacks: urls.collect(), cursor: None }))
}

/// `POST /v1/pingbacks` with `{"url":"…"}`: adds a URL for others.
pub(super) async fn add(
    _: Caller<Admin>,
    State(app): State<Arc<AppState>>,
    query: Query,
    body: Body,
) -> Result<(StatusCode, JsonReply), ApiError> {
    query.finish("no parameters")?;
    let Wish { url } = serde_json::from_slice(&body::read(body, MAX_BODY_BYTES).await?)
        .map_err(|_| ApiError::BadRequest("the body is not {\"url\":\"https://…\"}".to_owned()))?;
    check(&url)?;
    app.question("add_pingback", &[("addr", &url)]).await?;
    app.ingest.note_url(url.clone(), true).await?;
    info!("A pingback URL was added for others");
    Ok((StatusCode::CREATED, reply(UrlBody { url, is_ours: false, is_added_here: true })))
}

/// `DELETE /v1/pingbacks?url=&force=`: deletes a URL; one that was not added here only with `force=true`.
pub(super) async fn delete(
    _: Caller<Admin>,
    State(app): State<Arc<AppState>>,
    mut query: Query,
) -> Result<JsonReply, ApiError> {
    let url = query.text("url");
    let is_forced = query.parsed("force", "true or false").unwrap_or(false);
    if url.is_none() {
        query.wrong("url", "is missing: name the URL as the list has it, or all");
    }
    query.finish("url and force")?;
    let url = url.unwrap_or_default();
    let Deletable { address, added } = app.deletable(&url, is_forced).await?;
    app.question("del_pingback", &[("addr", &address)]).await?;
    if let Some(added) = added {
        app.ingest.note_url(added, false).await?;
    }
    // Should it have been ours, it is added again.
    app.account.urls().wanted.notify_one();
    info!("A pingback URL was deleted");
    Ok(reply(DeletedBody { url, deleted: true }))
}

/// `POST /v1/pingbacks/rotate`: another secret for our URL; the old one stays valid until its tasks are
/// done.
pub(super) async fn rotate(
    _: Caller<Admin>,
    State(app): State<Arc<AppState>>,
    query: Query,
) -> Result<(StatusCode, JsonReply), ApiError> {
    query.finish("no parameters")?;
    match app.rotation {
        Rotation::OnceRegistered => {}
        Rotation::Configured => {
            return Err(ApiError::NoRotation(
                "pingback.secret is set in the configuration: change it there and start again; the old one stays \
                 valid until its tasks are done",
            ));
        }
        Rotation::ByHand => {
            return Err(ApiError::NoRotation(
                "pingback.register is off, so nobody would make the new URL known: set pingback.secret, register \
                 the URL with it, and start again; the old one stays valid until its tasks are done",
            ));
        }
        Rotation::NoUrl => {
            return Err(ApiError::NoRotation("public.url is not set: there is no URL to change"));
        }
    }
    let secret = Secret::random_hex(SECRET_BYTES)
        .map_err(|_| ApiError::ProviderUnavailable("the system gives no randomness".to_owned()))?;
    let begin = |secrets: &mut Secrets| {
        let may_begin = secrets.next.is_none() && secrets.retired.len() < Secrets::MAX_RETIRED;
        if may_begin {
            secrets.next = Some(secret.clone());
        }
        may_begin
    };
    if !app.account.change_secrets(begin).await? {
        return Err(ApiError::NoRotation("earlier changes of the URL are not finished: try again later"));
    }
    app.account.urls().wanted.notify_one();
    info!("The pingback URL is being changed");
    Ok((StatusCode::ACCEPTED, reply(RotatingBody { state: "registering" })))
}

/// A URL as the provider takes it, with or without a scheme.
fn check(url: &str) -> Result<(), ApiError> {
    let wrong = |detail: &str| Err(ApiError::field("url", detail));
    if url.len() > MAX_URL_BYTES {
        return wrong("has more than 2048 bytes");
    }
    if url.eq_ignore_ascii_case("all")
        || url.contains(|c: char| matches!(c, '|' | '*') || c.is_whitespace() || c.is_control())
    {
        return wrong("is not a URL such as https://example.com/answers");
    }
    let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    match url::Url::parse(&with_scheme) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(()),
        _ => wrong("is not a URL such as https://example.com/answers"),
    }
}

impl AppState {
    /// Asks `res.php` about pingback URLs; what follows `OK|`.
    async fn question(&self, action: &str, params: &[(&str, &str)]) -> Result<String, ApiError> {
        let question = Question { action, params, shape: Shape::Value };
        match self.account.ask(&question, RESERVE).await {
            Ok(Reply::Ok { text, .. }) => Ok(text),
            Ok(Reply::Error(code)) => Err(ApiError::ProviderRefused(format!("{code}: {}", remedy(&code)))),
            Ok(Reply::Cut | Reply::Garbage) => {
                Err(ApiError::ProviderUnavailable("it answered with something that is no reply".to_owned()))
            }
            Err(Unanswered::Write(error)) => Err(error.into()),
            Err(Unanswered::Failed(error)) => Err(ApiError::ProviderUnavailable(explain(&error))),
            Err(error) => Err(ApiError::ProviderUnavailable(error.to_string())),
        }
    }

    async fn listed_urls(&self) -> Result<Vec<Listed>, ApiError> {
        let added = self.store.added_urls().await?;
        let ours = self.account.urls().all();
        let text = self.question("get_pingback", &[]).await?;
        let urls = text.split('|').filter(|url| !url.is_empty());
        Ok(urls
            .map(|url| Listed {
                text: url.to_owned(),
                ours: ours.iter().find(|own| own.is_listed_as(url)).cloned(),
                added: added.iter().find(|added| is_same_url(added, url)).cloned(),
            })
            .collect())
    }

    /// What a wish to delete is about, if it may be fulfilled.
    async fn deletable(&self, url: &str, is_forced: bool) -> Result<Deletable, ApiError> {
        if url == "all" {
            let need = "this deletes every pingback URL of the account, also those of others: add force=true";
            let all = || Deletable { address: url.to_owned(), added: Some(url.to_owned()) };
            return if is_forced { Ok(all()) } else { Err(ApiError::PingbackInUse(need)) };
        }
        // Ours is named as the list shows it, or as it is.
        let is_named = |listed: &Listed| {
            is_same_url(&listed.text, url)
                || listed.ours.as_ref().is_some_and(|own| is_same_url(url, &own.to_string()))
        };
        let listed =
            self.listed_urls().await?.into_iter().find(is_named).ok_or(ApiError::PingbackNotFound)?;
        match (is_forced, &listed) {
            (false, Listed { ours: Some(_), .. }) => Err(ApiError::PingbackInUse(
                "answers arrive at this URL, and it is added again as long as pingback.register is true: to \
                 change it, rotate it; to delete it all the same, add force=true",
            )),
            (false, Listed { added: None, .. }) => Err(ApiError::PingbackInUse(
                "pingbox did not add this URL: add force=true to delete it all the same",
            )),
            _ => Ok(Deletable { address: listed.text, added: listed.added }),
        }
    }
}
