//! Flags, environment and file, made into one checked configuration.
//!
//! [`Sources`] holds what was given and [`KEYS`] what can be given. [`Config::load`] settles which
//! value of each key counts, turns it into its type, checks what must fit together, and reports
//! everything that is wrong at once. [`Sources::print`] shows the values and where they came from.
//! [`CopyEnds`] is for a move to another database.
//! [`Remote`] is for the commands that call a running server, and need no configuration.

mod checks;
mod copy;
mod file;
mod keys;
mod load;
mod print;
mod problem;
mod reader;
mod remote;
mod sections;
mod settings;
mod sources;
mod table;
mod values;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub use copy::{CopyEnds, CopyFlags};
pub use keys::{KEYS, Key, Kind};
pub use problem::{ConfigErrors, Origin, Problem};
pub use remote::{InvalidServer, Remote, ServerUrl, trusted_ca};
pub use sections::{
    Api, Auth, Compat, Config, Data, Database, DatabaseUrl, Log, LogFormat, Pingback, Provider, Public,
    Retention, Spend, Tls, Unconfirmed, UrlMode, Webhooks,
};
pub use sources::Sources;
pub use table::tables_in_markdown;

/// The annotated configuration file: every setting with its default, commented out.
pub const EXAMPLE: &str = include_str!("../../config/pingbox.toml");

/// Where a listener is reached from this machine: an address that stands for all of them is called
/// on loopback.
#[must_use]
pub const fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
