//! Mandates that were verified already, so that a mandate used twice is verified once; and tokens that were not,
//! so that one sent over and over does not cost a verification each time.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt,
    hash::{BuildHasherDefault, Hash, Hasher},
    sync::Arc,
};

use siphasher::sip128::SipHasher24;

use super::{Mandate, Presented};

/// Verified mandates by their exact text, bounded in number.
///
/// Of a text only its [tag](CacheKey) is kept: texts would be half of what mandates take.
///
/// When it is full, the one that was kept longest makes room, unless it was used meanwhile: then it is passed over once
/// (F. J. Corbató, "A Paging Experiment with the Multics System", 1968, known as CLOCK). Only verified mandates enter,
/// so a stranger can neither fill the cache nor choose what falls together in its table.
#[derive(Debug)]
pub struct MandateCache {
    key: CacheKey,
    held: HashMap<Tag, Entry, BuildHasherDefault<AsItIs>>,
    /// What is held, and perhaps what was forgotten meanwhile, in the order in which it is to make room.
    queue: VecDeque<Tag>,
    capacity: usize,
    refused: HashSet<Tag, BuildHasherDefault<AsItIs>>,
}

/// Most that are passed over for one to make room, so that no request waits for more.
const MOST_PASSED_OVER: usize = 64;

/// Most tokens that are known for their bad signature: strangers make them, so they have no part in the room for
/// mandates, and are forgotten together.
const MAX_REFUSED: usize = 128;

/// The key by which tokens are told apart: 16 random bytes that nobody else knows.
///
/// A token's tag is its SipHash-2-4 of 128 bits by this key (J.-P. Aumasson and D. J. Bernstein, "SipHash: a fast
/// short-input PRF", 2012). Who does not know the key, and sees no tag, can only guess at a text whose tag is that of a
/// mandate: one guess in 2^128 over the number of mandates is right.
#[derive(Clone, Copy)]
pub struct CacheKey([u8; Self::BYTES]);

/// A token, and its tag in the cache that made it.
#[derive(Clone, Copy)]
pub struct Tagged<'t> {
    text: &'t [u8],
    tag: Tag,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Tag(u64, u64);

#[derive(Debug)]
struct Entry {
    mandate: Arc<Mandate>,
    /// Since it was kept, or passed over.
    used: bool,
}

/// Hashes what is a hash already.
#[derive(Clone, Copy, Debug, Default)]
struct AsItIs(u64);

impl CacheKey {
    /// Length, in bytes.
    pub const BYTES: usize = 16;

    /// The key of `random` bytes.
    pub const fn new(random: [u8; Self::BYTES]) -> Self {
        Self(random)
    }

    fn tag(&self, text: &[u8]) -> Tag {
        let hash = SipHasher24::new_with_key(&self.0).hash(text);
        Tag(hash.h1, hash.h2)
    }
}

impl Tagged<'_> {
    /// Whether it is of this text, in this place.
    pub(crate) fn is_of(&self, text: &str) -> bool {
        std::ptr::eq(self.text, text.as_bytes())
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CacheKey(..)")
    }
}

impl fmt::Debug for Tagged<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tagged(..)")
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tag(..)")
    }
}

impl Hash for Tag {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        // No tag comes this way.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl MandateCache {
    /// A cache of at most `capacity` mandates; 0 keeps none.
    pub fn new(capacity: usize, key: CacheKey) -> Self {
        Self {
            key,
            held: HashMap::default(),
            queue: VecDeque::new(),
            capacity,
            refused: HashSet::default(),
        }
    }

    /// One that keeps none.
    pub(crate) fn none() -> Self {
        Self::new(0, CacheKey::new([0; CacheKey::BYTES]))
    }

    /// `text` with its tag.
    pub fn tagged<'t>(&self, text: &'t [u8]) -> Tagged<'t> {
        let tag = if self.capacity == 0 {
            Tag(0, 0)
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
        if self.capacity == 0 {
            return;
        }
        if self.refused.len() >= MAX_REFUSED {
            self.refused.clear();
        }
        self.refused.insert(token.tag);
    }

    /// The mandate that `token` was verified to be. What is found was looked at before, so that nobody has to
    /// look whether it is a token at all.
    pub fn get<'t>(&mut self, token: &Tagged<'t>) -> Option<Presented<'t>> {
        let entry = self.held.get_mut(&token.tag)?;
        entry.used = true;
        Some(Presented::again(Arc::clone(&entry.mandate), token.text))
    }

    /// Remembers that `token` is `mandate`.
    pub fn insert(&mut self, token: &Tagged<'_>, mandate: Arc<Mandate>) {
        if self.capacity == 0 {
            return;
        }
        let entry = Entry {
            mandate,
            used: false,
        };
        if self.held.insert(token.tag, entry).is_none() {
            self.queue.push_back(token.tag);
        }
        if self.held.len() > self.capacity {
            self.make_room();
        }
        if self.queue.len() > self.capacity.saturating_mul(2) {
            let mut seen: HashSet<Tag, BuildHasherDefault<AsItIs>> = HashSet::default();
            let held = &self.held;
            self.queue
                .retain(|tag| held.contains_key(tag) && seen.insert(*tag));
        }
    }

    /// Forgets `token`.
    pub fn remove(&mut self, token: &Tagged<'_>) {
        self.held.remove(&token.tag);
    }

    /// Forgets everything: the keys have changed.
    pub fn clear(&mut self) {
        self.held.clear();
        self.queue.clear();
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

    /// Lets go of one.
    fn make_room(&mut self) {
        let mut passed_over = 0;
        while let Some(tag) = self.queue.pop_front() {
            match self.held.get_mut(&tag) {
                None => {} // forgotten before
                Some(entry) if entry.used && passed_over < MOST_PASSED_OVER => {
                    entry.used = false;
                    passed_over += 1;
                    self.queue.push_back(tag);
                }
                Some(_) => {
                    self.held.remove(&tag);
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::testing::{CACHE_KEY as KEY, token, verified};

    fn mandate(name: &str) -> (String, Arc<Mandate>) {
        let token = token(json!({"jti": name}));
        let mandate = verified(&token).unwrap().into_mandate();
        (token, mandate)
    }

    fn find(cache: &mut MandateCache, text: &str) -> Option<Arc<Mandate>> {
        let tagged = cache.tagged(text.as_bytes());
        cache.get(&tagged).map(Presented::into_mandate)
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

    /// The first two are of the reference implementation's `vectors.h`, the others by `openssl mac -macopt size:16 SIPHASH`.
    #[test]
    fn tags_are_siphash_2_4_of_128_bits() {
        let text: Vec<u8> = (0..=u8::MAX).cycle().take(1_000).collect();
        let key = CacheKey::new(std::array::from_fn(|place| text[place]));
        for (length, expected) in [
            (0, "a3817f04ba25a8e66df67214c7550293"),
            (1, "da87c1d86b99af44347659119b22fc45"),
            (15, "5493e99933b0a8117e08ec0f97cfc3d9"),
            (1_000, "24dafa789ae03d86536a4b57372f0ba6"),
        ] {
            let Tag(first, second) = key.tag(&text[..length]);
            let tag = format!("{:016x}{:016x}", first.swap_bytes(), second.swap_bytes());
            assert_eq!(tag, expected, "{length}");
        }
    }

    #[test]
    fn another_key_tells_tokens_apart_by_other_tags() {
        let tag = |key: u8, text: &str| CacheKey::new([key; CacheKey::BYTES]).tag(text.as_bytes());
        assert!(tag(1, "a.b.c") == tag(1, "a.b.c"));
        assert!(tag(1, "a.b.c") != tag(2, "a.b.c"));
    }

    #[test]
    fn what_is_forgotten_takes_no_room() {
        let (_, any) = mandate("any");
        let mut cache = MandateCache::new(10, KEY);
        for number in 0..1_000 {
            let name = format!("{}", number % 7);
            insert(&mut cache, &name, &any);
            remove(&mut cache, &name);
            assert!(cache.is_empty() && cache.queue.len() <= 20);
        }
        for number in 0..30 {
            insert(&mut cache, &format!("new-{number}"), &any);
        }
        assert_eq!(cache.len(), 10);
        assert!(find(&mut cache, "new-29").is_some() && find(&mut cache, "new-0").is_none());
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
        let mut none = MandateCache::none();
        refuse(&mut none, "bad");
        assert!(!is_refused(&none, "bad"));
    }

    #[test]
    fn it_never_holds_more_than_it_may_and_keeps_what_is_used() {
        let (_, any) = mandate("any");
        for capacity in [0, 1, 2, 3, 10, 100] {
            let mut cache = MandateCache::new(capacity, KEY);
            for number in 0..1000 {
                insert(&mut cache, &format!("cold-{number}"), &any);
                assert!(cache.len() <= capacity, "{} of {capacity}", cache.len());
            }
        }
        let mut cache = MandateCache::new(20, KEY);
        insert(&mut cache, "hot", &any);
        for number in 0..1000 {
            insert(&mut cache, &format!("cold-{number}"), &any);
            if number % 5 == 0 {
                assert!(find(&mut cache, "hot").is_some(), "lost after {number}");
            }
            assert!(cache.len() <= 20);
        }
        assert!(
            find(&mut cache, "cold-0").is_none(),
            "what nobody uses goes"
        );
        let mut cache = MandateCache::new(100, KEY);
        let name = |number: usize| format!("warm-{number}");
        for number in (0..100).cycle().take(1_000) {
            if find(&mut cache, &name(number)).is_none() {
                insert(&mut cache, &name(number), &any);
            }
        }
        let is_held = |number: &usize| cache.held.contains_key(&KEY.tag(name(*number).as_bytes()));
        assert_eq!(
            (0..100).filter(is_held).count(),
            100,
            "there is room for all"
        );
        insert(&mut cache, "one more", &any);
        assert!(cache.len() == 100 && find(&mut cache, "one more").is_some());
        cache.clear();
        assert!(cache.is_empty() && find(&mut cache, "hot").is_none());
    }
}
