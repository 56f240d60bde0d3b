//! Builtins whose result can be much larger than their arguments, or whose arguments can be much larger
//! than they look: what they would make is estimated first, and too much ends the evaluation.
//!
//! A bound on steps alone would not do: forty steps that double a text fill any memory.

use std::cell::Cell;

use regorus::{
    LimitError, Value,
    rvm::program::Program,
    unstable::{BUILTINS, BuiltinFcn, Expr, Ref, Span},
};

/// Largest value that one of these builtins may make, in bytes or members.
pub(super) const MAX_VALUE: usize = 1 << 20;

/// Most that they may make in one evaluation, all together.
const MAX_TOTAL: usize = 16 << 20;

thread_local! {
    /// What is left of [`MAX_TOTAL`] for the evaluation that this thread is at.
    static LEFT: Cell<usize> = const { Cell::new(MAX_TOTAL) };
}

/// An evaluation begins on this thread.
pub(super) fn begin() {
    LEFT.set(MAX_TOTAL);
}

/// Checks that a result is small enough to be written out.
///
/// # Errors
/// If it is not.
pub(super) fn check_result(value: &Value) -> Result<(), LimitError> {
    let mut left = MAX_VALUE;
    spend(value, &mut left)
}

/// The builtins.
pub(super) const NAMES: [&str; 19] = [
    "concat",
    "sprintf",
    "replace",
    "strings.replace_n",
    "regex.replace",
    "array.concat",
    "object.union",
    "object.union_n",
    "union",
    "json.marshal",
    "json.unmarshal",
    "hex.encode",
    "base64.encode",
    "base64url.encode",
    "base64url.encode_no_pad",
    "split",
    "upper",
    "lower",
    "sort",
];

/// Puts the bounds around the builtins of a program that has been read.
pub(super) fn in_program(program: &mut Program) {
    let table = program.builtin_info_table.iter();
    for (builtin, resolved) in table.zip(&mut program.resolved_builtins) {
        if let Some(place) = NAMES.iter().position(|name| *name == builtin.name)
            && let Some(wrapper) = WRAPPERS.get(place)
        {
            resolved.0 = *wrapper;
        }
    }
}

type Wrapper = fn(&Span, &[Ref<Expr>], &[Value], bool) -> anyhow::Result<Value>;

/// Bytecode calls plain functions, which cannot carry a name: so there is one for each.
fn wrapped<const PLACE: usize>(
    span: &Span,
    params: &[Ref<Expr>],
    args: &[Value],
    strict: bool,
) -> anyhow::Result<Value> {
    let name = NAMES.get(PLACE).copied().unwrap_or_default();
    check(name, args)?;
    let builtin: Option<&BuiltinFcn> = BUILTINS.get(name);
    match builtin {
        Some((builtin, _)) => builtin(span, params, args, strict),
        None => Ok(Value::Undefined),
    }
}

const WRAPPERS: [Wrapper; NAMES.len()] = [
    wrapped::<0>,
    wrapped::<1>,
    wrapped::<2>,
    wrapped::<3>,
    wrapped::<4>,
    wrapped::<5>,
    wrapped::<6>,
    wrapped::<7>,
    wrapped::<8>,
    wrapped::<9>,
    wrapped::<10>,
    wrapped::<11>,
    wrapped::<12>,
    wrapped::<13>,
    wrapped::<14>,
    wrapped::<15>,
    wrapped::<16>,
    wrapped::<17>,
    wrapped::<18>,
];

/// Checks that what a builtin would make of its arguments is within the bounds.
pub(super) fn check(name: &str, args: &[Value]) -> Result<(), LimitError> {
    let text = |place: usize| match args.get(place) {
        Some(Value::String(text)) => text.len(),
        _ => 0,
    };
    // What each byte of the text can become, and what all arguments are together.
    let each = match name {
        "replace" | "regex.replace" => text(2).saturating_add(1),
        "strings.replace_n" => match args.first() {
            Some(Value::Object(pairs)) => pairs.iter_sorted().fold(1_usize, |grown, (_, new)| {
                grown.saturating_mul(match new {
                    Value::String(new) => new.len().saturating_add(1),
                    _ => 1,
                })
            }),
            _ => 1,
        },
        "concat" => 1_usize.saturating_add(text(0)),
        _ => 1,
    };
    let most = MAX_VALUE / each.max(1);
    let mut left = most;
    for arg in args {
        spend(arg, &mut left)?;
    }
    let made = (most - left).saturating_mul(each);
    let total = LEFT.get().checked_sub(made).ok_or(too_much(MAX_TOTAL))?;
    LEFT.set(total);
    Ok(())
}

fn too_much(limit: usize) -> LimitError {
    LimitError::MemoryLimitExceeded {
        usage: 0,
        limit: u64::try_from(limit).unwrap_or(u64::MAX),
    }
}

/// Takes what `value` comes to out of what is left. It stops as soon as nothing is: values share their
/// parts, and what is small in memory can be endless when it is walked through.
fn spend(value: &Value, left: &mut usize) -> Result<(), LimitError> {
    let own = match value {
        Value::String(text) => text.len(),
        Value::Number(number) if number.as_i64().is_none() => number.format_decimal().len(),
        _ => 1,
    };
    *left = left.checked_sub(own.max(1)).ok_or(too_much(MAX_VALUE))?;
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| spend(item, left)),
        Value::Set(items) => items.iter().try_for_each(|item| spend(item, left)),
        Value::Object(fields) => fields.iter_sorted().try_for_each(|(key, value)| {
            spend(key, left)?;
            spend(value, left)
        }),
        _ => Ok(()),
    }
}
