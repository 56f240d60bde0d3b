//! A map of headers in the bytes in which the host writes it.
//!
//! The SDK makes two allocations of each field and ends the VM on a status that it does not expect, so this asks the
//! host itself.
#![allow(unsafe_code)] // a foreign function; the call says why it is sound

use proxy_wasm::types::MapType;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
}

/// The fields of `map`, for [`Head`](crate::head::Head) to read; `None` if there is none.
pub(crate) fn header_map(map: MapType) -> Option<Vec<u8>> {
    let (mut data, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: both pointers are to live, writable places of the type that the ABI names; `usize` is 32 bits wide here.
    let status = unsafe { proxy_get_header_map_pairs(map as u32, &raw mut data, &raw mut size) };
    if status != 0 {
        return None;
    }
    if data.is_null() {
        return Some(Vec::new());
    }
    // SAFETY: the host wrote `size` bytes to what it had `proxy_on_memory_allocate` make for it, which the SDK makes as
    // a boxed slice of just that size and gives away: it is ours, and nobody else has it.
    Some(unsafe { Vec::from_raw_parts(data, size, size) })
}
