//! What the API replies, as far as the command line needs it.

use serde::Deserialize;

/// `/v1/account`
#[derive(Debug, Deserialize)]
pub(crate) struct Account {
    pub(crate) balance: Option<String>,
    pub(crate) balance_at: Option<String>,
    pub(crate) spend: Spend,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Spend {
    pub(crate) today: String,
    pub(crate) daily_limit: Option<String>,
}

/// `/v1/tasks/{id}/report`
#[derive(Debug, Deserialize)]
pub(crate) struct Report {
    pub(crate) status: ReportStatus,
    /// The provider's word.
    pub(crate) reply: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReportStatus {
    Queued,
    Recorded,
    Refused,
    Expired,
}

/// `GET /v1/pingbacks`
#[derive(Debug, Deserialize)]
pub(crate) struct PingbackList {
    pub(crate) pingbacks: Vec<ListedPingback>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ListedPingback {
    pub(crate) url: String,
    pub(crate) is_ours: bool,
    pub(crate) is_added_here: bool,
}

/// A URL that was added or deleted.
#[derive(Debug, Deserialize)]
pub(crate) struct NamedPingback {
    pub(crate) url: String,
}

/// `POST /v1/pingbacks/rotate`
#[derive(Debug, Deserialize)]
pub(crate) struct Rotated {
    pub(crate) state: Rotation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rotation {
    /// The new URL is used once the provider knows it.
    Registering,
    /// The new URL is used already: an operator registers it.
    InUse,
}
