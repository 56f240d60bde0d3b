//! What is asked of the host itself: a map of headers in the bytes in which the host writes it, of which the SDK makes
//! two allocations a field, properties, and the time, of which it makes one of the standard library's; it ends the VM on
//! a status that it does not expect of any of them. And randomness, for which it has nothing.
#![allow(unsafe_code)] // foreign functions; each call says why it is sound

use proxy_wasm::types::MapType;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_current_time_nanoseconds(nanos: *mut u64) -> u32;
    fn proxy_get_property(
        path: *const u8,
        length: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn random_get(to: *mut u8, size: usize) -> u32;
}

const OK: u32 = 0;
const NOT_FOUND: u32 = 1;

/// Random bytes that nobody can foresee; `None` if the host has none to give.
pub(crate) fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    // SAFETY: the host writes `N` bytes to a live, writable place of that length.
    let status = unsafe { random_get(bytes.as_mut_ptr(), N) };
    // A host that only claims to have written any has written none.
    (status == OK && bytes != [0; N]).then_some(bytes)
}

/// Nanoseconds since the Unix epoch; `None` if the host has no clock.
pub(crate) fn now_nanos() -> Option<u64> {
    let mut nanos = 0;
    // SAFETY: the host writes a number of 64 bits to a live, writable place for one.
    let status = unsafe { proxy_get_current_time_nanoseconds(&raw mut nanos) };
    (status == OK).then_some(nanos)
}

/// A status of the ABI that is none of those that are expected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unexpected;

/// The fields of `map`, for [`Head`](crate::head::Head) to read; `None` if there is none.
pub(crate) fn header_map(map: MapType) -> Option<Vec<u8>> {
    // SAFETY: both pointers are those that the ABI names.
    given(|data, size| unsafe { proxy_get_header_map_pairs(map as u32, data, size) }).ok()?
}

/// A property of the effective context, by its path with a zero byte between names; `None` if it has none now.
///
/// # Errors
/// [`Unexpected`], where the host knows of no properties.
pub(crate) fn property(path: &str) -> Result<Option<Vec<u8>>, Unexpected> {
    // SAFETY: the host reads as many bytes of the path as it has; both other pointers are those that the ABI names.
    given(|data, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) })
}

/// What the host gives when `call` has it write where that is, and how long.
fn given(
    call: impl FnOnce(*mut *mut u8, *mut usize) -> u32,
) -> Result<Option<Vec<u8>>, Unexpected> {
    let (mut data, mut size) = (std::ptr::null_mut(), 0);
    // Both are live, writable places of the type that the ABI names; `usize` is 32 bits wide here.
    match call(&raw mut data, &raw mut size) {
        OK if data.is_null() => Ok(Some(Vec::new())),
        // SAFETY: the host wrote `size` bytes to what it had `proxy_on_memory_allocate` make for it, which the SDK makes
        // as a boxed slice of just that size and gives away: it is ours, and nobody else has it.
        OK => Ok(Some(unsafe { Vec::from_raw_parts(data, size, size) })),
        NOT_FOUND => Ok(None),
        _ => Err(Unexpected),
    }
}
