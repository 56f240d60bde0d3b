//! Rows of the ledger for one statement, however many they are: packed side by side in what SQL takes apart
//! with `substr`. As JSON they would be escaped, parsed and unescaped, which took longer than to write them.
//!
//! Parameters are `$1` and not `?1`: with those, each statement that leaves one out shifts what the next is bound to.

use authority::ids::ZoneId;
use serde::Serialize;
use sqlx::{Sqlite, query::Query, sqlite::SqliteArguments, types::Json};

use super::{
    AuthorityRecord, KEPT_INPUTS, LedgerHead, PolicyInputRow,
    runs::{Place, begin_of, run_of},
    signed,
};
use crate::clock::Moment;

/// A statement that adds rows.
pub(super) type Insert = Query<'static, Sqlite, SqliteArguments>;

/// Bytes of an event in a row of the index.
const EVENT_BYTES: usize = 10;

/// Entries as `ledger_appends` and `exchange_appends` take them.
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

const APPEND: &str = "INSERT INTO ledger_appends
    (entries, contents, first, recorded_at, seq, hash, zone_id) VALUES ($1, $2, $3, $4, $5, $6, $7)";
const APPEND_EXCHANGES: &str = "INSERT INTO exchange_appends
    (entries, contents, first, recorded_at, seq, hash, zone_id, records, inputs, at, kept)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";

/// Adds rows (`$1`, `$2`) to the index of the run `$3`.
const INSERT_INDEX: &str = "INSERT OR REPLACE INTO audit_index (run, term, events)
    SELECT $3, CAST(substr($1, n * 36 + 1, 20) AS INTEGER),
      substr($2, CAST(substr($1, n * 36 + 21, 8) AS INTEGER) + 1, CAST(substr($1, n * 36 + 29, 8) AS INTEGER))
    FROM (SELECT high.n * 1024 + low.n AS n FROM numbers AS high CROSS JOIN numbers AS low
      WHERE high.n <= (length($1) / 36 - 1) / 1024 AND low.n < length($1) / 36 - high.n * 1024)";

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

    /// The statement that adds them to the ledger of `zone`, which stands at `ledger` then.
    pub(super) fn append(self, zone: &ZoneId, ledger: &LedgerHead) -> Insert {
        self.bind(APPEND, zone, ledger)
    }

    /// The same with what else exchanges leave: their authority records, each as [`record`] has it, and what the policy
    /// was asked, each with its request.
    pub(super) fn append_exchanges(
        self,
        zone: &ZoneId,
        ledger: &LedgerHead,
        records: &[impl Serialize],
        inputs: &[(&String, &PolicyInputRow)],
    ) -> Insert {
        self.bind(APPEND_EXCHANGES, zone, ledger)
            .bind(Json(records))
            .bind(Json(inputs))
            .bind(Moment::now())
            .bind(i64::from(KEPT_INPUTS))
    }

    fn bind(self, sql: &'static str, zone: &ZoneId, ledger: &LedgerHead) -> Insert {
        sqlx::query(sql)
            .bind(self.entries)
            .bind(self.contents)
            .bind(self.first)
            .bind(signed(ledger.recorded_at.0))
            .bind(signed(ledger.seq))
            .bind(ledger.hash.0.to_vec())
            .bind(zone.as_str().to_owned())
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
    pub(super) fn insert(self) -> Insert {
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
