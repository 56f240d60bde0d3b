//! What events were found by that were written lately: the part of the index that is not in the database yet. To write
//! it with each batch would touch a page of the index for nearly each thing that an event is found by; a run at a time,
//! each page is written once. Nothing is lost with it: it follows from the entries, and is made from them again.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, hash_map::Entry},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::{
    LedgerHead,
    runs::{end_of, run_of},
    segments::{Mark, Segment},
};

/// Most postings that are kept, of all ledgers, in about 16 MB. Of a ledger that had to make room, they are read when
/// they are looked for, or when a run of it has come to its end.
pub(super) const MOST_POSTINGS: usize = if cfg!(test) { 4_096 } else { 1 << 20 };
/// Lists of postings that are no longer than this together are made one.
const MOST_TOGETHER: usize = 8_192;

/// What is known of all ledgers.
pub(in crate::store) struct Fresh {
    known: Mutex<Known>,
    /// Changes whenever a run may have come to its end.
    ended: watch::Sender<()>,
}

/// What a change did to the ledger of this number, to be told once it is committed.
#[derive(Debug)]
pub(in crate::store) struct Noted {
    pub(super) number: i64,
    /// Up to this entry it was in the database before what events are found by, or they are gone.
    pub(super) begin: i64,
    /// What was added at its end.
    pub(super) segments: Vec<Written>,
}

#[derive(Debug, Default)]
struct Known {
    ledgers: HashMap<i64, Ledger>,
    /// How many all of them have.
    postings: usize,
}

/// A segment, where it stands.
#[derive(Clone, Debug)]
pub(in crate::store) struct Written {
    /// Its first entry, and its last.
    pub(super) first: i64,
    pub(super) last: i64,
    /// When the last of its events happened.
    pub(super) at: i64,
    /// As [`Segment::found_by`].
    pub(super) found_by: Vec<(i64, Mark)>,
}

/// A row of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// When the last event of the segment happened, and its first entry.
    pub(super) place: (i64, i64),
    /// Which of its events, in order. Empty: the segment is one event.
    pub(super) marks: Vec<Mark>,
}

/// A stretch of entries of which something has to be read before the index is whole: those after the first up to the
/// second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) after: i64,
    pub(super) upto: i64,
}

/// Entries are told by where they stand.
#[derive(Debug)]
struct Ledger {
    /// Up to this one it is in the database what they are found by, or they are gone.
    begin: i64,
    /// What is here is of those after this one
    known_after: i64,
    /// and up to this one.
    end: i64,
    runs: BTreeMap<i64, Run>,
    /// How many there are in all runs.
    postings: usize,
}

#[derive(Debug, Default)]
struct Run {
    segments: Vec<Place>,
    /// Each in order. All of a segment are in one.
    postings: Vec<Vec<Posting>>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    first: i64,
    last: i64,
    at: i64,
}

/// That something is found in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Posting {
    term: i64,
    segment: u32,
    mark: Mark,
}

/// All rows of a run.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) run: i64,
    /// The last entry of which they tell.
    pub(super) end: i64,
    /// By what, and what, in the order of the index.
    pub(super) rows: Vec<(i64, Row)>,
}

/// A run that has come to its end and is not in the database.
#[derive(Debug)]
pub(super) struct Ended {
    /// Whose.
    pub(super) ledger: i64,
    /// It, or what has to be read before.
    pub(super) run: Result<Whole, Missing>,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The rows of each term, newest first.
    pub(super) rows: Vec<Vec<Row>>,
    /// The oldest time of any row.
    pub(super) oldest: Option<i64>,
}

impl Row {
    /// Which of the segment's events, in order.
    pub(super) fn marks(&self) -> &[Mark] {
        if self.marks.is_empty() {
            &[Mark::ONLY]
        } else {
            &self.marks
        }
    }
}

impl Written {
    /// A segment of a batch that begins at `begin`.
    pub(super) fn new(begin: i64, segment: Segment) -> Self {
        let place = |number: usize| begin.saturating_add(i64::try_from(number).unwrap_or(i64::MAX));
        Self {
            first: place(segment.first),
            last: place(segment.first + segment.events) - 1,
            at: super::signed(segment.at),
            found_by: segment.found_by,
        }
    }
}

impl Fresh {
    pub(in crate::store) fn new() -> Self {
        Self {
            known: Mutex::default(),
            ended: watch::Sender::default(),
        }
    }

    /// Changes whenever a run may have come to its end.
    pub(in crate::store) fn ended(&self) -> watch::Receiver<()> {
        self.ended.subscribe()
    }

    /// Takes in what was committed.
    pub(in crate::store) fn settle(&self, noted: impl Iterator<Item = Noted>) {
        let mut known = self.lock();
        let mut ended = false;
        for Noted {
            number,
            begin,
            segments,
        } in noted
        {
            let before = segments.first().map(|segment| segment.first - 1);
            known.change(number, begin, before, |ledger| {
                // A commit that failed may have happened all the same.
                if let Some(before) = before.filter(|before| *before > ledger.end) {
                    ledger.end = before;
                    ledger.forget();
                }
                // Who looked for something in between may have read some of it already.
                let end = ledger.end;
                ledger.take(segments.into_iter().filter(|segment| segment.first > end));
                ledger.begin_after(begin);
                ended |= ledger.ended().is_some();
            });
        }
        known.make_room(None);
        drop(known);
        if ended {
            self.ended.send_replace(());
        }
    }

    /// Takes in what was missing.
    pub(super) fn fill(&self, number: i64, missing: Missing, segments: Vec<Written>) {
        let mut known = self.lock();
        known.change(number, missing.after, None, |ledger| {
            if ledger.missing() == Some(missing) {
                ledger.known_after = missing.after;
                ledger.take(segments);
            }
        });
        known.make_room(Some(number));
    }

    /// What is found by each of these terms, in a ledger that stood at `head` or further on; or what is missing for
    /// that.
    pub(super) fn rows(&self, head: &LedgerHead, terms: &[i64]) -> Result<Found, Missing> {
        let mut known = self.lock();
        let end = head.place(head.seq);
        let mut found = Ok(Found::default());
        known.change(head.number, head.begin(), Some(end), |ledger| {
            found = match ledger.missing() {
                Some(missing) => Err(missing),
                None => Ok(ledger.find(terms)),
            };
        });
        found
    }

    /// A run that has come to its end and is not in the database, if there is one.
    pub(super) fn next_ended(&self) -> Option<Ended> {
        let known = self.lock();
        known.ledgers.iter().find_map(|(number, ledger)| {
            let run = ledger.ended()?;
            Some(Ended {
                ledger: *number,
                run: ledger.missing().map_or_else(|| Ok(ledger.whole(run)), Err),
            })
        })
    }

    /// The database has all up to `end`.
    pub(super) fn written(&self, number: i64, end: i64) {
        self.lock()
            .change(number, end, None, |ledger| ledger.begin_after(end));
    }

    /// Forgets everything, as if there was no room.
    #[cfg(test)]
    pub(super) fn forget(&self) {
        let mut known = self.lock();
        known.ledgers.values_mut().for_each(Ledger::forget);
        known.postings = 0;
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn postings(&self) -> usize {
        self.lock().postings
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Changes what is known of a ledger. One that is not known yet begins after `begin`, and ends with `end`;
    /// without an end, there is nothing to be changed then.
    fn change(
        &mut self,
        number: i64,
        begin: i64,
        end: Option<i64>,
        change: impl FnOnce(&mut Ledger),
    ) {
        let ledger = match (self.ledgers.entry(number), end) {
            (Entry::Occupied(known), _) => known.into_mut(),
            (Entry::Vacant(none), Some(end)) => none.insert(Ledger::new(begin, end)),
            (Entry::Vacant(_), None) => return,
        };
        self.postings -= ledger.postings;
        change(ledger);
        self.postings += ledger.postings;
    }

    /// Forgets what is known of the ledgers with most, until there are no more than [`MOST_POSTINGS`], but nothing of
    /// the one that is looked into.
    fn make_room(&mut self, but: Option<i64>) {
        while self.postings > MOST_POSTINGS {
            let others = self
                .ledgers
                .iter_mut()
                .filter(|(number, _)| but != Some(**number));
            let most = others.max_by_key(|(_, ledger)| ledger.postings);
            let Some((_, ledger)) = most.filter(|(_, ledger)| ledger.postings > 0) else {
                return;
            };
            self.postings -= ledger.postings;
            ledger.forget();
        }
    }
}

impl Ledger {
    fn new(begin: i64, end: i64) -> Self {
        Self {
            begin,
            known_after: end,
            end,
            runs: BTreeMap::new(),
            postings: 0,
        }
    }

    /// What has to be read before the index is whole.
    fn missing(&self) -> Option<Missing> {
        let (after, upto) = (self.begin, self.known_after);
        (after < upto).then_some(Missing { after, upto })
    }

    /// The first run that is not in the database, if nothing will be added to it.
    fn ended(&self) -> Option<i64> {
        let run = run_of(self.begin + 1);
        (run < run_of(self.end + 1)).then_some(run)
    }

    /// Takes in segments.
    fn take(&mut self, segments: impl IntoIterator<Item = Written>) {
        for segment in segments {
            self.end = self.end.max(segment.last);
            self.postings += segment.found_by.len();
            let run = self.runs.entry(run_of(segment.first)).or_default();
            run.add(&segment);
        }
    }

    /// Nothing up to `begin` is looked for here any more.
    fn begin_after(&mut self, begin: i64) {
        if begin > self.begin {
            self.begin = begin;
            self.runs = self.runs.split_off(&run_of(begin + 1));
            self.postings = self.runs.values().map(Run::size).sum();
        }
    }

    fn forget(&mut self) {
        self.known_after = self.end;
        self.runs.clear();
        self.postings = 0;
    }

    fn find(&self, terms: &[i64]) -> Found {
        let rows = |term: &i64| {
            let mut rows: Vec<Row> = self.runs.values().flat_map(|run| run.rows(*term)).collect();
            rows.retain(|row| row.place.1 > self.begin);
            rows.sort_unstable_by_key(|row| Reverse(row.place));
            rows
        };
        let segments = self.runs.values().flat_map(|run| &run.segments);
        Found {
            rows: terms.iter().map(rows).collect(),
            oldest: segments.map(|place| place.at).min(),
        }
    }

    fn whole(&self, run: i64) -> Whole {
        let (mut end, mut rows) = (end_of(run).min(self.end), Vec::new());
        if let Some(run) = self.runs.get(&run) {
            end = run
                .segments
                .iter()
                .map(|place| place.last)
                .fold(end, i64::max);
            rows = run.all();
        }
        rows.retain(|(_, row)| row.place.1 > self.begin);
        rows.sort_unstable_by_key(|(term, row)| (*term, row.place));
        Whole { run, end, rows }
    }
}

impl Run {
    fn add(&mut self, segment: &Written) {
        let number = u32::try_from(self.segments.len()).unwrap_or(u32::MAX);
        let Written {
            first, last, at, ..
        } = *segment;
        self.segments.push(Place { first, last, at });
        let posting = |(term, mark): &(i64, Mark)| Posting {
            term: *term,
            segment: number,
            mark: *mark,
        };
        self.postings
            .push(segment.found_by.iter().map(posting).collect());
        while let [.., before, last] = self.postings.as_slice()
            && before.len() <= 2 * last.len()
            && before.len() + last.len() <= MOST_TOGETHER
        {
            let last = self.postings.pop().unwrap_or_default();
            if let Some(before) = self.postings.last_mut() {
                before.extend(last);
                // Of two parts that are in order.
                before.sort();
            }
        }
    }

    fn size(&self) -> usize {
        self.postings.iter().map(Vec::len).sum()
    }

    /// The rows of a term, in no order.
    fn rows(&self, term: i64) -> impl Iterator<Item = Row> {
        self.postings.iter().flat_map(move |postings| {
            let begin = postings.partition_point(|posting| posting.term < term);
            let rest = postings.get(begin..).unwrap_or_default();
            let end = rest.partition_point(|posting| posting.term == term);
            self.of(rest.get(..end).unwrap_or_default())
        })
    }

    /// The rows of all terms, in no order.
    fn all(&self) -> Vec<(i64, Row)> {
        let terms = self
            .postings
            .iter()
            .flat_map(|postings| postings.chunk_by(|one, other| one.term == other.term));
        let rows = terms.flat_map(|postings| {
            let term = postings.first().map_or(0, |posting| posting.term);
            self.of(postings).map(move |row| (term, row))
        });
        rows.collect()
    }

    /// The rows of the postings of one term.
    fn of<'a>(&'a self, postings: &'a [Posting]) -> impl Iterator<Item = Row> + 'a {
        let segments = postings.chunk_by(|one, other| one.segment == other.segment);
        segments.filter_map(|postings| {
            let number = usize::try_from(postings.first()?.segment).ok()?;
            let Place { first, last, at } = *self.segments.get(number)?;
            let mut marks = Vec::new();
            if first < last {
                marks.extend(postings.iter().map(|posting| posting.mark));
            }
            Some(Row {
                place: (at, first),
                marks,
            })
        })
    }
}
