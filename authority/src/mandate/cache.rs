//! Mandates that were verified already, so that a mandate used twice is verified once; and tokens that were not,
//! so that one sent over and over does not cost a verification each time.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

use super::{Mandate, Token};

/// Verified mandates by their exact text, bounded in number.
///
/// When it is full, the one that was kept longest makes room, unless it was used meanwhile: then it is passed over once
/// (F. J. Corbató, "A Paging Experiment with the Multics System", 1968, known as CLOCK). Only verified mandates enter,
/// so a stranger can neither fill the cache nor choose what falls together in its table.
#[derive(Debug)]
pub struct MandateCache {
    held: HashMap<u64, Entry, BuildHasherDefault<AsItIs>>,
    /// What is held, and perhaps what was forgotten meanwhile, in the order in which it is to make room.
    queue: VecDeque<u64>,
    capacity: usize,
    refused: HashSet<Box<str>, BuildHasherDefault<EndOfText>>,
}

/// Most that are passed over for one to make room, so that no request waits for more.
const MOST_PASSED_OVER: usize = 64;

/// Most tokens that are known for their bad signature, and the longest of them, in bytes: strangers make them, so
/// they take 256 KiB at most, have no part in the room for mandates, and are forgotten together.
const MAX_REFUSED: usize = 128;
const MAX_REFUSED_BYTES: usize = 2 * 1024;

/// What is held under the hash that [`EndOfText`] makes of the text. Of two with the same, which nobody will ever see,
/// one is kept.
#[derive(Debug)]
struct Entry {
    text: Token,
    mandate: Arc<Mandate>,
    /// Since it was kept, or passed over.
    used: bool,
}

/// Hashes what is a hash already.
#[derive(Clone, Copy, Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        // No key comes this way.
        self.0 = EndOfText::of(bytes);
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Tells tokens apart by their last bytes, which belong to the signature and are as good as random: nobody but
/// the STS could choose them such that the token is verified, and enters. Where a token is, it is compared
/// whole.
#[derive(Clone, Copy, Debug, Default)]
struct EndOfText(u64);

impl Hasher for EndOfText {
    fn write(&mut self, bytes: &[u8]) {
        // The last characters hold few bits of a signature that is not a multiple of three bytes long.
        let mut end = [0; 16];
        for (to, from) in end.iter_mut().zip(bytes.iter().rev()) {
            *to = *from;
        }
        for word in end.as_chunks().0 {
            self.mix(u64::from_le_bytes(*word));
        }
    }

    fn write_u8(&mut self, _: u8) {
        // That a text ends here tells nothing where there is only one.
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl EndOfText {
    fn of(text: &[u8]) -> u64 {
        let mut hasher = Self::default();
        hasher.write(text);
        hasher.finish()
    }

    /// Spreads the six bits of each character over all of the word.
    fn mix(&mut self, word: u64) {
        // 2^64 divided by the golden ratio (Knuth, TAOCP volume 3, section 6.4).
        let spread = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = spread ^ (spread >> 32);
    }
}

impl MandateCache {
    /// A cache of at most `capacity` mandates; 0 keeps none.
    pub fn new(capacity: usize) -> Self {
        Self {
            held: HashMap::default(),
            queue: VecDeque::new(),
            capacity,
            refused: HashSet::default(),
        }
    }

    /// Whether `token` is known to have a signature that is none by these keys.
    pub fn is_refused(&self, token: &str) -> bool {
        self.refused.contains(token)
    }

    /// Remembers that the signature of `token` is bad.
    pub fn refuse(&mut self, token: &str) {
        if self.capacity == 0 || token.len() > MAX_REFUSED_BYTES {
            return;
        }
        if self.refused.len() >= MAX_REFUSED {
            self.refused.clear();
        }
        self.refused.insert(token.into());
    }

    /// The mandate that `token` was verified to be. What is found was looked at before, so that nobody has to
    /// look whether it is a token at all.
    pub fn get(&mut self, token: &[u8]) -> Option<Arc<Mandate>> {
        let entry = self.held.get_mut(&EndOfText::of(token))?;
        if !same(entry.text.0.as_bytes(), token) {
            return None;
        }
        entry.used = true;
        Some(Arc::clone(&entry.mandate))
    }

    /// Remembers that `token` is `mandate`.
    pub fn insert(&mut self, token: impl Into<Token>, mandate: Arc<Mandate>) {
        if self.capacity == 0 {
            return;
        }
        let text = token.into();
        let hash = EndOfText::of(text.0.as_bytes());
        let entry = Entry {
            text,
            mandate,
            used: false,
        };
        if self.held.insert(hash, entry).is_none() {
            self.queue.push_back(hash);
        }
        if self.held.len() > self.capacity {
            self.make_room();
        }
        if self.queue.len() > self.capacity.saturating_mul(2) {
            let mut seen = HashSet::new();
            let held = &self.held;
            self.queue
                .retain(|hash| held.contains_key(hash) && seen.insert(*hash));
        }
    }

    /// Forgets `token`.
    pub fn remove(&mut self, token: &[u8]) {
        let hash = EndOfText::of(token);
        let is_held = self.held.get(&hash);
        if is_held.is_some_and(|entry| same(entry.text.0.as_bytes(), token)) {
            self.held.remove(&hash);
        }
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
        while let Some(hash) = self.queue.pop_front() {
            match self.held.get_mut(&hash) {
                None => {} // forgotten before
                Some(entry) if entry.used && passed_over < MOST_PASSED_OVER => {
                    entry.used = false;
                    passed_over += 1;
                    self.queue.push_back(hash);
                }
                Some(_) => {
                    self.held.remove(&hash);
                    return;
                }
            }
        }
    }
}

/// Whether both are the same. Slices are compared byte by byte in WebAssembly, which for a token takes as long as
/// all the rest of finding it.
pub(super) fn same(first: &[u8], second: &[u8]) -> bool {
    let (words, rest) = first.as_chunks::<8>();
    let (others, other_rest) = second.as_chunks::<8>();
    let number = |word: &[u8; 8]| u64::from_le_bytes(*word);
    first.len() == second.len()
        && words
            .iter()
            .zip(others)
            .all(|(word, other)| number(word) == number(other))
        && rest == other_rest
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::testing::{token, verified};

    fn mandate(name: &str) -> (String, Arc<Mandate>) {
        let token = token(json!({"jti": name}));
        let mandate = Arc::new(verified(&token).unwrap());
        (token, mandate)
    }

    #[test]
    fn what_was_kept_is_found_by_its_exact_text() {
        let mut cache = MandateCache::new(10);
        let (token, kept) = mandate("a");
        cache.insert(token.as_str(), Arc::clone(&kept));
        let found = |cache: &mut MandateCache, text: &str| cache.get(text.as_bytes());
        assert!(Arc::ptr_eq(&found(&mut cache, &token).unwrap(), &kept));
        assert!(found(&mut cache, &token[1..]).is_none() && found(&mut cache, "").is_none());
        cache.remove(&token.as_bytes()[1..]);
        assert!(
            found(&mut cache, &token).is_some(),
            "another one was removed"
        );
        cache.remove(token.as_bytes());
        assert!(found(&mut cache, &token).is_none() && cache.is_empty());
    }

    #[test]
    fn tokens_that_differ_are_told_apart_wherever_they_differ() {
        let hash = |text: &str| {
            let mut hasher = EndOfText::default();
            std::hash::Hash::hash(text, &mut hasher);
            hasher.finish()
        };
        // The parts that a table goes by are its lowest and its seven highest bits.
        let texts = (0..4_096).map(|number| format!("head.claims.{number:08}signature"));
        let hashes: Vec<u64> = texts.map(|text| hash(&text)).collect();
        for part in [0, 57] {
            let parts: std::collections::HashSet<u64> =
                hashes.iter().map(|hash| (hash >> part) & 0x7f).collect();
            assert_eq!(parts.len(), 128, "of the bits from {part}");
        }
        assert_ne!(hash("a"), hash("b"));
        let (_, any) = mandate("any");
        let mut cache = MandateCache::new(10);
        let ends_alike = |start: &str| format!("{start}{}", "x".repeat(64));
        cache.insert(ends_alike("a").as_str(), Arc::clone(&any));
        assert!(cache.get(ends_alike("b").as_bytes()).is_none());
        assert!(cache.get(ends_alike("a").as_bytes()).is_some());
    }

    #[test]
    fn texts_are_the_same_when_all_of_them_is() {
        for length in 0..40 {
            let text: Vec<u8> = (0..length).collect();
            assert!(same(&text, &text.clone()));
            assert!(!same(&text, &[&text[..], b"x"].concat()));
            for place in 0..text.len() {
                let mut other = text.clone();
                other[place] ^= 0x80;
                assert!(!same(&text, &other), "{place} of {length}");
            }
        }
    }

    #[test]
    fn what_is_forgotten_takes_no_room() {
        let (_, any) = mandate("any");
        let mut cache = MandateCache::new(10);
        for number in 0..1_000 {
            let name = format!("{}", number % 7);
            cache.insert(name.as_str(), Arc::clone(&any));
            cache.remove(name.as_bytes());
            assert!(cache.is_empty() && cache.queue.len() <= 20);
        }
        for number in 0..30 {
            cache.insert(format!("new-{number}").as_str(), Arc::clone(&any));
        }
        assert_eq!(cache.len(), 10);
        assert!(cache.get(b"new-29").is_some() && cache.get(b"new-0").is_none());
    }

    #[test]
    fn bad_tokens_are_known_in_a_room_of_their_own() {
        let (_, any) = mandate("any");
        let mut cache = MandateCache::new(10);
        cache.insert("good", Arc::clone(&any));
        for number in 0..10_000 {
            let bad = format!("bad-{number}");
            cache.refuse(&bad);
            assert!(cache.is_refused(&bad) && cache.get(bad.as_bytes()).is_none());
            assert!(cache.refused.len() <= MAX_REFUSED);
        }
        assert!(cache.get(b"good").is_some() && !cache.is_refused("good"));
        let long = "x".repeat(MAX_REFUSED_BYTES + 1);
        cache.refuse(&long);
        assert!(!cache.is_refused(&long), "too long to keep");
        cache.clear();
        assert!(!cache.is_refused("bad-9999"), "the keys have changed");
        let mut none = MandateCache::new(0);
        none.refuse("bad");
        assert!(!none.is_refused("bad"));
    }

    #[test]
    fn it_never_holds_more_than_it_may_and_keeps_what_is_used() {
        let (_, any) = mandate("any");
        for capacity in [0, 1, 2, 3, 10, 100] {
            let mut cache = MandateCache::new(capacity);
            for number in 0..1000 {
                cache.insert(format!("cold-{number}").as_str(), Arc::clone(&any));
                assert!(cache.len() <= capacity, "{} of {capacity}", cache.len());
            }
        }
        let mut cache = MandateCache::new(20);
        cache.insert("hot", Arc::clone(&any));
        for number in 0..1000 {
            cache.insert(format!("cold-{number}").as_str(), Arc::clone(&any));
            if number % 5 == 0 {
                assert!(cache.get(b"hot").is_some(), "lost after {number}");
            }
            assert!(cache.len() <= 20);
        }
        assert!(cache.get(b"cold-0").is_none(), "what nobody uses goes");
        let mut cache = MandateCache::new(100);
        let name = |number: usize| format!("warm-{number}");
        for number in (0..100).cycle().take(1_000) {
            if cache.get(name(number).as_bytes()).is_none() {
                cache.insert(name(number).as_str(), Arc::clone(&any));
            }
        }
        let is_held = |number: &usize| {
            cache
                .held
                .contains_key(&EndOfText::of(name(*number).as_bytes()))
        };
        assert_eq!(
            (0..100).filter(is_held).count(),
            100,
            "there is room for all"
        );
        cache.insert("one more", Arc::clone(&any));
        assert!(cache.len() == 100 && cache.get(b"one more").is_some());
        cache.clear();
        assert!(cache.is_empty() && cache.get(b"hot").is_none());
    }
}
