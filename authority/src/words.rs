//! Eight bytes of a text at a time, for what looks at every byte with every request.
//!
//! From "Bit Twiddling Hacks" (Sean Eron Anderson), `hasless` and `haszero`: the lowest byte that is found is one; to say
//! whether there is one, and which is the first, that is enough.

const EACH: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x80 * EACH;

/// Nothing if no byte of `word` is less than `bound`, which is at most 128; else the lowest bit that is set is the upper
/// one of the lowest byte that is.
#[inline]
pub fn below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(EACH * u64::from(bound)) & !word & HIGH
}

/// The same for a byte that is `byte`.
#[inline]
pub fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (EACH * u64::from(byte)), 1)
}

/// Whether a byte of `word` is less than `bound`, which is at most 128.
#[inline]
pub fn has_below(word: u64, bound: u8) -> bool {
    below(word, bound) != 0
}

/// Whether a byte of `word` is `byte`.
#[inline]
pub fn has(word: u64, byte: u8) -> bool {
    equal(word, byte) != 0
}

/// Whether a byte of `word` is 128 or more: no ASCII.
#[inline]
pub fn has_beyond_ascii(word: u64) -> bool {
    word & HIGH != 0
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn a_byte_is_found_wherever_it_is_and_none_that_is_not_there() {
        for byte in 0..=u8::MAX {
            for other in [0, 0x1f, b'x', 0x7f, 0x80, 0xff] {
                for place in 0..8 {
                    let mut bytes = [other; 8];
                    bytes[place] = byte;
                    let word = u64::from_le_bytes(bytes);
                    let first = |found: u64| {
                        let place = usize::try_from(found.trailing_zeros() / 8).unwrap();
                        (found != 0).then_some(place)
                    };
                    for wanted in [0, 0x20, b'"', 0x7f, 0x80, byte] {
                        assert_eq!(has(word, wanted), bytes.contains(&wanted), "{bytes:?}");
                        let place = bytes.iter().position(|byte| *byte == wanted);
                        assert_eq!(first(equal(word, wanted)), place, "{bytes:?}");
                    }
                    for bound in [1, 0x20, 0x7f, 0x80] {
                        let less = bytes.iter().any(|byte| *byte < bound);
                        assert_eq!(has_below(word, bound), less, "{bytes:?}");
                        let place = bytes.iter().position(|byte| *byte < bound);
                        assert_eq!(first(below(word, bound)), place, "{bytes:?}");
                    }
                    assert_eq!(has_beyond_ascii(word), !bytes.is_ascii(), "{bytes:?}");
                }
            }
        }
    }
}
