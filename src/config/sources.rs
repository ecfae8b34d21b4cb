//! What was given, before anyone understands it: flags, environment, file.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::problem::{ConfigErrors, Origin, Problem};

/// The most that is read of a configuration file, in bytes: a hundred times what one needs.
const FILE_LIMIT: u64 = 1024 * 1024;

/// What a configuration is made from. Its `Debug` shows nothing of it, because its values may be secret.
#[derive(Clone, Default)]
pub struct Sources {
    /// Key (`public.url`) and value of each flag.
    pub flags: Vec<(String, String)>,
    /// Name and value of environment variables. Those that do not read `PINGBOX_A__B` are ignored.
    pub env: Vec<(String, String)>,
    /// The configuration file, as it was named, and its text.
    pub file: Option<(PathBuf, String)>,
}

impl Sources {
    /// Reads the environment of this process, and the file that `config_flag` names, or else
    /// `PINGBOX_CONFIG`. Without either there is no file.
    ///
    /// # Errors
    /// When the named file cannot be read, or a variable of ours is not UTF-8.
    pub fn from_process(
        config_flag: Option<PathBuf>,
        flags: Vec<(String, String)>,
    ) -> Result<Self, ConfigErrors> {
        let mut env = Vec::new();
        let mut problems = Vec::new();
        for (name, value) in our_variables() {
            match value.into_string() {
                Ok(value) => env.push((name, value)),
                Err(_) if name.contains("__") || name == "PINGBOX_CONFIG" => {
                    problems.push(Problem::at(Origin::Environment(name), "the value must be UTF-8"));
                }
                Err(_) => {}
            }
        }
        // The environment has no order of its own, but a report should have one.
        env.sort();
        let file = match named_file(config_flag, &env) {
            Some((path, origin)) => read_config(path, origin).map_err(|problem| problems.push(problem)).ok(),
            None => None,
        };
        ConfigErrors::unless_empty(problems)?;
        Ok(Self { flags, env, file })
    }

    /// The same, with what is in the file by now.
    pub(super) fn again(&self) -> Result<Self, ConfigErrors> {
        let mut sources = self.clone();
        if let Some((path, text)) = &mut sources.file {
            let named_by = Origin::Contents { path: path.clone(), named_by: Box::new(Origin::Default) };
            match read_config(path.clone(), named_by) {
                Ok((_, now)) => *text = now,
                Err(problem) => ConfigErrors::unless_empty(vec![problem])?,
            }
        }
        Ok(sources)
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The environment variables of this process that begin with `PINGBOX_`.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
pub(super) fn our_variables() -> impl Iterator<Item = (String, OsString)> {
    let named = std::env::vars_os().map(|(name, value)| (name.to_string_lossy().into_owned(), value));
    named.filter(|(name, _)| name.starts_with("PINGBOX_"))
}

/// The configuration file to read, and who named it.
fn named_file(flag: Option<PathBuf>, env: &[(String, String)]) -> Option<(PathBuf, Origin)> {
    if let Some(path) = flag {
        return Some((path, Origin::Flag("config".to_owned())));
    }
    let (name, path) = env.iter().find(|(name, value)| name == "PINGBOX_CONFIG" && !value.is_empty())?;
    Some((PathBuf::from(path), Origin::Environment(name.clone())))
}

fn read_config(path: PathBuf, named_by: Origin) -> Result<(PathBuf, String), Problem> {
    match read_text(&path, FILE_LIMIT) {
        Ok(text) => Ok((path, text)),
        Err(error) => Err(Problem::at(named_by, format!("cannot read the file {}: {error}", path.display()))),
    }
}

/// The text of the file at `path`, of at most `limit` bytes.
pub(super) fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(limit + 1).read_to_string(&mut text)?;
    if text.len() as u64 > limit {
        return Err(io::Error::other(format!("more than {limit} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(value: &str) -> Vec<(String, String)> {
        vec![("PINGBOX_CONFIG".to_owned(), value.to_owned())]
    }

    #[test]
    fn the_flag_names_the_file_before_the_environment_does() {
        let env = variable("from-env.toml");
        let (path, origin) = named_file(Some("from-flag.toml".into()), &env).unwrap();
        assert_eq!(path, Path::new("from-flag.toml"));
        assert_eq!(origin.to_string(), "--config");
        let (path, origin) = named_file(None, &env).unwrap();
        assert_eq!(path, Path::new("from-env.toml"));
        assert_eq!(origin.to_string(), "environment PINGBOX_CONFIG");
    }

    #[test]
    fn an_empty_variable_names_no_file() {
        assert!(named_file(None, &variable("")).is_none());
    }

    #[test]
    fn a_named_file_that_is_missing_is_an_error() {
        let flag = Some(PathBuf::from("/nonexistent/pingbox.toml"));
        let Err(errors) = Sources::from_process(flag, vec![]) else {
            panic!("read a missing file");
        };
        insta::assert_snapshot!(errors, @r"
        the configuration has a problem:
          --config: cannot read the file /nonexistent/pingbox.toml: No such file or directory (os error 2)
        ");
    }
}
