//! Mandates that were verified already, so that a mandate used twice is verified once; and tokens that were not,
//! so that one sent over and over does not cost a verification each time.

use std::{collections::HashSet, fmt, sync::Arc};

use super::Mandate;
use crate::tags::{AsItIs, Kept, Tag, TagKey};

/// Verified mandates by their exact text, bounded in number.
///
/// Of a text only its [tag](TagKey) is kept: texts would be half of what mandates take. Only verified mandates enter,
/// so a stranger can neither fill the cache nor choose what falls together in its table.
#[derive(Debug)]
pub struct MandateCache {
    key: TagKey,
    held: Kept<Arc<Mandate>>,
    refused: HashSet<Tag, AsItIs>,
}

/// Most tokens that are known for their bad signature: strangers make them, so they have no part in the room for
/// mandates, and are forgotten together.
const MAX_REFUSED: usize = 128;

/// A token, and its tag in the cache that made it.
#[derive(Clone, Copy)]
pub struct Tagged<'t> {
    text: &'t [u8],
    tag: Tag,
}

impl Tagged<'_> {
    /// Whether it is of this text, in this place.
    pub(crate) fn is_of(&self, text: &str) -> bool {
        std::ptr::eq(self.text, text.as_bytes())
    }
}

impl fmt::Debug for Tagged<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tagged(..)")
    }
}

impl MandateCache {
    /// A cache of at most `capacity` mandates; 0 keeps none.
    pub fn new(capacity: usize, key: TagKey) -> Self {
        Self {
            key,
            held: Kept::new(capacity),
            refused: HashSet::default(),
        }
    }

    /// For how many there is room.
    pub(crate) fn capacity(&self) -> usize {
        self.held.capacity()
    }

    /// `text` with its tag.
    pub fn tagged<'t>(&self, text: &'t [u8]) -> Tagged<'t> {
        let tag = if self.capacity() == 0 {
            Tag::default()
        } else {
            self.key.tag(text)
        };
        Tagged { text, tag }
    }

    /// Whether `token` is known to have a signature that is none by these keys.
    pub fn is_refused(&self, token: &Tagged<'_>) -> bool {
        self.refused.contains(&token.tag)
    }

    /// Remembers that the signature of `token` is bad.
    pub fn refuse(&mut self, token: &Tagged<'_>) {
        if self.capacity() == 0 {
            return;
        }
        if self.refused.len() >= MAX_REFUSED {
            self.refused.clear();
        }
        self.refused.insert(token.tag);
    }

    /// The mandate that `token` was verified to be. What is found was looked at before, so that nobody has to
    /// look whether it is a token at all.
    pub fn get(&mut self, token: &Tagged<'_>) -> Option<&Arc<Mandate>> {
        self.held.get(token.tag)
    }

    /// Remembers that `token` is `mandate`.
    pub fn insert(&mut self, token: &Tagged<'_>, mandate: Arc<Mandate>) {
        self.held.insert(token.tag, mandate);
    }

    /// Forgets `token`.
    pub fn remove(&mut self, token: &Tagged<'_>) {
        self.held.remove(token.tag);
    }

    /// Forgets everything: the keys have changed.
    pub fn clear(&mut self) {
        self.held.clear();
        self.refused.clear();
    }

    /// How many mandates are held.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::testing::{TAG_KEY as KEY, token, verified};

    fn mandate(name: &str) -> (String, Arc<Mandate>) {
        let token = token(json!({"jti": name}));
        let mandate = verified(&token).unwrap();
        (token, mandate)
    }

    fn find(cache: &mut MandateCache, text: &str) -> Option<Arc<Mandate>> {
        let tagged = cache.tagged(text.as_bytes());
        cache.get(&tagged).map(Arc::clone)
    }

    fn insert(cache: &mut MandateCache, text: &str, mandate: &Arc<Mandate>) {
        let tagged = cache.tagged(text.as_bytes());
        cache.insert(&tagged, Arc::clone(mandate));
    }

    fn remove(cache: &mut MandateCache, text: &str) {
        let tagged = cache.tagged(text.as_bytes());
        cache.remove(&tagged);
    }

    fn refuse(cache: &mut MandateCache, text: &str) {
        let tagged = cache.tagged(text.as_bytes());
        cache.refuse(&tagged);
    }

    fn is_refused(cache: &MandateCache, text: &str) -> bool {
        cache.is_refused(&cache.tagged(text.as_bytes()))
    }

    #[test]
    fn what_was_kept_is_found_by_its_exact_text() {
        let mut cache = MandateCache::new(10, KEY);
        let (token, kept) = mandate("a");
        insert(&mut cache, &token, &kept);
        assert!(Arc::ptr_eq(&find(&mut cache, &token).unwrap(), &kept));
        assert!(find(&mut cache, &token[1..]).is_none() && find(&mut cache, "").is_none());
        let longer = format!("{token}A");
        assert!(find(&mut cache, &longer).is_none());
        for place in 0..token.len() {
            let mut other = token.clone().into_bytes();
            other[place] ^= 1;
            let other = String::from_utf8(other).unwrap();
            assert!(find(&mut cache, &other).is_none(), "{place}");
        }
        remove(&mut cache, &token[1..]);
        assert!(
            find(&mut cache, &token).is_some(),
            "another one was removed"
        );
        remove(&mut cache, &token);
        assert!(find(&mut cache, &token).is_none() && cache.is_empty());
    }

    #[test]
    fn bad_tokens_are_known_in_a_room_of_their_own() {
        let (_, any) = mandate("any");
        let mut cache = MandateCache::new(10, KEY);
        insert(&mut cache, "good", &any);
        for number in 0..10_000 {
            let bad = format!("bad-{number}");
            refuse(&mut cache, &bad);
            assert!(is_refused(&cache, &bad) && find(&mut cache, &bad).is_none());
            assert!(cache.refused.len() <= MAX_REFUSED);
        }
        assert!(find(&mut cache, "good").is_some() && !is_refused(&cache, "good"));
        cache.clear();
        assert!(!is_refused(&cache, "bad-9999"), "the keys have changed");
        let mut none = MandateCache::new(0, KEY);
        refuse(&mut none, "bad");
        assert!(!is_refused(&none, "bad"));
    }
}
