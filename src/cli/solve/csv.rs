//! Comma-separated values (RFC 4180), as far as `solve` writes and reads them.

/// One record with its line end.
pub(super) fn record(fields: &[&str]) -> String {
    let fields: Vec<_> = fields.iter().map(|field| quoted(field)).collect();
    format!("{}\n", fields.join(","))
}

fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

/// The first record of the text, and what follows it; `None` where its line does not end.
pub(super) fn first(text: &str) -> Option<(Vec<String>, &str)> {
    let mut fields = vec![String::new()];
    let mut is_quoted = false;
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let field = fields.last_mut().expect("there is one from the beginning");
        match character {
            '"' if is_quoted && characters.next_if(|(_, next)| *next == '"').is_some() => field.push('"'),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(String::new()),
            // Spreadsheets save CRLF.
            '\r' if !is_quoted => {}
            '\n' if !is_quoted => return Some((fields, &text[at + 1..])),
            other => field.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for fields in [["a", "b"], ["", ""], ["a,b", "say \"x\""], ["two\nlines", "\r"], ["\"", "\"\""]] {
            let text = record(&fields) + "rest";
            let (read, rest) = first(&text).unwrap();
            assert_eq!((read, rest), (fields.map(str::to_owned).to_vec(), "rest"));
        }
    }

    #[test]
    fn a_record_that_was_cut_off_is_none() {
        let whole = record(&["a,b", "two\nlines"]);
        assert!((0..whole.len()).all(|end| first(&whole[..end]).is_none()));
    }
}
