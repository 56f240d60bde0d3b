//! The filter's exports: which of them the host is to call. The SDK exports every callback there is, and for
//! each one that is there Envoy enters the VM, for every request. Those of a request are the filter's own (`contexts.rs`
//! in `plugin`), which cannot have the names that the SDK has taken before they are linked.
//!
//! Format: WebAssembly Core Specification, section 5.5 (modules).

/// Callbacks that the filter leaves as they are: for the host, one that is not there has done nothing, which is
/// what they do. A context's end is told by `proxy_on_delete`.
const LEFT_OUT: [&str; 5] = [
    "proxy_on_done",
    "proxy_on_log",
    "proxy_on_request_body",
    "proxy_on_response_headers",
    "proxy_on_response_trailers",
];

/// How the name of a callback begins, and that of one of ours that takes its place.
const HOST: &[u8] = b"proxy_";
const OWN: &[u8] = b"caracal_";

const EXPORT_SECTION: u8 = 7;
const HEAD: usize = 8;

/// `module` without the callbacks that do nothing; `None` if this is no WebAssembly module.
pub(crate) fn trimmed(module: &[u8]) -> Option<Vec<u8>> {
    let (head, mut rest) = module.split_at_checked(HEAD)?;
    let mut trimmed = head.to_vec();
    while let Some((&id, after)) = rest.split_first() {
        let (size, after) = number(after)?;
        let (content, next) = after.split_at_checked(usize::try_from(size).ok()?)?;
        trimmed.push(id);
        if id == EXPORT_SECTION {
            let content = without(content)?;
            put(&mut trimmed, u32::try_from(content.len()).ok()?);
            trimmed.extend(content);
        } else {
            put(&mut trimmed, size);
            trimmed.extend(content);
        }
        rest = next;
    }
    Some(trimmed)
}

/// An export: its name, and what comes after that, a kind and an index.
struct Export<'m> {
    name: &'m [u8],
    what: &'m [u8],
}

/// The content of an export section without what is left out, and with ours in place of the SDK's.
fn without(content: &[u8]) -> Option<Vec<u8>> {
    let exports = read(content)?;
    let is_ours = |name: &[u8]| {
        let own = name.strip_prefix(HOST).map(|rest| [OWN, rest].concat());
        own.is_some_and(|own| exports.iter().any(|export| export.name == own))
    };
    let kept: Vec<(Vec<u8>, &[u8])> = exports
        .iter()
        .filter(|export| !LEFT_OUT.iter().any(|name| name.as_bytes() == export.name))
        .filter(|export| !is_ours(export.name))
        .map(|export| {
            let own = export.name.strip_prefix(OWN);
            let name = own.map_or_else(|| export.name.to_vec(), |rest| [HOST, rest].concat());
            (name, export.what)
        })
        .collect();
    let mut content = Vec::new();
    put(&mut content, u32::try_from(kept.len()).ok()?);
    for (name, what) in kept {
        put(&mut content, u32::try_from(name.len()).ok()?);
        content.extend(name);
        content.extend(what);
    }
    Some(content)
}

fn read(content: &[u8]) -> Option<Vec<Export<'_>>> {
    let (count, mut rest) = number(content)?;
    let mut exports = Vec::new();
    for _ in 0..count {
        let (length, after) = number(rest)?;
        let (name, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
        let (_, next) = number(after.get(1..)?)?;
        let what = after.get(..after.len() - next.len())?;
        exports.push(Export { name, what });
        rest = next;
    }
    Some(exports)
}

/// An unsigned LEB128 number, and what comes after it.
fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut value = 0;
    for (place, byte) in bytes.iter().enumerate().take(5) {
        value |= u32::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(place + 1..)?));
        }
    }
    None
}

fn put(bytes: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(id: u8, content: &[u8]) -> Vec<u8> {
        let mut section = vec![id];
        put(&mut section, u32::try_from(content.len()).unwrap());
        [section, content.to_vec()].concat()
    }

    fn exports(named: &[(&str, u32)]) -> Vec<u8> {
        let mut content = Vec::new();
        put(&mut content, u32::try_from(named.len()).unwrap());
        for (name, index) in named {
            put(&mut content, u32::try_from(name.len()).unwrap());
            content.extend(name.as_bytes());
            content.push(0);
            put(&mut content, *index);
        }
        content
    }

    #[test]
    fn callbacks_that_do_nothing_are_left_out_and_nothing_else_changes() {
        let (head, long) = (b"\0asm\x01\0\0\0", vec![7; 1_000]);
        let other = section(10, &long);
        let with = |names: &[&str]| {
            let named: Vec<_> = names.iter().copied().zip(300..).collect();
            [head.to_vec(), section(7, &exports(&named)), other.clone()].concat()
        };
        let module = with(&["memory", "proxy_on_tick", "proxy_on_log", "proxy_on_done"]);
        assert_eq!(
            trimmed(&module).unwrap(),
            with(&["memory", "proxy_on_tick"])
        );
        let nothing = with(&["memory"]);
        assert_eq!(trimmed(&nothing).unwrap(), nothing);
    }

    #[test]
    fn a_callback_of_our_own_takes_the_place_of_the_sdks() {
        let with = |named: &[(&str, u32)]| {
            [b"\0asm\x01\0\0\0".to_vec(), section(7, &exports(named))].concat()
        };
        let both = [
            ("caracal_on_delete", 1),
            ("proxy_on_tick", 2),
            ("proxy_on_delete", 300),
        ];
        assert_eq!(
            trimmed(&with(&both)).unwrap(),
            with(&[("proxy_on_delete", 1), ("proxy_on_tick", 2)])
        );
    }

    #[test]
    fn what_is_no_module_is_told_apart() {
        assert!(trimmed(b"").is_none());
        assert!(trimmed(b"\0asm\x01\0\0\0\x07\xff").is_none());
        assert!(trimmed(b"\0asm\x01\0\0\0\x07\x02\x01\x09").is_none());
    }
}
