//! The settings as a page for people, made from [`KEYS`].

use super::keys::{KEYS, Key, Kind};

/// The settings as tables in Markdown, one for each section.
#[must_use]
pub fn tables_in_markdown() -> String {
    let sections = KEYS.chunk_by(|one, other| section(one) == section(other));
    sections.map(table).collect::<Vec<_>>().join("\n\n")
}

fn section(key: &Key) -> &'static str {
    key.name.split('.').next().unwrap_or(key.name)
}

fn table(keys: &[Key]) -> String {
    let mut lines = vec![
        format!("## [{}]", section(&keys[0])),
        String::new(),
        "| key | default | value | environment | meaning |".to_owned(),
        "| --- | --- | --- | --- | --- |".to_owned(),
    ];
    lines.extend(keys.iter().map(row));
    lines.join("\n")
}

fn row(key: &Key) -> String {
    let default = match key.default {
        "" => "none".to_owned(),
        default => format!("`{default}`"),
    };
    let value = match key.kind {
        Kind::Secret => "secret",
        kind => kind.placeholder(),
    };
    // In a table a bar would begin the next cell.
    format!("| `{}` | {default} | `{value}` | `{}` | {} |", key.name, key.variable(), key.help)
        .replace("true|false", r"true\|false")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_row_of_five_cells() {
        let page = tables_in_markdown();
        for key in KEYS {
            let row = page.lines().find(|line| line.starts_with(&format!("| `{}` |", key.name)));
            let cells = row.unwrap_or_default().replace(r"\|", "").matches('|').count();
            assert_eq!(cells, 6, "{}", key.name);
        }
    }
}
