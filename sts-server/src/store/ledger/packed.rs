//! Rows of the ledger for one statement, however many they are: packed side by side in what SQL takes apart
//! with `substr`. As JSON they would be escaped, parsed and unescaped, which took longer than to write them.
//!
//! Parameters are `$1` and not `?1`: with those, each statement that leaves one out shifts what the next is bound to.

use authority::ids::ZoneId;
use serde::Serialize;
use sqlx::{Sqlite, query::Query, sqlite::SqliteArguments};

use super::{AuthorityRecord, LedgerHead, runs::RUN_BITS, segments::Segment, signed};

/// Rows that [`INSERT`] takes.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Where the first of them stands.
    first: i64,
    /// Of 96 bytes each: id, hash, MAC, and in 8 decimal digits each where the content begins and how long it is.
    entries: Vec<u8>,
    /// The contents, one after the other.
    contents: Vec<u8>,
    /// Of 64 bytes each, in decimal digits: the term in 20, of its segment the time in 20 and the number of the
    /// first entry in 8, and in 8 each where its marks begin and how long they are.
    terms: Vec<u8>,
    /// The marks, one after the other.
    marks: Vec<u8>,
    /// Of segments of more than one event: the number of the first, how many, the time.
    segments: Vec<(usize, usize, u64)>,
}

macro_rules! insert {
    () => {
        "
    WITH RECURSIVE number (n) AS (
      SELECT 0 WHERE length($1) > 0 UNION ALL SELECT n + 1 FROM number WHERE (n + 1) * 96 < length($1))
    INSERT INTO audit_entries (entry, event_id, recorded_at, hash, mac, event)
    SELECT $4 + n, substr($1, n * 96 + 1, 16), $5, substr($1, n * 96 + 17, 32), substr($1, n * 96 + 49, 32),
      CAST(substr($2, CAST(substr($1, n * 96 + 81, 8) AS INTEGER) + 1, CAST(substr($1, n * 96 + 89, 8) AS INTEGER))
        AS TEXT)
    FROM number;
    WITH RECURSIVE number (n) AS (
      SELECT 0 WHERE length($3) > 0 UNION ALL SELECT n + 1 FROM number WHERE (n + 1) * 64 < length($3))
    INSERT INTO audit_terms (run, term, at, entry, events)
    SELECT ($4 + CAST(substr($3, n * 64 + 41, 8) AS INTEGER)) >> $11,
      CAST(substr($3, n * 64 + 1, 20) AS INTEGER), CAST(substr($3, n * 64 + 21, 20) AS INTEGER),
      $4 + CAST(substr($3, n * 64 + 41, 8) AS INTEGER),
      coalesce(substr($9, CAST(substr($3, n * 64 + 49, 8) AS INTEGER) + 1, CAST(substr($3, n * 64 + 57, 8) AS INTEGER)), x'')
    FROM number;
    INSERT INTO audit_segments (first, events, at)
    SELECT $4 + (value ->> 0), value ->> 1, value ->> 2 FROM json_each($10);
    UPDATE ledgers SET seq = $6, hash = $7, recorded_at = $5 WHERE zone_id = $8"
    };
}

/// Adds entries (`$1`, `$2`) and what they are found by (`$3`, `$9`) in segments (`$10`) and runs of `$11` bits, the first of them at `$4`
/// and recorded at `$5`, and notes that the ledger of the zone `$8` stands at `$6` with the hash `$7`.
pub(super) const INSERT: &str = insert!();

/// The same with what else exchanges leave: their authority records `$12`, each as [`record`] has it, and what the
/// policy was asked `$13`, each with its request, at `$14`. Whenever a 64th of those is added, the old ones go, all
/// past the newest `$15`.
pub(super) const INSERT_EXCHANGES: &str = concat!(
    insert!(),
    ";
    INSERT INTO authority_records (id, root_id, parent_id, zone_id, application_id, subject, jti, mandate_use,
      scope, targets, issued_at, expires_at, agent_session_id, delegation_edge_id)
    SELECT value ->> 0, value ->> 1, value ->> 2, $8, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
      value ->> 7, value -> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12
    FROM json_each($12);
    INSERT INTO policy_inputs (zone_id, request_id, occurred_at, resource, verdict, input)
    SELECT $8, value ->> 0, $14, value ->> '$[1].resource', value -> '$[1].verdict', value -> '$[1].input'
    FROM json_each($13);
    DELETE FROM policy_inputs WHERE last_insert_rowid() % 64 < json_array_length($13) AND zone_id = $8 AND id <= (
      SELECT id FROM policy_inputs WHERE zone_id = $8 ORDER BY id DESC LIMIT 1 OFFSET $15)"
);

/// An authority record without its zone.
pub(super) fn record(row: &AuthorityRecord) -> impl Serialize {
    (
        row.id.as_str(),
        row.root_id.as_str(),
        &row.parent_id,
        row.application_id.as_str(),
        &row.subject,
        &row.jti,
        &row.mandate_use,
        &row.scope,
        &row.targets,
        row.issued_at.millis(),
        row.expires_at.millis(),
        &row.agent_session_id,
        &row.delegation_edge_id,
    )
}

impl Rows {
    /// None yet; the first of them is going to stand at `first`.
    pub(super) fn at(first: i64) -> Self {
        Self {
            first,
            ..Self::default()
        }
    }

    /// `sql`, which begins as [`INSERT`], with these rows. All in one: each time that the database's thread is
    /// called costs as much as a statement.
    pub(super) fn bind<'a>(
        self,
        sql: &'static str,
        zone: &'a ZoneId,
        ledger: &'a LedgerHead,
    ) -> Query<'a, Sqlite, SqliteArguments> {
        sqlx::query(sql)
            .bind(self.entries)
            .bind(self.contents)
            .bind(self.terms)
            .bind(self.first)
            .bind(signed(ledger.recorded_at.0))
            .bind(signed(ledger.seq))
            .bind(ledger.hash.0.as_slice())
            .bind(zone.as_str())
            .bind(self.marks)
            .bind(sqlx::types::Json(self.segments))
            .bind(RUN_BITS)
    }

    /// One more entry.
    pub(super) fn entry(&mut self, id: &[u8; 16], hash: &[u8; 32], mac: &[u8; 32], content: &str) {
        self.entries.extend_from_slice(id);
        self.entries.extend_from_slice(hash);
        self.entries.extend_from_slice(mac);
        decimal::<8>(&mut self.entries, self.contents.len());
        decimal::<8>(&mut self.entries, content.len());
        self.contents.extend_from_slice(content.as_bytes());
    }

    /// What the entries of a segment are found by.
    pub(super) fn segment(&mut self, segment: &Segment) {
        if segment.events > 1 {
            let Segment {
                first, events, at, ..
            } = segment;
            self.segments.push((*first, *events, *at));
        }
        for found_by in segment
            .found_by
            .chunk_by(|(one, _), (other, _)| one == other)
        {
            let Some((term, _)) = found_by.first() else {
                continue;
            };
            let begin = self.marks.len();
            if segment.events > 1 {
                let marks = found_by.iter().flat_map(|(_, mark)| mark.to_bytes());
                self.marks.extend(marks);
            }
            if *term < 0 {
                self.terms.push(b'-');
                decimal::<19>(&mut self.terms, term.unsigned_abs());
            } else {
                decimal::<20>(&mut self.terms, term.unsigned_abs());
            }
            decimal::<20>(&mut self.terms, segment.at);
            decimal::<8>(&mut self.terms, segment.first);
            decimal::<8>(&mut self.terms, begin);
            decimal::<8>(&mut self.terms, self.marks.len() - begin);
        }
    }
}

/// Adds `number` in `DIGITS` decimal digits.
fn decimal<const DIGITS: usize>(to: &mut Vec<u8>, number: impl TryInto<u64>) {
    let mut rest = number.try_into().unwrap_or_default();
    let mut digits = [b'0'; DIGITS];
    for digit in digits.iter_mut().rev() {
        // Below ten.
        *digit += u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
    }
    to.extend_from_slice(&digits);
}
