//! The `proxy` and `proxytype` parameters.

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

fn is_proxy(text: &str) -> bool {
    let (login, address) = match text.rsplit_once('@') {
        Some((login, address)) => (Some(login), address),
        None => (None, text),
    };
    let login_is_complete = |login: &str| {
        login.split_once(':').is_some_and(|(name, password)| !name.is_empty() && !password.is_empty())
    };
    let Some((host, port)) = address.rsplit_once(':') else {
        return false;
    };
    login.is_none_or(login_is_complete)
        && Host::parse(host).is_ok()
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port > 0)
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
}
