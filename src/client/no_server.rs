//! A server that cannot be talked to.

/// Nobody answers there, or somebody else does; and what helps.
#[derive(Debug, thiserror::Error)]
#[error("{reason}: {remedy}")]
pub(crate) struct NoServer {
    pub(crate) reason: String,
    pub(crate) remedy: &'static str,
    /// Whether nothing is there at all, rather than something that keeps silent or talks otherwise.
    pub(crate) is_absent: bool,
}
