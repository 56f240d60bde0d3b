//! Writes imported packages out: `lib.rule` becomes `data.lib.rule`.
//!
//! regorus 0.14.1's interpreter takes the first for a reading of the whole package, and believes the
//! package done once the first of its files is, so that rules of the other files are undefined. The
//! second form asks for the one rule, which it answers well, and faster. Lines stay as they are.

use super::lexical::words;

/// `source` with the references through its imports written out.
pub fn written_out(source: &str) -> String {
    let words = words(source);
    let mut insertions: Vec<(usize, String)> = Vec::new();
    for (path, alias) in imports(source) {
        let mut found = Vec::new();
        let bare = words.iter().any(|&(at, word)| {
            let rest = source.get(at + word.len()..).unwrap_or_default();
            let continues = word.strip_prefix(alias).is_some_and(|tail| {
                tail.starts_with('.') || (tail.is_empty() && rest.starts_with('['))
            });
            let member = source.get(..at).is_some_and(|before| before.ends_with('.'));
            if continues && !member {
                found.push((at, path.to_owned()));
            }
            word == alias && !continues && !member && !imported(source, at)
        });
        // A variable may have the import's name; then nothing here tells which of them is meant.
        if !bare {
            insertions.append(&mut found);
        }
    }
    insertions.sort_unstable();
    let mut text = String::with_capacity(source.len() + insertions.len() * 16);
    let mut from = 0;
    for (at, path) in insertions {
        text.push_str(source.get(from..at).unwrap_or_default());
        text.push_str(&path);
        from = at + alias_length(source, at);
    }
    text.push_str(source.get(from..).unwrap_or_default());
    text
}

/// The imports from `data`: what is imported, and the name that it has here.
fn imports(source: &str) -> impl Iterator<Item = (&str, &str)> {
    source.lines().filter_map(|line| {
        let mut parts = line.strip_prefix("import ")?.split_whitespace();
        let path = parts.next()?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
        if !path.starts_with("data.") || !path.chars().all(plain) {
            return None;
        }
        match (parts.next(), parts.next()) {
            (Some("as"), Some(alias)) => Some((path, alias)),
            (None, _) => Some((path, path.rsplit('.').next()?)),
            (Some(comment), _) if comment.starts_with('#') => {
                Some((path, path.rsplit('.').next()?))
            }
            _ => None,
        }
    })
}

/// Whether the word at this byte stands in an import.
fn imported(source: &str, at: usize) -> bool {
    let before = source.get(..at).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    line.starts_with("import ")
}

fn alias_length(source: &str, at: usize) -> usize {
    let rest = source.get(at..).unwrap_or_default();
    rest.find(['.', '[']).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn references_through_an_import_are_written_out_and_nothing_else_is() {
        let head = "package p\nimport data.a.lib\nimport data.b as c # comment\nimport rego.v1\n";
        for (rule, expected) in [
            ("x := lib.y", "x := data.a.lib.y"),
            ("x := lib[\"y\"].z", "x := data.a.lib[\"y\"].z"),
            ("x := lib.f(c.g)", "x := data.a.lib.f(data.b.g)"),
            ("x := other.lib.y", "x := other.lib.y"),
            ("x := o[0].lib.y", "x := o[0].lib.y"),
            ("x := \"lib.y\" # lib.y", "x := \"lib.y\" # lib.y"),
            ("x := library.y", "x := library.y"),
            ("f(lib) := lib.y", "f(lib) := lib.y"),
            ("é := lib.é", "é := data.a.lib.é"),
        ] {
            let written = written_out(&format!("{head}{rule}\n"));
            assert_eq!(written, format!("{head}{expected}\n"));
        }
    }
}
