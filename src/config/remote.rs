//! The running server that client commands call, and the token they show it.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use url::Url;

use super::problem::{ConfigErrors, Origin, Problem};
use super::settings::without_newline;
use super::sources::{our_variables, read_text};
use crate::model::Secret;

const SERVER: &str = "PINGBOX_SERVER";
const TOKEN: &str = "PINGBOX_TOKEN";
const TOKEN_FILE: &str = "PINGBOX_TOKEN_FILE";

/// The most that is read of a file with a token in it, in bytes.
const TOKEN_LIMIT: u64 = 4096;

/// A server, and who calls it.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Where it is.
    pub server: ServerUrl,
    /// What it knows the caller by. It has no flag: other users of a machine see arguments.
    pub token: Option<Secret>,
}

impl Remote {
    /// The server that the flag names, or else `PINGBOX_SERVER`, or else the default; and the token in
    /// `PINGBOX_TOKEN`, or in the file that `PINGBOX_TOKEN_FILE` names.
    ///
    /// # Errors
    /// When a variable cannot be used, or both of the token's are there.
    pub fn from_process(flag: Option<ServerUrl>) -> Result<Self, ConfigErrors> {
        let env: Vec<_> = our_variables().collect();
        Ok(Self::from_env(flag, &env)?)
    }

    fn from_env(flag: Option<ServerUrl>, env: &[(String, OsString)]) -> Result<Self, Problem> {
        let server = match (flag, variable(env, SERVER)?) {
            (Some(server), _) => server,
            (None, Some(text)) => {
                text.parse().map_err(|error: InvalidServer| at(SERVER, error.to_string()))?
            }
            (None, None) => ServerUrl::default(),
        };
        Ok(Self { server, token: token(env)? })
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
        Remote::from_env(None, &env)
    }

    #[test]
    fn the_flag_goes_before_the_environment_and_that_before_the_default() {
        let default = remote(&[(SERVER, ""), (TOKEN, "")]).unwrap();
        assert_eq!((default.server.as_str(), default.token.is_none()), ("http://127.0.0.1:8081", true));
        let env = [(SERVER.to_owned(), "https://box.example/pingbox/".into())];
        let named = Remote::from_env(None, &env).unwrap();
        assert_eq!(named.server.as_str(), "https://box.example/pingbox");
        let flag: ServerUrl = "http://[::1]:1".parse().unwrap();
        assert_eq!(Remote::from_env(Some(flag.clone()), &env).unwrap().server, flag);
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
}
