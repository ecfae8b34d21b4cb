//! Values in files of their own.

use super::*;

fn value_file(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("value");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}

fn api_key_from(text: &str) -> Result<Config, ConfigErrors> {
    let (_dir, path) = value_file(text);
    let sources = env(&[("PINGBOX_PROVIDER__API_KEY_FILE", &path)]);
    Config::load(&sources, false)
}

#[test]
fn one_newline_at_the_end_is_dropped() {
    for end in ["", "\n", "\r\n"] {
        let config = api_key_from(&format!("{API_KEY}{end}")).unwrap();
        assert_eq!(config.provider.api_key.unwrap().expose(), API_KEY);
    }
    for end in ["\n\n", "\r", "\n\r\n"] {
        assert!(api_key_from(&format!("{API_KEY}{end}")).is_err());
    }
}

#[test]
fn an_empty_file_is_an_error() {
    let report = api_key_from("\n").unwrap_err().to_string();
    assert!(report.contains("the file is empty"), "{report}");
    assert_eq!(report.lines().count(), 2, "{report}");
}

#[test]
fn the_configuration_file_names_them_too() {
    let (_dir, path) = value_file("42s");
    let sources = file(&format!("[api]\nmax_wait_file = '{path}'"));
    assert_eq!(load(&sources).api.max_wait, Duration::from_secs(42));
}

#[test]
fn a_missing_one_is_an_error() {
    let sources = env(&[("PINGBOX_LOG__FILTER_FILE", "/nonexistent")]);
    insta::assert_snapshot!(complaint(&sources), @r"
    the configuration has a problem:
      log.filter (environment PINGBOX_LOG__FILTER_FILE, file /nonexistent): cannot read the file: No such file or directory (os error 2)
    ");
}

#[test]
fn value_and_file_at_the_same_level_are_an_error() {
    let sources = file("[log]\nfilter = 'info'\nfilter_file = 'x'");
    insta::assert_snapshot!(complaint(&sources), @r"
    the configuration has a problem:
      log.filter (pingbox.toml line 3): the value and a file with the value are both given: remove one
    ");
}

#[test]
fn a_value_at_a_higher_level_wins_over_a_file() {
    let sources = file("[log]\nfilter_file = '/nonexistent'");
    let sources = with_env(sources, &[("PINGBOX_LOG__FILTER", "warn")]);
    assert_eq!(load(&sources).log.filter, "warn");
}
