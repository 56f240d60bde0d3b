//! Tags of texts, by which what was found out about a text is found again without the text being kept.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt,
    hash::{BuildHasherDefault, Hash, Hasher},
};

use siphasher::sip128::SipHasher24;

/// The key by which texts are told apart: 16 random bytes that nobody else knows.
///
/// A text's tag is its SipHash-2-4 of 128 bits by this key (J.-P. Aumasson and D. J. Bernstein, "SipHash: a fast
/// short-input PRF", 2012). Who does not know the key, and sees no tag, can only guess at a text whose tag is that of
/// another: of 2^128 guesses, as many are right as there are tags.
#[derive(Clone, Copy)]
pub struct TagKey([u8; Self::BYTES]);

/// What stands for a text.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tag(u64, u64);

/// What is kept of texts by their tags, bounded in number.
///
/// When there is no more room, what was kept longest makes room, unless it was used meanwhile: then it is passed over
/// once (F. J. Corbató, "A Paging Experiment with the Multics System", 1968, known as CLOCK).
#[derive(Debug)]
pub(crate) struct Kept<T> {
    held: HashMap<Tag, Entry<T>, AsItIs>,
    /// What is held, and perhaps what was forgotten meanwhile, in the order in which it is to make room.
    queue: VecDeque<Tag>,
    capacity: usize,
}

/// Most that are passed over for one to make room, so that no request waits for more.
const MOST_PASSED_OVER: usize = 64;

#[derive(Debug)]
struct Entry<T> {
    what: T,
    /// Since it was kept, or passed over.
    used: bool,
}

/// Hashes what is a hash already.
pub(crate) type AsItIs = BuildHasherDefault<FirstHalf>;

/// The first half of a tag.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FirstHalf(u64);

impl TagKey {
    /// Length, in bytes.
    pub const BYTES: usize = 16;

    /// For where nothing is kept.
    pub const NONE: Self = Self([0; Self::BYTES]);

    /// The key of `random` bytes.
    pub const fn new(random: [u8; Self::BYTES]) -> Self {
        Self(random)
    }

    pub(crate) fn tag(&self, text: &[u8]) -> Tag {
        let hash = SipHasher24::new_with_key(&self.0).hash(text);
        Tag(hash.h1, hash.h2)
    }
}

impl fmt::Debug for TagKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TagKey(..)")
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

impl Hasher for FirstHalf {
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

impl<T> Kept<T> {
    /// Room for `capacity`; 0 keeps nothing.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            held: HashMap::default(),
            queue: VecDeque::new(),
            capacity,
        }
    }

    /// For how much there is room.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// What is kept under `tag`, which is thereby used.
    pub(crate) fn get(&mut self, tag: Tag) -> Option<&T> {
        let entry = self.held.get_mut(&tag)?;
        entry.used = true;
        Some(&entry.what)
    }

    /// Keeps `what` under `tag`.
    pub(crate) fn insert(&mut self, tag: Tag, what: T) {
        if self.capacity == 0 {
            return;
        }
        let entry = Entry { what, used: false };
        if self.held.insert(tag, entry).is_none() {
            self.queue.push_back(tag);
        }
        if self.held.len() > self.capacity {
            self.make_room();
        }
        if self.queue.len() > self.capacity.saturating_mul(2) {
            let mut seen: HashSet<Tag, AsItIs> = HashSet::default();
            let held = &self.held;
            self.queue
                .retain(|tag| held.contains_key(tag) && seen.insert(*tag));
        }
    }

    /// Forgets what is kept under `tag`.
    pub(crate) fn remove(&mut self, tag: Tag) {
        self.held.remove(&tag);
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.held.clear();
        self.queue.clear();
    }

    /// How much is held.
    pub(crate) fn len(&self) -> usize {
        self.held.len()
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
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn tag(name: &str) -> Tag {
        TagKey::new([7; TagKey::BYTES]).tag(name.as_bytes())
    }

    fn insert(kept: &mut Kept<()>, name: &str) {
        kept.insert(tag(name), ());
    }

    fn has(kept: &mut Kept<()>, name: &str) -> bool {
        kept.get(tag(name)).is_some()
    }

    /// The first two are of the reference implementation's `vectors.h`, the others by `openssl mac -macopt size:16 SIPHASH`.
    #[test]
    fn tags_are_siphash_2_4_of_128_bits() {
        let text: Vec<u8> = (0..=u8::MAX).cycle().take(1_000).collect();
        let key = TagKey::new(std::array::from_fn(|place| text[place]));
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
    fn another_key_tells_texts_apart_by_other_tags() {
        let tag = |key: u8, text: &str| TagKey::new([key; TagKey::BYTES]).tag(text.as_bytes());
        assert!(tag(1, "a.b.c") == tag(1, "a.b.c"));
        assert!(tag(1, "a.b.c") != tag(2, "a.b.c"));
        // Nobody is shown them.
        let shown = format!("{:?} {:?}", TagKey::new([171; 16]), tag(1, "a"));
        assert_eq!(shown, "TagKey(..) Tag(..)");
    }

    #[test]
    fn what_is_forgotten_takes_no_room() {
        let mut kept = Kept::new(10);
        for number in 0..1_000 {
            let name = format!("{}", number % 7);
            insert(&mut kept, &name);
            kept.remove(tag(&name));
            assert!(kept.len() == 0 && kept.queue.len() <= 20);
        }
        for number in 0..30 {
            insert(&mut kept, &format!("new-{number}"));
        }
        assert_eq!(kept.len(), 10);
        assert!(has(&mut kept, "new-29") && !has(&mut kept, "new-0"));
    }

    #[test]
    fn it_never_holds_more_than_it_may_and_keeps_what_is_used() {
        for capacity in [0, 1, 2, 3, 10, 100] {
            let mut kept = Kept::new(capacity);
            for number in 0..1000 {
                insert(&mut kept, &format!("cold-{number}"));
                assert!(kept.len() <= capacity, "{} of {capacity}", kept.len());
            }
        }
        let mut kept = Kept::new(20);
        insert(&mut kept, "hot");
        for number in 0..1000 {
            insert(&mut kept, &format!("cold-{number}"));
            if number % 5 == 0 {
                assert!(has(&mut kept, "hot"), "lost after {number}");
            }
            assert!(kept.len() <= 20);
        }
        assert!(!has(&mut kept, "cold-0"), "what nobody uses goes");
        let mut kept = Kept::new(100);
        let name = |number: usize| format!("warm-{number}");
        for number in (0..100).cycle().take(1_000) {
            if !has(&mut kept, &name(number)) {
                insert(&mut kept, &name(number));
            }
        }
        let is_held = |number: &usize| kept.held.contains_key(&tag(&name(*number)));
        assert_eq!(
            (0..100).filter(is_held).count(),
            100,
            "there is room for all"
        );
        insert(&mut kept, "one more");
        assert!(kept.len() == 100 && has(&mut kept, "one more"));
        kept.clear();
        assert!(kept.len() == 0 && !has(&mut kept, "hot"));
    }
}
