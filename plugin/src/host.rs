//! The host's calls in the form that the plugin needs them: none of them panics.

use std::time::Duration;

use authority::{
    key::host::{self, HostError, Verifier},
    time::Timestamp,
};
use proxy_wasm::{hostcalls, types::Bytes};

use crate::{
    raw,
    sync::{Millis, decode_number},
};

/// Nanoseconds since the Unix epoch; 0 if the host has no clock, at which time no mandate is valid.
pub(crate) fn now_nanos() -> u64 {
    raw::now_nanos().unwrap_or(0)
}

/// The time since the Unix epoch, for policies to be bounded by.
pub(crate) fn clock() -> Duration {
    Duration::from_nanos(now_nanos())
}

/// `nanos` in whole milliseconds.
pub(crate) fn to_millis(nanos: u64) -> Millis {
    nanos / 1_000_000
}

/// `nanos` in whole seconds.
pub(crate) fn to_timestamp(nanos: u64) -> Timestamp {
    Timestamp(nanos / 1_000_000_000)
}

/// Settles who verifies signatures in this VM.
pub(crate) fn settle_verifier(wish: Verifier) -> Result<(), HostError> {
    let call: host::Call = |arguments| {
        hostcalls::call_foreign_function(host::FUNCTION, Some(arguments))
            .ok()
            .flatten()
    };
    let settled = host::settle(wish, call, now_nanos)?;
    let who = if settled.by_host { "host" } else { "wasm" };
    match settled.took {
        Some((host, wasm)) => log::info!(
            "caracal: signatures are verified by: {who}; one takes the host {host} ns and wasm {wasm} ns"
        ),
        None => log::info!("caracal: signatures are verified by: {who}"),
    }
    Ok(())
}

/// Whether the answer to the request of `context`, which becomes the effective one, has begun: then nothing else can be
/// its answer. Of a host that does not say, it is taken to have.
pub(crate) fn is_answered(context: u32) -> bool {
    let _ = hostcalls::set_effective_context(context);
    !matches!(raw::property("response\0code"), Ok(None))
}

/// A property of the effective context, by its path with a zero byte between names, if the host has it.
pub(crate) fn property(path: &str) -> Option<Vec<u8>> {
    raw::property(path).ok().flatten()
}

/// One key of the data that all VMs of the gateway share.
#[derive(Debug)]
pub(crate) struct SharedCell(String);

impl SharedCell {
    /// The cell `name` of the gateway for `zone`.
    pub(crate) fn new(zone: &str, name: &str) -> Self {
        Self(format!("caracal/{zone}/{name}"))
    }

    /// What stands in the cell, and the token by which to replace just that.
    pub(crate) fn read(&self) -> (Option<Bytes>, Option<u32>) {
        hostcalls::get_shared_data(&self.0).unwrap_or((None, None))
    }

    /// The number in the cell.
    pub(crate) fn number(&self) -> Option<u64> {
        decode_number(&self.read().0?)
    }

    /// Writes, whatever stands there. Whether it was written.
    pub(crate) fn write(&self, value: &[u8]) -> bool {
        hostcalls::set_shared_data(&self.0, Some(value), None).is_ok()
    }

    /// Writes a number.
    pub(crate) fn write_number(&self, number: u64) -> bool {
        self.write(&number.to_le_bytes())
    }

    /// Writes if nothing has changed since `token` was read. Whether it was written.
    pub(crate) fn replace(&self, value: &[u8], token: Option<u32>) -> bool {
        // To the host 0 means unconditionally: two workers may both fill an empty cell. Whoever
        // cares looks again.
        hostcalls::set_shared_data(&self.0, Some(value), Some(token.unwrap_or(0))).is_ok()
    }

    /// Adds one and returns the new number: no two workers get the same.
    pub(crate) fn next_number(&self) -> Option<u64> {
        for _ in 0..64 {
            let (current, token) = self.read();
            let next = current.as_deref().and_then(decode_number).unwrap_or(0) + 1;
            if token.is_none() {
                // The first write cannot be compared with anything, so it is of a start. Envoy
                // configures one VM before the workers, and that one gets here alone.
                self.write_number(0);
                continue;
            }
            if self.replace(&next.to_le_bytes(), token) {
                return Some(next);
            }
        }
        None
    }
}

/// Sends `GET path` to the STS; the answer arrives under the returned token.
pub(crate) fn get(
    cluster: &str,
    authority: &str,
    path: &str,
    headers: &[(&str, &str)],
    timeout: Duration,
) -> Option<u32> {
    call("GET", cluster, authority, path, headers, None, timeout)
}

/// Sends `POST path` with `body` to the STS; the answer arrives under the returned token.
pub(crate) fn post(
    cluster: &str,
    authority: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    timeout: Duration,
) -> Option<u32> {
    call(
        "POST",
        cluster,
        authority,
        path,
        headers,
        Some(body),
        timeout,
    )
}

fn call(
    method: &str,
    cluster: &str,
    authority: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
    timeout: Duration,
) -> Option<u32> {
    let mut all = vec![
        (":method", method),
        (":path", path),
        (":authority", authority),
        ("accept", "application/json"),
    ];
    all.extend_from_slice(headers);
    hostcalls::dispatch_http_call(cluster, all, body, Vec::new(), timeout).ok()
}
