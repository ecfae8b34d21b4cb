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
