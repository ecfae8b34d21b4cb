//! What the API replies, as far as the command line needs it.

use serde::Deserialize;

use crate::model::Cause;

/// `/readyz`
#[derive(Debug, Deserialize)]
pub(crate) struct Health {
    pub(crate) draining: bool,
    /// `ok`, or what is wrong with it.
    pub(crate) database: String,
}

/// `/v1/account`
#[derive(Debug, Deserialize)]
pub(crate) struct Account {
    pub(crate) balance: Option<String>,
    pub(crate) balance_at: Option<String>,
    pub(crate) spend: Spend,
    pub(crate) credit: Credit,
    pub(crate) backoff: Backoff,
    pub(crate) registration: Registration,
    /// `pingback`, or `polling` when none can come.
    pub(crate) answers: String,
    /// Why queued tasks wait, if they do.
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Spend {
    pub(crate) today: String,
    pub(crate) daily_limit: Option<String>,
}

/// Calls of `res.php`.
#[derive(Debug, Deserialize)]
pub(crate) struct Credit {
    pub(crate) left: u32,
    pub(crate) most: u32,
    pub(crate) per_captcha: u32,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Backoff {
    pub(crate) in_php: Option<Hold>,
    pub(crate) res_php: Option<Hold>,
}

impl Backoff {
    /// The pauses in force, each with the script that it is about.
    pub(crate) fn holds(&self) -> impl Iterator<Item = (&'static str, &Hold)> {
        let holds = [("in.php", &self.in_php), ("res.php", &self.res_php)];
        holds.into_iter().filter_map(|(script, hold)| Some((script, hold.as_ref()?)))
    }

    /// The first pause with one of these codes.
    pub(crate) fn find(&self, codes: &[&str]) -> Option<&Hold> {
        self.holds().map(|(_, hold)| hold).find(|hold| codes.contains(&hold.code.as_str()))
    }
}

/// A pause that the provider asked for.
#[derive(Debug, Deserialize)]
pub(crate) struct Hold {
    pub(crate) code: String,
    pub(crate) reason: String,
    pub(crate) since: String,
    /// `None` until an operator has acted.
    pub(crate) until: Option<String>,
}

impl Hold {
    /// Whether the provider asked for it with a code; else it could not be talked to.
    pub(crate) fn is_by_code(&self) -> bool {
        matches!(Cause::named(&self.code), Cause::Code(_))
    }

    /// Whether the way to the provider leads back to pingbox.
    pub(crate) fn is_loop(&self) -> bool {
        Cause::named(&self.code).is_loop()
    }

    /// The code with its meaning; our own words for other trouble are no codes.
    pub(crate) fn explained(&self) -> String {
        if self.is_by_code() { format!("{}: {}", self.code, self.reason) } else { self.reason.clone() }
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct Registration {
    /// `pending`, `off`, `registered`, `refused` or `unreachable`.
    pub(crate) state: String,
    /// Our URL without its secret.
    pub(crate) url: Option<String>,
    /// `shared` or `per_task`; earlier servers do not tell.
    pub(crate) url_mode: Option<String>,
    /// What is wrong, and what to do about it.
    pub(crate) detail: String,
}

/// `/v1/checks`
#[derive(Debug, Deserialize)]
pub(crate) struct Checks {
    pub(crate) public_url: PublicUrlCheck,
    pub(crate) clock: ClockCheck,
    /// `None`: the database is on PostgreSQL, or the system does not tell.
    pub(crate) disk: Option<DiskCheck>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct PublicUrlCheck {
    /// `not_set`, `reached`, `elsewhere`, `not_passed`, `unreachable` or `faulty`.
    pub(crate) state: String,
    /// Without its secret.
    pub(crate) url: Option<String>,
    /// What came of the call.
    pub(crate) detail: String,
    /// How many pingbacks were taken since the start.
    pub(crate) pingbacks: u64,
}

impl PublicUrlCheck {
    /// Whether the server itself, or the provider, came through.
    pub(crate) fn is_proven(&self) -> bool {
        self.state == "reached" || self.pingbacks > 0
    }

    /// Whether something else is there, or is in the way.
    pub(crate) fn leads_astray(&self) -> bool {
        matches!(self.state.as_str(), "elsewhere" | "not_passed")
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct ClockCheck {
    /// Seconds ahead of the provider's; `None` until it has replied.
    pub(crate) offset: Option<i64>,
    /// When that was measured, by the server's clock.
    pub(crate) at: Option<String>,
}

/// In bytes.
#[derive(Debug, Deserialize)]
pub(crate) struct DiskCheck {
    pub(crate) free: u64,
    pub(crate) total: u64,
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

/// `/v1/tokens`
#[derive(Debug, Deserialize)]
pub(crate) struct TokenList {
    pub(crate) tokens: Vec<TokenLine>,
}

/// A token, as the list shows it.
#[derive(Debug, Deserialize)]
pub(crate) struct TokenLine {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) created_at: String,
    pub(crate) last_used_at: Option<String>,
}

/// A token that was made. It has no `Debug`: it is for whoever asked for it alone.
#[derive(Deserialize)]
pub(crate) struct NewToken {
    pub(crate) token: String,
}
