//! Rows of the ledger for one statement, however many they are: packed side by side in what SQL takes apart
//! with `substr`. As JSON they would be escaped, parsed and unescaped, which took longer than to write them.
//!
//! Parameters are `$1` and not `?1`: with those, each statement that leaves one out shifts what the next is bound to.

use authority::ids::ZoneId;
use serde::Serialize;
use sqlx::{Sqlite, query::Query, sqlite::SqliteArguments};

use super::{
    AuthorityRecord, LedgerHead,
    runs::{Place, begin_of, run_of},
    signed,
};

/// Bytes of an event in a row of the index.
const EVENT_BYTES: usize = 10;

/// Rows that [`INSERT`] takes.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Where the first of them stands.
    first: i64,
    /// Of 96 bytes each: id, hash, MAC, and in 8 decimal digits each where the content begins and how long it is.
    entries: Vec<u8>,
    /// The contents, one after the other.
    contents: Vec<u8>,
}

/// Rows that [`INSERT_INDEX`] takes.
#[derive(Debug)]
pub(super) struct Index {
    run: i64,
    /// Of 36 bytes each, in decimal digits: the term in 20, and in 8 each where its events begin and how long they are.
    rows: Vec<u8>,
    /// The events of all rows.
    events: Vec<u8>,
}

/// The numbers below `$count`, a million at most, as a table of `n`: to count by a recursive query takes as long as to
/// write a row.
macro_rules! below {
    ($count:literal) => {
        concat!(
            "(SELECT high.n * 1024 + low.n AS n FROM numbers AS high CROSS JOIN numbers AS low
              WHERE high.n <= (",
            $count,
            " - 1) / 1024 AND low.n < ",
            $count,
            " - high.n * 1024)"
        )
    };
}

macro_rules! insert {
    () => {
        concat!(
            "
    INSERT INTO audit_entries (entry, event_id, recorded_at, hash, mac, event)
    SELECT $3 + n, substr($1, n * 96 + 1, 16), $4, substr($1, n * 96 + 17, 32), substr($1, n * 96 + 49, 32),
      CAST(substr($2, CAST(substr($1, n * 96 + 81, 8) AS INTEGER) + 1, CAST(substr($1, n * 96 + 89, 8) AS INTEGER))
        AS TEXT)
    FROM ",
            below!("length($1) / 96"),
            ";
    UPDATE ledgers SET seq = $5, hash = $6, recorded_at = $4 WHERE zone_id = $7"
        )
    };
}

/// Adds entries (`$1`, `$2`), the first of them at `$3` and recorded at `$4`, and notes that the ledger of the zone `$7`
/// stands at `$5` with the hash `$6`.
pub(super) const INSERT: &str = insert!();

/// The same with what else exchanges leave: their authority records `$8`, each as [`record`] has it, and what the
/// policy was asked `$9`, each with its request, at `$10`. Whenever a 64th of those is added, the old ones go, all
/// past the newest `$11`.
pub(super) const INSERT_EXCHANGES: &str = concat!(
    insert!(),
    ";
    INSERT INTO authority_records (id, root_id, parent_id, zone_id, application_id, subject, jti, mandate_use,
      scope, targets, issued_at, expires_at, agent_session_id, delegation_edge_id)
    SELECT value ->> 0, value ->> 1, value ->> 2, $7, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
      value ->> 7, value -> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12
    FROM json_each($8);
    INSERT INTO policy_inputs (zone_id, request_id, occurred_at, resource, verdict, input)
    SELECT $7, value ->> 0, $10, value ->> '$[1].resource', value -> '$[1].verdict', value -> '$[1].input'
    FROM json_each($9);
    DELETE FROM policy_inputs WHERE last_insert_rowid() % 64 < json_array_length($9) AND zone_id = $7 AND id <= (
      SELECT id FROM policy_inputs WHERE zone_id = $7 ORDER BY id DESC LIMIT 1 OFFSET $11)"
);

/// Adds rows (`$1`, `$2`) to the index of the run `$3`.
const INSERT_INDEX: &str = concat!(
    "INSERT OR REPLACE INTO audit_index (run, term, events)
    SELECT $3, CAST(substr($1, n * 36 + 1, 20) AS INTEGER),
      substr($2, CAST(substr($1, n * 36 + 21, 8) AS INTEGER) + 1, CAST(substr($1, n * 36 + 29, 8) AS INTEGER))
    FROM ",
    below!("length($1) / 36")
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
            .bind(self.first)
            .bind(signed(ledger.recorded_at.0))
            .bind(signed(ledger.seq))
            .bind(ledger.hash.0.as_slice())
            .bind(zone.as_str())
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
}

impl Index {
    /// None yet, of this run.
    pub(super) fn of(run: i64) -> Self {
        Self {
            run,
            rows: Vec::new(),
            events: Vec::new(),
        }
    }

    /// One more row: the events that are found by a term, in order.
    pub(super) fn row(&mut self, term: i64, events: impl Iterator<Item = Place>) {
        let begin = self.events.len();
        events.for_each(|place| pack(place, &mut self.events));
        self.rows.push(if term < 0 { b'-' } else { b'0' });
        decimal::<19>(&mut self.rows, term.unsigned_abs());
        decimal::<8>(&mut self.rows, begin);
        decimal::<8>(&mut self.rows, self.events.len() - begin);
    }

    /// The statement that adds them.
    pub(super) fn insert(self) -> Query<'static, Sqlite, SqliteArguments> {
        sqlx::query(INSERT_INDEX)
            .bind(self.rows)
            .bind(self.events)
            .bind(self.run)
    }
}

/// Adds an event to a row of the index.
fn pack((at, entry): Place, events: &mut Vec<u8>) {
    let number = entry - begin_of(run_of(entry));
    events.extend(at.to_be_bytes());
    events.extend(u16::try_from(number).unwrap_or_default().to_be_bytes());
}

/// The events of a row of the index, newest first.
pub(super) fn unpack(run: i64, events: &[u8]) -> Vec<Place> {
    let (events, _) = events.as_chunks::<EVENT_BYTES>();
    let place = |event: &[u8; EVENT_BYTES]| {
        let [a, b, c, d, e, f, g, h, high, low] = *event;
        let at = i64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let number = u16::from_be_bytes([high, low]);
        (at, begin_of(run) | i64::from(number))
    };
    events.iter().rev().map(place).collect()
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
