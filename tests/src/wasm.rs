//! The filter's bytes, changed for a test: with a limit to its memory, and what uses that up.

use std::path::{Path, PathBuf};

use crate::parts;

/// Allows everything, but on one path it first makes sixteen values of almost a megabyte.
pub fn greedy() -> String {
    let doublings: String = (1..=15)
        .map(|n| format!("s{n} := concat(\"\", [s{0}, s{0}])\n\n", n - 1))
        .collect();
    format!(
        r#"package caracal.authz

import rego.v1

allow := {{"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}}

s0 := "0123456789abcdef01234567"

{doublings}result := allow if {{
	input.action.path != "/demo/items/boom"
}} else := allow if {{
	count([text | some digit in split("0123456789", ""); text := concat("", [s15, digit])]) == 10
}}
"#
    )
}

/// A filter that lets everything pass and knows nothing: what being there at all costs.
pub fn does_nothing() -> Vec<u8> {
    /// Signatures: nothing; two numbers; a number to a number; two, and three, to a number.
    const TYPES: &[&[u8]] = &[
        &[0x60, 0, 0],
        &[0x60, 2, 0x7f, 0x7f, 0],
        &[0x60, 1, 0x7f, 1, 0x7f],
        &[0x60, 2, 0x7f, 0x7f, 1, 0x7f],
        &[0x60, 3, 0x7f, 0x7f, 0x7f, 1, 0x7f],
    ];
    // By its signature, what each function returns; 1,024 is where the host may write what it is told.
    const FUNCTIONS: &[(&str, u8, Option<u16>)] = &[
        ("proxy_abi_version_0_2_1", 0, None),
        ("proxy_on_memory_allocate", 2, Some(1_024)),
        ("proxy_on_context_create", 1, None),
        ("proxy_on_vm_start", 3, Some(1)),
        ("proxy_on_configure", 3, Some(1)),
        ("proxy_on_request_headers", 4, Some(0)),
        ("proxy_on_response_headers", 4, Some(0)),
        ("proxy_on_done", 2, Some(1)),
    ];
    let count = |number: usize| u8::try_from(number).unwrap();
    let listed = |items: Vec<Vec<u8>>| [vec![count(items.len())], items.concat()].concat();
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    let mut section = |id: u8, content: Vec<u8>| {
        module.push(id);
        put(&mut module, u32::try_from(content.len()).unwrap());
        module.extend(content);
    };
    section(1, listed(TYPES.iter().map(|kind| kind.to_vec()).collect()));
    let kinds = FUNCTIONS.iter().map(|(_, kind, _)| vec![*kind]);
    section(3, listed(kinds.collect()));
    section(5, vec![1, 0, 2]); // one memory, of two pages
    let named = |name: &str, rest: [u8; 2]| [&[count(name.len())], name.as_bytes(), &rest].concat();
    let mut exports = vec![named("memory", [2, 0])];
    exports.extend(
        FUNCTIONS
            .iter()
            .enumerate()
            .map(|(place, (name, ..))| named(name, [0, count(place)])),
    );
    section(7, listed(exports));
    let bodies = FUNCTIONS.iter().map(|(.., returns)| {
        let mut body = vec![0]; // no locals
        if let Some(number) = returns {
            body.push(0x41); // i32.const, signed
            body.extend([(number & 0x7f) as u8 | 0x80, (number >> 7) as u8]);
        }
        body.push(0x0b);
        [vec![count(body.len())], body].concat()
    });
    section(10, listed(bodies.collect()));
    module
}

/// The filter with so little memory that a policy within its bounds can use it up: nothing else that a
/// test could do makes it trap.
///
/// # Panics
/// If the filter is not there.
pub fn starved(dir: &Path) -> PathBuf {
    let wasm = std::fs::read(parts::wasm()).unwrap();
    let path = dir.join("starved.wasm");
    std::fs::write(&path, with_spare_pages(&wasm, 128)).unwrap();
    path
}

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
