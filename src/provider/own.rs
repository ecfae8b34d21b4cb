//! Which addresses lead to pingbox itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Addresses for documentation (RFC 5737, RFC 3849), which no machine has.
const OF_NOBODY: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

/// Where pingbox listens.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnListeners(Vec<SocketAddr>);

impl OwnListeners {
    /// With the addresses as they were bound.
    pub(crate) fn new(bound: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self(bound.into_iter().collect())
    }

    /// The ports that they listen on.
    pub(crate) fn ports(&self) -> impl Iterator<Item = u16> {
        self.0.iter().map(SocketAddr::port)
    }

    /// Whether a connection to `address` is taken by one of them. Networks can lead to us by addresses
    /// that are not this machine's: those are not known here.
    pub(crate) fn take(&self, address: SocketAddr) -> bool {
        let ip = destination(address.ip());
        self.0.iter().any(|bound| bound.port() == address.port() && takes(bound.ip(), ip))
    }
}

/// Where a connection to `ip` goes: one to "any address" stays on this machine.
fn destination(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// Whether a listener that is bound to `bound` takes connections to `ip`.
fn takes(bound: IpAddr, ip: IpAddr) -> bool {
    match bound.to_canonical() {
        IpAddr::V4(bound) if bound.is_unspecified() => ip.is_ipv4() && is_of_this_machine(ip),
        // Connections over IPv4 arrive there as well.
        IpAddr::V6(bound) if bound.is_unspecified() => is_of_this_machine(ip),
        bound => bound == ip,
    }
}

/// Whether one of this machine's interfaces has the address: only such addresses can be bound, unless the
/// system lets any be bound; then the address from which we would call it has to be the same.
fn is_of_this_machine(ip: IpAddr) -> bool {
    let any_can_be_bound =
        || OF_NOBODY.iter().any(|nobody| nobody.is_ipv4() == ip.is_ipv4() && can_bind(*nobody));
    ip.is_loopback() || (can_bind(ip) && (!any_can_be_bound() || calls_itself(ip)))
}

fn can_bind(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

/// Sends nothing: the system only chooses the way.
fn calls_itself(ip: IpAddr) -> bool {
    let any: IpAddr = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((ip, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a listener bound to the one takes a connection to the other.
    fn takes(bound: &str, address: &str) -> bool {
        OwnListeners::new([bound.parse().unwrap()]).take(address.parse().unwrap())
    }

    #[test]
    fn a_listener_takes_its_own_address_and_port_and_no_other() {
        assert!(takes("127.0.0.1:8081", "127.0.0.1:8081"));
        assert!(takes("127.0.0.1:8081", "[::ffff:127.0.0.1]:8081"));
        assert!(takes("[::1]:8081", "[::1]:8081"));
        for elsewhere in ["127.0.0.1:8082", "127.0.0.2:8081", "[::1]:8081", "192.0.2.7:8081"] {
            assert!(!takes("127.0.0.1:8081", elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn any_address_is_this_machine_for_who_listens_and_for_who_calls() {
        for own in ["127.0.0.1:8081", "127.9.9.9:8081", "0.0.0.0:8081"] {
            assert!(takes("0.0.0.0:8081", own) && takes("[::]:8081", own), "{own}");
        }
        assert!(takes("[::]:8081", "[::1]:8081") && takes("[::]:8081", "[::]:8081"));
        assert!(takes("127.0.0.1:8081", "0.0.0.0:8081"));
        for elsewhere in ["192.0.2.7:8081", "[2001:db8::7]:8081", "127.0.0.1:8082"] {
            assert!(!takes("0.0.0.0:8081", elsewhere) && !takes("[::]:8081", elsewhere), "{elsewhere}");
        }
        // One that listens on IPv4 alone.
        assert!(!takes("0.0.0.0:8081", "[::1]:8081"));
    }

    #[test]
    fn an_address_of_an_interface_is_of_this_machine() {
        // The one that this machine would call others from, if it has any but loopback.
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        let Ok(()) = socket.connect("192.0.2.7:9") else { return };
        let ip = socket.local_addr().unwrap().ip();
        assert!(is_of_this_machine(ip) && calls_itself(ip), "{ip}");
        assert!(!calls_itself("192.0.2.7".parse().unwrap()));
    }
}
