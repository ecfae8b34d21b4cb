//! Callers' own pingback URLs. pingbox serves them; the provider only knows ours.

use super::reply::{Refusal, Reply};
use super::{Call, Stop};
use crate::http::AppState;
use crate::ingest::UrlAdded;
use crate::model::CallerUrl;

/// `add_pingback`: a caller registers a URL. It is not a condition for being called back.
pub(super) async fn add(app: &AppState, call: &Call) -> Result<Reply, Stop> {
    let url = app.caller_url("addr", required(call)?)?;
    if url.text().contains('|') {
        return Err(Refusal::parameter("addr holds a |, which the list of URLs is separated by").into());
    }
    match app.ingest.add_caller_url(call.identity.token, url).await? {
        UrlAdded::Added => Ok(Reply::PingbackChanged),
        UrlAdded::Full => Err(Refusal::parameter("this key has as many URLs as one may have: 100").into()),
    }
}

/// `get_pingback`: those that the caller registered.
pub(super) async fn list(app: &AppState, call: &Call) -> Result<Reply, Stop> {
    Ok(Reply::Value(app.store.caller_urls(call.identity.token).await?.join("|")))
}

/// `del_pingback`: one of them, or all. One that is not there is as good as deleted.
pub(super) async fn delete(app: &AppState, call: &Call) -> Result<Reply, Stop> {
    let url = match required(call)? {
        "all" => None,
        addr => Some(parse("addr", addr)?),
    };
    app.ingest.delete_caller_url(call.identity.token, url).await?;
    Ok(Reply::PingbackChanged)
}

fn required(call: &Call) -> Result<&str, Refusal> {
    call.params.text("addr").ok_or_else(|| Refusal::parameter("addr is missing"))
}

fn parse(name: &str, text: &str) -> Result<CallerUrl, Refusal> {
    CallerUrl::parse(text).map_err(|error| Refusal::parameter(format!("{name} {error}")))
}

impl AppState {
    /// The URL in a parameter, if it may be called as far as that can be told without asking for the
    /// addresses behind its name.
    pub(super) fn caller_url(&self, name: &str, text: &str) -> Result<CallerUrl, Refusal> {
        let url = parse(name, text)?;
        match self.address_rules.judge_url(&url) {
            Ok(()) => Ok(url),
            // The provider's code for an address that it does not call.
            Err(error) => Err(Refusal::new("ERROR_IP_ADDRES", format!("{name} has {error}"))),
        }
    }
}
