//! Walking along the index, from the newest event to the oldest. Its rows are of segments, which may overlap in
//! time: what is found is in order once no segment is left that could hold something newer.

use sqlx::{QueryBuilder, Row, Sqlite};

use super::{
    super::{Result, Store},
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

/// When an event happened, and where it stands; or the same of a segment.
type Place = (i64, i64);

/// What is looked for.
pub(super) struct Walk<'a> {
    pub(super) store: &'a Store,
    /// Events that have all of these. There is one at least.
    pub(super) terms: Vec<i64>,
    /// Before this one.
    pub(super) start: Place,
    /// Not before this time.
    pub(super) since: i64,
    /// How many events of the rarest term are looked at before the walk ends, or a segment more.
    pub(super) steps: i64,
}

impl Walk<'_> {
    /// With the term first of which so many events reach back furthest.
    pub(super) async fn rarest_first(mut self) -> Result<Self> {
        let mut rarest = (i64::MAX, 0);
        if self.terms.len() > 1 {
            for (place, term) in self.terms.iter().enumerate() {
                let mut probe = QueryBuilder::new("SELECT at FROM (");
                self.counted(&mut probe, *term, self.start, PROBE + 1);
                probe
                    .push(") WHERE told > ")
                    .push_bind(PROBE)
                    .push(" ORDER BY number LIMIT 1");
                let reached: Option<i64> = probe
                    .build_query_scalar()
                    .fetch_optional(&self.store.readers)
                    .await?;
                rarest = rarest.min((reached.unwrap_or(i64::MIN), place));
            }
        }
        self.terms.swap(0, rarest.1);
        Ok(self)
    }

    /// Up to `limit` events, newest first, and where to go on.
    pub(super) async fn find(&self, limit: usize) -> Result<(Vec<i64>, Option<Place>)> {
        let wanted = limit + 1;
        let mut found = Vec::new();
        // A segment that ends later than the walk begins can hold events that happened before, unless it is one
        // event.
        if self.start.0 < i64::MAX {
            let latest = (self.start.0.saturating_add(signed(SPAN)), i64::MAX);
            self.add(self.start, latest, " AND events <> x''", wanted, &mut found)
                .await?;
        }
        let (mut upto, mut steps, mut rows) = (self.start, 0, FIRST_ROWS);
        let rest = loop {
            let stretch = self.stretch(upto, rows, self.steps - steps).await?;
            let end = stretch.map_or((i64::MIN, i64::MIN), |(end, _)| end);
            self.add(end, upto, "", wanted, &mut found).await?;
            let Some((end, told)) = stretch else {
                break None;
            };
            upto = end;
            steps += told;
            // What is left happened before.
            let settled = found.partition_point(|place| *place >= end);
            if settled >= wanted || steps >= self.steps {
                found.truncate(settled);
                break Some(end);
            }
            // As many as are likely to take what is left of the steps.
            rows = ((self.steps - steps) * rows / told.max(1)).clamp(FIRST_ROWS, MOST_ROWS);
        };
        let next = if found.len() > limit {
            found.truncate(limit);
            found.last().copied()
        } else {
            rest
        };
        Ok((found.into_iter().map(|(_, place)| place).collect(), next))
    }

    /// Where so many rows further on are, before `upto`, or fewer that tell of so many events, and of how many they
    /// do; if there are so many.
    async fn stretch(&self, upto: Place, rows: i64, events: i64) -> Result<Option<(Place, i64)>> {
        let [term, ..] = self.terms.as_slice() else {
            return Ok(None);
        };
        let mut query = QueryBuilder::new("SELECT at, entry, told FROM (");
        self.counted(&mut query, *term, upto, rows);
        query
            .push(") WHERE number = ")
            .push_bind(rows)
            .push(" OR told >= ")
            .push_bind(events)
            .push(" ORDER BY number LIMIT 1");
        let last: Option<(i64, i64, i64)> = query
            .build_query_as()
            .fetch_optional(&self.store.readers)
            .await?;
        Ok(last.map(|(at, entry, told)| ((at, entry), told)))
    }

    /// Up to so many rows of a term before `upto`, newest first and numbered from one on, and how many events each and
    /// those before it tell of.
    fn counted(&self, query: &mut QueryBuilder<Sqlite>, term: i64, upto: Place, most: i64) {
        query
            .push(
                "SELECT at, entry, row_number() OVER newest AS number,
                   sum(max(length(events) / 4, 1)) OVER newest AS told
                 FROM (SELECT at, entry, events FROM audit_terms WHERE term = ",
            )
            .push_bind(term)
            .push(" AND (at, entry) < (")
            .push_bind(upto.0)
            .push(", ")
            .push_bind(upto.1)
            .push(") AND at >= ")
            .push_bind(self.since)
            .push(" ORDER BY at DESC, entry DESC LIMIT ")
            .push_bind(most)
            .push(") WINDOW newest AS (ORDER BY at DESC, entry DESC ROWS UNBOUNDED PRECEDING)");
    }

    /// Adds the events of the segments from `from` on and before `upto` that have all that is asked for, and
    /// keeps the newest.
    async fn add(
        &self,
        from: Place,
        upto: Place,
        those: &'static str,
        wanted: usize,
        found: &mut Vec<Place>,
    ) -> Result<()> {
        let [first, others @ ..] = self.terms.as_slice() else {
            return Ok(());
        };
        let mut query = QueryBuilder::new("SELECT step.at, step.entry, step.events");
        for number in 0..others.len() {
            query.push(format_args!(", also{number}.events"));
        }
        query
            .push(" FROM (SELECT at, entry, events FROM audit_terms WHERE term = ")
            .push_bind(*first)
            .push(" AND at >= ")
            .push_bind(from.0.max(self.since))
            .push(" AND (at, entry) >= (")
            .push_bind(from.0)
            .push(", ")
            .push_bind(from.1)
            .push(") AND (at, entry) < (")
            .push_bind(upto.0)
            .push(", ")
            .push_bind(upto.1)
            .push(")")
            .push(those)
            .push(") AS step");
        // In this order: the first is the rarest.
        for (number, term) in others.iter().enumerate() {
            query
                .push(format_args!(
                    " CROSS JOIN audit_terms AS also{number} ON also{number}.at = step.at
                       AND also{number}.entry = step.entry AND also{number}.term = "
                ))
                .push_bind(*term);
        }
        let rows = query.build().fetch_all(&self.store.readers).await?;
        for row in rows {
            let (at, first): Place = (row.try_get(0)?, row.try_get(1)?);
            let mut marks = Mark::all(row.try_get(2)?);
            for number in 0..others.len() {
                let also = Mark::all(row.try_get(3 + number)?);
                marks.retain(|mark| also.binary_search(mark).is_ok());
            }
            let places = marks.into_iter().map(|mark| mark.place(at, first));
            found.extend(places.filter(|place| *place < self.start && place.0 >= self.since));
        }
        found.sort_unstable_by(|one, other| other.cmp(one));
        found.truncate(wanted);
        Ok(())
    }
}
