//! Segments: runs of events that were written together, by which the index is kept. Most of what can be asked
//! for is the same in hundreds of events on end, and has one row for all of them.

use authority::{audit::Facts, ids::ZoneId};

use super::{signed, terms::Terms};

/// Most events of a segment, so that retention can remove it at once.
pub(super) const MOST_EVENTS: usize = 500;
const AGE_BITS: u32 = 18;
/// Most microseconds between two events of a segment: a search looks so far ahead of where it begins.
pub(super) const SPAN: u64 = (1 << AGE_BITS) - 1;

/// Some events of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// The number of the first in the batch.
    pub(super) first: usize,
    /// How many.
    pub(super) events: usize,
    /// When the last of them happened.
    pub(super) at: u64,
    /// What they are found by: for each thing its term and which of them, in order.
    pub(super) found_by: Vec<(i64, Mark)>,
}

/// An event of a segment: its number in it, and how long before the last one it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark(u32);

impl Mark {
    /// The only event of a segment.
    pub(super) const ONLY: Self = Self(0);

    /// Of the event with so many before it in its segment, which happened so long before the last.
    pub(super) fn new(number: impl TryInto<u32>, age: impl TryInto<u64>) -> Self {
        let number = number.try_into().unwrap_or_default();
        let age = age.try_into().unwrap_or_default().min(SPAN);
        Self(number << AGE_BITS | u32::try_from(age).unwrap_or_default())
    }

    pub(super) fn to_bytes(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }

    /// What a row of the index holds.
    pub(super) fn all(events: &[u8]) -> Vec<Self> {
        if events.is_empty() {
            return vec![Self::ONLY];
        }
        let (marks, _) = events.as_chunks::<4>();
        let mark = |bytes: &[u8; 4]| Self(u32::from_be_bytes(*bytes));
        marks.iter().map(mark).collect()
    }

    /// When the event happened, and where it stands, in the segment that ends at `at` and begins with `first`.
    pub(super) fn place(self, at: i64, first: i64) -> (i64, i64) {
        let age = i64::from(self.0) & signed(SPAN);
        (at - age, first + i64::from(self.0 >> AGE_BITS))
    }
}

/// A row that tells of a segment of more than one event: its first entry, how many, when the last of them happened.
pub(super) type SegmentRow = (i64, i64, i64);

/// Of which of these segments, in order, an entry is.
pub(super) fn around(segments: &[SegmentRow], entry: i64) -> Option<SegmentRow> {
    let before = segments.partition_point(|(first, ..)| *first <= entry);
    let segment = *segments.get(before.checked_sub(1)?)?;
    (entry < segment.0 + segment.1).then_some(segment)
}

/// A batch in segments.
pub(super) fn of(zone: &ZoneId, batch: &[&(Facts<'_>, &str)]) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut terms = Terms::of(zone);
    let mut rest = batch;
    while !rest.is_empty() {
        let (events, at) = together(rest);
        let (segment, others) = rest.split_at(events);
        let mut found_by = Vec::with_capacity(events * 10);
        for (number, (event, _)) in segment.iter().enumerate() {
            let mark = Mark::new(number, at - event.occurred_at.0);
            terms.each(event, |term| found_by.push((term, mark)));
        }
        found_by.sort_unstable();
        found_by.dedup();
        segments.push(Segment {
            first: batch.len() - rest.len(),
            events,
            at,
            found_by,
        });
        rest = others;
    }
    segments
}

/// How many of the first of these events are one segment, and when the last of them happened.
fn together(events: &[&(Facts<'_>, &str)]) -> (usize, u64) {
    let (mut oldest, mut newest) = (u64::MAX, 0);
    let mut count = 0;
    for (event, _) in events.iter().take(MOST_EVENTS) {
        let at = event.occurred_at.0;
        let (first, last) = (oldest.min(at), newest.max(at));
        if last - first > SPAN {
            break;
        }
        (oldest, newest) = (first, last);
        count += 1;
    }
    (count, newest)
}
