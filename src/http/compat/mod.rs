//! `in.php` and `res.php`: the acts of the REST API in the provider's own wire format, so that scripts
//! and SDKs that were written for the provider work when their address points here.
//!
//! Whatever happens, the status is 200 and the body is in the family's words: SDKs end a solve on
//! anything else.

#[cfg(test)]
pub(super) mod fuzzing;
mod in_php;
mod params;
mod reply;
mod res_php;
mod unheard;
mod urls;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::HttpBody as _;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE,
};
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};
use tower_http::catch_panic::CatchPanicLayer;

pub(super) use self::reply::Json as JsonReply;

use self::params::Params;
use self::reply::{Format, Refusal, Reply};
use super::AppState;
use super::access::Identity;
use super::auth::peer;
use super::error::ApiError;
use super::{body, loops};
use crate::ingest::WriteError;
use crate::model::{ErrorCode, Task};

/// How long `in.php` waits for the provider's word, and `res.php` for a balance or the word on a report:
/// some SDKs cut off at 5 s.
const PATIENCE: Duration = Duration::from_secs(4);

/// The largest body that needs no slot.
const SMALL_BODY: u64 = 64 * 1024;
/// How much longer than `compat.hold` a request may take that finds the database slow.
const GRACE: Duration = Duration::from_millis(500);

/// The two scripts, also under addresses that end or begin with a slash too many.
pub(super) fn router() -> Router<Arc<AppState>> {
    let script = |name: Script, panicked: fn(Box<dyn Any + Send>) -> Response| {
        any(move |State(app): State<Arc<AppState>>, request: Request| serve(name, app, request))
            .layer(CatchPanicLayer::custom(panicked))
    };
    let in_php = script(Script::In, |_| Script::In.overloaded(Format::default()));
    let res_php = script(Script::Res, |_| Script::Res.overloaded(Format::default()));
    let paths = |name: &str| [format!("/{name}"), format!("//{name}"), format!("/{name}/")];
    let router = paths("in.php").iter().fold(Router::new(), |all, path| all.route(path, in_php.clone()));
    paths("res.php").iter().fold(router, |all, path| all.route(path, res_php.clone()))
}

/// Which of the two is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Script {
    In,
    Res,
}

impl Script {
    /// The word for "not now, ask again".
    const fn busy(self) -> &'static str {
        match self {
            Self::In => ErrorCode::NO_SLOT,
            Self::Res => ErrorCode::NOT_READY,
        }
    }

    /// The largest body: twenty images of 100 kB in base64 take 2.7 MiB, a thousand ids 18 kB.
    const fn max_body_bytes(self) -> usize {
        match self {
            Self::In => 4 * 1024 * 1024,
            Self::Res => 64 * 1024,
        }
    }

    /// A place for a large body, which has to be free in time.
    async fn slot(self, app: &AppState, is_small: bool, arrived: Instant) -> Result<Slot, WriteError> {
        if self == Self::Res || is_small {
            return Ok(None);
        }
        match timeout_at(arrived + PATIENCE, Arc::clone(&app.script_uploads).acquire_owned()).await {
            Ok(Ok(slot)) => Ok(Some(slot)),
            _ => Err(WriteError::TooSlow),
        }
    }

    fn overloaded(self, format: Format) -> Response {
        format.encode(&Reply::Error(Refusal::new(self.busy(), "pingbox cannot take this right now")))
    }
}

type Slot = Option<OwnedSemaphorePermit>;

/// A request whose caller is known.
struct Call {
    identity: Identity,
    params: Params,
    arrived: Instant,
    /// Room for a large body, and for the writer's hold on it.
    slot: Slot,
}

impl Call {
    /// When the reply is due that does not wait for an answer.
    fn deadline(&self) -> Instant {
        self.arrived + PATIENCE
    }
}

/// What is over before a caller waits is on the heap, so that the wait does not carry its size: ten thousand may wait.
fn serve(script: Script, app: Arc<AppState>, request: Request) -> impl Future<Output = Response> {
    let call = Box::pin(open(script, Arc::clone(&app), request));
    async move {
        let (format, call) = match call.await {
            Ok(opened) => opened,
            Err(response) => return response,
        };
        let result = match (call, script) {
            (Ok(call), Script::In) => Box::pin(in_php::submit(&app, call)).await,
            (Ok(call), Script::Res) => {
                let longest = call.arrived + PATIENCE.max(app.hold) + GRACE;
                let answered = timeout_at(longest, res_php::answer(&app, call)).await;
                answered.unwrap_or(Err(WriteError::TooSlow.into()))
            }
            (Err(stop), _) => Err(stop),
        };
        match result {
            Ok(reply) => format.encode(&reply),
            Err(Stop::Refused(refusal)) => format.encode(&Reply::Error(refusal)),
            Err(Stop::Failed(error)) => {
                error.log();
                script.overloaded(format)
            }
        }
    }
}

/// What is asked for, and how it is to be replied to; or the reply to what is no call.
async fn open(
    script: Script,
    app: Arc<AppState>,
    request: Request,
) -> Result<(Format, Result<Call, Stop>), Response> {
    let arrived = Instant::now();
    // What does not pass is replied to: it is our own dispatcher who reads that, and knows it by a header.
    let request = loops::pass(&app.account, request).await?;
    match *request.method() {
        Method::OPTIONS => return Err(preflight()),
        Method::GET | Method::POST => {}
        _ => {
            let format = Params::of_query(request.uri().query().unwrap_or_default()).format();
            return Err(format.encode(&Reply::Error(Refusal::parameter("the method is GET or POST"))));
        }
    }
    let (params, read) = read(script, &app, request, arrived).await;
    let format = params.format();
    Ok((format, read.map(|(identity, slot)| Call { identity, params, arrived, slot })))
}

/// Reads the parameters, as far as there are any; who calls, and the place that the body takes up.
async fn read(
    script: Script,
    app: &AppState,
    request: Request,
    arrived: Instant,
) -> (Params, Result<(Identity, Slot), Stop>) {
    let (head, body) = request.into_parts();
    let mut params = Params::of_query(head.uri.query().unwrap_or_default());
    let caller = peer(&head.extensions);
    if params.has("key")
        && let Err(Unknown { refusal, is_wrong }) = identify(app, &head.headers, &params, script)
    {
        if is_wrong {
            app.access.hold_up(caller).await;
        }
        // It is thrown away: who is cut off while sending hears nothing.
        drop(body::read(body, script.max_body_bytes() / 8).await);
        return (params, Err(refusal.into()));
    }
    let is_small = body.size_hint().upper().is_some_and(|size| size <= SMALL_BODY);
    let slot = match script.slot(app, is_small, arrived).await {
        Ok(slot) => slot,
        Err(error) => return (params, Err(error.into())),
    };
    let added = params.add_body(&head.headers, body, script.max_body_bytes()).await;
    if let Err(refusal) = added {
        return (params, Err(refusal.into()));
    }
    match identify(app, &head.headers, &params, script) {
        Ok(identity) => (params, Ok((identity, slot))),
        Err(Unknown { refusal, is_wrong }) => {
            // Others have a right key, and wait for the place.
            drop(slot);
            if is_wrong {
                app.access.hold_up(caller).await;
            }
            (params, Err(refusal.into()))
        }
    }
}

/// Why there is no good reply.
enum Stop {
    /// The caller is told so.
    Refused(Refusal),
    /// It is our own fault, and may be over when the caller asks again.
    Failed(ApiError),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl<E: Into<ApiError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Somebody who may not call.
struct Unknown {
    refusal: Refusal,
    /// Whether they have shown a key that is none.
    is_wrong: bool,
}

impl From<Refusal> for Unknown {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, is_wrong: false }
    }
}

/// Who calls, and whether they may.
fn identify(
    app: &AppState,
    headers: &HeaderMap,
    params: &Params,
    script: Script,
) -> Result<Identity, Unknown> {
    let key = params.text("key").unwrap_or_default();
    let found = app.access.look_up(headers, Some(key).filter(|key| !key.is_empty()));
    let is_wrong = !key.is_empty() && matches!(found, Err(ApiError::Unauthorized));
    let identity = found.map_err(|error| {
        let refusal = match error {
            ApiError::Forbidden(detail) => Refusal::new("ERROR_IP_NOT_ALLOWED", detail),
            // The provider's own distinction; the key is never passed on.
            _ if key.len() == 32 => {
                Refusal::new("ERROR_KEY_DOES_NOT_EXIST", "the key is no token of this pingbox")
            }
            _ => Refusal::new("ERROR_WRONG_USER_KEY", "the key is no token of this pingbox"),
        };
        Unknown { refusal, is_wrong }
    })?;
    let is_allowed = match (script, params.text("action")) {
        (Script::Res, Some("get" | "get2" | "getbalance" | "get_pingback")) => identity.scopes.read,
        _ => identity.scopes.submit,
    };
    if !is_allowed {
        let detail = "the token lacks the scope that this needs: submit for in.php, reports and pingback URLs, \
                      read for answers and the balance";
        return Err(Refusal::new("ERROR_KEY_DOES_NOT_EXIST", detail).into());
    }
    Ok(identity)
}

/// Why a task ended without an answer, in the family's words: SDKs do not know ours.
fn task_error(task: &Task) -> ErrorCode {
    let code = task.error.as_ref().map_or(ErrorCode::UNSOLVABLE, ErrorCode::as_provider_code);
    ErrorCode::known(code)
}

/// What a browser asks before it sends JSON from a page. Whether the page may read the reply is
/// said by the reply itself.
fn preflight() -> Response {
    let headers = [
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "Content-Type"),
        (ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    headers.into_response()
}
