//! Each key's one effective value, still as text, and where it came from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::file;
use super::keys::{self, KEYS, Key, Kind};
use super::problem::{Origin, Problem};
use super::sources::{Sources, read_text};

/// The most that is read of a file with a value in it, in bytes.
const VALUE_LIMIT: u64 = 64 * 1024;

/// Keys that the sandbox sets itself: what is given for them is not even read.
const SET_BY_SANDBOX: [&str; 2] = ["provider.base_url", "provider.api_key"];

/// A value that no one has understood yet. It has no `Debug`, because it may be secret.
#[derive(Clone)]
pub(super) enum Value {
    Unset,
    Text(String),
    List(Vec<String>),
    Map(BTreeMap<String, String>),
    /// Something was given that cannot be read; the problem is reported already.
    Unreadable,
}

impl Value {
    /// The value that `text` stands for in flags, the environment and value files.
    pub(super) fn from_text(kind: Kind, text: &str) -> Result<Self, String> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        match kind {
            Kind::List => Ok(Self::List(items.map(str::to_owned).collect())),
            Kind::Map => pairs(items).map(Self::Map),
            _ if text.is_empty() => Ok(Self::Unset),
            _ => Ok(Self::Text(text.to_owned())),
        }
    }

    fn is_unset(&self) -> bool {
        matches!(self, Self::Unset)
    }
}

fn pairs<'a>(items: impl Iterator<Item = &'a str>) -> Result<BTreeMap<String, String>, String> {
    let mut map = BTreeMap::new();
    for item in items {
        let Some((name, value)) = item.split_once('=') else {
            return Err("must be pairs with commas between them, as in `name=value`".to_owned());
        };
        let (name, value) = (name.trim(), value.trim());
        if map.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(format!("names {name:?} twice"));
        }
    }
    Ok(map)
}

/// What one source says of one key.
pub(super) struct Given {
    pub(super) key: &'static Key,
    /// Whether the value is the path of a file with the real value in it.
    pub(super) is_file: bool,
    /// `Err` says how it should have been written.
    pub(super) value: Result<Value, String>,
    pub(super) origin: Origin,
}

impl Given {
    /// What the `text` from `origin` says of the key or file form `named`.
    fn from_text((key, is_file): keys::Named, text: &str, origin: Origin) -> Self {
        let kind = if is_file { Kind::Path } else { key.kind };
        Self { key, is_file, value: Value::from_text(kind, text), origin }
    }

    /// The value and its origin, read from the file that is named, if one is.
    fn resolve(self) -> (Result<Value, String>, Origin) {
        let path = match self.value {
            Ok(Value::Text(path)) if self.is_file => PathBuf::from(path),
            value => return (value, self.origin),
        };
        let value = match read_text(&path, VALUE_LIMIT) {
            Ok(text) => match Value::from_text(self.key.kind, without_newline(&text)) {
                Ok(Value::Unset) => Err("the file is empty".to_owned()),
                value => value,
            },
            Err(error) => Err(format!("cannot read the file: {error}")),
        };
        let named_by = Box::new(self.origin);
        (value, Origin::Contents { path, named_by })
    }
}

/// The text without the line break at its end, if there is one.
pub(super) fn without_newline(text: &str) -> &str {
    let line = text.strip_suffix('\n').unwrap_or(text);
    match line.strip_suffix('\r') {
        Some(stripped) if line.len() < text.len() => stripped,
        _ => line,
    }
}

/// A key's effective value.
pub(super) struct Setting {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// The effective value of every key in [`KEYS`].
pub(super) struct Settings {
    by_name: BTreeMap<&'static str, Setting>,
    /// What is wrong so far.
    pub(super) problems: Vec<Problem>,
    /// Whether all of the file was read. If not, what seems missing may be in it.
    pub(super) is_complete: bool,
}

impl Settings {
    /// Takes flags before environment before file before defaults.
    pub(super) fn gather(sources: &Sources, sandbox: bool) -> Self {
        let mut problems = Vec::new();
        let flags = from_flags(sources, &mut problems);
        let env = from_env(sources, &mut problems);
        let file = match &sources.file {
            Some((path, text)) => file::read(path, text, &mut problems),
            None => Some(Vec::new()),
        };
        let is_complete = file.is_some();
        let mut levels = [flags, env, file.unwrap_or_default()];
        let mut by_name = BTreeMap::new();
        for key in KEYS {
            let setting = if sandbox && SET_BY_SANDBOX.contains(&key.name) {
                Setting { value: default_value(key), origin: Origin::Sandbox }
            } else {
                settle(key, &mut levels, &mut problems)
            };
            by_name.insert(key.name, setting);
        }
        Self { by_name, problems, is_complete }
    }

    pub(super) fn get(&self, name: &str) -> &Setting {
        self.by_name.get(name).expect("every key that is asked for stands in KEYS")
    }
}

pub(super) fn default_value(key: &Key) -> Value {
    Value::from_text(key.kind, key.default).expect("the defaults in KEYS are well-formed")
}

/// Takes what was given for `key` out of the `levels` and finds the one value that counts.
fn settle(key: &Key, levels: &mut [Vec<Given>; 3], problems: &mut Vec<Problem>) -> Setting {
    let mut found = None;
    for level in levels {
        let mut given = level
            .extract_if(.., |given| given.key.name == key.name)
            .filter(|given| !given.value.as_ref().is_ok_and(Value::is_unset));
        let (first, second) = (given.next(), given.next());
        if let (Some(first), Some(second)) = (&first, &second) {
            let text = if first.is_file == second.is_file {
                "is given twice: remove one"
            } else {
                "the value and a file with the value are both given: remove one"
            };
            problems.push(Problem::new(key.name, &second.origin, text));
        }
        found = found.or(first);
    }
    let Some(given) = found else {
        return Setting { value: default_value(key), origin: Origin::Default };
    };
    let (value, origin) = given.resolve();
    let value = value.unwrap_or_else(|text| {
        problems.push(Problem::new(key.name, &origin, text));
        Value::Unreadable
    });
    Setting { value, origin }
}

fn from_flags(sources: &Sources, problems: &mut Vec<Problem>) -> Vec<Given> {
    let mut given = Vec::new();
    for (name, value) in &sources.flags {
        match Key::find(name) {
            Some(key) => {
                let origin = Origin::Flag(key.name.replace(['.', '_'], "-"));
                given.push(Given::from_text((key, false), value, origin));
            }
            None => problems.push(Problem::at(Origin::Flag(name.clone()), "there is no such key")),
        }
    }
    given
}

fn from_env(sources: &Sources, problems: &mut Vec<Problem>) -> Vec<Given> {
    let mut given = Vec::new();
    for (variable, value) in &sources.env {
        // Others write `PINGBOX_PORT` and the like: Kubernetes does for a service of our name.
        let Some((section, rest)) = variable.strip_prefix("PINGBOX_").and_then(|name| name.split_once("__"))
        else {
            continue;
        };
        let name = format!("{section}.{rest}").to_lowercase();
        let origin = Origin::Environment(variable.clone());
        match keys::named(&name).filter(|named| variable_of(*named) == *variable) {
            Some(named) => given.push(Given::from_text(named, value, origin)),
            None => problems.push(unknown_variable(&name, origin)),
        }
    }
    given
}

fn variable_of((key, is_file): keys::Named) -> String {
    let suffix = if is_file { "_FILE" } else { "" };
    format!("{}{suffix}", key.variable())
}

fn unknown_variable(name: &str, origin: Origin) -> Problem {
    let text = match keys::nearest(name) {
        Some(named) => {
            let meant = variable_of(named);
            format!("there is no such setting; did you mean {meant}?")
        }
        None => "there is no such setting; `pingbox config print` shows all there are".to_owned(),
    };
    Problem::at(origin, text)
}
