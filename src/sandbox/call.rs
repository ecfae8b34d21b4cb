//! One call of a script, and why it gets no further.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;

use super::journal::{LoggedValue, loggable};
use super::reply::{Code, page};
use super::request::{Parameters, Unreadable, decode};

/// Which of the two scripts is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    In,
    Res,
}

impl Script {
    /// Its path.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::In => "/in.php",
            Self::Res => "/res.php",
        }
    }

    /// Its name, as the API document has it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::In => "in.php",
            Self::Res => "res.php",
        }
    }
}

/// One call of a script.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) script: Script,
    pub(super) address: IpAddr,
    pub(super) parameters: Parameters,
    pub(super) loggable: BTreeMap<String, LoggedValue>,
}

impl Call {
    /// Reads a request.
    ///
    /// # Errors
    /// With the page to answer, when the body is too large or did not arrive.
    pub(super) async fn read(script: Script, request: Request) -> Result<Self, Response> {
        const UNKNOWN: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let caller = request.extensions().get::<SocketAddr>();
        let address = caller.map_or(UNKNOWN, |caller| caller.ip().to_canonical());
        let parameters = decode(request).await.map_err(|why| match why {
            Unreadable::TooLarge => page(StatusCode::PAYLOAD_TOO_LARGE),
            Unreadable::BrokenOff => page(StatusCode::BAD_REQUEST),
        })?;
        Ok(Self::new(script, address, parameters))
    }

    /// The call with these parameters.
    pub(super) fn new(script: Script, address: IpAddr, parameters: Parameters) -> Self {
        Self { script, address, loggable: loggable(&parameters), parameters }
    }

    /// The key that it is made with; empty where it has none.
    pub(super) fn key(&self) -> &str {
        self.parameters.text("key").unwrap_or_default()
    }
}

/// Why a call gets no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// An HTML error page with this status.
    Page(StatusCode),
    /// No reply at all.
    Hang,
    /// An error code.
    Refused(Code),
}

impl From<Code> for Stop {
    fn from(code: Code) -> Self {
        Self::Refused(code)
    }
}
