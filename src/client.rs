//! A client of the API, for the command line.

mod bodies;
mod no_server;
mod tasks;

use std::io;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Method, RequestBuilder, StatusCode};
use rustls::CertificateError;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

pub(crate) use bodies::{
    Account, Checks, ClockCheck, DiskCheck, Health, NamedPingback, NewToken, PingbackList, PublicUrlCheck,
    Report, ReportStatus, Rotated, Rotation, TokenList,
};
pub(crate) use no_server::NoServer;
pub(crate) use tasks::{Submitted, TaskLine};

use crate::model::{Scopes, Secret, TaskId, Verdict};

/// How long a server may take to say whether it is ready.
const READY_DEADLINE: Duration = Duration::from_secs(5);
/// How long any other reply may take. The server may have to ask the provider, and gives it 30 s.
const DEADLINE: Duration = Duration::from_secs(60);

/// A running server.
pub(crate) struct Client {
    http: reqwest::Client,
    server: String,
    token: Option<Secret>,
}

/// Whose certificate is taken for that of the server.
pub(crate) enum Trust {
    /// Those that the system trusts.
    System,
    /// Those of these CAs alone (PEM).
    Ca(String),
    /// Any: for a server on the way to which there is nobody, and which is told nothing secret.
    Anyone,
}

impl From<Option<String>> for Trust {
    fn from(ca: Option<String>) -> Self {
        ca.map_or(Self::System, Self::Ca)
    }
}

/// What the server said.
pub(crate) struct Told<T> {
    /// As it came.
    pub(crate) json: String,
    pub(crate) body: T,
}

/// RFC 9457
#[derive(Deserialize)]
struct Problem {
    code: String,
    detail: String,
}

impl Client {
    /// A client of the server at this address, such as `http://127.0.0.1:8081`, which may want a token.
    pub(crate) fn new(server: &str, token: Option<Secret>, trust: &Trust) -> anyhow::Result<Self> {
        // A redirected request would lose its token, or its method.
        let http = reqwest::Client::builder().timeout(DEADLINE).redirect(Policy::none()).no_proxy();
        let http = match trust {
            Trust::System => http,
            Trust::Ca(pem) => {
                let certificates = Certificate::from_pem_bundle(pem.as_bytes());
                http.tls_certs_only(certificates.context("the file of the CA is damaged: copy it again")?)
            }
            Trust::Anyone => http.tls_danger_accept_invalid_certs(true),
        };
        let http = http.build().context("could not set up the HTTP client")?;
        Ok(Self { http, server: server.trim_end_matches('/').to_owned(), token })
    }

    /// Whether the server is ready, and what it says of itself.
    pub(crate) async fn readiness(&self) -> anyhow::Result<(bool, String)> {
        let request = self.http.get(format!("{}/readyz", self.server)).timeout(READY_DEADLINE);
        let reply = request.send().await.map_err(|error| {
            let distrust = distrusted(&error).map(|why| self.distrust(why));
            distrust.unwrap_or_else(|| {
                anyhow::Error::from(error).context(format!("no pingbox answers at {}", self.server))
            })
        })?;
        let is_ready = reply.status().is_success();
        Ok((is_ready, reply.text().await?))
    }

    /// What the server says of itself, ready or not.
    pub(crate) async fn health(&self) -> anyhow::Result<Told<Health>> {
        let (status, json) = self.send(self.request(Method::GET, "/readyz")).await?;
        self.understand(status, json)
    }

    /// The account at the provider.
    pub(crate) async fn account(&self) -> anyhow::Result<Told<Account>> {
        self.ask(self.request(Method::GET, "/v1/account")).await
    }

    /// What the server finds when it looks at itself from outside; `None` from one that is too old for that.
    pub(crate) async fn checks(&self) -> anyhow::Result<Option<Told<Checks>>> {
        let (status, json) = self.send(self.request(Method::POST, "/v1/checks")).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => self.understand(status, json).map(Some),
            status => Err(self.refusal(status, &json)),
        }
    }

    /// An operator has acted: sending is tried again.
    pub(crate) async fn resume(&self) -> anyhow::Result<Told<Account>> {
        self.ask(self.request(Method::POST, "/v1/account/resume")).await
    }

    /// Reports on the answer to a task, and waits a few seconds for the provider's word.
    pub(crate) async fn report(&self, id: TaskId, verdict: Verdict) -> anyhow::Result<Told<Report>> {
        let request = self.request(Method::POST, &format!("/v1/tasks/{id}/report"));
        self.ask(request.json(&json!({ "verdict": verdict }))).await
    }

    /// The pingback URLs that the provider knows.
    pub(crate) async fn pingbacks(&self) -> anyhow::Result<Told<PingbackList>> {
        self.ask(self.request(Method::GET, "/v1/pingbacks")).await
    }

    /// Adds a pingback URL for others.
    pub(crate) async fn add_pingback(&self, url: &str) -> anyhow::Result<Told<NamedPingback>> {
        self.ask(self.request(Method::POST, "/v1/pingbacks").json(&json!({ "url": url }))).await
    }

    /// Deletes a pingback URL; one that was not added there only with `force`.
    pub(crate) async fn delete_pingback(
        &self,
        url: &str,
        force: bool,
    ) -> anyhow::Result<Told<NamedPingback>> {
        let query = [("url", url), ("force", if force { "true" } else { "false" })];
        self.ask(self.request(Method::DELETE, "/v1/pingbacks").query(&query)).await
    }

    /// Changes the secret of the server's own pingback URL.
    pub(crate) async fn rotate_pingback(&self) -> anyhow::Result<Told<Rotated>> {
        self.ask(self.request(Method::POST, "/v1/pingbacks/rotate")).await
    }

    /// Makes a token, which the reply shows.
    pub(crate) async fn create_token(&self, name: &str, scopes: Scopes) -> anyhow::Result<Told<NewToken>> {
        let body = json!({ "name": name, "scopes": scopes.words() });
        self.ask(self.request(Method::POST, "/v1/tokens").json(&body)).await
    }

    /// The tokens that there are.
    pub(crate) async fn tokens(&self) -> anyhow::Result<Told<TokenList>> {
        self.ask(self.request(Method::GET, "/v1/tokens")).await
    }

    /// Revokes a token; the server says nothing more than that it is done.
    pub(crate) async fn revoke_token(&self, id: u64) -> anyhow::Result<Told<()>> {
        let (status, json) = self.send(self.request(Method::DELETE, &format!("/v1/tokens/{id}"))).await?;
        if status.is_success() {
            Ok(Told { json: json!({ "revoked": id.to_string() }).to_string(), body: () })
        } else {
            Err(self.refusal(status, &json))
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.server));
        match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        }
    }

    /// The reply to a request that the server has granted.
    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> anyhow::Result<Told<T>> {
        let (status, json) = self.send(request).await?;
        if status.is_success() { self.understand(status, json) } else { Err(self.refusal(status, &json)) }
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<(StatusCode, String)> {
        let reply = request.send().await.map_err(|error| self.silence(&error))?;
        let status = reply.status();
        let text = reply.text().await.map_err(|error| self.silence(&error))?;
        Ok((status, text))
    }

    fn understand<T: DeserializeOwned>(&self, status: StatusCode, json: String) -> anyhow::Result<Told<T>> {
        match serde_json::from_str(&json) {
            Ok(body) => Ok(Told { json, body }),
            Err(_) => Err(self.nonsense(status)),
        }
    }

    /// Why there is no reply.
    fn silence(&self, error: &reqwest::Error) -> anyhow::Error {
        let server = &self.server;
        if error.is_timeout() {
            let reason = format!("{server} does not answer within {} s", DEADLINE.as_secs());
            return NoServer {
                reason,
                remedy: "look at its log, and whether it is pingbox that listens there",
                is_absent: false,
            }
            .into();
        }
        if let Some(why) = distrusted(error) {
            return self.distrust(why);
        }
        let mut cause: &(dyn std::error::Error + 'static) = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let no_server = if error.is_connect() {
            let reason = format!("no pingbox answers at {server} ({cause})");
            let is_absent = cause.downcast_ref().is_some_and(is_nobody_there);
            NoServer { reason, remedy: "start it, or set PINGBOX_SERVER to where it is", is_absent }
        } else {
            let reason = format!("the reply of {server} broke off ({cause})");
            NoServer { reason, remedy: "try again", is_absent: false }
        };
        no_server.into()
    }

    /// Why its certificate is not taken.
    fn distrust(&self, why: &CertificateError) -> anyhow::Error {
        let server = &self.server;
        match why {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => anyhow!(
                "the certificate of {server} is for other names: set PINGBOX_SERVER to one of them, or add this \
                 one to the server's api.tls_names"
            ),
            CertificateError::UnknownIssuer => anyhow!(
                "the certificate of {server} comes from no CA that is trusted here: if it is the server's own, \
                 run `pingbox tls ca` beside it, and name the file with --ca-file or PINGBOX_CA_FILE"
            ),
            why => anyhow!("the certificate of {server} cannot be trusted: {why}"),
        }
    }

    /// Why the server does not do it, and what helps.
    fn refusal(&self, status: StatusCode, json: &str) -> anyhow::Error {
        let server = &self.server;
        let Ok(Problem { code, detail }) = serde_json::from_str(json) else { return self.nonsense(status) };
        match (status, &self.token) {
            (StatusCode::UNAUTHORIZED, None) => anyhow!(
                "{server} wants a token: set PINGBOX_TOKEN, or PINGBOX_TOKEN_FILE to a file with it. Admins make \
                 them with `pingbox token create`; one that the server made itself is in the file api-token in its \
                 data.dir"
            ),
            (StatusCode::UNAUTHORIZED, Some(_)) => anyhow!(
                "{server} does not know this token: set PINGBOX_TOKEN, or PINGBOX_TOKEN_FILE, to one that it \
                 knows"
            ),
            (StatusCode::FORBIDDEN, Some(_)) => anyhow!("{detail}: set PINGBOX_TOKEN to one that has it"),
            _ if code == "force_needed" => anyhow!("{}", detail.replace("force=true", "--force")),
            _ => anyhow!("{detail}"),
        }
    }

    fn nonsense(&self, status: StatusCode) -> anyhow::Error {
        let reason = format!("{} answers {status}, but not as pingbox does", self.server);
        NoServer { reason, remedy: "set PINGBOX_SERVER to its api listener", is_absent: false }.into()
    }
}

/// Whether nothing listens there, or there is no such address here.
fn is_nobody_there(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable};
    matches!(error.kind(), AddrNotAvailable | ConnectionRefused | HostUnreachable | NetworkUnreachable)
}

/// What is wrong with the certificate of the server, if that is why the request failed.
fn distrusted(error: &reqwest::Error) -> Option<&CertificateError> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(rustls::Error::InvalidCertificate(why)) = error.downcast_ref::<rustls::Error>() {
            return Some(why);
        }
        // What an I/O error holds is not its source, but its source's source is.
        let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = match held {
            Some(held) => Some(held),
            None => error.source(),
        };
    }
    None
}
