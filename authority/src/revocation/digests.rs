//! Digests of anchors, of which those that mandates have in common are not made for each of them.

use std::sync::{Mutex, PoisonError};

use super::{Anchor, AnchorKind, Digest, HashKey};

/// Makes digests by one key, and remembers the last of each kind that one mandate most often has as the one before it.
#[derive(Debug)]
pub(crate) struct Digests {
    key: HashKey,
    last: Mutex<[Option<(String, Digest)>; 4]>,
}

impl Digests {
    pub(crate) fn new(key: HashKey) -> Self {
        Self {
            key,
            last: Mutex::default(),
        }
    }

    /// The key.
    pub(crate) fn key(&self) -> HashKey {
        self.key
    }

    /// The [digest](HashKey::digest) of an anchor.
    pub(crate) fn of(&self, anchor: Anchor<'_>) -> Digest {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let [zone, key, application, subject] = &mut *last;
        let last = match anchor.kind {
            AnchorKind::Zone => zone,
            AnchorKind::Key => key,
            AnchorKind::Application => application,
            AnchorKind::Subject => subject,
            _ => return self.key.digest(anchor),
        };
        match last {
            Some((id, digest)) if *id == anchor.id => *digest,
            _ => {
                let made = self.key.digest(anchor);
                let (id, digest) = last.get_or_insert_default();
                anchor.id.clone_into(id);
                *digest = made;
                made
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn what_is_remembered_is_what_would_be_made() {
        let key = HashKey([7; 16]);
        let digests = Digests::new(key);
        for id in ["", "a", "a", "b", "a", "", "ab"] {
            for kind in AnchorKind::ALL {
                for id in [id, "a"] {
                    let anchor = Anchor { kind, id };
                    assert_eq!(digests.of(anchor), key.digest(anchor), "{anchor:?}");
                }
            }
        }
    }
}
