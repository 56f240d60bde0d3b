//! Verification by the proxy's own library: the foreign function `verify_signature` that Envoy gives to its
//! filters, where there is one that is sound and faster than the tables here.
//!
//! It takes a `VerifySignatureArguments` (`hash_function = 1`, `public_key = 2` as a DER `SubjectPublicKeyInfo`,
//! `signature = 3` in DER, `text = 4`) and gives a `VerifySignatureResult` (`result = 1`), both of Envoy's
//! `source/extensions/common/wasm/ext/verify_signature.proto`.

use std::{fmt, hint::black_box, sync::OnceLock};

use p256::{ecdsa, pkcs8::EncodePublicKey};
use serde::Deserialize;

use super::{SIGNATURE_BYTES, VerifyingKey};

/// Name of the foreign function.
pub const FUNCTION: &str = "verify_signature";

/// Calls [`FUNCTION`] with arguments and gives its result, or `None` if there is no such function.
pub type Call = fn(&[u8]) -> Option<Vec<u8>>;

/// Who is to verify signatures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verifier {
    /// The host, if it can and is faster; the tables otherwise.
    #[default]
    Fastest,
    /// The host, or nobody.
    Host,
    /// The tables.
    Wasm,
}

/// What the host's verification is not fit for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Without the function, or not for P-256: it does not accept a good signature.
    #[error("the host has no {FUNCTION} that accepts a good ES256 signature")]
    Lacking,
    /// It accepts a bad one.
    #[error("the host's {FUNCTION} accepts a bad ES256 signature")]
    Unsound,
}

/// What was settled on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Whether the host verifies.
    pub by_host: bool,
    /// What one verification took the host and the tables, in nanoseconds, where that was looked at.
    pub took: Option<(u64, u64)>,
}

/// A key as the host takes it.
#[derive(Clone)]
pub(super) struct HostKey {
    call: Call,
    public_key: Vec<u8>,
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostKey")
    }
}

impl HostKey {
    /// `None` if the key cannot be written, which these always can.
    pub(super) fn new(key: &ecdsa::VerifyingKey, call: Call) -> Option<Self> {
        let public_key = key.to_public_key_der().ok()?.into_vec();
        Some(Self { call, public_key })
    }

    /// Whether `signature` is one of `message`; `None` if the host does not say.
    pub(super) fn verifies(&self, message: &[u8], signature: &ecdsa::Signature) -> Option<bool> {
        let signature = signature.to_der();
        let fields: [(u8, &[u8]); 4] = [
            (1, b"sha256"),
            (2, &self.public_key),
            (3, signature.as_bytes()),
            (4, message),
        ];
        (self.call)(&arguments(&fields)).map(|result| result == GOOD)
    }
}

/// A `VerifySignatureResult` with `result` set. On failure Envoy leaves it out, and may add an `error`.
const GOOD: [u8; 2] = [0x08, 0x01];

/// A protobuf message of length-delimited fields.
fn arguments(fields: &[(u8, &[u8])]) -> Vec<u8> {
    let room = fields.iter().map(|(_, value)| value.len() + 6).sum();
    let mut message = Vec::with_capacity(room);
    for (number, value) in fields {
        message.push(number << 3 | 2);
        let mut length = value.len();
        while length >= 0x80 {
            message.push(length as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(value);
    }
    message
}

static CALL: OnceLock<Option<Call>> = OnceLock::new();

/// Whom keys that are [made ready](VerifyingKey::prepared) from now on are verified by.
pub(super) fn chosen() -> Option<Call> {
    CALL.get().copied().flatten()
}

/// Settles who verifies, for all keys that are made ready from now on. The first call counts. `clock` is in
/// nanoseconds.
///
/// # Errors
/// [`HostError`], if it was to be the host and it cannot.
pub fn settle(wish: Verifier, call: Call, clock: fn() -> u64) -> Result<Settled, HostError> {
    let settled = compare(wish, call, clock)?;
    // The only error is that it has been settled already, by the same host.
    let _ = CALL.set(settled.by_host.then_some(call));
    Ok(settled)
}

/// Verifications for one look at the clock, and looks.
const RUNS: u64 = 4;
const ROUNDS: usize = 8;

fn compare(wish: Verifier, call: Call, clock: fn() -> u64) -> Result<Settled, HostError> {
    let settled = |by_host, took| Ok(Settled { by_host, took });
    if wish == Verifier::Wasm {
        return settled(false, None);
    }
    let key = VerifyingKey::from_coordinates(&KEY.0, &KEY.1).map_err(|_| HostError::Lacking)?;
    let host = HostKey::new(&key.point, call).ok_or(HostError::Lacking)?;
    match (check(&host), wish) {
        (Ok(()), Verifier::Host) => return settled(true, None),
        (Ok(()), _) => {}
        (Err(error), Verifier::Host) => return Err(error),
        (Err(_), _) => return settled(false, None),
    }
    let (host, tables) = (key.clone().by_host(call), key.with_tables());
    let mut best = [u64::MAX; 2];
    for _ in 0..ROUNDS {
        for (best, key) in best.iter_mut().zip([&host, &tables]) {
            let started = clock();
            for _ in 0..RUNS {
                black_box(key.verifies(black_box(MESSAGE), &SIGNATURE));
            }
            *best = clock().saturating_sub(started).min(*best);
        }
    }
    let [by_host, by_tables] = best.map(|nanos| nanos / RUNS);
    settled(is_faster(by_host, by_tables), Some((by_host, by_tables)))
}

/// What is no faster by a tenth may be slower the next time.
fn is_faster(by_host: u64, by_tables: u64) -> bool {
    by_host + by_host / 10 < by_tables
}

/// A key, a message and a signature that are good together (RFC 6979 appendix A.2.5).
const KEY: ([u8; 32], [u8; 32]) = (
    [
        0x60, 0xfe, 0xd4, 0xba, 0x25, 0x5a, 0x9d, 0x31, 0xc9, 0x61, 0xeb, 0x74, 0xc6, 0x35, 0x6d,
        0x68, 0xc0, 0x49, 0xb8, 0x92, 0x3b, 0x61, 0xfa, 0x6c, 0xe6, 0x69, 0x62, 0x2e, 0x60, 0xf2,
        0x9f, 0xb6,
    ],
    [
        0x79, 0x03, 0xfe, 0x10, 0x08, 0xb8, 0xbc, 0x99, 0xa4, 0x1a, 0xe9, 0xe9, 0x56, 0x28, 0xbc,
        0x64, 0xf2, 0xf1, 0xb2, 0x0c, 0x2d, 0x7e, 0x9f, 0x51, 0x77, 0xa3, 0xc2, 0x94, 0xd4, 0x46,
        0x22, 0x99,
    ],
);
const MESSAGE: &[u8] = b"sample";
const SIGNATURE: [u8; SIGNATURE_BYTES] = [
    0xef, 0xd4, 0x8b, 0x2a, 0xac, 0xb6, 0xa8, 0xfd, 0x11, 0x40, 0xdd, 0x9c, 0xd4, 0x5e, 0x81, 0xd6,
    0x9d, 0x2c, 0x87, 0x7b, 0x56, 0xaa, 0xf9, 0x91, 0xc3, 0x4d, 0x0e, 0xa8, 0x4e, 0xaf, 0x37, 0x16,
    0xf7, 0xcb, 0x1c, 0x94, 0x2d, 0x65, 0x7c, 0x41, 0xd4, 0x36, 0xc7, 0xa1, 0xb6, 0xe2, 0x9f, 0x65,
    0xf3, 0xe9, 0x00, 0xdb, 0xb9, 0xaf, 0xf4, 0x06, 0x4d, 0xc4, 0xab, 0x2f, 0x84, 0x3a, 0xcd, 0xa8,
];

/// Whether the known vectors get their verdicts.
fn check(key: &HostKey) -> Result<(), HostError> {
    let says = |message: &[u8], signature: &[u8]| {
        let signature = ecdsa::Signature::from_slice(signature).ok()?;
        key.verifies(message, &signature)
    };
    if says(MESSAGE, &SIGNATURE) != Some(true) {
        return Err(HostError::Lacking);
    }
    // Another message, and a bit of each half.
    let mut bad = vec![says(b"simple", &SIGNATURE)];
    for place in [SIGNATURE_BYTES / 2 - 1, SIGNATURE_BYTES - 1] {
        let mut signature = SIGNATURE;
        if let Some(byte) = signature.get_mut(place) {
            *byte ^= 1;
        }
        bad.push(says(MESSAGE, &signature));
    }
    if bad.iter().all(|said| *said == Some(false)) {
        Ok(())
    } else {
        Err(HostError::Unsound)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use p256::{ecdsa::signature::Verifier as _, pkcs8::DecodePublicKey};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::testing::{raw_signature, zone_key};

    /// The fields of a message, whose numbers are in order.
    fn fields(mut message: &[u8]) -> Vec<Vec<u8>> {
        let mut fields = Vec::new();
        while let [tag, rest @ ..] = message {
            assert_eq!(usize::from(*tag), (fields.len() + 1) << 3 | 2);
            let (mut length, mut read) = (0, 0);
            loop {
                length |= usize::from(rest[read] & 0x7f) << (7 * read);
                read += 1;
                if rest[read - 1] < 0x80 {
                    break;
                }
            }
            let (value, rest) = rest[read..].split_at(length);
            fields.push(value.to_vec());
            message = rest;
        }
        fields
    }

    /// A host that does as it should, by the p256 crate.
    fn honest(arguments: &[u8]) -> Option<Vec<u8>> {
        let [hash, key, signature, text] = fields(arguments).try_into().unwrap();
        assert_eq!(hash, b"sha256");
        let key = ecdsa::VerifyingKey::from_public_key_der(&key).unwrap();
        let signature = ecdsa::Signature::from_der(&signature).unwrap();
        let good = key.verify(&text, &signature).is_ok();
        Some(if good { GOOD.to_vec() } else { Vec::new() })
    }

    static NOW: AtomicU64 = AtomicU64::new(0);

    fn clock() -> u64 {
        NOW.load(Ordering::Relaxed)
    }

    /// The same, and time passes.
    fn slow(arguments: &[u8]) -> Option<Vec<u8>> {
        NOW.fetch_add(1_000, Ordering::Relaxed);
        honest(arguments)
    }

    #[test]
    fn a_host_without_the_function_or_without_sense_is_not_asked() {
        let accepts_all: Call = |_| Some(GOOD.to_vec());
        let knows_no_curve: Call = |_| Some(b"\x12\x05error".to_vec());
        for (call, error) in [
            ((|_| None) as Call, HostError::Lacking),
            (knows_no_curve, HostError::Lacking),
            (accepts_all, HostError::Unsound),
        ] {
            assert_eq!(compare(Verifier::Host, call, clock), Err(error));
            for wish in [Verifier::Fastest, Verifier::Wasm] {
                let settled = compare(wish, call, clock).unwrap();
                assert!(!settled.by_host && settled.took.is_none(), "{wish:?}");
            }
        }
    }

    #[test]
    fn a_host_that_is_no_faster_is_asked_only_if_it_must() {
        assert!(compare(Verifier::Host, slow, clock).unwrap().by_host);
        let settled = compare(Verifier::Fastest, slow, clock).unwrap();
        assert!(!settled.by_host);
        assert!(settled.took.unwrap().0 >= 1_000);
        let settled = compare(Verifier::Wasm, slow, clock).unwrap();
        assert!(!settled.by_host);
        assert!(is_faster(100, 111) && !is_faster(100, 110) && !is_faster(100, 90));
    }

    #[test]
    fn the_host_gets_what_it_needs_and_decides() {
        let plain = zone_key().verifying_key();
        let key = plain.clone().by_host(honest);
        assert!(key.is_prepared());
        for length in [0, 1, 127, 128, 700, 20_000] {
            let message = "m".repeat(length);
            let signature = raw_signature(&message, &zone_key());
            assert!(key.verifies(message.as_bytes(), &signature));
            assert!(!key.verifies(b"other", &signature));
        }
        // What the host will not do after all, the crate does.
        let key = plain.by_host(|_| None);
        let signature = raw_signature("any", &zone_key());
        assert!(key.verifies(b"any", &signature));
        assert!(!key.verifies(b"other", &signature));
    }
}
