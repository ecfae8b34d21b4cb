//! Where callers are told of events, besides the URLs that their tasks carry.

use super::{CallerUrl, EventKind, SigningKeys, SigningSecret, Timestamp, TokenId};

/// A subscription to events.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Its number. Numbers are never used again.
    pub id: i64,
    /// Who subscribed.
    pub owner: TokenId,
    /// Where messages go.
    pub url: CallerUrl,
    /// What it is told of.
    pub kinds: Vec<EventKind>,
    /// What signs its messages.
    pub keys: SigningKeys,
    /// When it came to be. What happened before is not told.
    pub created_at: Timestamp,
    /// Since when, and why, nothing is sent to it.
    pub disabled: Option<Disabled>,
}

/// Since when, and why, a webhook is told nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disabled {
    /// Since when.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// A subscription to store.
#[derive(Clone, Debug)]
pub struct NewWebhook {
    /// Who subscribes.
    pub owner: TokenId,
    /// Whether it is told of everybody's tasks.
    pub sees_all: bool,
    /// Where messages go.
    pub url: CallerUrl,
    /// What it is told of.
    pub kinds: Vec<EventKind>,
    /// What signs its messages.
    pub secret: SigningSecret,
}
