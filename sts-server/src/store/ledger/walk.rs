//! Walking along the index, from the newest event to the oldest: first over what is in memory, then from run to run. What
//! is found is in order once no run is left that could hold something newer.

use authority::ids::ZoneId;
use sqlx::QueryBuilder;

use super::{
    super::{Result, Store},
    LedgerHead, packed,
    runs::{self, Closed, Place},
};

/// Most postings that one search looks at, or those of a run more. Where that was not enough, the page has a cursor and
/// fewer events.
pub(super) const MOST_STEPS: usize = 200_000;
/// How many times as many runs are read at once where those before did not have enough.
const MORE_RUNS: usize = 4;
/// How many rows are read at once at most: each may be of all events of its run, which are 160 KB, and 256 unpacked.
const MOST_ROWS: usize = 16;

/// What is looked for.
pub(super) struct Walk<'a> {
    store: &'a Store,
    /// Of which ledger. What it let go of is not looked for, whether it is gone or going.
    head: LedgerHead,
    /// Events that have all of these. There is one at least.
    terms: Vec<i64>,
    /// The events of each of these that are in memory, newest first.
    fresh: Vec<Vec<Place>>,
    /// Before this one.
    start: Place,
    /// Not before this time.
    since: i64,
    /// How many postings are looked at before the walk ends.
    steps: usize,
}

impl<'a> Walk<'a> {
    /// Over the events of a zone that have all of `terms`, one at least, before `start` and not before the time
    /// `since`, with so many steps.
    pub(super) async fn over(
        store: &'a Store,
        zone: &ZoneId,
        terms: &[i64],
        start: Place,
        since: i64,
        steps: usize,
    ) -> Result<Self> {
        let head = store.ledger(zone).await?;
        let mut terms = terms.to_vec();
        terms.sort_unstable();
        terms.dedup();
        Ok(Self {
            store,
            // Runs that are written from here on are looked into all the same: what is in both is one.
            fresh: store.find_fresh(&head, &terms).await?,
            head,
            terms,
            start,
            since,
            steps,
        })
    }

    /// Up to `limit` events, newest first, and where to go on.
    pub(super) async fn find(&self, limit: usize) -> Result<(Vec<i64>, Option<Place>)> {
        let wanted = limit + 1;
        let mut found = Vec::new();
        let fresh: Vec<&[Place]> = self.fresh.iter().map(Vec::as_slice).collect();
        self.add(&fresh, wanted, &mut found);
        let (mut steps, mut most, mut before) = (0, 1, None);
        let rest = loop {
            let runs = runs::closed(
                self.store,
                &self.head,
                &self.terms,
                (self.since, self.start.0),
                before,
                most + 1,
            );
            let runs = runs.await?;
            let (some, next) = runs.split_at(most.min(runs.len()));
            steps += self.add_runs(some, wanted, &mut found).await?;
            // What is not read yet is not newer than this.
            let Some(Closed { newest, .. }) = next.first() else {
                break None;
            };
            let end = (newest.saturating_add(1), i64::MIN);
            let settled = found.partition_point(|place| *place >= end);
            if settled >= wanted || steps >= self.steps && end < self.start {
                found.truncate(settled);
                break Some(end);
            }
            before = some.last().copied();
            let at_most = (MOST_ROWS / self.terms.len().max(1)).max(1);
            most = most.saturating_mul(MORE_RUNS).min(at_most);
        };
        let next = if found.len() > limit {
            found.truncate(limit);
            found.last().copied()
        } else {
            rest
        };
        Ok((found.into_iter().map(|(_, entry)| entry).collect(), next))
    }

    /// Adds the events of these runs that have all that is asked for. How many postings were looked at.
    async fn add_runs(
        &self,
        runs: &[Closed],
        wanted: usize,
        found: &mut Vec<Place>,
    ) -> Result<usize> {
        if runs.is_empty() {
            return Ok(0);
        }
        let mut query = QueryBuilder::new("SELECT run, term, events FROM audit_index WHERE ");
        let runs: Vec<i64> = runs.iter().map(|closed| closed.run).collect();
        query
            .push("run IN (SELECT value FROM json_each(")
            .push_bind(sqlx::types::Json(runs))
            .push(")) AND term IN (SELECT value FROM json_each(")
            .push_bind(sqlx::types::Json(self.terms.clone()))
            .push(")) ORDER BY run");
        let rows: Vec<(i64, i64, Vec<u8>)> = query
            .build_query_as()
            .fetch_all(&self.store.readers)
            .await?;
        let mut looked_at = 0;
        for of_run in rows.chunk_by(|(one, ..), (other, ..)| one == other) {
            let lists: Vec<Vec<Place>> = of_run
                .iter()
                .map(|(run, _, events)| packed::unpack(*run, events))
                .collect();
            looked_at += lists.iter().map(Vec::len).sum::<usize>();
            // Not all: then nothing in the run has all of it.
            if lists.len() == self.terms.len() {
                let lists: Vec<&[Place]> = lists.iter().map(Vec::as_slice).collect();
                self.add(&lists, wanted, found);
            }
        }
        Ok(looked_at)
    }

    /// Adds the events that are in all of these lists, which are newest first, and keeps the newest of what was found.
    fn add(&self, lists: &[&[Place]], wanted: usize, found: &mut Vec<Place>) {
        let Some(rarest) = lists.iter().min_by_key(|list| list.len()) else {
            return;
        };
        let begin = rarest.partition_point(|place| *place >= self.start);
        let in_time = rarest.iter().skip(begin);
        let in_time = in_time.take_while(|(at, _)| *at >= self.since);
        let pruned = self.head.place(self.head.pruned);
        let is_in =
            |place: &Place, list: &[Place]| list.binary_search_by(|other| place.cmp(other)).is_ok();
        let fits =
            in_time.filter(|place| place.1 > pruned && lists.iter().all(|list| is_in(place, list)));
        found.extend(fits.take(wanted));
        found.sort_unstable_by(|one, other| other.cmp(one));
        found.dedup();
        found.truncate(wanted);
    }
}
