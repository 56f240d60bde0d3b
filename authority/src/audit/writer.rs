//! JSON (RFC 8259) as it comes, member by member, for what is written with every request: nothing is made first
//! that is then written, and most texts need no escape, which is seen eight bytes at a time while they are copied.

use std::io;

use serde::Serialize;

use super::special::{is_special, specials};

/// A place to write to. It is kept and written to anew: it grows to the longest that was written, and what was
/// written is copied from it.
#[derive(Debug, Default)]
pub struct Writer {
    /// Longer than what is written.
    buffer: Vec<u8>,
    at: usize,
}

impl Writer {
    /// Begins anew.
    pub fn clear(&mut self) {
        self.at = 0;
    }

    /// What was written since.
    pub fn written(&self) -> &[u8] {
        self.buffer.get(..self.at).unwrap_or_default()
    }

    /// Makes room for so many bytes.
    fn room(&mut self, bytes: usize) -> &mut [u8] {
        let end = self.at + bytes;
        if self.buffer.len() < end {
            self.buffer.resize(end.max(2 * self.buffer.len()), 0);
        }
        self.buffer.get_mut(self.at..end).unwrap_or_default()
    }

    /// Writes what is JSON already.
    #[inline]
    pub(crate) fn raw(&mut self, json: &[u8]) {
        self.room(json.len()).copy_from_slice(json);
        self.at += json.len();
    }

    /// A string.
    pub(crate) fn text(&mut self, text: &str) -> serde_json::Result<()> {
        let length = text.len() + 2;
        if let [open, inside @ .., close] = self.room(length)
            && copy_plain(text.as_bytes(), inside)
        {
            (*open, *close) = (b'"', b'"');
            self.at += length;
            return Ok(());
        }
        self.value(text)
    }

    /// A member that is a string, after a comma. In its name nothing is to be escaped.
    pub(crate) fn member(&mut self, name: &str, text: &str) -> serde_json::Result<()> {
        let length = name.len() + text.len() + 6;
        if let [comma, open, rest @ .., end] = self.room(length)
            && let Some((to_name, rest)) = rest.split_at_mut_checked(name.len())
            && let [close, colon, begin, to_text @ ..] = rest
            && copy_plain(name.as_bytes(), to_name)
            && copy_plain(text.as_bytes(), to_text)
        {
            (*comma, *colon) = (b',', b':');
            (*open, *close, *begin, *end) = (b'"', b'"', b'"', b'"');
            self.at += length;
            return Ok(());
        }
        self.raw(b",");
        self.value(name)?;
        self.raw(b":");
        self.value(text)
    }

    /// Where what is written next will stand.
    pub(crate) fn place(&self) -> usize {
        self.at
    }

    /// Makes an object of the members that were written from `start` on, of which the first follows no comma.
    pub(crate) fn close(&mut self, start: usize) {
        if let Some(comma) = self.buffer.get_mut(start) {
            *comma = b'{';
        }
        self.raw(b"}");
    }

    /// Strings.
    pub(crate) fn texts<'t>(
        &mut self,
        texts: impl Iterator<Item = &'t str>,
    ) -> serde_json::Result<()> {
        self.raw(b"[");
        for (place, text) in texts.enumerate() {
            if place > 0 {
                self.raw(b",");
            }
            self.text(text)?;
        }
        self.raw(b"]");
        Ok(())
    }

    /// Whatever else there is.
    pub(crate) fn value(&mut self, value: &(impl Serialize + ?Sized)) -> serde_json::Result<()> {
        serde_json::to_writer(self, value)
    }
}

/// Copies `text` to a place of the same length, if nothing in it is to be escaped; if not, what stands there then has no
/// meaning. A loop that may end early is not made into the instruction for copies, which V8 leaves the code for.
fn copy_plain(text: &[u8], to: &mut [u8]) -> bool {
    let (words, rest) = text.as_chunks::<8>();
    for (to, from) in to.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        if specials(u64::from_le_bytes(*from)) != 0 {
            return false;
        }
        *to = *from;
    }
    if rest.is_empty() {
        return true;
    }
    // The rest is the end of a word as well, of which some was copied already.
    if let (Some(from), Some(to)) = (text.last_chunk::<8>(), to.last_chunk_mut::<8>()) {
        *to = *from;
        return specials(u64::from_le_bytes(*from)) == 0;
    }
    for (to, from) in to.iter_mut().zip(rest) {
        if is_special(*from) {
            return false;
        }
        *to = *from;
    }
    true
}

/// For `serde_json`, which writes what is rare.
impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.raw(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn written(text: &str) -> String {
        let mut writer = Writer::default();
        writer.text("before").unwrap();
        writer.clear();
        writer.text(text).unwrap();
        String::from_utf8(writer.written().to_vec()).unwrap()
    }

    #[test]
    fn each_byte_at_each_place_is_written_as_a_json_string() {
        for character in (0..=0x100).filter_map(char::from_u32).chain(['€', '𝄞']) {
            for length in 0..20 {
                let text = format!(
                    "{}{character}{}",
                    "x".repeat(length),
                    "~".repeat(20 - length)
                );
                assert_eq!(written(&text), serde_json::to_string(&text).unwrap());
            }
        }
        assert_eq!(written(""), "\"\"");
        let long = "long ".repeat(10_000);
        assert_eq!(written(&long), format!("\"{long}\""));
    }
}
