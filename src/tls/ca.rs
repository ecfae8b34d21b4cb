//! Our own CA: made once and kept, so that clients are told only once to trust it.
//!
//! Its name comes from its key, which is all that has to be known to sign with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use tracing::warn;

use super::folder::{self, Folder, LOCK_PATIENCE};
use super::validity::{Validity, midnight, validity};
use super::{Certified, TlsError, ring, to_pem, trouble};
use crate::model::{Timestamp, hex};

const KEY_FILE: &str = "ca-key.pem";
const CERTIFICATE_FILE: &str = "ca.pem";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the CA is valid: ten years.
const CA_DAYS: u32 = 3652;
/// How long a certificate is valid, from the midnight before the last, so that clients whose clock is
/// slow take it too. Apple's take none that is valid for more than 398 days.
const LEAF_DAYS: u32 = 397;
/// How long before the CA ends that is said: all clients have to be told of another.
const SAID_BEFORE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What clients are told to trust.
#[derive(Clone)]
pub(crate) struct CaCertificate {
    /// The file that it is in.
    pub(crate) path: PathBuf,
    begins: Timestamp,
    /// When it ends, and with it all that it has signed.
    pub(crate) ends: Timestamp,
    der: CertificateDer<'static>,
}

impl CaCertificate {
    fn read(content: &[u8], path: PathBuf) -> Result<Self, TlsError> {
        let der = CertificateDer::from_pem_slice(content).ok();
        match der.and_then(|der| Some((validity(&der)?, der))) {
            Some((Validity { begins, ends }, der)) => Ok(Self { path, begins, ends, der }),
            None => Err(damaged(&path)),
        }
    }

    pub(crate) fn pem(&self) -> String {
        to_pem("CERTIFICATE", &self.der)
    }

    /// What is to be done about it; `None` while it serves.
    pub(crate) fn advice(&self, now: Timestamp) -> Option<String> {
        let (path, begins, ends) = (self.path.display(), self.begins, self.ends);
        let folder = self.path.parent().unwrap_or(&self.path).display();
        let another = format!(
            "remove {folder} and restart: then another is made, which clients have to be told to trust"
        );
        if now < begins {
            Some(format!(
                "the CA in {path} begins on {begins}, later than the clock says: clients refuse it until then; set \
                 the clock, or if that is right {another}"
            ))
        } else if ends < now {
            Some(format!("the CA in {path} has ended on {ends}: clients refuse it; {another}"))
        } else if ends < now.after(SAID_BEFORE) {
            Some(format!("the CA in {path} ends on {ends}: {another}"))
        } else {
            None
        }
    }

    /// SHA-256, in hex.
    pub(crate) fn fingerprint(&self) -> String {
        hex(&Sha256::digest(&self.der))
    }
}

/// The certificate of the CA below `data_dir`, which is made when there is none. Where it is there, the
/// key is not looked at: whoever may read the one need not be allowed to read the other.
pub(crate) fn ca_certificate(data_dir: &Path, now: Timestamp) -> Result<CaCertificate, TlsError> {
    let path = folder::path(data_dir).join(CERTIFICATE_FILE);
    match folder::read(&path) {
        Ok(content) => CaCertificate::read(&content, path),
        Err(_) => Ca::open(data_dir, now).map(|ca| ca.certificate),
    }
}

/// The CA, able to sign.
pub(super) struct Ca {
    pub(super) certificate: CaCertificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    /// The CA below `data_dir`, made when there is none.
    pub(super) fn open(data_dir: &Path, now: Timestamp) -> Result<Self, TlsError> {
        let folder = Folder::below(data_dir);
        let (key, certificate) = match read_pair(&folder)? {
            (Some(key), Some(certificate)) => (key, certificate),
            _ => make_missing(&folder, now)?,
        };
        keep_secret(&folder);
        let certificate = CaCertificate::read(&certificate, folder.file(CERTIFICATE_FILE))?;
        Ok(Self { certificate, issuer: Issuer::new(ca_params(&key, now), key) })
    }

    /// A new key with a certificate for these host names and addresses.
    pub(super) fn issue(&self, names: &[String], now: Timestamp) -> Result<Certified, TlsError> {
        let key = new_key()?;
        let mut params = CertificateParams::new(names).map_err(|error| unmade(&error))?;
        params.distinguished_name = named("pingbox");
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        // No client takes what outlives its CA.
        let last = self.certificate.ends.min(now.before(DAY).after(DAY * LEAF_DAYS));
        let validity = span(&mut params, now, last);
        let made = params.signed_by(&key, &self.issuer).map_err(|error| unmade(&error))?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = CertifiedKey::from_der(vec![made.der().clone()], der, &ring());
        let key = key.map_err(|error| unmade(&error))?;
        self.verify(made.der(), names, now)?;
        Ok(Certified { key: Arc::new(key), validity, ca: Some(self.certificate.clone()) })
    }

    /// Looks at a certificate as a client does that trusts the CA.
    fn verify(&self, leaf: &CertificateDer<'_>, names: &[String], now: Timestamp) -> Result<(), TlsError> {
        if now > self.certificate.ends {
            return Err(self.unusable(&format!("it has ended on {}", self.certificate.ends)));
        }
        let seconds = u64::try_from(now.as_micros() / 1_000_000).unwrap_or(0);
        let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let mut roots = RootCertStore::empty();
        roots
            .add(self.certificate.der.clone())
            .map_err(|error| self.unusable(&format!("it is no certificate of a CA ({error})")))?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), ring()).build();
        let verifier = verifier.map_err(|error| unmade(&error))?;
        // A name with a wildcard is none that a client could ask for.
        let names = names.iter().filter_map(|name| ServerName::try_from(name.as_str()).ok());
        for name in names {
            verifier
                .verify_server_cert(leaf, &[], &name, &[], time)
                .map_err(|error| self.unusable(&format!("it does not belong to {KEY_FILE} ({error})")))?;
        }
        Ok(())
    }

    fn unusable(&self, why: &str) -> TlsError {
        let path = &self.certificate.path;
        let remedy = format!(
            "restore it, or remove it and {KEY_FILE}: then another CA is made, which clients have to be told to trust"
        );
        trouble("the CA cannot be used", path, format!("{why}: {remedy}"))
    }
}

/// The key and the certificate (PEM) that are there. Both are, when the certificate is: it is made last,
/// and so looked at first.
fn read_pair(folder: &Folder) -> Result<(Option<KeyPair>, Option<Vec<u8>>), TlsError> {
    let (certificate, key) = (folder.read(CERTIFICATE_FILE)?, folder.read(KEY_FILE)?);
    let key = key.map(|pem| read_key(&pem).ok_or_else(|| damaged(&folder.file(KEY_FILE)))).transpose()?;
    if key.is_none() && certificate.is_some() {
        return Err(trouble(
            "the key of the CA is missing",
            &folder.file(KEY_FILE),
            format!(
                "restore it, or remove {CERTIFICATE_FILE} beside it: then another CA is made, which clients have to \
                 be told to trust"
            ),
        ));
    }
    Ok((key, certificate))
}

/// A copy or a backup may have given the key to others. One that cannot be taken from them is used
/// all the same, as it may be a mount whose modes are not ours to set.
fn keep_secret(folder: &Folder) {
    let path = folder.file(KEY_FILE);
    let path = path.display();
    match folder.narrow(KEY_FILE) {
        Ok(None) => {}
        Ok(Some(mode)) => warn!(
            %path,
            "The key of the CA could be used by others (mode {mode:03o}), and is now its owner's alone: if they are \
             not to be trusted, replace the CA: {path}"
        ),
        Err(error) => warn!(
            %path, %error,
            "The key of the CA may be used by others, as its mode cannot be set to 0600: {path}: {error}"
        ),
    }
}

/// Makes the key and the certificate (PEM), as far as they are not there.
fn make_missing(folder: &Folder, now: Timestamp) -> Result<(KeyPair, Vec<u8>), TlsError> {
    let locked = folder.lock(LOCK_PATIENCE)?;
    // Another process may have made them meanwhile.
    let (key, certificate) = read_pair(folder)?;
    // The key goes first: a certificate without its key would be of no use.
    let key = if let Some(key) = key {
        key
    } else {
        let key = new_key()?;
        locked.write(KEY_FILE, &to_pem("PRIVATE KEY", key.serialized_der()), 0o600)?;
        key
    };
    if let Some(certificate) = certificate {
        return Ok((key, certificate));
    }
    let made = ca_params(&key, now).self_signed(&key).map_err(|error| unmade(&error))?;
    let pem = to_pem("CERTIFICATE", made.der());
    locked.write(CERTIFICATE_FILE, &pem, 0o644)?;
    Ok((key, pem.into_bytes()))
}

fn new_key() -> Result<KeyPair, TlsError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| unmade(&error))
}

fn read_key(pem: &[u8]) -> Option<KeyPair> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem).ok()?;
    KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256).ok()
}

fn ca_params(key: &KeyPair, now: Timestamp) -> CertificateParams {
    let id = hex(&Sha256::digest(key.subject_public_key_info())[..4]);
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&format!("pingbox CA {id}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    span(&mut params, now, now.after(DAY * CA_DAYS));
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

/// Makes it valid from the day before `now` to the midnight before `last`; when that is.
fn span(params: &mut CertificateParams, now: Timestamp, last: Timestamp) -> Validity {
    let (begins, (year, month, day)) = midnight(now.before(DAY));
    params.not_before = date_time_ymd(year, month, day);
    let (ends, (year, month, day)) = midnight(last);
    params.not_after = date_time_ymd(year, month, day);
    Validity { begins, ends }
}

fn damaged(path: &Path) -> TlsError {
    trouble(
        "could not use",
        path,
        "it is damaged: restore it, or remove the whole folder: then another CA is made, which clients have to \
         be told to trust",
    )
}

fn unmade(error: &dyn std::error::Error) -> TlsError {
    TlsError(format!("could not make a certificate: {error}"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::*;

    fn open(data: &TempDir) -> Result<Ca, TlsError> {
        Ca::open(data.path(), Timestamp::now())
    }

    fn refusal(data: &TempDir) -> String {
        let ca = open(data).and_then(|ca| ca.issue(&["localhost".to_owned()], Timestamp::now()).map(drop));
        ca.unwrap_err().to_string()
    }

    #[test]
    fn it_is_made_once_and_its_key_is_private() {
        let data = TempDir::new().unwrap();
        let first = open(&data).unwrap().certificate;
        assert_eq!(open(&data).unwrap().certificate.pem(), first.pem());
        assert_eq!(fs::read_to_string(&first.path).unwrap(), first.pem());
        let key = fs::metadata(data.path().join("tls").join(KEY_FILE)).unwrap();
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
        let files = fs::read_dir(data.path().join("tls")).unwrap().map(|file| file.unwrap().file_name());
        assert_eq!(files.count(), 3, "no draft is left beside the lock");
    }

    #[test]
    fn a_key_that_others_can_use_is_taken_from_them() {
        let data = TempDir::new().unwrap();
        let key = open(&data).unwrap().certificate.path.with_file_name(KEY_FILE);
        for (mode, then) in [(0o644, 0o600), (0o640, 0o600), (0o400, 0o400)] {
            fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
            open(&data).unwrap();
            assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, then);
        }
    }

    #[test]
    fn everybody_who_asks_at_once_gets_the_same() {
        let data = TempDir::new().unwrap();
        let made: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| open(&data).unwrap().certificate.pem())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(made.iter().all(|pem| *pem == made[0]));
    }

    #[test]
    fn what_a_crash_left_half_made_is_completed() {
        let data = TempDir::new().unwrap();
        let ca = open(&data).unwrap();
        fs::remove_file(&ca.certificate.path).unwrap();
        fs::write(ca.certificate.path.with_file_name(".ca.pem.new"), "half").unwrap();
        open(&data).unwrap().issue(&["localhost".to_owned()], Timestamp::now()).unwrap();
    }

    #[test]
    fn a_lost_or_damaged_file_is_told_and_nothing_is_made_in_its_place() {
        let data = TempDir::new().unwrap();
        let path = open(&data).unwrap().certificate.path;
        let (key, whole) = (path.with_file_name(KEY_FILE), fs::read_to_string(&path).unwrap());
        fs::write(&path, &whole[..100]).unwrap();
        assert!(refusal(&data).contains("ca.pem: it is damaged"), "{}", refusal(&data));
        fs::write(&path, whole).unwrap();
        fs::rename(&key, key.with_extension("away")).unwrap();
        assert!(refusal(&data).contains("ca-key.pem: restore it"), "{}", refusal(&data));
        let other = TempDir::new().unwrap();
        let foreign = open(&other).unwrap().certificate.path.with_file_name(KEY_FILE);
        fs::copy(foreign, &key).unwrap();
        assert!(refusal(&data).contains("does not belong to ca-key.pem"), "{}", refusal(&data));
    }

    #[test]
    fn the_certificate_can_be_read_without_the_key() {
        let data = TempDir::new().unwrap();
        let ca = open(&data).unwrap().certificate;
        fs::remove_file(ca.path.with_file_name(KEY_FILE)).unwrap();
        let read = ca_certificate(data.path(), Timestamp::now()).unwrap();
        assert_eq!((read.pem(), read.fingerprint()), (ca.pem(), ca.fingerprint()));
    }

    #[test]
    fn what_is_there_is_used_whoever_holds_the_lock() {
        let data = TempDir::new().unwrap();
        let first = open(&data).unwrap().certificate.pem();
        let folder = Folder::below(data.path());
        let _held = folder.lock(LOCK_PATIENCE).unwrap();
        assert_eq!(open(&data).unwrap().certificate.pem(), first);
    }

    #[test]
    fn a_ca_that_clients_refuse_or_soon_will_is_told_with_what_helps() {
        let (data, now) = (TempDir::new().unwrap(), Timestamp::now());
        let ca = Ca::open(data.path(), now.after(DAY * 10)).unwrap();
        let early = ca.certificate.advice(now).unwrap();
        assert!(early.contains("set the clock") && early.contains("/tls and restart"), "{early}");
        ca.issue(&["localhost".to_owned()], now).unwrap();
        assert_eq!(ca.certificate.advice(now.after(DAY * 10)), None);
        assert_eq!(ca.certificate.advice(ca.certificate.ends.before(DAY * 31)), None);
        for (days, said) in [(29, "ends on"), (0, "ends on")] {
            let advice = ca.certificate.advice(ca.certificate.ends.before(DAY * days)).unwrap();
            assert!(advice.contains(said) && advice.contains("another is made"), "{advice}");
        }
        assert!(ca.certificate.advice(ca.certificate.ends.after(DAY)).unwrap().contains("has ended"));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_told() {
        let data = TempDir::new().unwrap();
        fs::write(data.path().join("tls"), "").unwrap();
        let error = ca_certificate(data.path(), Timestamp::now()).err().unwrap().to_string();
        assert!(error.contains("set data.dir"), "{error}");
    }
}
