//! The checks of the addresses that the listeners want.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use super::check::Check;
use crate::app;
use crate::config::Config;

const NAME: &str = "listen";

/// Whether a server could listen where it is to.
pub(super) fn checks(config: &Config) -> [Check; 2] {
    [("public.listen", config.public.listen), ("api.listen", config.api.listen)]
        .map(|(setting, address)| check(setting, address, app::look_at_address(address)))
}

fn check(setting: &str, address: SocketAddr, looked: io::Result<()>) -> Check {
    let Err(error) = looked else { return Check::ok(NAME, format!("{setting}: {address} is free")) };
    match error.kind() {
        ErrorKind::AddrInUse => Check::fail(
            NAME,
            format!("{setting}: another program listens on {address}"),
            &format!("end it (`ss -ltnp` shows which it is), or set {setting} to another address"),
        ),
        ErrorKind::PermissionDenied => Check::fail(
            NAME,
            format!("{setting}: this user may not listen on {address}"),
            &format!(
                "set {setting} to a port from 1024 on, or give pingbox the capability CAP_NET_BIND_SERVICE"
            ),
        ),
        ErrorKind::AddrNotAvailable => Check::fail(
            NAME,
            format!("{setting}: {} is no address of this machine", address.ip()),
            &format!("set {setting} to one of them (`ip address` shows them)"),
        ),
        _ => Check::fail(
            NAME,
            format!("{setting}: could not listen on {address} ({error})"),
            &format!("set {setting} to a free address"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_not_to_listen_has_its_remedy() {
        let address = "192.0.2.7:80".parse().unwrap();
        let kinds = [ErrorKind::PermissionDenied, ErrorKind::AddrNotAvailable, ErrorKind::OutOfMemory];
        let lines = kinds.map(|kind| check("public.listen", address, Err(kind.into())).line());
        insta::assert_snapshot!(lines.concat(), @r"
        fail  listen        public.listen: this user may not listen on 192.0.2.7:80 -> set public.listen to a port from 1024 on, or give pingbox the capability CAP_NET_BIND_SERVICE
        fail  listen        public.listen: 192.0.2.7 is no address of this machine -> set public.listen to one of them (`ip address` shows them)
        fail  listen        public.listen: could not listen on 192.0.2.7:80 (out of memory) -> set public.listen to a free address
        ");
    }
}
