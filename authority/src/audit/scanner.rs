//! Reading a text of which it is expected to be in canonical form (RFC 8785), in one pass and without taking
//! it apart. Whatever is not in that form, and the few things that are and that it takes long to tell, it does
//! not read: then the text is to be parsed.

use super::special::plain_bytes;

/// Deepest nesting that is looked into.
const MAX_DEPTH: u32 = 32;
/// So many digits are a whole number that a double holds exactly.
const SAFE_DIGITS: usize = 15;

/// Whether `text` is sure to be what [`canonical`](super::canonical()) makes of it.
pub(super) fn is_canonical(text: &str) -> bool {
    let mut scanner = Scanner::new(text);
    scanner.value().is_some() && scanner.rest().is_empty()
}

/// A place in a text up to which it is in canonical form.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// At the beginning of `text`.
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// How far it has read, in bytes.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// What it has not read.
    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Reads `byte`, if that is what comes.
    pub(super) fn eats(&mut self, byte: u8) -> bool {
        let comes = self.peek() == Some(byte);
        self.at += usize::from(comes);
        comes
    }

    /// The same, where nothing else can come.
    pub(super) fn expect(&mut self, byte: u8) -> Option<()> {
        self.eats(byte).then_some(())
    }

    /// A string without escapes: itself.
    pub(super) fn plain(&mut self) -> Option<&'a str> {
        let (raw, has_escapes) = self.quoted()?;
        (!has_escapes).then_some(raw)
    }

    /// A string: what stands between its quotes.
    pub(super) fn string(&mut self) -> Option<&'a str> {
        self.quoted().map(|(raw, _)| raw)
    }

    /// The same, and whether there are escapes in it.
    fn quoted(&mut self) -> Option<(&'a str, bool)> {
        self.expect(b'"')?;
        let (from, mut has_escapes) = (self.at, false);
        loop {
            self.at += plain_bytes(self.text.as_bytes().get(self.at..)?);
            if self.peek()? == b'"' {
                let raw = self.text.get(from..self.at)?;
                self.at += 1;
                return Some((raw, has_escapes));
            }
            self.escape()?;
            has_escapes = true;
        }
    }

    /// Section 3.2.2.2: the short form where there is one, the long one for other control characters, and
    /// nothing else.
    fn escape(&mut self) -> Option<()> {
        let rest = self.text.as_bytes().get(self.at..)?;
        self.at += match rest {
            [b'\\', b'"' | b'\\' | b'b' | b't' | b'n' | b'f' | b'r', ..] => 2,
            [
                b'\\',
                b'u',
                b'0',
                b'0',
                b'0',
                b'0'..=b'7' | b'b' | b'e' | b'f',
                ..,
            ]
            | [b'\\', b'u', b'0', b'0', b'1', b'0'..=b'9' | b'a'..=b'f', ..] => 6,
            _ => return None,
        };
        Some(())
    }

    /// A whole number from 0 on.
    pub(super) fn number(&mut self) -> Option<u64> {
        let rest = self.rest();
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let goes_on = matches!(rest.as_bytes().get(digits), Some(b'.' | b'e' | b'E'));
        if digits > SAFE_DIGITS || goes_on || (digits > 1 && rest.starts_with('0')) {
            return None;
        }
        self.at += digits;
        rest.get(..digits)?.parse().ok()
    }

    /// A value, whatever it is.
    pub(super) fn value(&mut self) -> Option<()> {
        self.value_at(0)
    }

    fn value_at(&mut self, depth: u32) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(drop),
            b'0'..=b'9' => self.number().map(drop),
            b'-' => {
                self.at += 1;
                self.number().filter(|number| *number != 0).map(drop)
            }
            b'{' => self.object_at(depth),
            b'[' => self.array_of(|scanner| scanner.value_at(depth.checked_add(1)?)),
            _ => ["null", "true", "false"]
                .into_iter()
                .find(|literal| self.rest().starts_with(literal))
                .map(|literal| self.at += literal.len()),
        }
        .filter(|()| depth < MAX_DEPTH)
    }

    /// An array of what `item` reads.
    pub(super) fn array_of(&mut self, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.expect(b'[')?;
        if self.eats(b']') {
            return Some(());
        }
        loop {
            item(self)?;
            if !self.eats(b',') {
                return self.expect(b']');
            }
        }
    }

    /// An object, whatever is in it.
    pub(super) fn object(&mut self) -> Option<()> {
        self.object_at(0)
    }

    fn object_at(&mut self, depth: u32) -> Option<()> {
        self.expect(b'{')?;
        if depth >= MAX_DEPTH {
            return None;
        }
        if self.eats(b'}') {
            return Some(());
        }
        let mut last = None;
        loop {
            let name = self.plain()?;
            // Section 3.2.3; among others than these the order is another one.
            if !name.is_ascii() || last.is_some_and(|last| name <= last) {
                return None;
            }
            last = Some(name);
            self.expect(b':')?;
            self.value_at(depth + 1)?;
            if !self.eats(b',') {
                return self.expect(b'}');
            }
        }
    }
}
