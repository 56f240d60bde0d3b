//! The filter's bytes, changed for a test: with a limit to its memory.

/// `wasm` with at most `pages` of 64 KiB more than it starts with.
///
/// # Panics
/// If this is no WebAssembly module with a memory of its own.
pub fn with_spare_pages(wasm: &[u8], pages: u32) -> Vec<u8> {
    const MEMORY_SECTION: u8 = 5;
    let mut changed = wasm[..8].to_vec();
    let mut rest = &wasm[8..];
    let mut found = false;
    while let Some((&id, after)) = rest.split_first() {
        let (size, after) = number(after);
        let (content, next) = after.split_at(usize::try_from(size).unwrap());
        if id == MEMORY_SECTION {
            // One memory: its flags, how many pages it starts with, and with the first flag how many at most.
            assert_eq!(content[0], 1, "one memory");
            let (start, _) = number(&content[2..]);
            let mut limits = vec![1, 1];
            put(&mut limits, start);
            put(&mut limits, start + pages);
            changed.push(id);
            put(&mut changed, u32::try_from(limits.len()).unwrap());
            changed.extend(limits);
            found = true;
        } else {
            changed.push(id);
            put(&mut changed, size);
            changed.extend(content);
        }
        rest = next;
    }
    assert!(found, "a memory");
    changed
}

/// A LEB128 number, and what comes after it.
fn number(bytes: &[u8]) -> (u32, &[u8]) {
    let mut value = 0;
    for (place, byte) in bytes.iter().enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return (value, &bytes[place + 1..]);
        }
    }
    panic!("a number that does not end");
}

fn put(bytes: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
}
