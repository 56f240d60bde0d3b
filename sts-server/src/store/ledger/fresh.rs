//! What events were found by that were written lately: the part of the index that is not in the database yet. To write
//! it with each batch would touch a page of the index for nearly each thing that an event is found by; a run at a time,
//! each page is written once. Nothing is lost with it: it follows from the entries, and is made from them again.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, hash_map::Entry},
    sync::{Mutex, MutexGuard, PoisonError},
};

use authority::{audit::Facts, ids::ZoneId};
use tokio::sync::watch;

use super::{
    LedgerHead,
    runs::{Place, end_of, run_of},
    signed,
    terms::Terms,
};

/// Most postings that are kept, of all ledgers, in about 12 MB. Of a ledger that had to make room, they are read when
/// they are looked for, or when a run of it has come to its end.
pub(super) const MOST_POSTINGS: usize = if cfg!(test) { 4_096 } else { 1 << 20 };
/// Postings of a part of a run.
const PART: usize = if cfg!(test) { 50 } else { 4_096 };

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
    pub(super) written: Written,
}

/// Events, one after the other, and what they are found by.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct Written {
    events: Vec<Place>,
    /// In the order of the events, and of each event once for a term.
    postings: Vec<Posting>,
}

/// That an event is found by something.
#[derive(Clone, Copy, Debug)]
struct Posting {
    /// In bytes, so that a posting is twelve of them and not sixteen.
    term: [u8; 8],
    /// How many stand before it among those that it is told of with.
    event: u32,
}

/// A run of which nothing is in the database. What comes in is put at its end as it is: that happens with every batch,
/// and whoever looks for something, which is rare, looks at all of it.
#[derive(Debug, Default)]
pub(super) struct Run {
    events: Vec<Place>,
    /// In parts, so that nothing is moved when there are more, and no part has room for as many again.
    postings: Vec<Vec<Posting>>,
    size: usize,
}

#[derive(Debug, Default)]
struct Known {
    ledgers: HashMap<i64, Ledger>,
    /// How many all of them have.
    postings: usize,
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

/// A stretch of entries of which something has to be read before what is known of a ledger is whole: those after the
/// first up to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) after: i64,
    pub(super) upto: i64,
}

/// A run that has come to its end and is not in the database.
#[derive(Debug)]
pub(super) struct Ended {
    /// Whose.
    pub(super) ledger: i64,
    pub(super) run: i64,
    /// What it has, or the entries from which that has to be made.
    pub(super) index: Result<Vec<FoundBy>, Missing>,
}

/// A term, and an event that is found by it.
pub(super) type FoundBy = (i64, Place);

impl Written {
    /// Events, each with its entry, in the order of those.
    pub(super) fn of<'a>(
        zone: &ZoneId,
        events: impl IntoIterator<Item = (i64, &'a Facts<'a>)>,
    ) -> Self {
        let mut written = Self::default();
        let (mut terms, mut found_by) = (Terms::of(zone), Vec::new());
        for (entry, facts) in events {
            let event = u32::try_from(written.events.len()).unwrap_or(u32::MAX);
            written.events.push((signed(facts.occurred_at.0), entry));
            terms.each(facts, |term| found_by.push(term));
            found_by.sort_unstable();
            found_by.dedup();
            let postings = found_by.drain(..).map(|term: i64| Posting {
                term: term.to_ne_bytes(),
                event,
            });
            written.postings.extend(postings);
        }
        written
    }

    fn first(&self) -> Option<i64> {
        self.events.first().map(|(_, entry)| *entry)
    }

    fn last(&self) -> Option<i64> {
        self.events.last().map(|(_, entry)| *entry)
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
            written,
        } in noted
        {
            let before = written.first().map(|first| first - 1);
            known.change(number, begin, before, |ledger| {
                // A commit that failed may have happened all the same.
                if let Some(before) = before.filter(|before| *before > ledger.end) {
                    ledger.end = before;
                    ledger.forget();
                }
                // Who looked for something in between may have read it already.
                if before.is_some_and(|before| before == ledger.end) {
                    ledger.take(written);
                }
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
    pub(super) fn fill(&self, number: i64, missing: Missing, written: Vec<Written>) {
        let mut known = self.lock();
        known.change(number, missing.after, None, |ledger| {
            if ledger.missing() == Some(missing) {
                ledger.known_after = missing.after;
                written.into_iter().for_each(|written| ledger.take(written));
            }
        });
        known.make_room(Some(number));
    }

    /// The events that are found by each of these terms, newest first, in a ledger that stood at `head` or further on;
    /// or what is missing for that.
    pub(super) fn find(
        &self,
        head: &LedgerHead,
        terms: &[i64],
    ) -> Result<Vec<Vec<Place>>, Missing> {
        let end = head.place(head.seq);
        let mut found = Ok(Vec::new());
        self.lock()
            .change(head.number, head.begin(), Some(end), |ledger| {
                found = match ledger.missing() {
                    Some(missing) => Err(missing),
                    None => Ok(terms.iter().map(|term| ledger.find(*term)).collect()),
                };
            });
        found
    }

    /// A run that has come to its end and is not in the database, if there is one.
    pub(super) fn next_ended(&self) -> Option<Ended> {
        let known = self.lock();
        known.ledgers.iter().find_map(|(number, ledger)| {
            let run = ledger.ended()?;
            let missing = ledger.missing().map(|missing| Missing {
                after: missing.after,
                upto: end_of(run),
            });
            Some(Ended {
                ledger: *number,
                run,
                index: missing.map_or_else(|| Ok(ledger.index(run)), Err),
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

    /// Where there are more than [`MOST_POSTINGS`], forgets what is known of the ledgers with most until there is room for
    /// a while, but nothing of the one that is looked into.
    fn make_room(&mut self, but: Option<i64>) {
        if self.postings <= MOST_POSTINGS {
            return;
        }
        let others = self.ledgers.iter();
        let others = others.filter(|(number, _)| but != Some(**number));
        let mut sizes: Vec<(usize, i64)> = others
            .map(|(number, ledger)| (ledger.postings, *number))
            .collect();
        sizes.sort_unstable();
        while self.postings > MOST_POSTINGS / 4 * 3
            && let Some((size, number)) = sizes.pop()
        {
            self.postings -= size;
            if let Some(ledger) = self.ledgers.get_mut(&number) {
                ledger.forget();
            }
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

    fn missing(&self) -> Option<Missing> {
        let (after, upto) = (self.begin, self.known_after);
        (after < upto).then_some(Missing { after, upto })
    }

    /// The first run that is not in the database, if nothing will be added to it.
    fn ended(&self) -> Option<i64> {
        let run = run_of(self.begin + 1);
        (run < run_of(self.end + 1)).then_some(run)
    }

    fn take(&mut self, written: Written) {
        self.postings += written.postings.len();
        if let (Some(first), Some(last)) = (written.first(), written.last()) {
            self.end = self.end.max(last);
            for run in run_of(first)..=run_of(last) {
                self.runs.entry(run).or_default().take(&written, run);
            }
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

    fn find(&self, term: i64) -> Vec<Place> {
        let runs = self.runs.values();
        let mut found: Vec<Place> = runs.flat_map(|run| run.find(term)).collect();
        found.retain(|(_, entry)| *entry > self.begin);
        found.sort_unstable_by_key(|place| Reverse(*place));
        found
    }

    fn index(&self, run: i64) -> Vec<FoundBy> {
        self.runs.get(&run).map(Run::index).unwrap_or_default()
    }
}

impl Run {
    /// Takes in what is of the run `number`.
    pub(super) fn take(&mut self, written: &Written, number: i64) {
        let is_in = |place: &Place| run_of(place.1) == number;
        let before = written
            .events
            .partition_point(|place| run_of(place.1) < number);
        let shift = |event: u32| {
            let event = usize::try_from(event).unwrap_or(usize::MAX);
            written.events.get(event).filter(|place| is_in(place))?;
            u32::try_from(event - before + self.events.len()).ok()
        };
        for posting in &written.postings {
            let Some(event) = shift(posting.event) else {
                continue;
            };
            if self.postings.last().is_none_or(|last| last.len() >= PART) {
                self.postings.push(Vec::new());
            }
            if let Some(last) = self.postings.last_mut() {
                last.push(Posting { event, ..*posting });
                self.size += 1;
            }
        }
        self.events
            .extend(written.events.iter().filter(|place| is_in(place)));
    }

    fn size(&self) -> usize {
        self.size
    }

    fn place(&self, posting: &Posting) -> Place {
        let place = usize::try_from(posting.event).ok();
        let place = place.and_then(|place| self.events.get(place));
        place.copied().unwrap_or_default()
    }

    /// The events that are found by a term, in no order.
    fn find(&self, term: i64) -> impl Iterator<Item = Place> {
        let term = term.to_ne_bytes();
        let found = self.postings.iter().flatten();
        let found = found.filter(move |posting| posting.term == term);
        found.map(|posting| self.place(posting))
    }

    /// All of it, in order.
    pub(super) fn index(&self) -> Vec<FoundBy> {
        let mut index = Vec::with_capacity(self.size);
        let postings = self.postings.iter().flatten();
        let found_by = |posting: &Posting| (i64::from_ne_bytes(posting.term), self.place(posting));
        index.extend(postings.map(found_by));
        index.sort_unstable();
        index
    }
}
