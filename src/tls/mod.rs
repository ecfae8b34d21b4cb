//! TLS of the listeners: where their certificates come from, and how they are exchanged while
//! connections live on.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `ca`, `folder` | our own CA, and where it is kept |
//! | `files` | certificates that come from elsewhere |
//! | `validity` | from when until when a certificate counts |
//! | `endpoint` | what one listener shows |
//! | `keeper` | renews in time, and re-reads when told to |

mod ca;
mod endpoint;
mod files;
mod folder;
mod keeper;
mod validity;

pub(crate) use ca::{CaCertificate, ca_certificate};
pub(crate) use endpoint::{Endpoint, Source};
pub(crate) use keeper::Keeper;

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;

use self::validity::Validity;

/// Why there is no certificate, and what would help. It names files, and shows nothing of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct TlsError(String);

/// A chain with its key, and when clients take it.
#[derive(Clone)]
struct Certified {
    key: Arc<CertifiedKey>,
    validity: Validity,
    /// Our own CA, where that has signed it.
    ca: Option<CaCertificate>,
}

fn ring() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// `der` as PEM, 64 characters a line.
fn to_pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem + "-----END " + label + "-----\n"
}

/// What is wrong with a file.
fn trouble(what: &str, path: &Path, error: impl std::fmt::Display) -> TlsError {
    TlsError(format!("{what} {}: {error}", path.display()))
}
