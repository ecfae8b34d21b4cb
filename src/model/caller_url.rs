//! The URL of a caller that is told how a task ended.

use std::fmt;

use url::{Host, Url};

/// The longest URL that is taken, in bytes.
const MAX_BYTES: usize = 2048;
/// What a URL without a scheme means, as in the API document's `123.123.123.123/pingback/url/`.
const DEFAULT_SCHEME: &str = "http";

/// An http or https URL that a caller gave. It prints as `https://host/***`: its login, path and query
/// may hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct CallerUrl {
    /// As the caller gave it.
    text: String,
    /// Apart, because submissions that wait to be written carry one.
    url: Box<Url>,
}

/// Why a text is no URL that can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// It is longer than 2048 bytes.
    #[error("is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// It is no URL, or has no host.
    #[error("is no URL with a host")]
    Malformed,
    /// It has another scheme.
    #[error("begins with neither http:// nor https://")]
    Scheme,
    /// Its host is no name or address that can be called.
    #[error("has a host that cannot be called")]
    Host,
    /// Nobody can be called at port 0.
    #[error("has port 0")]
    Port,
    /// It has a fragment, which could not be sent.
    #[error("has a part after a #, which is never sent")]
    Fragment,
}

impl CallerUrl {
    /// Reads what a caller gave: with a scheme, or without one, which means http.
    ///
    /// # Errors
    /// When it is too long, no URL, not for HTTP, has a fragment, or a host or port that cannot be called.
    pub fn parse(text: &str) -> Result<Self, InvalidUrl> {
        let text = text.trim();
        if text.len() > MAX_BYTES {
            return Err(InvalidUrl::TooLong);
        }
        // The parser would leave some of these out, so that two texts could mean one URL.
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(InvalidUrl::Malformed);
        }
        let (scheme, rest) = split_scheme(text);
        if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return Err(InvalidUrl::Scheme);
        }
        // The parser would skip further slashes, and take the first part of a path for the host.
        if rest.starts_with(['/', '\\']) {
            return Err(InvalidUrl::Malformed);
        }
        let url = Url::parse(&format!("{scheme}://{rest}")).map_err(|_| InvalidUrl::Malformed)?;
        match url.host() {
            None => return Err(InvalidUrl::Malformed),
            Some(Host::Domain(name)) if !can_be_called(name) => return Err(InvalidUrl::Host),
            Some(_) => {}
        }
        if url.port() == Some(0) {
            return Err(InvalidUrl::Port);
        }
        if url.fragment().is_some() {
            return Err(InvalidUrl::Fragment);
        }
        Ok(Self { text: text.to_owned(), url: Box::new(url) })
    }

    /// The text as the caller gave it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The URL itself, for the one place that calls or stores it.
    #[must_use]
    pub fn expose(&self) -> &Url {
        &self.url
    }

    /// Whom it names: a name in lower case, or an address however it was written.
    #[must_use]
    pub fn host(&self) -> Host<&str> {
        self.url.host().unwrap_or(Host::Domain(""))
    }

    /// Host and port, such as `example.com:443`: the receiver, whatever the rest of the URL says.
    #[must_use]
    pub fn receiver(&self) -> String {
        format!("{}:{}", self.host(), self.url.port_or_known_default().unwrap_or(0))
    }
}

/// Whether each part of a name is made of letters, digits, `-` and `_`. The URL's parser takes more than the
/// HTTP client does.
fn can_be_called(name: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    name.strip_suffix('.').unwrap_or(name).split('.').all(is_label)
}

/// The scheme, and what stands behind `://`.
fn split_scheme(text: &str) -> (&str, &str) {
    let is_scheme =
        |scheme: &str| scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    text.split_once("://").filter(|(scheme, _)| is_scheme(scheme)).unwrap_or((DEFAULT_SCHEME, text))
}

impl fmt::Display for CallerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.url.scheme(), self.host())?;
        if let Some(port) = self.url.port() {
            write!(f, ":{port}")?;
        }
        f.write_str("/***")
    }
}

impl fmt::Debug for CallerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(text: &str) -> String {
        CallerUrl::parse(text).unwrap().expose().to_string()
    }

    #[test]
    fn the_scheme_may_be_left_out() {
        for (given, meant) in [
            ("123.123.123.123/pingback/url/", "http://123.123.123.123/pingback/url/"),
            ("example.com:8080/a?b=http://c", "http://example.com:8080/a?b=http://c"),
            ("http://example.com", "http://example.com/"),
            ("HTTPS://Example.com/A", "https://example.com/A"),
            (" localhost:9/x\n", "http://localhost:9/x"),
            ("[::1]/x", "http://[::1]/x"),
            ("a_b.c-d.example./", "http://a_b.c-d.example./"),
            ("http://b\u{fc}cher.example/", "http://xn--bcher-kva.example/"),
        ] {
            assert_eq!(url(given), meant, "{given}");
        }
    }

    #[test]
    fn the_text_stays_as_it_was_given() {
        assert_eq!(CallerUrl::parse("Example.com/%7Ea").unwrap().text(), "Example.com/%7Ea");
    }

    #[test]
    fn what_cannot_be_called_is_refused() {
        for (text, error) in [
            ("", InvalidUrl::Malformed),
            ("http://", InvalidUrl::Malformed),
            ("http:///", InvalidUrl::Malformed),
            ("/pingback", InvalidUrl::Malformed),
            ("//example.com/", InvalidUrl::Malformed),
            ("http:///example.com/", InvalidUrl::Malformed),
            ("http://\\example.com/", InvalidUrl::Malformed),
            ("://example.com/", InvalidUrl::Scheme),
            ("http://exa mple.com/", InvalidUrl::Malformed),
            ("http://example.com/\u{7}", InvalidUrl::Malformed),
            ("http://exam\nple.com/", InvalidUrl::Malformed),
            ("example.com:99999/", InvalidUrl::Malformed),
            ("ftp://example.com/", InvalidUrl::Scheme),
            ("file:///etc/passwd", InvalidUrl::Scheme),
            ("gopher://example.com/", InvalidUrl::Scheme),
            ("http://a\"b.example/", InvalidUrl::Host),
            ("http://a`b.example/", InvalidUrl::Host),
            ("http://{a}.example/", InvalidUrl::Host),
            ("http://*.example/", InvalidUrl::Host),
            ("http://a..example/", InvalidUrl::Host),
            ("http://.example/", InvalidUrl::Host),
            ("http://example.com:0/", InvalidUrl::Port),
            ("http://127.0.0.1:0/", InvalidUrl::Port),
            ("http://example.com/#part", InvalidUrl::Fragment),
            ("http://example.com/#", InvalidUrl::Fragment),
        ] {
            assert_eq!(CallerUrl::parse(text).unwrap_err(), error, "{text:?}");
        }
    }

    #[test]
    fn the_limit_is_2048_bytes() {
        let longest = format!("http://example.com/{}", "a".repeat(2048 - 19));
        assert!(CallerUrl::parse(&longest).is_ok());
        assert_eq!(CallerUrl::parse(&format!("{longest}a")), Err(InvalidUrl::TooLong));
    }

    #[test]
    fn addresses_are_known_however_they_are_written() {
        for text in ["127.1", "0x7f.1", "2130706433", "0177.0.0.1", "http://0x7f000001:80/x"] {
            assert_eq!(
                CallerUrl::parse(text).unwrap().host(),
                Host::<&str>::Ipv4([127, 0, 0, 1].into()),
                "{text}"
            );
        }
    }

    #[test]
    fn the_receiver_is_host_and_port() {
        for (text, receiver) in [
            ("https://Example.com/a", "example.com:443"),
            ("user:word@example.com/b", "example.com:80"),
            ("[::1]:8080/c", "[::1]:8080"),
        ] {
            assert_eq!(CallerUrl::parse(text).unwrap().receiver(), receiver);
        }
    }

    proptest! {
        #[test]
        fn only_scheme_host_and_port_are_printed(secret in "s3cr3t[a-z]{1,20}") {
            let text = format!("https://{secret}:{secret}@example.com:8443/{secret}/{secret}?{secret}={secret}");
            let url = CallerUrl::parse(&text).unwrap();
            prop_assert_eq!(format!("{url} {url:?}"), "https://example.com:8443/*** https://example.com:8443/***");
        }

        #[test]
        fn no_text_makes_it_panic_and_what_is_taken_is_taken_again(text in ".*") {
            if let Ok(url) = CallerUrl::parse(&text) {
                let again = CallerUrl::parse(url.text()).unwrap();
                prop_assert_eq!(again, url);
            }
        }
    }
}
