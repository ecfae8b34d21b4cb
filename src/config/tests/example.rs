//! The annotated file keeps up with the table of keys.

use super::*;

#[test]
fn it_sets_nothing() {
    let (with, without) = (file(EXAMPLE).print(true), Sources::default().print(true));
    assert_eq!(with, without);
    load(&file(EXAMPLE));
}

#[test]
fn uncommented_it_sets_the_defaults() {
    let (with, without) = (load(&file(&uncommented())), load(&Sources::default()));
    assert_eq!(format!("{with:?}"), format!("{without:?}"));
}

#[test]
fn it_names_every_key_with_its_default() {
    let mut expected = Vec::new();
    for key in KEYS {
        let (section, name) = key.name.split_once('.').unwrap();
        let default = match key.kind {
            Kind::Switch => key.default.to_owned(),
            Kind::Map => "{}".to_owned(),
            Kind::List if key.default.is_empty() => "[]".to_owned(),
            Kind::List => format!("[\"{}\"]", key.default.replace(',', "\", \"")),
            _ => format!("\"{}\"", key.default),
        };
        expected.push(format!("[{section}] #{name} = {default}"));
    }
    let mut section = "";
    let mut settings = Vec::new();
    for line in EXAMPLE.lines() {
        if line.starts_with('[') {
            section = line;
        } else if !line.is_empty() && !line.starts_with("# ") && line != "#" {
            settings.push(format!("{section} {line}"));
        }
    }
    assert_eq!(settings, expected);
}
