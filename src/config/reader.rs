//! Reads settings one by one and collects what is wrong with them.

use std::collections::BTreeMap;

use super::keys::Key;
use super::problem::Problem;
use super::settings::{Settings, Value};
use super::values::Parsed;

/// Hands out checked values. What is wrong is noted and replaced by the default, so that reading
/// goes on and everything can be reported at once.
pub(super) struct Reader {
    pub(super) settings: Settings,
}

impl Reader {
    /// The value of a key that always has one.
    pub(super) fn value<T>(&mut self, name: &str, parse: impl Fn(&str) -> Parsed<T>) -> T {
        self.optional(name, &parse).unwrap_or_else(|| {
            let key = Key::find(name).expect("every key that is asked for stands in KEYS");
            parse(key.default).expect("the defaults in KEYS are valid")
        })
    }

    /// The value of a key that may be left out.
    pub(super) fn optional<T>(&mut self, name: &str, parse: impl Fn(&str) -> Parsed<T>) -> Option<T> {
        let Value::Text(text) = &self.settings.get(name).value else {
            return None;
        };
        match parse(text) {
            Ok(value) => Some(value),
            Err(text) => {
                self.complain(name, text);
                None
            }
        }
    }

    /// The values of a list.
    pub(super) fn list<T>(&mut self, name: &str, parse: impl Fn(&str) -> Parsed<T>) -> Vec<T> {
        let Value::List(items) = self.settings.get(name).value.clone() else {
            return Vec::new();
        };
        let parsed = items.iter().map(|item| parse(item));
        parsed.filter_map(|item| item.map_err(|text| self.complain(name, text)).ok()).collect()
    }

    /// The pairs of a map.
    pub(super) fn map<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&str, &str) -> Parsed<(String, T)>,
    ) -> BTreeMap<String, T> {
        let Value::Map(pairs) = self.settings.get(name).value.clone() else {
            return BTreeMap::new();
        };
        let parsed = pairs.iter().map(|(name, value)| parse(name, value));
        parsed.filter_map(|pair| pair.map_err(|text| self.complain(name, text)).ok()).collect()
    }

    /// Notes that the value of `name` is wrong.
    pub(super) fn complain(&mut self, name: &str, text: impl Into<String>) {
        let problem = Problem::new(name, &self.settings.get(name).origin, text);
        self.settings.problems.push(problem);
    }

    /// Notes that `name` is needed but not given, unless something unreadable was given.
    pub(super) fn require(&mut self, name: &str, text: impl Into<String>) {
        let is_unset = matches!(self.settings.get(name).value, Value::Unset);
        // In a file that could not be read to its end, anything may stand.
        if is_unset && self.settings.is_complete {
            self.settings.problems.push(Problem::missing(name, text));
        }
    }

    /// Whether nothing is wrong with the value of `name`.
    pub(super) fn is_sound(&self, name: &str) -> bool {
        let about = |problem: &Problem| problem.key.as_deref() == Some(name);
        !self.settings.problems.iter().any(about)
    }
}
