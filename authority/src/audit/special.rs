//! What cannot stand for itself in a JSON string (RFC 8259 section 7): the controls, `"` and `\`.

use crate::words;

pub(super) fn is_special(byte: u8) -> bool {
    matches!(byte, 0..0x20 | b'"' | b'\\')
}

/// Nothing if no byte of `word` is such; else the lowest bit that is set is the upper one of the lowest byte that is.
pub(super) fn specials(word: u64) -> u64 {
    words::below(word, 0x20) | words::equal(word, b'"') | words::equal(word, b'\\')
}

/// How many bytes `text` begins with of which none is such.
pub(super) fn plain_bytes(text: &[u8]) -> usize {
    let (words, rest) = text.as_chunks::<8>();
    let mut before = 0;
    for word in words {
        let specials = specials(u64::from_le_bytes(*word));
        if specials != 0 {
            return before + usize::try_from(specials.trailing_zeros() / 8).unwrap_or_default();
        }
        before += word.len();
    }
    before + rest.iter().take_while(|byte| !is_special(**byte)).count()
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn the_first_that_cannot_stand_for_itself_is_found_wherever_it_is() {
        for byte in 0..=u8::MAX {
            for length in 0..20 {
                for place in 0..length {
                    let mut text = vec![0xe9; length];
                    text[place] = byte;
                    let special = byte < 0x20 || byte == b'"' || byte == b'\\';
                    let plain = if special { place } else { length };
                    assert_eq!(plain_bytes(&text), plain, "{text:?}");
                    if let Some(last) = text.last_mut() {
                        *last = b'"';
                    }
                    assert_eq!(plain_bytes(&text), plain.min(length - 1), "{text:?}");
                }
            }
        }
    }
}
