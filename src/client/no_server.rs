//! A server that cannot be talked to.

/// Nobody answers there, or somebody else does; and what helps.
#[derive(Debug, thiserror::Error)]
#[error("{reason}: {remedy}")]
pub(crate) struct NoServer {
    pub(crate) reason: String,
    pub(crate) remedy: &'static str,
}
