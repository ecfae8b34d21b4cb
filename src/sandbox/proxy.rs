//! The `proxy` and `proxytype` parameters: checked, and masked where requests are shown.

use url::Host;

use super::reply::Code;
use super::request::Parameters;

/// The proxy types that the provider supports, in any case.
const TYPES: [&str; 4] = ["HTTP", "HTTPS", "SOCKS4", "SOCKS5"];

/// Checks the proxy, if there is one: `address:port` or `login:password@address:port`, of a supported
/// type. Whether it works is not tried.
pub(super) fn check(parameters: &Parameters) -> Result<(), Code> {
    let type_is_known = |given: &str| TYPES.iter().any(|known| known.eq_ignore_ascii_case(given));
    if parameters.text("proxytype").is_some_and(|given| !type_is_known(given)) {
        return Err(Code::PROXY_FORMAT);
    }
    match parameters.text("proxy") {
        Some(proxy) if !is_proxy(proxy) => Err(Code::PROXY_FORMAT),
        _ => Ok(()),
    }
}

/// The proxy without its login: `***@address:port`, or `address:port` where it has none. Text in which
/// the login cannot be told from the address is `***` as a whole.
pub(super) fn masked(text: &str) -> String {
    match split(text) {
        (_, address) if !is_address(address) => "***".to_owned(),
        (Some(_), address) => format!("***@{address}"),
        (None, address) => address.to_owned(),
    }
}

fn is_proxy(text: &str) -> bool {
    let (login, address) = split(text);
    let login_is_complete = |login: &str| {
        login.split_once(':').is_some_and(|(name, password)| !name.is_empty() && !password.is_empty())
    };
    login.is_none_or(login_is_complete) && is_address(address)
}

/// The login, which may hold an `@` itself, and what follows it.
fn split(text: &str) -> (Option<&str>, &str) {
    text.rsplit_once('@').map_or((None, text), |(login, address)| (Some(login), address))
}

fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        Host::parse(host).is_ok()
            && port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_has_an_address_a_port_and_perhaps_a_login() {
        for text in [
            "123.123.123.123:3128",
            "user:pass@123.123.123.123:3128",
            "u:p@ss@proxy.example:80",
            "[::1]:1080",
        ] {
            assert!(is_proxy(text), "{text}");
        }
        for text in [
            "",
            "1.2.3.4",
            "1.2.3.4:",
            "1.2.3.4:0",
            "1.2.3.4:70000",
            "user@1.2.3.4:80",
            ":p@1.2.3.4:80",
            "http://1.2.3.4:80",
            "1.2.3.4:+80",
        ] {
            assert!(!is_proxy(text), "{text}");
        }
    }

    #[test]
    fn a_login_is_masked_even_where_it_holds_an_at_sign_or_is_out_of_place() {
        for (text, shown) in [
            ("login:password@1.2.3.4:3128", "***@1.2.3.4:3128"),
            ("l@example.com:p@ss@1.2.3.4:3128", "***@1.2.3.4:3128"),
            ("http://u:p@proxy.example:80", "***@proxy.example:80"),
            ("u@[::1]:1080", "***@[::1]:1080"),
            ("1.2.3.4:3128", "1.2.3.4:3128"),
            ("1.2.3.4:3128@login:password", "***"),
            ("1.2.3.4:3128:login:password", "***"),
            ("login:password", "***"),
        ] {
            assert_eq!(masked(text), shown);
        }
    }
}
