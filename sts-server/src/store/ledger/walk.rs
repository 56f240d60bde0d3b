//! Walking along the index, from the newest event to the oldest. Its rows are of segments, which may overlap in
//! time, in runs, which may as well: what is found is in order once neither is left that could hold something newer.
//! Rows of runs that are not in the database, or are just being written, are in memory, and may be in both.

use authority::ids::ZoneId;
use sqlx::{QueryBuilder, Row as _, Sqlite};

use super::{
    super::{Result, Store},
    fresh::Row,
    runs::{Runs, Window},
    segments::{Mark, SPAN},
    signed,
};

/// How many events of each thing that is asked for are looked at to see which is the rarest.
const PROBE: i64 = 200;
/// Most steps of one search. Where that was not enough, the page has a cursor and fewer events.
pub(super) const MOST_STEPS: i64 = 20_000;
/// How many rows are looked at first, and at most at once.
const FIRST_ROWS: i64 = 16;
const MOST_ROWS: i64 = 4_096;
/// How many times as many runs are looked into at once, where those before did not have enough.
const MORE_RUNS: usize = 8;

/// When an event happened, and where it stands; or the same of a segment.
type Place = (i64, i64);

/// What is looked for.
pub(super) struct Walk<'a> {
    store: &'a Store,
    runs: Runs,
    /// Events that have all of these. There is one at least.
    terms: Vec<Sought>,
    /// Before this one.
    start: Place,
    /// Not before this time.
    since: i64,
    /// How many events of the rarest term are looked at before the walk ends, or a segment more.
    steps: i64,
}

/// Something that is looked for.
struct Sought {
    term: i64,
    /// Its rows that are not in the database, newest first.
    fresh: Vec<Row>,
}

impl Sought {
    /// Its fresh rows from `from` on and before `upto`.
    fn between(&self, from: Place, upto: Place) -> &[Row] {
        let begin = self.fresh.partition_point(|row| row.place >= upto);
        let end = self.fresh.partition_point(|row| row.place >= from);
        self.fresh.get(begin..end).unwrap_or_default()
    }

    /// Which events of a segment it is found in.
    fn marks(&self, segment: Place) -> &[Mark] {
        let row = self.fresh.binary_search_by(|row| segment.cmp(&row.place));
        let row = row.ok().and_then(|place| self.fresh.get(place));
        row.map_or(&[], Row::marks)
    }
}

/// What a stretch of rows came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Stretch {
    /// The last of them, if there are as many as were wanted.
    end: Option<Place>,
    /// How many events they tell of.
    told: i64,
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
        steps: i64,
    ) -> Result<Self> {
        let head = store.ledger(zone).await?;
        let fresh = store.find_fresh(&head, terms).await?;
        let sought = terms.iter().zip(fresh.rows);
        Ok(Self {
            store,
            runs: Runs::of(store, &head, fresh.oldest).await?,
            terms: sought
                .map(|(term, fresh)| Sought { term: *term, fresh })
                .collect(),
            start,
            since,
            steps,
        })
    }

    /// With the term first of which so many events reach back furthest.
    pub(super) async fn rarest_first(mut self) -> Result<Self> {
        let mut rarest = (i64::MAX, 0);
        if self.terms.len() > 1 {
            for (place, sought) in self.terms.iter().enumerate() {
                rarest = rarest.min((self.reach(sought).await?, place));
            }
        }
        self.terms.swap(0, rarest.1);
        Ok(self)
    }

    /// When the event of a term happened before which there are so many of it.
    async fn reach(&self, sought: &Sought) -> Result<i64> {
        let (mut upto, mut left, mut most) = (self.start, PROBE + 1, 1);
        loop {
            let window = self
                .runs
                .window(self.store, &[sought.term], self.since, upto.0, most)
                .await?;
            let stretch = self.stretch(sought, upto, &window, left, left).await?;
            match (stretch.end, window.from) {
                (Some((at, _)), _) => return Ok(at),
                (None, None) => return Ok(i64::MIN),
                (None, Some(from)) => upto = upto.min((from, i64::MIN)),
            }
            left -= stretch.told;
            most = most.saturating_mul(MORE_RUNS);
        }
    }

    /// Up to `limit` events, newest first, and where to go on.
    pub(super) async fn find(&self, limit: usize) -> Result<(Vec<i64>, Option<Place>)> {
        let wanted = limit + 1;
        let mut found = Vec::new();
        let terms: Vec<i64> = self.terms.iter().map(|sought| sought.term).collect();
        // A segment that ends later than the walk begins can hold events that happened before, unless it is one
        // event.
        if self.start.0 < i64::MAX {
            let latest = (self.start.0.saturating_add(signed(SPAN)), i64::MAX);
            let window = self
                .runs
                .window(self.store, &terms, self.start.0, latest.0, usize::MAX)
                .await?;
            let segments = Segments::OfMore;
            self.add(&window, self.start, latest, segments, wanted, &mut found)
                .await?;
        }
        let (mut upto, mut steps) = (self.start, 0);
        let (mut rows, mut most) = (FIRST_ROWS, 1);
        let rest = loop {
            let window = self
                .runs
                .window(self.store, &terms, self.since, upto.0, most)
                .await?;
            let Some(rarest) = self.terms.first() else {
                break None;
            };
            let left = self.steps - steps;
            let stretch = self.stretch(rarest, upto, &window, rows, left).await?;
            let end = match (stretch.end, window.from) {
                (Some(end), _) => end,
                (None, Some(from)) => upto.min((from, i64::MIN)),
                (None, None) => (i64::MIN, i64::MIN),
            };
            if stretch.told > 0 {
                self.add(&window, end, upto, Segments::All, wanted, &mut found)
                    .await?;
            }
            if stretch.end.is_none() && window.from.is_none() {
                break None;
            }
            upto = end;
            steps += stretch.told;
            // What is left happened before.
            let settled = found.partition_point(|place| *place >= end);
            if settled >= wanted || steps >= self.steps {
                found.truncate(settled);
                break Some(end);
            }
            if stretch.end.is_some() {
                // As many as are likely to take what is left of the steps.
                let left = self.steps - steps;
                rows = (left * rows / stretch.told.max(1)).clamp(FIRST_ROWS, MOST_ROWS);
                most = 1;
            } else {
                most = most.saturating_mul(MORE_RUNS);
            }
        };
        let next = if found.len() > limit {
            found.truncate(limit);
            found.last().copied()
        } else {
            rest
        };
        Ok((found.into_iter().map(|(_, place)| place).collect(), next))
    }

    /// Looks for so many rows of a term in a window, before `upto` and newest first, or fewer that tell of so many
    /// events.
    async fn stretch(
        &self,
        sought: &Sought,
        upto: Place,
        window: &Window,
        rows: i64,
        events: i64,
    ) -> Result<Stretch> {
        if window.runs.is_empty() {
            return Ok(Stretch::default());
        }
        // What is older may be less new than something outside of the window.
        let since = window.from.map_or(self.since, |from| from.max(self.since));
        let mut query = QueryBuilder::new(
            "SELECT at, entry, max(length(events) / 4, 1) FROM audit_terms WHERE ",
        );
        push_rows(&mut query, &window.runs, sought.term);
        query
            .push(" AND (at, entry) < (")
            .push_bind(upto.0)
            .push(", ")
            .push_bind(upto.1)
            .push(") AND at >= ")
            .push_bind(since)
            .push(" ORDER BY at DESC, entry DESC LIMIT ")
            .push_bind(rows);
        let mut all: Vec<(i64, i64, i64)> = query
            .build_query_as()
            .fetch_all(&self.store.readers)
            .await?;
        if window.open {
            let most = usize::try_from(rows).unwrap_or(usize::MAX);
            let fresh = sought.between((since, i64::MIN), upto).iter().take(most);
            let own = |row: &Row| i64::try_from(row.marks().len()).unwrap_or(i64::MAX);
            all.extend(fresh.map(|row| (row.place.0, row.place.1, own(row))));
            all.sort_unstable_by(|one, other| other.cmp(one));
            all.dedup();
            all.truncate(most);
        }
        let (mut stretch, mut number) = (Stretch::default(), 0);
        for (at, entry, own) in all {
            if stretch.told >= events {
                break;
            }
            number += 1;
            stretch.told += own;
            stretch.end = Some((at, entry));
        }
        if number < rows && stretch.told < events {
            stretch.end = None;
        }
        Ok(stretch)
    }

    /// Adds the events of the segments of these runs, from `from` on and before `upto`, that have all that is asked
    /// for, and keeps the newest.
    async fn add(
        &self,
        window: &Window,
        from: Place,
        upto: Place,
        segments: Segments,
        wanted: usize,
        found: &mut Vec<Place>,
    ) -> Result<()> {
        let [first, others @ ..] = self.terms.as_slice() else {
            return Ok(());
        };
        let from = from.max((self.since, i64::MIN));
        if window.open {
            for row in first.between(from, upto) {
                if segments == Segments::All || !row.marks.is_empty() {
                    let mut marks = row.marks().to_vec();
                    for other in others {
                        let also = other.marks(row.place);
                        marks.retain(|mark| also.binary_search(mark).is_ok());
                    }
                    self.add_marked(row.place, marks, found);
                }
            }
        }
        if !window.runs.is_empty() {
            let mut query = QueryBuilder::new("SELECT step.at, step.entry, step.events");
            for number in 0..others.len() {
                query.push(format_args!(", also{number}.events"));
            }
            query.push(" FROM (SELECT run, at, entry, events FROM audit_terms WHERE ");
            push_rows(&mut query, &window.runs, first.term);
            query
                .push(" AND at >= ")
                .push_bind(from.0)
                .push(" AND (at, entry) >= (")
                .push_bind(from.0)
                .push(", ")
                .push_bind(from.1)
                .push(") AND (at, entry) < (")
                .push_bind(upto.0)
                .push(", ")
                .push_bind(upto.1)
                .push(")")
                .push(match segments {
                    Segments::All => "",
                    Segments::OfMore => " AND events <> x''",
                })
                .push(") AS step");
            // In this order: the first is the rarest.
            for (number, other) in others.iter().enumerate() {
                query
                    .push(format_args!(
                        " CROSS JOIN audit_terms AS also{number} ON also{number}.run = step.run
                           AND also{number}.at = step.at AND also{number}.entry = step.entry
                           AND also{number}.term = "
                    ))
                    .push_bind(other.term);
            }
            for row in query.build().fetch_all(&self.store.readers).await? {
                let segment: Place = (row.try_get(0)?, row.try_get(1)?);
                let mut marks = Mark::all(row.try_get(2)?);
                for number in 0..others.len() {
                    let also = Mark::all(row.try_get(3 + number)?);
                    marks.retain(|mark| also.binary_search(mark).is_ok());
                }
                self.add_marked(segment, marks, found);
            }
        }
        found.sort_unstable_by(|one, other| other.cmp(one));
        found.dedup();
        found.truncate(wanted);
        Ok(())
    }

    /// Adds these events of a segment, but for those that are outside of what is looked for.
    fn add_marked(&self, (at, first): Place, marks: Vec<Mark>, found: &mut Vec<Place>) {
        let places = marks.into_iter().map(|mark| mark.place(at, first));
        found.extend(places.filter(|place| *place < self.start && place.0 >= self.since));
    }
}

/// Which segments are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Segments {
    All,
    /// Those of more than one event.
    OfMore,
}

/// The rows of a term in these runs. One run is in order by itself.
fn push_rows(query: &mut QueryBuilder<Sqlite>, runs: &[i64], term: i64) {
    if let [run] = runs {
        query.push("run = ").push_bind(*run);
    } else {
        query
            .push("run IN (SELECT value FROM json_each(")
            .push_bind(sqlx::types::Json(runs.to_vec()))
            .push("))");
    }
    query.push(" AND term = ").push_bind(term);
}
