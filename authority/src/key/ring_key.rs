//! A private key as ring signs by it.
//!
//! ring does not wipe its keys, so this keeps one in a place of its own and wipes that. What ring leaves on the stack
//! while it takes a key or signs is not wiped: there is no way to from here.
#![allow(unsafe_code)] // one look at a value that is always there, see `RingKey::sign`

use std::{mem::MaybeUninit, sync::Arc};

use p256::ecdsa;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use zeroize::Zeroize;

/// A key, shared by its clones and wiped with the last of them.
#[derive(Clone)]
pub(super) struct RingKey(Arc<Place>);

/// Holds one key from when it is made to when it is dropped.
struct Place(Box<[MaybeUninit<EcdsaKeyPair>; 1]>);

impl RingKey {
    /// The same key; `None` if ring does not take it, which it should.
    pub(super) fn new(key: &ecdsa::SigningKey) -> Option<Self> {
        let mut scalar = key.to_bytes();
        let point = key.verifying_key().to_sec1_point(false);
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            &scalar,
            point.as_bytes(),
            &SystemRandom::new(),
        );
        scalar.as_mut_slice().zeroize();
        Some(Self(Arc::new(Place(Box::new([MaybeUninit::new(
            pair.ok()?,
        )])))))
    }

    /// Signs; `None` where the system has no randomness.
    pub(super) fn sign(&self, message: &[u8]) -> Option<ecdsa::Signature> {
        let [pair] = &*self.0.0;
        // SAFETY: it was written when the place was made, and nothing but the drop of the place, after which
        // there is no reference to it, takes it away.
        let pair = unsafe { pair.assume_init_ref() };
        let signature = pair.sign(&SystemRandom::new(), message).ok()?;
        ecdsa::Signature::from_slice(signature.as_ref()).ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A key has nothing to drop: all of it is in here.
        const { assert!(!std::mem::needs_drop::<EcdsaKeyPair>()) };
        self.0.as_mut_slice().zeroize();
    }
}
