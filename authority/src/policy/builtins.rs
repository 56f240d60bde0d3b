//! Which builtins a policy may call, and why not the others.

use regorus::unstable::{BUILTINS, Expr};

/// Whether a builtin can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Support {
    /// Yes, with so many arguments.
    Both(usize),
    /// Only on the interpreter.
    Interpreter,
    /// No, for this reason.
    Refused(&'static str),
    /// Nobody knows it.
    Unknown,
}

/// Builtins that are there but not as OPA has them, or without a bound on what they make.
const REFUSED: [(&str, &str); 12] = [
    (
        "strings.count",
        "it counts overlapping matches, and stops the filter on an empty one",
    ),
    ("numbers.range", "a range has no bound on its size"),
    ("numbers.range_step", "a range has no bound on its size"),
    ("graph.reachable_paths", "it misses paths"),
    ("product", "a product has no bound on its size"),
    ("bits.lsh", "a shift has no bound on the size of its result"),
    (
        "json.is_valid",
        "it is undefined, not false, for what is no string",
    ),
    (
        "base64.is_valid",
        "it is undefined, not false, for what is no string",
    ),
    ("json.marshal_with_options", "its options are not OPA's"),
    (
        "print",
        "nobody reads what a gateway prints; caracal policy test shows what rules give",
    ),
    (
        "trace",
        "nobody reads what a gateway traces; caracal policy test shows what rules give",
    ),
    (
        "regex.template_match",
        "its pattern is put together when it runs",
    ),
];

/// What there is to say of the builtin `name`.
pub(super) fn support(name: &str) -> Support {
    if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return Support::Refused(why);
    }
    if name == "walk" {
        return Support::Interpreter;
    }
    BUILTINS.get(name).map_or(Support::Unknown, |(_, arity)| {
        Support::Both(usize::from(*arity))
    })
}

/// Checks the format of a `sprintf`: other verbs and widths than these come out otherwise than in Go,
/// or without a bound on their size.
///
/// # Errors
/// What is wrong with it, as a sentence's end.
pub(super) fn check_format(format: &Expr) -> Result<(), String> {
    let (Expr::String { value, .. } | Expr::RawString { value, .. }) = format else {
        return Err("the format has to stand there as a string".to_owned());
    };
    let text = value
        .as_string()
        .map(|text| text.to_string())
        .unwrap_or_default();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == '%' {
            let verb = characters.next();
            if !matches!(verb, Some('s' | 'd' | 'v' | '%')) {
                let verb = verb.map(String::from).unwrap_or_default();
                return Err(format!("%{verb} is not supported, only %s, %d, %v and %%"));
            }
        }
    }
    Ok(())
}
