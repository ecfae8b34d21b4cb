//! The TLS of one listener: what it shows, exchanged while connections live on.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::ca::Ca;
use super::validity::Validity;
use super::{CaCertificate, Certified, TlsError, files, folder, ring, trouble};
use crate::model::Timestamp;

/// A certificate of our own is made anew when less than this is left of it.
const RENEWED_BEFORE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long before a certificate from elsewhere ends that is said.
const SAID_BEFORE: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// How long reading or making a certificate may take, which includes waiting for the lock on our own CA.
const LOAD_DEADLINE: Duration = Duration::from_secs(10);

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

    /// Whether a listener could use it; what is to be done about it. Makes nothing.
    pub(crate) fn check(&self, section: &str, now: Timestamp) -> Result<Option<String>, TlsError> {
        match self {
            Self::Files { cert, key } => {
                files::load(section, cert, key).map(|found| advice(section, &found, now))
            }
            Self::OwnCa { .. } => Ok(None),
        }
    }

    /// What did not answer in time.
    fn stalled(&self, section: &str, deadline: Duration) -> TlsError {
        let seconds = deadline.as_secs();
        match self {
            Self::Files { cert, key } => TlsError(format!(
                "{section}.tls_cert, {section}.tls_key: {} and {} could not be read within {seconds} s: name \
                 files on a disk that answers",
                cert.display(),
                key.display()
            )),
            Self::OwnCa { data_dir, .. } => trouble(
                "could not use the folder",
                &folder::path(data_dir),
                format!(
                    "it did not answer within {seconds} s: set data.dir to a folder on a disk that answers"
                ),
            ),
        }
    }
}

/// What is to be done before clients refuse the certificate, or because they do; `None` when nothing is.
fn advice(section: &str, shown: &Certified, now: Timestamp) -> Option<String> {
    if let Some(ca) = &shown.ca {
        return ca.advice(now);
    }
    let Validity { begins, ends } = shown.validity;
    if ends < now {
        Some(format!("{section}.tls_cert has ended on {ends}: clients refuse it"))
    } else if now < begins {
        Some(format!(
            "{section}.tls_cert begins on {begins}, later than the clock says: clients refuse it until then"
        ))
    } else if ends < now.after(SAID_BEFORE) {
        Some(format!("{section}.tls_cert ends on {ends}: put another in its place, and send SIGHUP"))
    } else {
        None
    }
}

/// A listener's certificate. New connections are shown what was read or made last.
pub(crate) struct Endpoint {
    section: &'static str,
    source: Source,
    shown: RwLock<Certified>,
    /// Held while the source is asked, so that one that hangs keeps one thread and not one more each time.
    turn: Arc<Mutex<()>>,
}

impl Endpoint {
    /// Reads or makes the certificate of the listener with the settings of this `section`.
    pub(crate) async fn open(
        section: &'static str,
        source: Source,
        now: Timestamp,
    ) -> Result<Arc<Self>, TlsError> {
        let turn = Arc::default();
        let shown = RwLock::new(load(section, &source, &turn, LOAD_DEADLINE, now).await?);
        Ok(Arc::new(Self { section, source, shown, turn }))
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

    /// What the listener shows at the moment.
    fn shown(&self) -> Certified {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Until when clients take the certificate.
    pub(crate) fn ends(&self) -> Timestamp {
        self.shown().validity.ends
    }

    /// Our own CA, where the certificate comes from it.
    pub(crate) fn ca(&self) -> Option<CaCertificate> {
        self.shown().ca
    }

    /// What is to be done before clients refuse the certificate, or because they do.
    pub(super) fn advice(&self, now: Timestamp) -> Option<String> {
        advice(self.section, &self.shown(), now)
    }

    /// Reads or makes the certificate again. When that fails, or does not end in time, the listener keeps
    /// the one it has.
    pub(super) async fn renew(&self, now: Timestamp) -> Result<(), TlsError> {
        self.renew_within(LOAD_DEADLINE, now).await
    }

    async fn renew_within(&self, deadline: Duration, now: Timestamp) -> Result<(), TlsError> {
        let new = load(self.section, &self.source, &self.turn, deadline, now).await?;
        if new.validity.ends < now {
            let ends = new.validity.ends;
            return Err(TlsError(format!("{}.tls_cert: it has ended on {ends}", self.section)));
        }
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// Whether it is time for another certificate of our own: soon before this one ends, unless another
    /// could last no longer, and when the clock was set to before it begins.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        let Certified { validity, ca: Some(ca), .. } = self.shown() else { return false };
        let ends_soon = now > validity.ends.before(RENEWED_BEFORE);
        now < validity.begins || ends_soon && validity.ends < ca.ends
    }
}

/// What the source gives at the moment, asked where it holds up nobody. What comes after the `deadline`
/// is not used.
async fn load(
    section: &'static str,
    source: &Source,
    turn: &Arc<Mutex<()>>,
    deadline: Duration,
    now: Timestamp,
) -> Result<Certified, TlsError> {
    let Ok(turn) = Arc::clone(turn).try_lock_owned() else {
        return Err(source.stalled(section, deadline));
    };
    let asked = source.clone();
    let loading = spawn_blocking(move || {
        let _turn = turn;
        asked.load(section, now)
    });
    match timeout(deadline, loading).await {
        Ok(Ok(loaded)) => loaded,
        Ok(Err(broken)) => Err(TlsError(format!("could not load the certificate: {broken}"))),
        Err(_) => Err(source.stalled(section, deadline)),
    }
}

impl ResolvesServerCert for Endpoint {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.shown.read().unwrap_or_else(PoisonError::into_inner).key))
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

    fn leaf(endpoint: &Endpoint) -> CertificateDer<'static> {
        endpoint.shown().key.cert[0].clone()
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

    #[tokio::test]
    async fn a_client_that_trusts_the_ca_takes_the_names_and_no_others() {
        let (data, now) = (TempDir::new().unwrap(), Timestamp::now());
        let source = own(&data, &["api.solvecaptcha.com", "*.2captcha.com", "127.0.0.1", "::1"]);
        let shown = leaf(&Endpoint::open("api", source, now).await.unwrap());
        for name in ["api.solvecaptcha.com", "api.2captcha.com", "127.0.0.1", "::1"] {
            verify(&data, &shown, name, now).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        for name in ["solvecaptcha.com", "2captcha.com", "127.0.0.2"] {
            assert!(verify(&data, &shown, name, now).is_err(), "{name}");
        }
        let other = TempDir::new().unwrap();
        assert!(verify(&other, &shown, "127.0.0.1", now).is_err(), "another CA does not vouch for it");
    }

    #[tokio::test]
    async fn a_certificate_is_made_anew_when_a_month_is_left_of_it() {
        let (data, now) = (TempDir::new().unwrap(), Timestamp::now());
        let endpoint = Endpoint::open("api", own(&data, &["localhost"]), now).await.unwrap();
        let first = leaf(&endpoint);
        assert!(endpoint.ends() <= now.after(DAY * 397));
        assert!(!endpoint.is_due(now.after(DAY * 360)));
        let later = now.after(DAY * 370);
        assert!(endpoint.is_due(later));
        endpoint.renew(later).await.unwrap();
        let second = leaf(&endpoint);
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

    #[tokio::test]
    async fn a_new_certificate_that_has_ended_does_not_take_the_place_of_the_old() {
        let (folder, now) = (TempDir::new().unwrap(), Timestamp::now());
        let endpoint = Endpoint::open("api", elsewhere(&folder, 2020, 4000), now).await.unwrap();
        assert_eq!(endpoint.ends().to_string(), "4000-01-01T00:00:00.000Z");
        let first = leaf(&endpoint);
        elsewhere(&folder, 2019, 2020);
        let error = endpoint.renew(now).await.unwrap_err().to_string();
        assert_eq!(error, "api.tls_cert: it has ended on 2020-01-01T00:00:00.000Z");
        assert_eq!(leaf(&endpoint), first);
        elsewhere(&folder, 2020, 3000);
        endpoint.renew(now).await.unwrap();
        assert_ne!(leaf(&endpoint), first);
    }

    #[tokio::test]
    async fn nothing_outlives_its_ca_and_a_ca_that_has_ended_is_told() {
        let (data, now) = (TempDir::new().unwrap(), Timestamp::now());
        let source = own(&data, &["localhost"]);
        let endpoint = Endpoint::open("api", source.clone(), now).await.unwrap();
        let ends = ca_certificate(data.path(), now).unwrap().ends;
        endpoint.renew(ends.before(DAY * 100)).await.unwrap();
        assert_eq!(endpoint.ends(), ends);
        let error = Endpoint::open("api", source, ends.after(DAY)).await.unwrap_err().to_string();
        assert!(error.contains("it has ended") && error.contains("ca.pem"), "{error}");
    }

    #[tokio::test]
    async fn what_ends_with_its_ca_is_not_made_anew() {
        let (data, now) = (TempDir::new().unwrap(), Timestamp::now());
        let endpoint = Endpoint::open("api", own(&data, &["localhost"]), now).await.unwrap();
        let ends = endpoint.ca().unwrap().ends;
        let late = ends.before(DAY * 29);
        assert!(endpoint.is_due(late));
        endpoint.renew(late).await.unwrap();
        assert!(!endpoint.is_due(late) && !endpoint.is_due(ends.after(DAY)));
        let advice = endpoint.advice(late).unwrap();
        assert!(advice.contains("ca.pem ends on") && !advice.contains("tls_cert"), "{advice}");
    }

    #[tokio::test]
    async fn a_clock_that_is_set_back_makes_another_due() {
        let (data, now) = (TempDir::new().unwrap(), Timestamp::now());
        drop(ca_certificate(data.path(), now).unwrap());
        let endpoint = Endpoint::open("api", own(&data, &["localhost"]), now.after(DAY * 60)).await.unwrap();
        assert!(!endpoint.is_due(now.after(DAY * 60)));
        assert!(verify(&data, &leaf(&endpoint), "localhost", now).is_err());
        assert!(endpoint.is_due(now));
        endpoint.renew(now).await.unwrap();
        assert!(!endpoint.is_due(now));
        verify(&data, &leaf(&endpoint), "localhost", now).unwrap();
    }

    #[tokio::test]
    async fn a_certificate_from_elsewhere_is_never_due_and_told_when_it_ends_soon() {
        let (folder, now) = (TempDir::new().unwrap(), Timestamp::now());
        let source = elsewhere(&folder, 2020, 3000);
        let endpoint = Endpoint::open("api", source.clone(), now).await.unwrap();
        let ends = endpoint.ends();
        assert_eq!(endpoint.advice(ends.before(DAY * 15)), None);
        for (when, said) in [
            (ends.before(DAY * 13), "SIGHUP"),
            (ends.after(DAY), "api.tls_cert has ended"),
            (Timestamp::from_micros(0), "api.tls_cert begins on 2020"),
        ] {
            assert!(!endpoint.is_due(when));
            let advice = endpoint.advice(when).unwrap();
            assert!(advice.contains(said), "{advice}");
            assert_eq!(source.check("api", when).unwrap().unwrap(), advice);
        }
    }

    #[tokio::test]
    async fn files_that_do_not_answer_are_told_and_the_old_certificate_stays() {
        let (folder, now) = (TempDir::new().unwrap(), Timestamp::now());
        let source = elsewhere(&folder, 2020, 3000);
        let endpoint = Endpoint::open("api", source, now).await.unwrap();
        let first = leaf(&endpoint);
        let cert = folder.path().join("cert.pem");
        std::fs::remove_file(&cert).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&cert).status().unwrap().success());
        // The second time the first is still under way.
        for _ in 0..2 {
            let error = endpoint.renew_within(Duration::from_millis(50), now).await.unwrap_err().to_string();
            assert!(error.contains("could not be read within"), "{error}");
        }
        assert_eq!(leaf(&endpoint), first);
        // Lets the reader go.
        drop(std::fs::OpenOptions::new().write(true).open(&cert).unwrap());
    }
}
