//! What can be seen in a policy's text before it is parsed: forbidden builtins, and the mark of a
//! data document.

use super::PolicyError;

/// The comment that marks a module as a data document.
const DATA_DOCUMENT_MARK: &str = "caracal:data-document";

/// Builtins that reach outside the decision: network, host, randomness, clock. A decision depends on
/// its input and nothing else, so that it can be repeated and explained.
const FORBIDDEN_BUILTINS: [&str; 11] = [
    "http.send",
    "net.lookup_ip_addr",
    "net.cidr_contains",
    "net.cidr_contains_matches",
    "net.cidr_intersects",
    "net.cidr_expand",
    "net.cidr_merge",
    "opa.runtime",
    "rand.intn",
    "time.now_ns",
    "uuid.rfc4122",
];

/// Whether a comment of its own line marks `source` as a data document.
pub fn is_data_document(source: &str) -> bool {
    source
        .lines()
        .filter_map(|line| line.trim().strip_prefix('#'))
        .any(|comment| comment.trim() == DATA_DOCUMENT_MARK)
}

/// Every use of a forbidden builtin outside comments and strings.
pub(super) fn forbidden_builtins(file: &str, source: &str) -> Vec<PolicyError> {
    let mut errors = Vec::new();
    for (offset, word) in words(source) {
        if FORBIDDEN_BUILTINS.contains(&word) {
            errors.push(PolicyError::at(
                file,
                source,
                offset,
                format!("the builtin {word} is forbidden: a decision depends on its input alone"),
            ));
        }
    }
    errors
}

/// Where `source` looks at the input document.
pub(super) fn input(source: &str) -> Option<usize> {
    let mut words = words(source).into_iter();
    words
        .find(|(_, word)| *word == "input" || word.starts_with("input."))
        .map(|(at, _)| at)
}

/// Where a string with `$` before it begins.
pub(super) fn interpolation(source: &str) -> Option<usize> {
    let mut words = words(source).into_iter();
    words.find(|(_, word)| *word == "$").map(|(at, _)| at)
}

/// The dotted names in `source`, and `$` before strings, with their byte offsets, comments and strings left out.
pub(super) fn words(source: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut characters = source.char_indices().peekable();
    while let Some((start, character)) = characters.next() {
        match character {
            '#' => while characters.next_if(|(_, next)| *next != '\n').is_some() {},
            '`' => while characters.next().is_some_and(|(_, next)| next != '`') {},
            '"' => {
                while let Some((_, next)) = characters.next() {
                    match next {
                        '\\' => drop(characters.next()),
                        '"' | '\n' => break,
                        _ => {}
                    }
                }
            }
            '$' if matches!(characters.peek(), Some((_, '"' | '`'))) => {
                words.extend(source.get(start..=start).map(|word| (start, word)));
            }
            _ if character.is_alphabetic() || character == '_' => {
                let mut end = start + character.len_utf8();
                while let Some((at, next)) = characters
                    .next_if(|(_, next)| next.is_alphanumeric() || matches!(next, '_' | '.'))
                {
                    end = at + next.len_utf8();
                }
                words.extend(source.get(start..end).map(|word| (start, word)));
            }
            _ => {}
        }
    }
    words
}
