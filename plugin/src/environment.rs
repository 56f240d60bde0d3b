//! The environment variables that the host passes to the VM.
//!
//! `std::env` is empty on wasm32-unknown-unknown, so this asks the host itself, through the two WASI
//! functions that every proxy-wasm host provides.
#![allow(unsafe_code)] // foreign functions; each call says why it is sound

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn environ_sizes_get(count: *mut usize, bytes: *mut usize) -> u16;
    fn environ_get(pointers: *mut *mut u8, buffer: *mut u8) -> u16;
}

/// Most variables, and most bytes of them, that are read.
const MAX_VARIABLES: usize = 1024;
const MAX_BYTES: usize = 256 * 1024;

/// The value of the variable `name`, if the host passes one that is UTF-8.
pub(crate) fn variable(name: &str) -> Option<String> {
    let (mut count, mut bytes) = (0, 0);
    // SAFETY: both pointers are to live, writable `usize`s, which are 32 bits wide here as WASI asks.
    let status = unsafe { environ_sizes_get(&raw mut count, &raw mut bytes) };
    if status != 0 || count > MAX_VARIABLES || bytes > MAX_BYTES {
        return None;
    }
    let mut pointers = vec![std::ptr::null_mut(); count];
    let mut buffer = vec![0u8; bytes];
    // SAFETY: the host writes `count` pointers and `bytes` bytes, as it has just said, and both
    // buffers are of that size. The pointers are not followed: the buffer is read as a whole.
    let status = unsafe { environ_get(pointers.as_mut_ptr(), buffer.as_mut_ptr()) };
    if status != 0 {
        return None;
    }
    buffer
        .split(|byte| *byte == 0)
        .filter_map(|entry| std::str::from_utf8(entry).ok()?.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}
