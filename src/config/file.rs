//! The configuration file: TOML, read with line numbers.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::keys::{self, KEYS, Kind};
use super::problem::{Origin, Problem};
use super::settings::{Given, Value};

/// The settings in the file, in the order of its lines; `None` when its syntax is broken, because
/// what follows a syntax error may not be what was meant.
pub(super) fn read(path: &Path, text: &str, problems: &mut Vec<Problem>) -> Option<Vec<Given>> {
    let file = File { path, text };
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        // `Display` would quote the line, and with it what may be a secret.
        let at = error.span().map_or(0, |span| span.start);
        let text = format!("not TOML: {} (texts stand in quotes)", error.message());
        problems.push(Problem::at(file.origin(at), text));
    }
    if !errors.is_empty() {
        return None;
    }
    let mut given = Vec::new();
    for (section, content) in in_order(root.get_ref()) {
        let name = section.get_ref();
        let origin = file.origin(section.span().start);
        let Some(table) = content.get_ref().as_table() else {
            problems.push(outside_section(name, &origin));
            continue;
        };
        if table.is_empty() && !is_section(name) {
            let text = "there is no such section: remove it";
            problems.push(Problem::new(visible(name), &origin, text));
        }
        for (key, value) in in_order(table) {
            let name = format!("{name}.{}", key.get_ref());
            let origin = file.origin(key.span().start);
            match keys::named(&name) {
                Some((key, is_file)) => given.push(Given {
                    key,
                    is_file,
                    value: value_of(if is_file { Kind::Path } else { key.kind }, value.get_ref()),
                    origin,
                }),
                None => problems.push(unknown(&name, &origin)),
            }
        }
    }
    Some(given)
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    /// The line of the byte at `offset`.
    fn origin(&self, offset: usize) -> Origin {
        let before = self.text.as_bytes().iter().take(offset);
        Origin::File { path: self.path.to_owned(), line: before.filter(|byte| **byte == b'\n').count() + 1 }
    }
}

type Entry<'a, 'i> = (&'a Spanned<toml::de::DeString<'i>>, &'a Spanned<DeValue<'i>>);

fn in_order<'a, 'i>(table: &'a DeTable<'i>) -> Vec<Entry<'a, 'i>> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}

fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| key.name.split('.').next() == Some(name))
}

/// A name as it can stand in a message of one line.
fn visible(name: &str) -> String {
    name.escape_debug().to_string()
}

fn unknown(name: &str, origin: &Origin) -> Problem {
    let text = match keys::nearest(name) {
        Some((key, is_file)) => {
            let suffix = if is_file { "_file" } else { "" };
            format!("there is no such key; did you mean {}{suffix}?", key.name)
        }
        None => "there is no such key; `pingbox config init` shows all there are".to_owned(),
    };
    Problem::new(visible(name), origin, text)
}

fn outside_section(name: &str, origin: &Origin) -> Problem {
    if is_section(name) {
        let text = format!("is a section: write [{name}] and its keys below");
        return Problem::new(name, origin, text);
    }
    unknown(name, origin)
}

/// The value, when it is written as `kind` wants it; else what would be right.
fn value_of(kind: Kind, value: &DeValue<'_>) -> Result<Value, String> {
    if let Some(text) = value.as_str() {
        return Value::from_text(kind, text);
    }
    let found = value.type_str();
    match (kind, value) {
        (Kind::List, DeValue::Array(items)) => strings(items.iter())
            .map(Value::List)
            .ok_or_else(|| "must hold nothing but strings, as in [\"a\", \"b\"]".to_owned()),
        (Kind::Map, DeValue::Table(table)) => table_of_strings(table)
            .map(Value::Map)
            .ok_or_else(|| "must hold nothing but strings, as in { name = \"value\" }".to_owned()),
        (Kind::Switch, DeValue::Boolean(on)) => Ok(Value::Text(on.to_string())),
        // A duration without its unit is refused where the unit is missed.
        (Kind::Number | Kind::Decimal | Kind::Duration, DeValue::Integer(number)) => {
            integer(number).map(Value::Text)
        }
        (Kind::Decimal, DeValue::Float(number)) => Ok(Value::Text(number.as_str().to_owned())),
        (Kind::List, _) => {
            Err(format!("must be a list of strings, as in [\"a\", \"b\"]; this is of type {found}"))
        }
        (Kind::Map, _) => {
            Err(format!("must be a table of strings, as in {{ name = \"value\" }}; this is of type {found}"))
        }
        (Kind::Switch, _) => Err(format!("must be true or false; this is of type {found}")),
        _ => Err(format!("must be a string, in quotes; this is of type {found}")),
    }
}

fn integer(number: &DeInteger<'_>) -> Result<String, String> {
    i64::from_str_radix(number.as_str(), number.radix())
        .map(|number| number.to_string())
        .map_err(|_| "the number is too large".to_owned())
}

fn strings<'a, 'i: 'a>(items: impl Iterator<Item = &'a Spanned<DeValue<'i>>>) -> Option<Vec<String>> {
    items.map(|item| item.get_ref().as_str().map(str::to_owned)).collect()
}

fn table_of_strings(table: &DeTable<'_>) -> Option<BTreeMap<String, String>> {
    table
        .iter()
        .map(|(name, value)| {
            let value = value.get_ref().as_str()?;
            Some((name.get_ref().to_string(), value.to_owned()))
        })
        .collect()
}
