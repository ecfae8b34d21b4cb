//! The settings by name: one table for flags, environment, file, example and printout.

use std::cmp::min;

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// `section.key`, as the file has it.
    pub name: &'static str,
    /// The default, written as the environment would; empty for none.
    pub default: &'static str,
    /// One line with the unit and the limits, for `--help`.
    pub help: &'static str,
    /// How the value is written.
    pub kind: Kind,
}

/// How a value is written, and how much of it may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `IP:PORT`.
    Address,
    /// An `http` or `https` URL. Never echoed as long as it is unchecked: it may hold a login.
    Url,
    /// Where the database is; a password in it is never shown.
    Database,
    /// A path, relative to the working directory.
    Path,
    /// Any text.
    Text,
    /// One of the words that the help names.
    Choice,
    /// Text that is never shown and has no flag, because other users see a process's arguments.
    Secret,
    /// `true` or `false`.
    Switch,
    /// A whole number.
    Number,
    /// An amount of money such as `12.50`.
    Decimal,
    /// A whole number with its unit: `100ms`, `5s`, `10m`, `24h`, `30d`.
    Duration,
    /// A TOML array; comma-separated elsewhere.
    List,
    /// A TOML table; comma-separated `name=value` elsewhere.
    Map,
}

impl Kind {
    /// Whether several values make up the setting. Only then does an empty text mean "nothing";
    /// for all others it means "not set".
    #[must_use]
    pub fn is_plural(self) -> bool {
        matches!(self, Self::List | Self::Map)
    }

    /// What stands for the value in `--help`.
    #[must_use]
    pub fn placeholder(self) -> &'static str {
        match self {
            Self::Address => "IP:PORT",
            Self::Url | Self::Database => "URL",
            Self::Path => "PATH",
            Self::Text | Self::Secret => "TEXT",
            Self::Choice => "WORD",
            Self::Switch => "true|false",
            Self::Number => "NUMBER",
            Self::Decimal => "AMOUNT",
            Self::Duration => "DURATION",
            Self::List => "A,B",
            Self::Map => "NAME=VALUE,…",
        }
    }
}

const fn key(name: &'static str, default: &'static str, kind: Kind, help: &'static str) -> Key {
    Key { name, default, help, kind }
}

/// Every setting there is, in the order in which they are shown.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("public.listen", "0.0.0.0:8080", Kind::Address, "Address and port that the provider's pingbacks arrive at"),
    key("public.url", "", Kind::Url, "Base URL under which the provider reaches the public listener; without it every answer is asked for"),
    key("public.allow_from", "", Kind::List, "Networks (CIDR) that may send pingbacks; none means any"),
    key("public.trusted_proxies", "", Kind::List, "Networks (CIDR) of proxies whose X-Forwarded-For and Forwarded headers are believed"),
    key("public.ownership_files", "", Kind::Map, "Text files served at /NAME, by which the provider checks that the host is yours"),
    key("public.tls", "off", Kind::Choice, "TLS of the public listener: off, files or self_signed"),
    key("public.tls_cert", "", Kind::Path, "Certificate chain (PEM) for public.tls = files"),
    key("public.tls_key", "", Kind::Path, "Private key (PEM) for public.tls = files"),
    key("public.tls_names", "localhost,127.0.0.1,::1", Kind::List, "Host names and addresses that others use, for public.tls = self_signed"),
    key("pingback.secret", "", Kind::Secret, "Secret segment of the pingback URL, 22 to 128 characters of A-Z a-z 0-9 _ -; made and stored when not set"),
    key("pingback.url_mode", "shared", Kind::Choice, "shared: one URL for all tasks; per_task: a token of its own for each"),
    key("pingback.register", "true", Kind::Switch, "Whether to keep the pingback URL registered with the provider"),
    key("api.listen", "127.0.0.1:8081", Kind::Address, "Address and port of the API and the dashboard"),
    key("api.token", "", Kind::Secret, "A first admin token, 32 hexadecimal digits"),
    key("api.auth", "token", Kind::Choice, "Who may call the API: token (who has one) or none (anyone who reaches it)"),
    key("api.tls", "off", Kind::Choice, "TLS of the API listener: off, files or self_signed"),
    key("api.tls_cert", "", Kind::Path, "Certificate chain (PEM) for api.tls = files"),
    key("api.tls_key", "", Kind::Path, "Private key (PEM) for api.tls = files"),
    key("api.tls_names", "localhost,127.0.0.1,::1", Kind::List, "Host names and addresses that others use, for api.tls = self_signed"),
    key("api.max_wait", "300s", Kind::Duration, "The longest that one request may wait for an answer, 1s to 1h"),
    key("provider.base_url", "https://api.solvecaptcha.com", Kind::Url, "Where in.php and res.php are"),
    key("provider.api_key", "", Kind::Secret, "API key of your account at the provider, 32 characters"),
    key("provider.soft_id", "", Kind::Number, "Your id as a software developer, sent with every task"),
    key("provider.submit_interval", "100ms", Kind::Duration, "Smallest spacing between two tasks sent, 0s to 60s"),
    key("provider.resolve", "", Kind::Map, "The provider's address (HOST=IP), where the hosts file sends its name to pingbox"),
    key("provider.unconfirmed", "resubmit", Kind::Choice, "What becomes of a task that was sent without a reply: resubmit or fail"),
    key("compat.hold", "4s", Kind::Duration, "How long the drop-in res.php holds a request for an answer open, 0s to 30s"),
    key("data.dir", "data", Kind::Path, "Directory of the database, the own CA and the first token"),
    key("database.url", "sqlite://<data.dir>/pingbox.db", Kind::Database, "sqlite://PATH, where <data.dir> stands for that setting, or postgres://…"),
    key("database.pool_size", "8", Kind::Number, "Connections to PostgreSQL for callers' reads, 1 to 200; eight more are taken besides"),
    key("database.listen_url", "", Kind::Database, "postgres://… for LISTEN, where database.url leads to a pooler of transactions"),
    key("retention.answers", "24h", Kind::Duration, "Age at which the text of an answer is erased, at least 1m"),
    key("retention.tasks", "30d", Kind::Duration, "Age at which the record of a task is deleted, at least 1m"),
    key("spend.daily_limit", "", Kind::Decimal, "Most money to spend in a day, in the account's currency"),
    key("webhooks.allow_private", "", Kind::List, "Private or loopback networks (CIDR) that outgoing webhooks may reach"),
    key("log.format", "auto", Kind::Choice, "text, json, or auto (text on a terminal, JSON otherwise)"),
    key("log.filter", "info", Kind::Text, "Which messages are logged: a level, or target=level pairs, comma-separated"),
];

impl Key {
    /// The key of that name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// Its flag without the dashes in front; `None` for secrets, which have none.
    #[must_use]
    pub fn flag(&self) -> Option<String> {
        (self.kind != Kind::Secret).then(|| self.name.replace(['.', '_'], "-"))
    }

    /// Its environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("PINGBOX_{}", self.name.replace('.', "__").to_uppercase())
    }
}

/// A key, and whether the name was that of a file with the value in it (`…_file`).
pub(super) type Named = (&'static Key, bool);

/// What `name` names: a key, or its form with `_file`.
pub(super) fn named(name: &str) -> Option<Named> {
    let direct = Key::find(name).map(|key| (key, false));
    direct.or_else(|| Some((Key::find(name.strip_suffix("_file")?)?, true)))
}

/// What the writer of an unknown `name` may have meant; `None` when nothing is like it.
pub(super) fn nearest(name: &str) -> Option<Named> {
    let name = name.to_lowercase();
    let (stem, is_file) = match name.strip_suffix("_file") {
        Some(stem) => (stem, true),
        None => (name.as_str(), false),
    };
    // A right word in the wrong section is nearly right.
    let score = |key: &Key| {
        let whole = distance(stem, key.name);
        let last = distance(last_part(stem), last_part(key.name));
        let is_near = whole <= stem.len() / 3 + 1 || last <= last_part(stem).len() / 3;
        is_near.then_some((min(whole, last + 1), whole))
    };
    let near = KEYS.iter().filter_map(|key| Some((score(key)?, key)));
    let (_, best) = near.min_by_key(|(score, _)| *score)?;
    Some((best, is_file))
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// How many characters to insert, delete or replace to turn one into the other (Levenshtein).
/// Only the first 64 characters count: no key is longer.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = min(replaced, min(diagonal, row[j]) + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(name: &str) -> Option<(&'static str, bool)> {
        nearest(name).map(|(key, is_file)| (key.name, is_file))
    }

    #[test]
    fn names_are_unique_and_have_two_parts() {
        for (at, key) in KEYS.iter().enumerate() {
            assert_eq!(key.name.matches('.').count(), 1, "{}", key.name);
            assert!(!key.name.ends_with("_file") && !key.name.contains("__"));
            assert!(KEYS[..at].iter().all(|other| other.name != key.name));
        }
    }

    #[test]
    fn every_form_of_a_name_follows_from_it() {
        let key = Key::find("api.max_wait").unwrap();
        assert_eq!(key.flag().unwrap(), "api-max-wait");
        assert_eq!(key.variable(), "PINGBOX_API__MAX_WAIT");
    }

    #[test]
    fn secrets_have_no_flag() {
        assert_eq!(Key::find("provider.api_key").unwrap().flag(), None);
    }

    #[test]
    fn a_path_key_still_has_a_file_form() {
        let (key, is_file) = named("api.tls_cert_file").unwrap();
        assert_eq!((key.name, is_file), ("api.tls_cert", true));
    }

    #[test]
    fn the_nearest_key_is_found() {
        assert_eq!(guess("public.ulr"), Some(("public.url", false)));
        assert_eq!(guess("databse.url"), Some(("database.url", false)));
        assert_eq!(guess("apikey"), Some(("provider.api_key", false)));
        assert_eq!(guess("server.listen"), Some(("public.listen", false)));
        assert_eq!(guess("provider.apikey_file"), Some(("provider.api_key", true)));
        assert_eq!(guess("kubernetes.port"), None);
    }
}
