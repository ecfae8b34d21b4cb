//! Every effective setting, where it came from, and no secret.

use std::path::Path;

use serde_json::{Value as Json, json};
use url::Url;

use super::keys::{KEYS, Key, Kind};
use super::problem::Origin;
use super::settings::{Setting, Settings, Value};
use super::sources::Sources;
use super::values::DATA_DIR;

/// What is shown in place of a secret.
const STARS: &str = "***";

impl Sources {
    /// A table of name, value and origin, one setting a line, secrets as `***`. The values are
    /// shown as they were given, also when they are wrong: [`Config::load`] says so.
    ///
    /// [`Config::load`]: super::Config::load
    #[must_use]
    pub fn print(&self, sandbox: bool) -> String {
        let rows: Vec<_> =
            self.shown(sandbox).map(|(key, value, origin)| (key.name, value.to_text(), origin)).collect();
        let width = |text: &str| text.chars().count();
        let names = rows.iter().map(|row| width(row.0)).max().unwrap_or(0);
        // One long value must not push all origins out of sight.
        let values = rows.iter().map(|row| width(&row.1)).filter(|width| *width <= 40);
        let values = values.max().unwrap_or(0);
        let lines =
            rows.iter().map(|(name, value, origin)| format!("{name:names$}  {value:values$}  {origin}"));
        let mut table = lines.collect::<Vec<_>>().join("\n");
        table.push('\n');
        table
    }

    /// The same as an object: `{"public.listen": {"value": "0.0.0.0:8080", "origin": "default"}}`.
    /// What is not set is `null`.
    #[must_use]
    pub fn print_json(&self, sandbox: bool) -> Json {
        self.shown(sandbox)
            .map(|(key, value, origin)| {
                let entry = json!({ "value": value.to_json(key.kind), "origin": origin });
                (key.name.to_owned(), entry)
            })
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    /// Where the value of this key comes from; `None` when there is no such key.
    #[must_use]
    pub fn origin(&self, key: &str, sandbox: bool) -> Option<Origin> {
        let key = Key::find(key)?;
        Some(Settings::gather(self, sandbox).get(key.name).origin.clone())
    }

    fn shown(&self, sandbox: bool) -> impl Iterator<Item = (&'static Key, Shown, String)> {
        let settings = Settings::gather(self, sandbox);
        KEYS.iter().map(move |key| {
            let setting = settings.get(key.name);
            let shown = Shown(redacted(key, setting, &settings));
            (key, shown, setting.origin.to_string())
        })
    }
}

/// A value without secrets.
struct Shown(Value);

fn redacted(key: &Key, setting: &Setting, settings: &Settings) -> Value {
    let Value::Text(text) = &setting.value else {
        return setting.value.clone();
    };
    Value::Text(match key.kind {
        Kind::Secret => STARS.to_owned(),
        Kind::Database if text.starts_with("sqlite:") => {
            let dir = match &settings.get("data.dir").value {
                Value::Text(dir) => dir,
                _ => DATA_DIR,
            };
            let dir = Path::new(dir).display().to_string();
            text.replacen(DATA_DIR, dir.trim_end_matches('/'), 1)
        }
        Kind::Url | Kind::Database => without_login(text),
        _ => text.clone(),
    })
}

/// A URL with stars for its login and its query; stars alone when it is none, for then nobody
/// knows which part is secret.
fn without_login(text: &str) -> String {
    let url = Url::parse(text).ok().filter(Url::has_host);
    url.and_then(|url| starred(url).ok()).map_or_else(|| STARS.to_owned(), String::from)
}

fn starred(mut url: Url) -> Result<Url, ()> {
    if url.password().is_some() {
        url.set_password(Some(STARS))?;
    } else if !url.username().is_empty() {
        // A name alone may be a token.
        url.set_username(STARS)?;
    }
    if url.query().is_some() {
        url.set_query(Some(STARS));
    }
    url.set_fragment(None);
    Ok(url)
}

impl Shown {
    fn to_text(&self) -> String {
        match &self.0 {
            Value::Unset => "none".to_owned(),
            Value::Text(text) => text.escape_debug().to_string(),
            Value::List(items) => {
                let items: Vec<_> = items.iter().map(|item| item.escape_debug().to_string()).collect();
                format!("[{}]", items.join(", "))
            }
            Value::Map(pairs) => {
                let pairs: Vec<_> = pairs
                    .iter()
                    .map(|(name, value)| format!("{} = {value:?}", name.escape_debug()))
                    .collect();
                format!("{{{}}}", pairs.join(", "))
            }
            Value::Unreadable => "unreadable".to_owned(),
        }
    }

    fn to_json(&self, kind: Kind) -> Json {
        match &self.0 {
            Value::Unset | Value::Unreadable => Json::Null,
            Value::Text(text) => match kind {
                Kind::Switch => text.parse().map_or_else(|_| json!(text), |on: bool| json!(on)),
                Kind::Number => text.parse().map_or_else(|_| json!(text), |n: u32| json!(n)),
                _ => json!(text),
            },
            Value::List(items) => json!(items),
            Value::Map(pairs) => json!(pairs),
        }
    }
}
