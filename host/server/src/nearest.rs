//! Names in messages: what there is, and which of it was probably meant.

/// The longest piece of a client's own text that a message quotes.
const SHOWN_CHARS_MAX: usize = 80;

/// The most names that a message lists.
const LISTED_MAX: usize = 32;

/// What a message adds after "there is no such …": `; did you mean a? Available: a, b`.
pub(crate) fn hint<'a>(wanted: &str, names: impl Iterator<Item = &'a str> + Clone) -> String {
    let available = list(names.clone());
    match nearest(wanted, names) {
        Some(name) => format!("; did you mean `{name}`? Available: {available}"),
        None => format!("; available: {available}"),
    }
}

/// Names as a list in a sentence: `` `a`, `b` ``, or `none`.
pub(crate) fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names = names.map(|name| format!("`{name}`"));
    let shown: Vec<String> = names.by_ref().take(LISTED_MAX).collect();
    let more = names.count();
    match (shown.is_empty(), more) {
        (true, _) => "none".into(),
        (false, 0) => shown.join(", "),
        (false, more) => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A client's own text, short enough to quote.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The name closest to what was wanted, unless all of them are far from it.
pub(crate) fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = wanted.chars().take(SHOWN_CHARS_MAX).collect();
    let far = (wanted.len() / 3).max(2);
    let distances = names.map(|name| (distance(&wanted, name), name));
    distances
        .filter(|(distance, _)| *distance <= far)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Levenshtein's distance: how many characters to insert, remove or replace.
fn distance(from: &[char], to: &str) -> usize {
    let mut row: Vec<usize> = (0..=from.len()).collect();
    for (at, to_char) in to.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, from_char) in from.iter().enumerate() {
            let replaced = diagonal + usize::from(*from_char != to_char);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[from.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_unless_it_is_far() {
        let names = ["min-p", "persona", "redact"];
        let cases = [
            ("min_p", Some("min-p")),
            ("minp", Some("min-p")),
            ("redacted", Some("redact")),
            ("Persona", Some("persona")),
            ("weather", None),
            ("", None),
        ];
        for (wanted, expected) in cases {
            assert_eq!(nearest(wanted, names.into_iter()), expected, "{wanted}");
        }
    }

    #[test]
    fn lists_and_quotes_are_bounded() {
        assert_eq!(list([].into_iter()), "none");
        assert_eq!(list(["a", "b"].into_iter()), "`a`, `b`");
        assert!(list(std::iter::repeat_n("a", 40)).ends_with("`a` and 8 more"));
        assert_eq!(shown(&"é".repeat(100)).chars().count(), SHOWN_CHARS_MAX + 1);
    }
}
