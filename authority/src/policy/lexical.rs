//! What can be seen in a policy's text before it is parsed: forbidden builtins, and the mark of a
//! data document.

use super::{PolicyError, reads::Reads};

/// The comment that marks a module as a data document.
const DATA_DOCUMENT_MARK: &str = "caracal:data-document";

/// Deepest nesting of brackets.
const MAX_NESTING: usize = 32;
/// Most brackets, operators, dots and `else` that one expression may be deep.
const MAX_DEPTH: usize = 400;

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

/// What `source` may read of the input document. What is not plain to see counts as read.
pub(super) fn reads(source: &str, reads: &mut Reads) {
    for (_, word) in words(source) {
        let mut names = word.split('.');
        match names.next() {
            Some("input") => reads.add(names),
            // A string with expressions in it, which are not looked at here.
            Some("$") => reads.add([]),
            _ => {}
        }
    }
}

/// Where a string with `$` before it begins.
pub(super) fn interpolation(source: &str) -> Option<usize> {
    let mut words = words(source).into_iter();
    words.find(|(_, word)| *word == "$").map(|(at, _)| at)
}

/// Where expressions are deeper than any policy needs: brackets in brackets, and operators, dots and
/// `else` in a row, all of which make the parser, the compiler and both machines call themselves.
pub(super) fn too_deep(source: &str) -> Option<usize> {
    // One count for each bracket that is open, and one for outside of all of them.
    let mut rows = vec![0_usize];
    let mut depth = 0_usize;
    // A line's end ends a row, unless an operator stands before or after it.
    let (mut after_operator, mut line_ended) = (false, false);
    let mut found = None;
    scan(source, |start, token| {
        let operator = token.starts_with(is_operator);
        let ends = matches!(token, "," | ";") || (line_ended && !operator && !after_operator);
        if token == "\n" {
            line_ended = true;
            return;
        }
        line_ended = false;
        after_operator = operator;
        let adds = match token {
            "(" | "[" | "{" | "else" => 1,
            _ if operator => token.len(),
            _ => token.matches('.').count(),
        };
        if let Some(row) = rows.last_mut() {
            if ends {
                depth = depth.saturating_sub(std::mem::take(row));
            }
            *row += adds;
            depth += adds;
        }
        match token {
            "(" | "[" | "{" => rows.push(0),
            ")" | "]" | "}" if rows.len() > 1 => {
                depth = depth.saturating_sub(rows.pop().unwrap_or_default());
            }
            _ => {}
        }
        if depth > MAX_DEPTH || rows.len() > MAX_NESTING {
            found = found.or(Some(start));
        }
    });
    found
}

fn is_operator(character: char) -> bool {
    "+-*/%|&=<>!:.".contains(character)
}

/// The dotted names in `source`, and `$` before strings, with their byte offsets, comments and strings
/// left out.
pub(super) fn words(source: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    scan(source, |start, token| {
        if token.starts_with(|first: char| first.is_alphabetic() || matches!(first, '_' | '$')) {
            words.push((start, token));
        }
    });
    words
}

/// Calls `token` with each name, bracket, separator, line's end and row of operators in `source`, and with
/// `$` before a string; comments and strings are left out.
fn scan<'a>(source: &'a str, mut token: impl FnMut(usize, &'a str)) {
    let mut characters = source.char_indices().peekable();
    while let Some((start, character)) = characters.next() {
        let mut end = start + character.len_utf8();
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
            '$' if !matches!(characters.peek(), Some((_, '"' | '`'))) => {}
            '$' | '(' | '[' | '{' | ')' | ']' | '}' | ',' | ';' | '\n' => {
                token(start, source.get(start..end).unwrap_or_default());
            }
            _ if is_operator(character) => {
                while let Some((at, next)) = characters.next_if(|(_, next)| is_operator(*next)) {
                    end = at + next.len_utf8();
                }
                token(start, source.get(start..end).unwrap_or_default());
            }
            _ if character.is_alphabetic() || character == '_' => {
                while let Some((at, next)) = characters
                    .next_if(|(_, next)| next.is_alphanumeric() || matches!(next, '_' | '.'))
                {
                    end = at + next.len_utf8();
                }
                token(start, source.get(start..end).unwrap_or_default());
            }
            _ => {}
        }
    }
}
