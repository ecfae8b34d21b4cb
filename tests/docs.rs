//! Pages that are made from the code say what the code does.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;

use pingbox::app;
use pingbox::config::tables_in_markdown;
use pingbox::model::ErrorCode;

#[path = "support/metrics.rs"]
mod metrics;

#[test]
fn the_kept_description_of_the_api_is_that_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let wanted = app::openapi();
    if fs::read_to_string(&path).unwrap_or_default() != wanted {
        // The file follows the code: look at the difference, and commit it.
        fs::write(&path, wanted).unwrap();
        panic!("docs/openapi.json was behind src/http/openapi; it is written anew");
    }
}

#[test]
fn the_page_of_error_codes_has_the_table_of_the_code() {
    hold_table("docs/errors.md", "src/model/error_table.rs", &ErrorCode::table_in_markdown());
}

#[test]
fn the_page_of_settings_has_the_tables_of_the_code() {
    hold_table("docs/settings.md", "src/config/keys.rs", &tables_in_markdown());
}

#[test]
fn the_page_of_metrics_has_the_table_of_the_code() {
    hold_table("docs/metrics.md", "src/http/metrics/table.rs", &app::metrics_in_markdown());
}

/// Holds the part of a page that stands between its marks to what the code makes of it.
fn hold_table(page: &str, source: &str, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- table: begin -->\n", "\n<!-- table: end -->");
    let (head, rest) = text.split_once(begin).expect("the page marks where its table begins");
    let (table, tail) = rest.split_once(end).expect("the page marks where its table ends");
    if table != wanted {
        // The page follows the code: look at the difference, and commit it.
        fs::write(&path, format!("{head}{begin}{wanted}{end}{tail}")).unwrap();
        panic!("{page} was behind {source}; it is written anew");
    }
}

/// A network of Compose is called as figures are.
const NETWORK: &str = "pingbox_api";

#[test]
fn every_figure_that_a_page_names_is_there() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let known = app::metric_names();
    let mut named = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        for name in metrics::named(&fs::read_to_string(&path).unwrap()) {
            if name == NETWORK {
                continue;
            }
            // A histogram is also named as a whole.
            let is_known =
                known.iter().any(|known| *known == name || known.strip_suffix("_bucket") == Some(&name));
            assert!(is_known, "{}: there is no figure {name}", path.display());
            named += 1;
        }
    }
    assert!(named > 50, "only {named} figures are named");
}

/// Every Rust file below this folder.
fn sources(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.extension() {
            _ if path.is_dir() => sources(&path),
            Some(extension) if extension == "rs" => vec![fs::read_to_string(path).unwrap()],
            _ => Vec::new(),
        })
        .collect()
}

#[test]
fn every_test_that_the_page_of_attacks_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let code = [sources(&root.join("src")), sources(&root.join("tests"))].concat().concat();
    let rows =
        page.lines().skip_while(|line| !line.starts_with("## Attacks")).filter(|line| line.starts_with("| "));
    // Without its head and the line below it.
    let rows: Vec<_> = rows.skip(2).collect();
    assert!(rows.len() >= 30, "{} rows are found", rows.len());
    for row in rows {
        let tests = row.rsplit('|').nth(1).unwrap();
        let names: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test is named: {row}");
        for name in names {
            let is_there = code.contains(&format!("fn {name}()"));
            assert!(is_there, "there is no test {name}: {row}");
        }
    }
}
