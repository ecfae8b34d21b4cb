//! What our requests carry, so that we know them when they come back to us.

use reqwest::header::{HeaderMap, HeaderValue};

use crate::model::Secret;

/// The name that intermediaries write into `CDN-Loop` (RFC 8586) of what they pass on. Proxies keep what
/// stands there, so it survives whatever leads a request back to us.
///
/// It belongs to the database: every process that works on it knows the requests of all of them. It is
/// secret, because who knows it can have us stop sending.
#[derive(Clone, Debug)]
pub(crate) struct LoopMark(Secret);

impl LoopMark {
    /// The header that it is in.
    pub(crate) const HEADER: &str = "cdn-loop";

    /// The mark of the deployment with this id, which consists of hex digits.
    pub(crate) fn new(id: &Secret) -> Self {
        Self(Secret::new(format!("pingbox-{}", id.expose())))
    }

    /// What stands in the header. It prints as `Sensitive`.
    pub(crate) fn value(&self) -> HeaderValue {
        let mut value =
            HeaderValue::from_str(self.0.expose()).expect("a name and hex digits are visible ASCII");
        value.set_sensitive(true);
        value
    }

    /// Whether the request with these headers, or the reply, is one of ours.
    pub(crate) fn is_ours(&self, headers: &HeaderMap) -> bool {
        let values = headers.get_all(Self::HEADER).iter().filter_map(|value| value.to_str().ok());
        // Others may stand before and after it, each with parameters.
        let mut names = values.flat_map(|value| value.split(',')).map(|info| {
            let name = info.split_once(';').map_or(info, |(name, _)| name);
            name.trim()
        });
        names.any(|name| name.len() == self.0.expose().len() && self.0.matches(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(id: &str) -> LoopMark {
        LoopMark::new(&Secret::new(id))
    }

    fn headers(values: &[&str]) -> HeaderMap {
        let header = |value: &&str| (LoopMark::HEADER.parse().unwrap(), value.parse().unwrap());
        values.iter().map(header).collect()
    }

    #[test]
    fn it_is_found_among_those_of_others() {
        let own = mark("00ff");
        for values in [
            &["pingbox-00ff"][..],
            &["edge.example, pingbox-00ff"],
            &["pingbox-00ff;v=1 , other; loops=2"],
            &["cloudflare; loops=1", "other,pingbox-00ff"],
        ] {
            assert!(own.is_ours(&headers(values)), "{values:?}");
        }
    }

    #[test]
    fn that_of_another_deployment_is_not_ours() {
        let own = mark("00ff");
        for values in
            [&[][..], &[""], &["pingbox-00fe"], &["pingbox-00ff0"], &["pingbox"], &["other;x=pingbox-00ff"]]
        {
            assert!(!own.is_ours(&headers(values)), "{values:?}");
        }
    }

    #[test]
    fn it_can_be_read_back_and_does_not_print() {
        let own = mark("00ff");
        let sent = HeaderMap::from_iter([(LoopMark::HEADER.parse().unwrap(), own.value())]);
        assert!(own.is_ours(&sent));
        assert!(!format!("{own:?} {sent:?}").contains("00ff"));
    }
}
