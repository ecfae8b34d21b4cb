//! The checks of the settings, and of the key among them.

use super::check::Check;
use crate::app;
use crate::config::{Config, ConfigErrors, Problem, Sources};
use crate::model::{Secret, Timestamp};

const CONFIG: &str = "config";
const KEY: &str = "key";
/// The setting that the second line is about.
const API_KEY: &str = "provider.api_key";
const LOOK_AGAIN: &str = "put that right; `pingbox config check` looks again";

/// What there is to say of the settings that `loaded` was made from, but for the key.
pub(super) fn config(sources: &Sources, loaded: Result<&Config, &ConfigErrors>) -> Vec<Check> {
    let problems = loaded.err().map_or(&[][..], ConfigErrors::problems);
    let others: Vec<_> = problems.iter().filter(|problem| !is_about_key(problem)).collect();
    if !others.is_empty() {
        return others.into_iter().map(wrong).collect();
    }
    let place = match &sources.file {
        Some((path, _)) => format!("valid, with the file {}", path.display()),
        None => "valid, without a file".to_owned(),
    };
    let mut checks = vec![Check::ok(CONFIG, place)];
    if let Ok(config) = loaded {
        checks.extend(config.warnings().into_iter().map(|warning| Check::note(CONFIG, warning)));
    }
    checks
}

/// What is wrong with settings that could not even be read.
pub(super) fn unreadable(errors: &ConfigErrors) -> impl Iterator<Item = Check> {
    errors.problems().iter().map(wrong)
}

/// Whether the files of certificates that the settings name can be used; nothing when there are none.
pub(super) fn files(config: &Config) -> Vec<Check> {
    match app::check_files(config, Timestamp::by_system()) {
        Ok(advice) => advice.into_iter().map(|advice| Check::note(CONFIG, advice)).collect(),
        Err(problems) => {
            let lines = problems.to_string();
            // The first line only says that there are some.
            lines.lines().skip(1).map(|problem| Check::fail(CONFIG, problem.trim(), LOOK_AGAIN)).collect()
        }
    }
}

/// Whether there is a key that the provider could have given. The sandbox needs none.
pub(super) fn key(sources: &Sources, loaded: Result<&Config, &ConfigErrors>) -> Check {
    let key = match loaded {
        Ok(config) if config.sandbox => return Check::ok(KEY, "the sandbox needs none"),
        Ok(config) => config.provider.api_key.as_ref(),
        Err(errors) => match errors.problems().iter().find(|problem| is_about_key(problem)) {
            Some(problem) => return unfit(problem),
            None => None,
        },
    };
    let origin = sources.origin(API_KEY, false).map(|origin| origin.to_string()).unwrap_or_default();
    match key {
        Some(key) if is_hex(key) => Check::ok(KEY, format!("has the right shape ({origin})")),
        Some(_) => Check::note(KEY, format!("32 characters, but not all of 0-9 a-f ({origin})"))
            .with("compare it with the one on your account settings page at the provider"),
        // Something else is wrong, or it would be here.
        None => Check::note(KEY, "not looked at, because of the configuration"),
    }
}

fn wrong(problem: &Problem) -> Check {
    Check::fail(CONFIG, problem.to_string(), LOOK_AGAIN)
}

/// What is wrong with the key, and where to get the right one.
fn unfit(problem: &Problem) -> Check {
    let shown = problem.to_string();
    let Some((reason, place)) = shown.split_once(": copy ") else {
        return Check::fail(KEY, shown, LOOK_AGAIN);
    };
    Check::fail(KEY, reason, &format!("copy {place}"))
}

fn is_about_key(problem: &Problem) -> bool {
    problem.key.as_deref() == Some(API_KEY)
}

fn is_hex(key: &Secret) -> bool {
    key.expose().bytes().all(|byte| byte.is_ascii_hexdigit())
}
