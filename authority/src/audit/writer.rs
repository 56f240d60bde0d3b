//! JSON (RFC 8259) as it comes, member by member, for what is written with every request: nothing is made first
//! that is then written, and most texts need no escape, which is seen eight bytes at a time while they are copied.

use std::io;

use serde::Serialize;

/// A place to write to. It is kept and written to anew: it grows to the longest that was written, and what was
/// written is copied from it.
#[derive(Debug, Default)]
pub struct Writer {
    /// Longer than what is written.
    buffer: Vec<u8>,
    at: usize,
}

const EACH: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x80 * EACH;

/// Whether a byte of `word` is to be escaped in JSON: the controls, `"` and `\`. The lowest that is found is one;
/// to say whether there is one, that is enough. From "Bit Twiddling Hacks" (Sean Eron Anderson), `hasless` and
/// `haszero`.
fn has_special(word: u64) -> bool {
    let below = |word: u64, bound: u64| word.wrapping_sub(EACH * bound) & !word & HIGH;
    let is = |byte: u8| below(word ^ (EACH * u64::from(byte)), 1);
    below(word, 0x20) | is(b'"') | is(b'\\') != 0
}

fn is_special(byte: u8) -> bool {
    matches!(byte, 0..0x20 | b'"' | b'\\')
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

    /// Writes `text` if nothing in it is to be escaped, and otherwise nothing. A loop that may end early is not made
    /// into the instruction for copies, which V8 leaves the code for.
    fn plain(&mut self, text: &[u8]) -> bool {
        let (to_words, to_rest) = self.room(text.len()).as_chunks_mut::<8>();
        let (words, rest) = text.as_chunks::<8>();
        for (to, from) in to_words.iter_mut().zip(words) {
            if has_special(u64::from_le_bytes(*from)) {
                return false;
            }
            *to = *from;
        }
        for (to, from) in to_rest.iter_mut().zip(rest) {
            if is_special(*from) {
                return false;
            }
            *to = *from;
        }
        self.at += text.len();
        true
    }

    /// Writes what is JSON already.
    #[inline]
    pub(crate) fn raw(&mut self, json: &[u8]) {
        self.room(json.len()).copy_from_slice(json);
        self.at += json.len();
    }

    /// A string.
    pub(crate) fn text(&mut self, text: &str) -> serde_json::Result<()> {
        self.joined([text])
    }

    /// A string of these parts.
    pub(crate) fn joined<const N: usize>(&mut self, parts: [&str; N]) -> serde_json::Result<()> {
        let start = self.at;
        self.raw(b"\"");
        if parts.iter().all(|part| self.plain(part.as_bytes())) {
            self.raw(b"\"");
            return Ok(());
        }
        self.at = start;
        self.value(&parts.concat())
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
