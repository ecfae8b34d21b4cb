//! What a configuration is made from, and what is said about a wrong one.

mod example;
mod precedence;
mod printing;
mod reports;
mod types;
mod value_files;
mod warnings;

use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;
use url::Url;

use super::*;

const API_KEY: &str = "1abc234de56fab7c89012d34e56fa7b8";

/// Sources whose file is the text given.
fn file(text: &str) -> Sources {
    Sources { file: Some((PathBuf::from("pingbox.toml"), text.to_owned())), ..Sources::default() }
}

fn with_env(mut sources: Sources, env: &[(&str, &str)]) -> Sources {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    sources.env.extend(env.iter().map(owned));
    sources
}

fn with_flag(mut sources: Sources, key: &str, value: &str) -> Sources {
    sources.flags.push((key.to_owned(), value.to_owned()));
    sources
}

fn env(env: &[(&str, &str)]) -> Sources {
    with_env(Sources::default(), env)
}

/// Loads for the sandbox, which needs no API key.
fn load(sources: &Sources) -> Config {
    Config::load(sources, true).unwrap()
}

/// What is said about the sources.
fn complaint(sources: &Sources) -> String {
    Config::load(sources, true).unwrap_err().to_string()
}

/// The example with the `#` taken from in front of every setting.
fn uncommented() -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => setting.to_owned(),
        _ => line.to_owned(),
    };
    EXAMPLE.lines().map(|text| line(text) + "\n").collect()
}

proptest! {
    #[test]
    fn no_file_makes_it_panic(text in any::<String>()) {
        let sources = file(&text);
        Config::load(&sources, false).ok();
        drop(sources.print(false));
    }

    #[test]
    fn no_value_makes_it_panic(key in 0..KEYS.len(), value in any::<String>()) {
        let key = &KEYS[key];
        let (section, name) = key.name.split_once('.').unwrap();
        let in_file = file(&format!("[{section}]\n{name} = {}", serde_json::json!(value)));
        for sources in [in_file, with_flag(Sources::default(), key.name, &value)] {
            Config::load(&sources, false).ok();
            drop((sources.print(false), sources.print_json(true)));
        }
    }

    #[test]
    fn no_toml_type_makes_it_panic(
        key in 0..KEYS.len(),
        value in r#"-?[0-9]{1,25}|0x[0-9a-f]{1,20}|[0-9]\.[0-9e]{1,5}|true|\[[1,"a]*\]|\{a=["b1]*\}|1979-05-27"#,
    ) {
        let (section, name) = KEYS[key].name.split_once('.').unwrap();
        let sources = file(&format!("[{section}]\n{name} = {value}"));
        Config::load(&sources, false).ok();
        drop(sources.print(false));
    }
}
