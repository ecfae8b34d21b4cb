//! The TLS of one listener: what it shows, exchanged while connections live on.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};

use super::ca::Ca;
use super::{Certified, TlsError, files, ring};
use crate::model::Timestamp;

/// A certificate of our own is made anew when less than this is left of it.
const RENEWED_BEFORE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Where a listener's certificate comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Elsewhere.
    Files {
        /// The chain, PEM.
        cert: PathBuf,
        /// The private key, PEM.
        key: PathBuf,
    },
    /// Our own CA.
    OwnCa {
        /// The folder that the CA is below.
        data_dir: PathBuf,
        /// Host names and addresses.
        names: Vec<String>,
    },
}

impl Source {
    /// What it gives at the moment; an error names settings of the `section`.
    fn load(&self, section: &str, now: Timestamp) -> Result<Certified, TlsError> {
        match self {
            Self::Files { cert, key } => files::load(section, cert, key),
            Self::OwnCa { data_dir, names } => Ca::open(data_dir, now)?.issue(names, now),
        }
    }

    /// Whether a listener could use it; until when. Makes nothing.
    pub(crate) fn check(&self, section: &str) -> Result<Option<Timestamp>, TlsError> {
        match self {
            Self::Files { cert, key } => files::load(section, cert, key).map(|found| Some(found.ends)),
            Self::OwnCa { .. } => Ok(None),
        }
    }
}

/// A listener's certificate. New connections are shown what was read or made last.
pub(crate) struct Endpoint {
    section: &'static str,
    source: Source,
    shown: RwLock<Certified>,
}

impl Endpoint {
    /// Reads or makes the certificate of the listener with the settings of this `section`.
    pub(crate) fn open(section: &'static str, source: Source, now: Timestamp) -> Result<Arc<Self>, TlsError> {
        let shown = RwLock::new(source.load(section, now)?);
        Ok(Arc::new(Self { section, source, shown }))
    }

    /// What the listener speaks: TLS 1.2 and 1.3, and HTTP/1.1 in it.
    pub(crate) fn server_config(self: &Arc<Self>) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(ring()).with_protocol_versions(&[&TLS13, &TLS12]);
        let builder = builder.expect("ring speaks both versions");
        let shown: Arc<dyn ResolvesServerCert> = Arc::<Self>::clone(self);
        let mut config = builder.with_no_client_auth().with_cert_resolver(shown);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }

    /// Which listener it is: `public` or `api`.
    pub(crate) fn section(&self) -> &'static str {
        self.section
    }

    /// Until when clients take the certificate.
    pub(crate) fn ends(&self) -> Timestamp {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).ends
    }

    /// Reads or makes the certificate again. When that fails the listener keeps the one it has.
    pub(super) fn renew(&self, now: Timestamp) -> Result<(), TlsError> {
        let new = self.source.load(self.section, now)?;
        if new.ends < now {
            return Err(TlsError(format!("{}.tls_cert: it has ended on {}", self.section, new.ends)));
        }
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// Whether it is time for another certificate of our own.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        matches!(self.source, Source::OwnCa { .. }) && now > self.ends().before(RENEWED_BEFORE)
    }
}

impl ResolvesServerCert for Endpoint {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&shown.key))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("section", &self.section).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{CertificateError, RootCertStore};
    use tempfile::TempDir;

    use super::*;
    use crate::tls::{ca_certificate, to_pem};

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn own(data: &TempDir, names: &[&str]) -> Source {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        Source::OwnCa { data_dir: data.path().to_owned(), names }
    }

    fn shown(endpoint: &Endpoint) -> CertificateDer<'static> {
        endpoint.shown.read().unwrap().key.cert[0].clone()
    }

    /// What a client says that trusts the CA in `data`.
    fn verify(
        data: &TempDir,
        leaf: &CertificateDer<'_>,
        name: &str,
        now: Timestamp,
    ) -> Result<(), rustls::Error> {
        let ca = ca_certificate(data.path(), now).unwrap().pem();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), ring()).build().unwrap();
        let seconds = u64::try_from(now.as_micros() / 1_000_000).unwrap();
        let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        verifier.verify_server_cert(leaf, &[], &name, &[], time).map(drop)
    }

    #[test]
    fn a_client_that_trusts_the_ca_takes_the_names_and_no_others() {
        let (data, now) = (TempDir::new().unwrap(), Timestamp::now());
        let source = own(&data, &["api.solvecaptcha.com", "*.2captcha.com", "127.0.0.1", "::1"]);
        let leaf = shown(&Endpoint::open("api", source, now).unwrap());
        for name in ["api.solvecaptcha.com", "api.2captcha.com", "127.0.0.1", "::1"] {
            verify(&data, &leaf, name, now).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        for name in ["solvecaptcha.com", "2captcha.com", "127.0.0.2"] {
            assert!(verify(&data, &leaf, name, now).is_err(), "{name}");
        }
        let other = TempDir::new().unwrap();
        assert!(verify(&other, &leaf, "127.0.0.1", now).is_err(), "another CA does not vouch for it");
    }

    #[test]
    fn a_certificate_is_made_anew_when_a_month_is_left_of_it() {
        let (data, now) = (TempDir::new().unwrap(), Timestamp::now());
        let endpoint = Endpoint::open("api", own(&data, &["localhost"]), now).unwrap();
        let first = shown(&endpoint);
        assert!(endpoint.ends() <= now.after(DAY * 397));
        assert!(!endpoint.is_due(now.after(DAY * 360)));
        let later = now.after(DAY * 370);
        assert!(endpoint.is_due(later));
        endpoint.renew(later).unwrap();
        let second = shown(&endpoint);
        assert!(!endpoint.is_due(later));
        let much_later = now.after(DAY * 700);
        let refused = verify(&data, &first, "localhost", much_later).unwrap_err();
        let is_old = |error: &rustls::Error| {
            matches!(error, rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { .. }))
        };
        assert!(is_old(&refused), "{refused}");
        verify(&data, &second, "localhost", much_later).unwrap();
    }

    /// Files with a certificate for 127.0.0.1 that vouches for itself and is valid in these years.
    fn elsewhere(folder: &TempDir, from: i32, to: i32) -> Source {
        let mut params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        let signer = rcgen::KeyPair::generate().unwrap();
        let made = params.self_signed(&signer).unwrap();
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        std::fs::write(&cert, to_pem("CERTIFICATE", made.der())).unwrap();
        std::fs::write(&key, to_pem("PRIVATE KEY", signer.serialized_der())).unwrap();
        Source::Files { cert, key }
    }

    #[test]
    fn a_new_certificate_that_has_ended_does_not_take_the_place_of_the_old() {
        let (folder, now) = (TempDir::new().unwrap(), Timestamp::now());
        let endpoint = Endpoint::open("api", elsewhere(&folder, 2020, 4000), now).unwrap();
        assert_eq!(endpoint.ends().to_string(), "4000-01-01T00:00:00.000Z");
        let first = shown(&endpoint);
        elsewhere(&folder, 2019, 2020);
        let error = endpoint.renew(now).unwrap_err().to_string();
        assert_eq!(error, "api.tls_cert: it has ended on 2020-01-01T00:00:00.000Z");
        assert_eq!(shown(&endpoint), first);
        elsewhere(&folder, 2020, 3000);
        endpoint.renew(now).unwrap();
        assert_ne!(shown(&endpoint), first);
    }

    #[test]
    fn nothing_outlives_its_ca_and_a_ca_that_has_ended_is_told() {
        let (data, now) = (TempDir::new().unwrap(), Timestamp::now());
        let source = own(&data, &["localhost"]);
        let endpoint = Endpoint::open("api", source.clone(), now).unwrap();
        let ends = ca_certificate(data.path(), now).unwrap().ends;
        endpoint.renew(ends.before(DAY * 100)).unwrap();
        assert_eq!(endpoint.ends(), ends);
        let error = Endpoint::open("api", source, ends.after(DAY)).unwrap_err().to_string();
        assert!(error.contains("it has ended") && error.contains("ca.pem"), "{error}");
    }
}
