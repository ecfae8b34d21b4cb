//! From text to checked values. The errors say what would be right; what they quote is never
//! secret, which is why URLs are not quoted: a login may stand in one.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use tracing_subscriber::filter::{LevelFilter, Targets};
use url::{Host, Url};

use super::sections::DatabaseUrl;
use crate::model::Secret;

/// A value, or what would be right.
pub(super) type Parsed<T> = Result<T, String>;

/// `text` as it may stand in a message: quoted, and cut at 60 characters.
fn quoted(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

pub(super) fn address(text: &str) -> Parsed<SocketAddr> {
    text.parse().map_err(|_| {
        let found = quoted(text);
        format!("must be an IP address and a port, as in `0.0.0.0:8080` or `[::]:8080`, not {found}")
    })
}

pub(super) fn ip(text: &str) -> Parsed<IpAddr> {
    text.parse().map_err(|_| format!("must be an IP address, not {}", quoted(text)))
}

/// A network; a plain address is the network of it alone.
pub(super) fn network(text: &str) -> Parsed<IpNet> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address.or_else(|_| text.parse::<IpNet>()).map_or_else(
        |_| {
            let found = quoted(text);
            Err(format!("must be networks such as `10.0.0.0/8` or addresses, not {found}"))
        },
        |network| Ok(network.trunc()),
    )
}

/// The ranges that "private" means here: RFC 1918, shared (RFC 6598), loopback, and unique local (RFC 4193).
/// Link-local, where clouds keep their metadata, is not among them.
const PRIVATE: [&str; 7] =
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "::1/128", "fc00::/7"];

pub(super) fn private_network(text: &str) -> Parsed<IpNet> {
    let wanted = network(text)?;
    let mut ranges = PRIVATE.iter().filter_map(|range| range.parse::<IpNet>().ok());
    if ranges.any(|range| range.contains(&wanted)) {
        return Ok(wanted);
    }
    Err(format!("{wanted} must lie inside one of {}", PRIVATE.join(", ")))
}

/// A URL that paths are added to, without a slash at its end unless it has no path.
pub(super) fn base_url(text: &str) -> Parsed<Url> {
    let example = "as in `https://captcha.example.com`";
    let mut url = Url::parse(text).map_err(|error| format!("must be a URL, {example}: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(format!("must begin with http:// or https://, {example}"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("must end before any `?` or `#`, {example}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("must hold no login, {example}"));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

pub(super) fn duration(text: &str, allowed: RangeInclusive<Duration>) -> Parsed<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" if digits > 0 => return Err(format!("must have a unit, as in `{number}s`")),
        _ => 0,
    };
    if unit_ms == 0 || digits == 0 {
        let found = quoted(text);
        return Err(format!(
            "must be a whole number with one of the units ms, s, m, h, d, as in `100ms` or `24h`, not {found}"
        ));
    }
    let millis = number.parse().ok().and_then(|n: u64| n.checked_mul(unit_ms));
    let duration = millis.map(Duration::from_millis);
    duration.filter(|duration| allowed.contains(duration)).ok_or_else(|| {
        let (least, most) = (short(*allowed.start()), short(*allowed.end()));
        format!("must be from {least} to {most}, not {}", quoted(text))
    })
}

/// A duration in the largest unit that divides it.
fn short(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    match units.iter().find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", millis / unit),
        None if millis == 0 => "0s".to_owned(),
        None => format!("{millis}ms"),
    }
}

pub(super) fn switch(text: &str) -> Parsed<bool> {
    text.parse().map_err(|_| format!("must be true or false, not {}", quoted(text)))
}

/// The one of the `choices` that `text` names.
pub(super) fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Parsed<T> {
    let found = choices.iter().find(|(word, _)| *word == text);
    found.map(|(_, choice)| *choice).ok_or_else(|| {
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        format!("must be one of {}, not {}", words.join(", "), quoted(text))
    })
}

pub(super) fn number(text: &str) -> Parsed<u32> {
    text.parse().map_err(|_| {
        let found = quoted(text);
        format!("must be a whole number from 0 to {}, not {found}", u32::MAX)
    })
}

/// An amount of money above zero: at most nine digits before the point and six after it.
pub(super) fn amount(text: &str) -> Parsed<String> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits =
        |text: &str, most| (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let above_zero = text.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
    if digits(whole, 9) && digits(part, 6) && above_zero {
        return Ok(text.to_owned());
    }
    Err(format!("must be an amount above zero such as `12.50`, not {}", quoted(text)))
}

pub(super) fn path(text: &str) -> Parsed<PathBuf> {
    if text.contains('\0') {
        return Err("must be a path, which holds no NUL".to_owned());
    }
    Ok(PathBuf::from(text))
}

/// Levels by target. A lone word must be a level: taken as a target, a mistyped level would
/// silence the log.
pub(super) fn log_filter(text: &str) -> Parsed<String> {
    let is_level = |word: &str| word.parse::<LevelFilter>().is_ok();
    let mut items = text.split(',');
    if items.all(|item| item.contains('=') || is_level(item)) && text.parse::<Targets>().is_ok() {
        return Ok(text.to_owned());
    }
    Err(format!(
        "must be levels (off, error, warn, info, debug, trace) such as `info` or \
         `warn,pingbox=debug`, not {}",
        quoted(text)
    ))
}

/// A host name or an address in a certificate: as clients write it, in lower case and ASCII. The
/// first label of a name may be `*`.
pub(super) fn certificate_name(text: &str) -> Parsed<String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    let (wildcard, rest) = match text.strip_prefix("*.") {
        Some(rest) => ("*.", rest),
        None => ("", text),
    };
    let is_label = |label: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        (1..=63).contains(&label.len())
            && label.bytes().all(is_plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if let Ok(Host::Domain(name)) = Host::parse(rest) {
        let name = name.trim_end_matches('.');
        if name.len() <= 250 && name.split('.').all(is_label) {
            return Ok(format!("{wildcard}{name}"));
        }
    }
    Err(format!(
        "must be host names such as `api.solvecaptcha.com` or IP addresses, without scheme, port and path, not {}",
        quoted(text)
    ))
}

/// A host name as URLs have it: lower-case, in ASCII, without a dot at its end.
pub(super) fn host_name(text: &str) -> Parsed<String> {
    match Host::parse(text.trim_end_matches('.')) {
        Ok(Host::Domain(name)) => Ok(name),
        _ => Err(format!(
            "the names must be host names alone, as in `api.solvecaptcha.com`, not {}",
            quoted(text)
        )),
    }
}

/// A name of an ownership file, as the last part of a URL.
pub(super) fn file_name(text: &str) -> Parsed<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let found = quoted(text);
    if text.is_empty() || !text.bytes().all(is_plain) || matches!(text, "." | "..") {
        return Err(format!(
            "the names must consist of A-Z a-z 0-9 . _ - as in `solvecaptcha.txt`, not {found}"
        ));
    }
    if matches!(text, "livez" | "pingback") {
        return Err(format!("{found} is a path of pingbox itself: use another name"));
    }
    Ok(text.to_owned())
}

pub(super) fn api_key(text: &str) -> Parsed<Secret> {
    let remedy = "copy the key again from your account settings page at the provider";
    let count = text.chars().count();
    if count != 32 {
        return Err(format!("must be 32 characters, these are {count}: {remedy}"));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("must be visible ASCII characters without blanks: {remedy}"));
    }
    Ok(Secret::new(text))
}

pub(super) fn api_token(text: &str) -> Parsed<Secret> {
    if text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(Secret::new(text));
    }
    Err("must be exactly 32 hexadecimal digits, as `openssl rand -hex 16` makes them".to_owned())
}

pub(super) fn pingback_secret(text: &str) -> Parsed<Secret> {
    let is_url_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if (22..=128).contains(&text.len()) && text.bytes().all(is_url_safe) {
        return Ok(Secret::new(text));
    }
    Err("must be 22 to 128 characters of A-Z a-z 0-9 _ -, as `openssl rand -hex 16` makes them; \
         leave it out and one is made for you"
        .to_owned())
}

/// Stands for the value of `data.dir`.
pub(super) const DATA_DIR: &str = "<data.dir>";

fn is_postgres(text: &str) -> bool {
    text.starts_with("postgres://") || text.starts_with("postgresql://")
}

/// The URL of a PostgreSQL database. What it asks of the connection is understood when it is made.
pub(super) fn postgres_url(text: &str) -> Parsed<Secret> {
    const KNOWN: [&str; 12] = [
        "sslmode",
        "sslrootcert",
        "sslcert",
        "sslkey",
        "host",
        "hostaddr",
        "port",
        "dbname",
        "user",
        "password",
        "options",
        "statement-cache-capacity",
    ];
    let url = Url::parse(text).ok().filter(|url| is_postgres(text) && url.has_host());
    let url = url.ok_or("must be as in `postgres://user:password@host:5432/name`")?;
    // What is not understood would do nothing, and be logged with its value.
    match url.query_pairs().find(|(name, _)| !KNOWN.contains(&&**name)) {
        Some((name, _)) => Err(format!(
            "has a parameter {:.40} that is not known; these are: {}",
            quoted(&name),
            KNOWN.join(", ")
        )),
        None => Ok(Secret::new(text)),
    }
}

/// Connections to PostgreSQL.
pub(super) fn pool_size(text: &str) -> Parsed<u32> {
    let size = number(text)?;
    if (1..=200).contains(&size) { Ok(size) } else { Err("must be from 1 to 200".to_owned()) }
}

/// Where the database is. SQLite paths are taken as they are, without percent-decoding.
pub(super) fn database_url(text: &str, data_dir: &Path) -> Parsed<DatabaseUrl> {
    if is_postgres(text) {
        return postgres_url(text).map(DatabaseUrl::Postgres);
    }
    let scheme = text.strip_prefix("sqlite:");
    let Some(path) = scheme.map(|path| path.strip_prefix("//").unwrap_or(path)) else {
        return Err("must begin with sqlite:// or postgres://".to_owned());
    };
    if path.contains('?') {
        return Err("must be a path alone, without any `?`".to_owned());
    }
    if path.is_empty() || path.ends_with('/') || path == ":memory:" {
        return Err("must name a file, as in `sqlite:///data/pingbox.db`".to_owned());
    }
    let path = match path.strip_prefix(DATA_DIR) {
        Some(rest) => data_dir.join(rest.trim_start_matches('/')),
        None => PathBuf::from(path),
    };
    Ok(DatabaseUrl::Sqlite(path))
}
