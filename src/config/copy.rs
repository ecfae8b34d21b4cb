//! From where to where a deployment is copied.

use std::path::{Path, PathBuf};

use super::problem::{ConfigErrors, Origin, Problem};
use super::sections::{Config, DatabaseUrl};
use super::settings::without_newline;
use super::sources::read_text;
use super::values::{database_url, postgres_url};
use crate::model::Secret;

/// The file of a deployment in its `data.dir`, unless `database.url` says otherwise.
const FILE: &str = "pingbox.db";
/// The most that is read of a file with a URL in it, in bytes.
const URL_LIMIT: u64 = 4096;

/// The ends of a copy.
#[derive(Clone, Debug)]
pub struct CopyEnds {
    /// The SQLite file.
    pub from: PathBuf,
    /// The whole `postgres://` URL.
    pub to: Secret,
    /// `database.listen_url`, where `to` is `database.url`: they lead to the same database.
    pub listen_url: Option<Secret>,
}

/// The flags of a copy, as they were given.
#[derive(Clone, Copy, Debug)]
pub struct CopyFlags<'a> {
    /// `--from`: `sqlite://PATH`.
    pub from: Option<&'a str>,
    /// `--to`: `postgres://…`.
    pub to: Option<&'a str>,
    /// `--to-file`: where that stands.
    pub to_file: Option<&'a Path>,
}

impl CopyEnds {
    /// What the flags name. Without `--from` it is the file that the server has used so far: that of `database.url`,
    /// or, where that names a server already, the one in `data.dir`. Without `--to` and `--to-file` it is
    /// `database.url`.
    ///
    /// # Errors
    /// When one of them is missing, is not what it has to be, or cannot be read.
    pub fn new(config: &Config, flags: CopyFlags<'_>) -> Result<Self, ConfigErrors> {
        match (from(config, flags.from), to(config, flags)) {
            (Ok(from), Ok(to)) => {
                let is_configured = flags.to.is_none() && flags.to_file.is_none();
                let listen_url = config.database.listen_url.clone().filter(|_| is_configured);
                Ok(Self { from, to, listen_url })
            }
            (from, to) => {
                let problems = from.err().into_iter().chain(to.err()).collect();
                ConfigErrors::unless_empty(problems).map(|()| unreachable!("one of them is a problem"))
            }
        }
    }
}

fn from(config: &Config, flag: Option<&str>) -> Result<PathBuf, Problem> {
    match (flag, &config.database.url) {
        (Some(text), _) => match database_url(text, &config.data.dir) {
            Ok(DatabaseUrl::Sqlite(path)) => Ok(path),
            Ok(DatabaseUrl::Postgres(_)) | Err(_) => Err(Problem::at(
                Origin::Flag("from".to_owned()),
                "must be the URL of a SQLite file, as in `sqlite:///data/pingbox.db`",
            )),
        },
        (None, DatabaseUrl::Sqlite(path)) => Ok(path.clone()),
        (None, DatabaseUrl::Postgres(_)) => Ok(config.data.dir.join(FILE)),
    }
}

fn to(config: &Config, flags: CopyFlags<'_>) -> Result<Secret, Problem> {
    let flag = |name: &str| Origin::Flag(name.to_owned());
    match (flags.to, flags.to_file, &config.database.url) {
        (Some(url), ..) => postgres_url(url).map_err(|text| Problem::at(flag("to"), text)),
        (None, Some(path), _) => {
            let text = read_text(path, URL_LIMIT).map_err(|error| {
                Problem::at(flag("to-file"), format!("cannot read the file {}: {error}", path.display()))
            })?;
            let origin = Origin::Contents { path: path.to_owned(), named_by: Box::new(flag("to-file")) };
            postgres_url(without_newline(&text)).map_err(|text| Problem::at(origin, text))
        }
        (None, None, DatabaseUrl::Postgres(url)) => Ok(url.clone()),
        (None, None, DatabaseUrl::Sqlite(_)) => Err(Problem::missing(
            "database.url",
            "names no PostgreSQL to copy to: give its URL in the environment as PINGBOX_DATABASE__URL, in a file \
             named by PINGBOX_DATABASE__URL_FILE or --to-file, or, if there is no password in it, with --to",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Sources;
    use super::*;

    const SERVER: &str = "postgres://pingbox:hunter2@db.internal/pingbox";
    const NOTHING: CopyFlags<'_> = CopyFlags { from: None, to: None, to_file: None };

    fn ends(database: Option<&str>, flags: CopyFlags<'_>) -> Result<CopyEnds, String> {
        let url = database.map(|url| ("PINGBOX_DATABASE__URL".to_owned(), url.to_owned()));
        let data = ("PINGBOX_DATA__DIR".to_owned(), "/data".to_owned());
        let sources = Sources { env: url.into_iter().chain([data]).collect(), ..Sources::default() };
        let config = Config::load(&sources, true).unwrap();
        CopyEnds::new(&config, flags).map_err(|errors| errors.to_string())
    }

    #[test]
    fn without_flags_the_configuration_says_what_it_can() {
        let moved = ends(Some(SERVER), NOTHING).unwrap();
        assert_eq!(moved.from, Path::new("/data/pingbox.db"));
        assert!(moved.to.matches(SERVER));

        let flags = CopyFlags { to: Some(SERVER), ..NOTHING };
        assert_eq!(ends(None, flags).unwrap().from, Path::new("/data/pingbox.db"));
        assert_eq!(ends(Some("sqlite:///srv/a.db"), flags).unwrap().from, Path::new("/srv/a.db"));

        let missing = ends(None, NOTHING).unwrap_err();
        assert!(missing.contains("PINGBOX_DATABASE__URL_FILE"), "{missing}");
    }

    #[test]
    fn flags_go_before_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("url");
        std::fs::write(&path, format!("{SERVER}\n")).unwrap();
        let flags = CopyFlags { from: Some("sqlite://b.db"), to: None, to_file: Some(&path) };
        let named = ends(Some("postgres://other/x"), flags).unwrap();
        assert_eq!(named.from, Path::new("b.db"));
        assert!(named.to.matches(SERVER));
    }

    #[test]
    fn what_is_wrong_is_told_at_once_and_without_a_password() {
        let flags = CopyFlags { from: Some(SERVER), to: Some("mysql://me:hunter2@a/b"), to_file: None };
        let problem = ends(None, flags).unwrap_err();
        assert!(problem.contains("--from") && problem.contains("--to"), "{problem}");
        assert!(!problem.contains("hunter2"), "{problem}");
        let flags = CopyFlags { to_file: Some(Path::new("/nonexistent/url")), ..NOTHING };
        let problem = ends(None, flags).unwrap_err();
        assert!(problem.contains("--to-file") && problem.contains("/nonexistent/url"), "{problem}");
    }
}
