//! Where a request comes from that a browser sends: a page of our own, or of somebody else.

use std::net::IpAddr;

use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN, REFERER};

/// Whether a browser sends this for a page of another site, by its own word or because the page's
/// origin, or its address, is not of the host it calls.
pub(crate) fn is_from_another_site(headers: &HeaderMap) -> bool {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host_of =
        |url: &str| url.split_once("://").and_then(|(_, rest)| rest.split('/').next().map(str::to_owned));
    let own = header(HOST).map(str::to_owned);
    let foreign_site =
        headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none");
    let is_foreign = |name| headers.contains_key(&name) && header(name).and_then(host_of) != own;
    foreign_site || is_foreign(ORIGIN) || is_foreign(REFERER)
}

/// Whether the `Host` header is an address, `localhost`, or one of the names.
pub(super) fn is_called_locally(headers: &HeaderMap, names: &[String]) -> bool {
    let Some(host) = headers.get(HOST) else { return true };
    let host = host.to_str().unwrap_or_default();
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name);
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let is_known = || names.iter().any(|known| name.eq_ignore_ascii_case(known));
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok() || is_known()
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_page_of_another_site_is_known_by_any_of_three_headers() {
        let host = ("host", "127.0.0.1:8081");
        for fine in [
            vec![host],
            vec![host, ("origin", "http://127.0.0.1:8081")],
            vec![host, ("sec-fetch-site", "same-origin")],
            vec![host, ("sec-fetch-site", "none")],
            vec![host, ("referer", "http://127.0.0.1:8081/page?q=1")],
        ] {
            assert!(!is_from_another_site(&headers(&fine)), "{fine:?}");
        }
        for foreign in [
            vec![host, ("origin", "https://evil.example")],
            vec![host, ("origin", "null")],
            vec![host, ("sec-fetch-site", "cross-site")],
            vec![host, ("sec-fetch-site", "same-site")],
            vec![host, ("referer", "http://127.0.0.1:3000/page")],
            vec![host, ("referer", "http://192.168.0.9/")],
        ] {
            assert!(is_from_another_site(&headers(&foreign)), "{foreign:?}");
        }
    }

    #[test]
    fn it_is_called_by_address_or_as_localhost_or_by_a_name_that_is_known() {
        let names = ["api.solvecaptcha.com".to_owned()];
        for fine in [
            "127.0.0.1:8081",
            "localhost:8081",
            "LOCALHOST",
            "[::1]:8081",
            "192.0.2.1",
            "api.SolveCaptcha.com:443",
        ] {
            assert!(is_called_locally(&headers(&[("host", fine)]), &names), "{fine}");
        }
        for rebound in ["evil.example", "evil.example:8081", "127.0.0.1.evil.example:8081", ""] {
            assert!(!is_called_locally(&headers(&[("host", rebound)]), &names), "{rebound}");
        }
    }
}
