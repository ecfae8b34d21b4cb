//! Names of figures in texts, as pages, rules and dashboards have them.

/// The words of a text that are names of ours. The word alone, with nothing behind `pingbox_`, is none.
pub(crate) fn named(text: &str) -> Vec<String> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = text.split(|letter| !is_part(letter));
    words
        .filter(|word| word.len() > "pingbox_".len() && word.starts_with("pingbox_"))
        .map(str::to_owned)
        .collect()
}
