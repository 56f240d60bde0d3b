//! Walking along the index, from the newest event to the oldest. Its rows are of segments, which may overlap in
//! time, in runs, which may as well: what is found is in order once neither is left that could hold something newer.

use sqlx::{QueryBuilder, Row, Sqlite};

use super::{
    super::{Result, Store},
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
    pub(super) store: &'a Store,
    pub(super) runs: Runs,
    /// Events that have all of these. There is one at least.
    pub(super) terms: Vec<i64>,
    /// Before this one.
    pub(super) start: Place,
    /// Not before this time.
    pub(super) since: i64,
    /// How many events of the rarest term are looked at before the walk ends, or a segment more.
    pub(super) steps: i64,
}

/// What a stretch of rows came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Stretch {
    /// The last of them, if there are as many as were wanted.
    end: Option<Place>,
    /// How many events they tell of.
    told: i64,
}

impl Walk<'_> {
    /// With the term first of which so many events reach back furthest.
    pub(super) async fn rarest_first(mut self) -> Result<Self> {
        let mut rarest = (i64::MAX, 0);
        if self.terms.len() > 1 {
            for (place, term) in self.terms.iter().enumerate() {
                rarest = rarest.min((self.reach(*term).await?, place));
            }
        }
        self.terms.swap(0, rarest.1);
        Ok(self)
    }

    /// When the event of a term happened before which there are so many of it.
    async fn reach(&self, term: i64) -> Result<i64> {
        let (mut upto, mut left, mut most) = (self.start, PROBE + 1, 1);
        loop {
            let window = self
                .runs
                .window(self.store, &[term], self.since, upto.0, most)
                .await?;
            let stretch = self.stretch(term, upto, &window, left, left).await?;
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
        // A segment that ends later than the walk begins can hold events that happened before, unless it is one
        // event.
        if self.start.0 < i64::MAX {
            let latest = (self.start.0.saturating_add(signed(SPAN)), i64::MAX);
            let window = self
                .runs
                .window(self.store, &self.terms, self.start.0, latest.0, usize::MAX)
                .await?;
            let those = " AND events <> x''";
            self.add(&window.runs, self.start, latest, those, wanted, &mut found)
                .await?;
        }
        let (mut upto, mut steps) = (self.start, 0);
        let (mut rows, mut most) = (FIRST_ROWS, 1);
        let rest = loop {
            let window = self
                .runs
                .window(self.store, &self.terms, self.since, upto.0, most)
                .await?;
            let Some(term) = self.terms.first() else {
                break None;
            };
            let left = self.steps - steps;
            let stretch = self.stretch(*term, upto, &window, rows, left).await?;
            let end = match (stretch.end, window.from) {
                (Some(end), _) => end,
                (None, Some(from)) => upto.min((from, i64::MIN)),
                (None, None) => (i64::MIN, i64::MIN),
            };
            if stretch.told > 0 {
                self.add(&window.runs, end, upto, "", wanted, &mut found)
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
        term: i64,
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
            "SELECT at, entry, number, told FROM (
               SELECT at, entry, own, row_number() OVER newest AS number, sum(own) OVER newest AS told
               FROM (SELECT at, entry, max(length(events) / 4, 1) AS own FROM audit_terms WHERE ",
        );
        push_rows(&mut query, &window.runs, term);
        query
            .push(" AND (at, entry) < (")
            .push_bind(upto.0)
            .push(", ")
            .push_bind(upto.1)
            .push(") AND at >= ")
            .push_bind(since)
            .push(" ORDER BY at DESC, entry DESC LIMIT ")
            .push_bind(rows)
            .push(
                ") WINDOW newest AS (ORDER BY at DESC, entry DESC ROWS UNBOUNDED PRECEDING))
                 WHERE told - own < ",
            )
            .push_bind(events)
            .push(" ORDER BY number DESC LIMIT 1");
        let last: Option<(i64, i64, i64, i64)> = query
            .build_query_as()
            .fetch_optional(&self.store.readers)
            .await?;
        Ok(
            last.map_or_else(Stretch::default, |(at, entry, number, told)| Stretch {
                end: (number >= rows || told >= events).then_some((at, entry)),
                told,
            }),
        )
    }

    /// Adds the events of the segments of these runs, from `from` on and before `upto`, that have all that is asked
    /// for, and keeps the newest.
    async fn add(
        &self,
        runs: &[i64],
        from: Place,
        upto: Place,
        those: &'static str,
        wanted: usize,
        found: &mut Vec<Place>,
    ) -> Result<()> {
        let ([first, others @ ..], [_, ..]) = (self.terms.as_slice(), runs) else {
            return Ok(());
        };
        let mut query = QueryBuilder::new("SELECT step.at, step.entry, step.events");
        for number in 0..others.len() {
            query.push(format_args!(", also{number}.events"));
        }
        query.push(" FROM (SELECT run, at, entry, events FROM audit_terms WHERE ");
        push_rows(&mut query, runs, *first);
        query
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
                    " CROSS JOIN audit_terms AS also{number} ON also{number}.run = step.run
                       AND also{number}.at = step.at AND also{number}.entry = step.entry AND also{number}.term = "
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
