//! Small changes to a policy's text before it is compiled. Lines stay where they are, so that what the
//! compiler reports is still at the user's place.

use std::ops::Range;

/// A change: what stands in this range of bytes is replaced.
pub(super) type Edit = (Range<usize>, String);

/// `source` with `edits` made, or the byte of one that does not fit.
pub(super) fn rewrite(source: &str, mut edits: Vec<Edit>) -> Result<String, usize> {
    edits.sort_by_key(|(range, _)| (range.start, range.end));
    let mut text = String::with_capacity(source.len() + edits.len() * 16);
    let mut from = 0;
    for (range, replacement) in edits {
        text.push_str(source.get(from..range.start).ok_or(range.start)?);
        text.push_str(&replacement);
        from = range.end;
    }
    text.push_str(source.get(from..).ok_or(from)?);
    Ok(text)
}
