//! A certificate from elsewhere, in files.

use std::path::Path;
use std::sync::Arc;

use rustls::InconsistentKeys;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::folder::read;
use super::validity::validity;
use super::{Certified, TlsError, ring};

/// The chain in one file with the key in another, both PEM. The `section` of their settings is for
/// the errors, which name these.
pub(super) fn load(section: &str, cert: &Path, key: &Path) -> Result<Certified, TlsError> {
    let wrong = |setting: &str, text: String| TlsError(format!("{section}.{setting}: {text}"));
    let unreadable = |path: &Path, error: std::io::Error| {
        format!(
            "cannot read the file {}: {error}; name one that the user of pingbox may read",
            path.display()
        )
    };
    let chain = read(cert).map_err(|error| wrong("tls_cert", unreadable(cert, error)))?;
    let chain =
        certificates(&chain).map_err(|text| wrong("tls_cert", format!("{text}: {}", cert.display())))?;
    let secret = read(key).map_err(|error| wrong("tls_key", unreadable(key, error)))?;
    let secret =
        private_key(&secret).map_err(|text| wrong("tls_key", format!("{text}: {}", key.display())))?;

    let first = chain.first().map(|first| first.to_vec()).unwrap_or_default();
    let no_certificate = || {
        let text = format!("the first certificate in {} is damaged: copy it again", cert.display());
        wrong("tls_cert", text)
    };
    let validity = validity(&first).ok_or_else(no_certificate)?;
    let certified = CertifiedKey::from_der(chain, secret, &ring()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            let text = format!(
                "the key in {} does not belong to the first certificate in {}: name the two that were made \
                 together, and put the server's own certificate before those of its CAs",
                key.display(),
                cert.display()
            );
            wrong("tls_key", text)
        }
        rustls::Error::InvalidCertificate(_) => no_certificate(),
        _ => {
            let text = format!(
                "{} is no key that can be used: it must be RSA, P-256, P-384 or Ed25519",
                key.display()
            );
            wrong("tls_key", text)
        }
    })?;
    Ok(Certified { key: Arc::new(certified), validity, ca: None })
}

fn certificates(content: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(content).collect();
    match chain {
        Ok(chain) if chain.is_empty() => {
            Err("there is no certificate (PEM, `-----BEGIN CERTIFICATE-----`) in".to_owned())
        }
        Ok(chain) => Ok(chain),
        Err(_) => Err("there is a damaged certificate in".to_owned()),
    }
}

fn private_key(content: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(content).map_err(|error| match error {
        pem::Error::NoItemsFound if content.windows(17).any(|words| words == b"ENCRYPTED PRIVATE") => {
            "a key with a passphrase cannot be used; write it without one (openssl pkey -in … -out …)"
                .to_owned()
        }
        pem::Error::NoItemsFound => {
            "there is no private key (PEM, `-----BEGIN PRIVATE KEY-----`) in".to_owned()
        }
        _ => "there is a damaged key in".to_owned(),
    })
}
