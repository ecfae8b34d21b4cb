//! The running server that client commands call, and the token they show it.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use url::Url;

use super::problem::{ConfigErrors, Origin, Problem};
use super::settings::without_newline;
use super::sources::{our_variables, read_text};
use crate::model::Secret;

const SERVER: &str = "PINGBOX_SERVER";
const TOKEN: &str = "PINGBOX_TOKEN";
const TOKEN_FILE: &str = "PINGBOX_TOKEN_FILE";
const CA_FILE: &str = "PINGBOX_CA_FILE";

/// The most that is read of a file with a token in it, in bytes.
const TOKEN_LIMIT: u64 = 4096;
/// The most that is read of a file with certificates in it, in bytes. A whole system's take 250 kB.
const CA_LIMIT: u64 = 1024 * 1024;

/// A server, and who calls it.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Where it is.
    pub server: ServerUrl,
    /// Whether a flag or the environment said so.
    pub is_named: bool,
    /// What it knows the caller by. It has no flag: other users of a machine see arguments.
    pub token: Option<Secret>,
    /// The certificates (PEM) that its own must come from, if not from those that the system trusts.
    pub ca: Option<String>,
}

impl Remote {
    /// The server that the flag names, or else `PINGBOX_SERVER`, or else the default; and the token in
    /// `PINGBOX_TOKEN`, or in the file that `PINGBOX_TOKEN_FILE` names; and what [`trusted_ca`] reads.
    ///
    /// # Errors
    /// When a variable or a file cannot be used, or both variables of the token are there.
    pub fn from_process(server: Option<ServerUrl>, ca: Option<PathBuf>) -> Result<Self, ConfigErrors> {
        let env: Vec<_> = our_variables().collect();
        Ok(Self::from_env(server, ca, &env)?)
    }

    fn from_env(
        server: Option<ServerUrl>,
        ca: Option<PathBuf>,
        env: &[(String, OsString)],
    ) -> Result<Self, Problem> {
        let named = match (server, variable(env, SERVER)?) {
            (Some(server), _) => Some(server),
            (None, Some(text)) => {
                Some(text.parse().map_err(|error: InvalidServer| at(SERVER, error.to_string()))?)
            }
            (None, None) => None,
        };
        let is_named = named.is_some();
        let server = named.unwrap_or_default();
        Ok(Self { server, is_named, token: token(env)?, ca: ca_from_env(ca, env)? })
    }
}

/// The text of the file with trusted certificates that the flag `--ca-file` names, or else
/// `PINGBOX_CA_FILE`; `None` when neither does.
///
/// # Errors
/// When it cannot be read, or holds no certificate.
pub fn trusted_ca(flag: Option<PathBuf>) -> Result<Option<String>, ConfigErrors> {
    let env: Vec<_> = our_variables().collect();
    Ok(ca_from_env(flag, &env)?)
}

fn ca_from_env(flag: Option<PathBuf>, env: &[(String, OsString)]) -> Result<Option<String>, Problem> {
    let (path, origin) = match (flag, variable(env, CA_FILE)?) {
        (Some(path), _) => (path, Origin::Flag("ca-file".to_owned())),
        (None, Some(path)) => (PathBuf::from(path), Origin::Environment(CA_FILE.to_owned())),
        (None, None) => return Ok(None),
    };
    let wrong = |text: String| Problem::at(origin, text);
    match read_text(&path, CA_LIMIT) {
        Ok(text) if text.contains("-----BEGIN CERTIFICATE-----") => Ok(Some(text)),
        Ok(_) => Err(wrong(format!(
            "there is no certificate (PEM) in the file {}: `pingbox tls ca` prints that of the server's CA",
            path.display()
        ))),
        Err(error) => Err(wrong(format!("cannot read the file {}: {error}", path.display()))),
    }
}

/// The address of the api listener, such as `http://127.0.0.1:8081`, without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl(String);

impl ServerUrl {
    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for ServerUrl {
    /// That of a server whose `api.listen` is the default.
    fn default() -> Self {
        Self("http://127.0.0.1:8081".to_owned())
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text that is no address of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidServer {
    /// It is something else.
    #[error("must be a URL such as http://127.0.0.1:8081")]
    NotAUrl,
    /// It would be printed with every error.
    #[error("must not hold a login: the token goes into PINGBOX_TOKEN")]
    Login,
}

impl FromStr for ServerUrl {
    type Err = InvalidServer;

    fn from_str(text: &str) -> Result<Self, InvalidServer> {
        let url = Url::parse(text).map_err(|_| InvalidServer::NotAUrl)?;
        let is_address = matches!(url.scheme(), "http" | "https") && url.has_host();
        if !is_address || url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidServer::NotAUrl);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidServer::Login);
        }
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }
}

fn token(env: &[(String, OsString)]) -> Result<Option<Secret>, Problem> {
    let (text, origin) = match (variable(env, TOKEN)?, variable(env, TOKEN_FILE)?) {
        (Some(_), Some(_)) => {
            return Err(at(TOKEN, format!("{TOKEN_FILE} is there as well: give one of them")));
        }
        (Some(text), None) => (text.to_owned(), TOKEN),
        (None, Some(path)) => {
            let text = read_text(Path::new(path), TOKEN_LIMIT);
            let text =
                text.map_err(|error| at(TOKEN_FILE, format!("cannot read the file {path}: {error}")))?;
            (without_newline(&text).to_owned(), TOKEN_FILE)
        }
        (None, None) => return Ok(None),
    };
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(at(origin, "a token is letters, digits and signs of ASCII, without blanks"));
    }
    Ok(Some(Secret::new(text)))
}

/// The value of a variable; an empty one is none.
fn variable<'a>(env: &'a [(String, OsString)], name: &str) -> Result<Option<&'a str>, Problem> {
    let Some((_, value)) = env.iter().find(|(known, value)| known == name && !value.is_empty()) else {
        return Ok(None);
    };
    value.to_str().map(Some).ok_or_else(|| at(name, "the value must be UTF-8"))
}

fn at(variable: &str, text: impl Into<String>) -> Problem {
    Problem::at(Origin::Environment(variable.to_owned()), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(env: &[(&str, &str)]) -> Result<Remote, Problem> {
        let env: Vec<_> = env.iter().map(|&(name, value)| (name.to_owned(), value.into())).collect();
        Remote::from_env(None, None, &env)
    }

    #[test]
    fn the_flag_goes_before_the_environment_and_that_before_the_default() {
        let default = remote(&[(SERVER, ""), (TOKEN, "")]).unwrap();
        assert_eq!((default.server.as_str(), default.token.is_none()), ("http://127.0.0.1:8081", true));
        assert!(!default.is_named);
        let env = [(SERVER.to_owned(), "https://box.example/pingbox/".into())];
        let named = Remote::from_env(None, None, &env).unwrap();
        assert_eq!((named.server.as_str(), named.is_named), ("https://box.example/pingbox", true));
        let flag: ServerUrl = "http://[::1]:1".parse().unwrap();
        assert_eq!(Remote::from_env(Some(flag.clone()), None, &env).unwrap().server, flag);
    }

    #[test]
    fn what_is_no_address_is_told_with_its_variable() {
        for text in ["127.0.0.1:8081", "localhost:8081", "ftp://a", "http://", "http://a?b", "http://a#b"] {
            assert_eq!(text.parse::<ServerUrl>(), Err(InvalidServer::NotAUrl), "{text}");
        }
        let problem = remote(&[(SERVER, "http://me:hunter2@a")]).unwrap_err().to_string();
        assert!(problem.contains(SERVER) && !problem.contains("hunter2"), "{problem}");
    }

    #[test]
    fn a_token_is_in_a_variable_or_in_a_file() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "s3cret\n").unwrap();
        let path = path.to_str().unwrap();
        for env in [[(TOKEN, "s3cret")], [(TOKEN_FILE, path)]] {
            assert!(remote(&env).unwrap().token.unwrap().matches("s3cret"), "{env:?}");
        }
        let problem = remote(&[(TOKEN, "s3cret"), (TOKEN_FILE, path)]).unwrap_err().to_string();
        assert!(problem.contains(TOKEN_FILE) && !problem.contains("s3cret"), "{problem}");
    }

    #[test]
    fn a_token_that_cannot_be_sent_is_not_shown() {
        for token in ["two words", "t\u{f6}ken", "s3cret\r"] {
            let problem = remote(&[(TOKEN, token)]).unwrap_err().to_string();
            assert!(problem.contains(TOKEN) && !problem.contains(token), "{problem}");
        }
        let problem = remote(&[(TOKEN_FILE, "/nonexistent/token")]).unwrap_err().to_string();
        assert!(problem.contains("/nonexistent/token"), "{problem}");
    }

    #[test]
    fn a_file_of_certificates_is_read_from_the_flag_before_the_environment() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let pem = |mark: &str| format!("{mark}\n-----BEGIN CERTIFICATE-----\n");
        let (one, other) = (file("one", &pem("one")), file("other", &pem("other")));
        assert_eq!(remote(&[(CA_FILE, &one)]).unwrap().ca, Some(pem("one")));
        let env = [(CA_FILE.to_owned(), one.into())];
        assert_eq!(ca_from_env(Some(other.into()), &env).unwrap(), Some(pem("other")));
        assert_eq!(remote(&[(CA_FILE, "")]).unwrap().ca, None);
        for wrong in [file("key", "-----BEGIN PRIVATE KEY-----"), "/nonexistent/ca.pem".to_owned()] {
            let problem = remote(&[(CA_FILE, &wrong)]).unwrap_err().to_string();
            assert!(problem.contains(CA_FILE) && problem.contains(&wrong), "{problem}");
        }
    }
}
