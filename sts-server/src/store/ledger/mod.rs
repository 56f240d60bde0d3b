//! The ledger's rows: events in their chain, by what they are found, and checkpoints.

mod fresh;
mod indexing;
mod packed;
mod prune;
mod query;
mod runs;
mod terms;
#[cfg(test)]
mod tests;
mod walk;

use authority::{
    audit::{Chain, Event, Facts, Hash, OccurredAt, SignedCheckpoint, link},
    ids::ZoneId,
    jwks::Jwk,
};
use serde::Serialize;
use uuid::Uuid;

use self::fresh::Written;
pub(crate) use self::query::{AuditFilter, Cursor};
pub(super) use self::{
    fresh::{Fresh, Noted},
    indexing::run as write_index,
};
use super::{AuthorityRecord, Change, KEPT_INPUTS, PolicyInputRow, Result, Store, StoreError};
use crate::{clock, sealing::ChainKey};

/// Events of one ledger; the number of the ledger stands above these bits.
const SEQ_BITS: u32 = 40;
const MAX_SEQ: i64 = (1 << SEQ_BITS) - 1;

/// Where a ledger stands.
#[derive(Clone, Debug)]
pub(crate) struct LedgerHead {
    /// Whose.
    pub(crate) zone_id: ZoneId,
    number: i64,
    /// Of the last event.
    pub(crate) seq: u64,
    /// Of the last event.
    pub(crate) hash: Hash,
    /// Events up to this one are gone.
    pub(crate) pruned: u64,
    /// Up to this one it is in the database what events are found by.
    indexed: u64,
    /// When the last event was written: no later one says an earlier time, whatever the clock says.
    recorded_at: OccurredAt,
}

/// An event as it stands in the ledger.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Its number.
    pub(crate) seq: u64,
    /// Its hash.
    pub(crate) hash: Hash,
    mac: Vec<u8>,
    /// When it was written.
    pub(crate) recorded_at: OccurredAt,
    /// The event in canonical form.
    pub(crate) event: String,
}

/// What is kept of an exchange: its event, that in canonical form, the record of its mint, and what the policy was
/// asked.
pub(crate) type ExchangeRows<'a> = (
    &'a Event,
    &'a str,
    Option<&'a AuthorityRecord>,
    &'a [PolicyInputRow],
);

/// A checkpoint as it stands in the ledger.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CheckpointRow {
    /// Whether a segment ends here.
    pub(crate) seals: bool,
    /// The checkpoint and its signature.
    #[serde(flatten)]
    pub(crate) signed: SignedCheckpoint,
}

type HeadRow = (String, i64, i64, Vec<u8>, i64, i64, i64);
type EntryRow = (i64, Vec<u8>, Vec<u8>, i64, String);

const HEADS: &str = "SELECT zone_id, number, seq, hash, pruned, indexed, recorded_at FROM ledgers";
const HEAD: &str = "SELECT zone_id, number, seq, hash, pruned, indexed, recorded_at FROM ledgers WHERE zone_id = ?";

fn head((zone, number, seq, hash, pruned, indexed, recorded_at): HeadRow) -> Result<LedgerHead> {
    Ok(LedgerHead {
        zone_id: zone.into(),
        number,
        seq: unsigned(seq),
        hash: Hash(hash.try_into().map_err(|_| damaged("a hash"))?),
        pruned: unsigned(pruned),
        indexed: unsigned(indexed),
        recorded_at: OccurredAt(unsigned(recorded_at)),
    })
}

fn entry((entry, hash, mac, recorded_at, event): EntryRow) -> Result<Entry> {
    Ok(Entry {
        seq: unsigned(entry & MAX_SEQ),
        hash: Hash(hash.try_into().map_err(|_| damaged("a hash"))?),
        mac,
        recorded_at: OccurredAt(unsigned(recorded_at)),
        event,
    })
}

fn damaged(what: &str) -> StoreError {
    StoreError::Database(sqlx::Error::Decode(
        format!("{what} in the ledger is damaged").into(),
    ))
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What is to be written of events that are added to a ledger.
struct Appended {
    /// Where the ledger stands then.
    ledger: LedgerHead,
    rows: packed::Rows,
    noted: Noted,
}

impl LedgerHead {
    /// The row of the event number `seq`.
    fn place(&self, seq: u64) -> i64 {
        (self.number << SEQ_BITS) | signed(seq).min(MAX_SEQ)
    }

    /// The last row that is not looked for among what is not in the database yet.
    fn begin(&self) -> i64 {
        self.place(self.indexed.max(self.pruned))
    }
}

impl Entry {
    /// Whether the entry is what follows `previous` in the ledger of `zone`, and was written by a server
    /// that held the key.
    pub(crate) fn follows(
        &self,
        zone: &ZoneId,
        previous: &Hash,
        key: &ChainKey,
    ) -> std::result::Result<(), &'static str> {
        if link(zone, self.seq, self.recorded_at, previous, &self.event) != self.hash {
            return Err("the event, or its place, is not the one that its hash was made of");
        }
        if !key.verifies(&self.hash.0, &self.mac) {
            return Err("its MAC is not this server's");
        }
        Ok(())
    }
}

impl Store {
    /// The key of the ledger's MACs.
    pub(crate) fn chain_key(&self) -> &ChainKey {
        &self.chain_key
    }

    /// Where the ledger of a zone stands.
    ///
    /// # Errors
    /// [`StoreError::Database`], here and below.
    pub(crate) async fn ledger(&self, zone: &ZoneId) -> Result<LedgerHead> {
        let row = sqlx::query_as(HEAD)
            .bind(zone.as_str())
            .fetch_one(&self.readers)
            .await?;
        head(row)
    }

    /// Where all ledgers stand.
    pub(crate) async fn ledgers(&self) -> Result<Vec<LedgerHead>> {
        let rows: Vec<HeadRow> = sqlx::query_as(HEADS).fetch_all(&self.readers).await?;
        rows.into_iter().map(head).collect()
    }

    /// Where all ledgers stand that have moved since their last checkpoint.
    pub(crate) async fn ledgers_without_checkpoint(&self) -> Result<Vec<LedgerHead>> {
        let sql = "SELECT zone_id, number, seq, hash, pruned, indexed, recorded_at FROM ledgers
                   WHERE seq > (SELECT coalesce(max(c.seq), 0) FROM audit_checkpoints AS c
                                WHERE c.ledger = number)";
        let rows: Vec<HeadRow> = sqlx::query_as(sql).fetch_all(&self.readers).await?;
        rows.into_iter().map(head).collect()
    }

    /// Up to `most` entries of a ledger after the event number `after`, in order.
    pub(crate) async fn entries_after(
        &self,
        ledger: &LedgerHead,
        after: u64,
        most: u32,
    ) -> Result<Vec<Entry>> {
        let sql = "SELECT entry, hash, mac, recorded_at, event FROM audit_entries
                   WHERE entry > ? AND entry <= ? ORDER BY entry LIMIT ?";
        let rows: Vec<EntryRow> = sqlx::query_as(sql)
            .bind(ledger.place(after))
            .bind(ledger.place(u64::MAX))
            .bind(most)
            .fetch_all(&self.readers)
            .await?;
        rows.into_iter().map(entry).collect()
    }

    /// The number of the last event that was written before `time`, among those that are there; the
    /// number before the first if there is none. Events are written in the order of their numbers.
    pub(crate) async fn last_recorded_before(
        &self,
        ledger: &LedgerHead,
        time: OccurredAt,
    ) -> Result<u64> {
        let sql = "SELECT recorded_at FROM audit_entries WHERE entry = ?";
        let (mut before, mut after) = (ledger.pruned, ledger.seq + 1);
        while before + 1 < after {
            let middle = before + (after - before) / 2;
            let at: Option<i64> = sqlx::query_scalar(sql)
                .bind(ledger.place(middle))
                .fetch_optional(&self.readers)
                .await?;
            if at.is_some_and(|at| unsigned(at) < time.0) {
                before = middle;
            } else {
                after = middle;
            }
        }
        Ok(before)
    }

    /// The last checkpoint of a ledger at or before the event number `seq`.
    pub(crate) async fn checkpoint_before(
        &self,
        ledger: &LedgerHead,
        seq: u64,
    ) -> Result<Option<CheckpointRow>> {
        let sql = "SELECT seals, signed FROM audit_checkpoints WHERE ledger = ? AND seq <= ?
                   ORDER BY seq DESC LIMIT 1";
        let row: Option<(bool, sqlx::types::Json<SignedCheckpoint>)> = sqlx::query_as(sql)
            .bind(ledger.number)
            .bind(signed(seq))
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(|(seals, signed)| CheckpointRow {
            seals,
            signed: signed.0,
        }))
    }

    /// The checkpoints of a ledger in a range of events, in order.
    pub(crate) async fn checkpoints_between(
        &self,
        ledger: &LedgerHead,
        first: u64,
        last: u64,
    ) -> Result<Vec<SignedCheckpoint>> {
        let sql = "SELECT signed FROM audit_checkpoints WHERE ledger = ? AND seq BETWEEN ? AND ?
                   ORDER BY seq";
        let rows: Vec<sqlx::types::Json<SignedCheckpoint>> = sqlx::query_scalar(sql)
            .bind(ledger.number)
            .bind(signed(first))
            .bind(signed(last))
            .fetch_all(&self.readers)
            .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    /// The last sealed checkpoint of a ledger: its event, and when it was sealed.
    pub(crate) async fn last_seal(&self, ledger: &LedgerHead) -> Result<Option<(u64, OccurredAt)>> {
        let sql = "SELECT seq, at FROM audit_checkpoints WHERE ledger = ? AND seals = 1
                   ORDER BY seq DESC LIMIT 1";
        let row: Option<(i64, i64)> = sqlx::query_as(sql)
            .bind(ledger.number)
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(|(seq, at)| (unsigned(seq), OccurredAt(unsigned(at)))))
    }

    /// The ledgers of which segments were sealed before `before` and are still there, and up to which
    /// event.
    pub(crate) async fn segments_sealed_before(
        &self,
        before: OccurredAt,
    ) -> Result<Vec<(LedgerHead, u64)>> {
        let sql = "SELECT zone_id, number, seq, hash, pruned, indexed, recorded_at, sealed FROM (
                     SELECT l.*, (SELECT max(c.seq) FROM audit_checkpoints AS c
                       WHERE c.ledger = number AND c.seals = 1 AND c.at < ?) AS sealed FROM ledgers AS l)
                   WHERE sealed > pruned OR EXISTS (SELECT 1 FROM audit_entries
                     WHERE entry BETWEEN number << 40 AND (number << 40) + pruned)";
        type Row = (String, i64, i64, Vec<u8>, i64, i64, i64, Option<i64>);
        let rows: Vec<Row> = sqlx::query_as(sql)
            .bind(signed(before.0))
            .fetch_all(&self.readers)
            .await?;
        rows.into_iter()
            .map(
                |(zone, number, seq, hash, pruned, indexed, recorded_at, sealed)| {
                    let sealed = unsigned(sealed.unwrap_or_default().max(pruned));
                    let ledger = head((zone, number, seq, hash, pruned, indexed, recorded_at))?;
                    Ok((ledger, sealed))
                },
            )
            .collect()
    }

    /// The public keys by which checkpoints of a zone were ever signed, oldest first.
    pub(crate) async fn audit_keys(&self, zone: &ZoneId) -> Result<Vec<Jwk>> {
        let sql = "SELECT jwk FROM audit_keys WHERE zone_id = ? ORDER BY created_at, kid";
        let rows: Vec<sqlx::types::Json<Jwk>> = sqlx::query_scalar(sql)
            .bind(zone.as_str())
            .fetch_all(&self.readers)
            .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }
}

impl Change {
    /// Adds events to the end of a zone's ledger, and returns where it stands then.
    ///
    /// # Errors
    /// [`StoreError::Conflict`]: an event's id is taken.
    pub(crate) async fn append(&mut self, zone: &ZoneId, events: &[Event]) -> Result<LedgerHead> {
        let mut written = Vec::with_capacity(events.len());
        for event in events {
            written.push((event, event.canonical().map_err(|_| damaged("an event"))?));
        }
        let written: Vec<_> = written
            .iter()
            .map(|(event, text)| (Facts::from(*event), text.as_str()))
            .collect();
        let written: Vec<_> = written.iter().map(|(facts, text)| (facts, *text)).collect();
        self.append_written(zone, &written).await
    }

    /// The same for events that are in canonical form already.
    ///
    /// # Errors
    /// As [`Change::append`].
    pub(crate) async fn append_written(
        &mut self,
        zone: &ZoneId,
        events: &[(&Facts<'_>, &str)],
    ) -> Result<LedgerHead> {
        let appended = self.link(zone, events).await?;
        let statement = appended.rows.append(zone, &appended.ledger);
        self.insert(statement, appended.ledger, appended.noted)
            .await
    }

    /// Adds the events of exchanges to the end of a zone's ledger, together with what else is kept of them.
    ///
    /// # Errors
    /// As [`Change::append`].
    pub(crate) async fn append_exchanges(
        &mut self,
        zone: &ZoneId,
        exchanges: &[ExchangeRows<'_>],
    ) -> Result<LedgerHead> {
        let (statement, ledger, noted) = self.exchanges(zone, exchanges).await?;
        self.insert(statement, ledger, noted).await
    }

    /// [`Change::append_written`] for a change that writes nothing else, and its commit.
    ///
    /// # Errors
    /// As [`Change::append`] and [`Change::commit`].
    pub(crate) async fn append_written_and_commit(
        mut self,
        zone: &ZoneId,
        events: &[(&Facts<'_>, &str)],
    ) -> Result<LedgerHead> {
        let appended = self.link(zone, events).await?;
        let statement = appended.rows.append(zone, &appended.ledger);
        self.finish(statement, appended.ledger, appended.noted)
            .await
    }

    /// [`Change::append_exchanges`] for a change that writes nothing else, and its commit.
    ///
    /// # Errors
    /// As [`Change::append`] and [`Change::commit`].
    pub(crate) async fn append_exchanges_and_commit(
        mut self,
        zone: &ZoneId,
        exchanges: &[ExchangeRows<'_>],
    ) -> Result<LedgerHead> {
        let (statement, ledger, noted) = self.exchanges(zone, exchanges).await?;
        self.finish(statement, ledger, noted).await
    }

    async fn insert(
        &mut self,
        statement: packed::Insert,
        ledger: LedgerHead,
        noted: Noted,
    ) -> Result<LedgerHead> {
        statement.execute(&mut *self.0).await?;
        self.0.appended(&ledger);
        self.0.note(noted);
        Ok(ledger)
    }

    async fn finish(
        mut self,
        statement: packed::Insert,
        ledger: LedgerHead,
        noted: Noted,
    ) -> Result<LedgerHead> {
        self.0.appended(&ledger);
        self.0.note(noted);
        self.0.finish(statement).await?;
        Ok(ledger)
    }

    /// The statement that adds the events of exchanges and what else is kept of them.
    async fn exchanges(
        &mut self,
        zone: &ZoneId,
        exchanges: &[ExchangeRows<'_>],
    ) -> Result<(packed::Insert, LedgerHead, Noted)> {
        let events: Vec<_> = exchanges
            .iter()
            .map(|(event, text, ..)| (Facts::from(*event), *text))
            .collect();
        let events: Vec<_> = events.iter().map(|(facts, text)| (facts, *text)).collect();
        let records = exchanges.iter().filter_map(|(_, _, record, _)| *record);
        let records: Vec<_> = records.map(packed::record).collect();
        let inputs: Vec<_> = exchanges
            .iter()
            .flat_map(|(event, .., inputs)| inputs.iter().map(|input| (&event.request_id, input)))
            .collect();
        let appended = self.link(zone, &events).await?;
        let ledger = appended.ledger;
        let statement = appended
            .rows
            .append_exchanges(zone, &ledger, &records, &inputs);
        Ok((statement, ledger, appended.noted))
    }

    /// Where a zone's ledger stands with these events at its end, their rows, and what is to be noted of them.
    async fn link(&mut self, zone: &ZoneId, events: &[(&Facts<'_>, &str)]) -> Result<Appended> {
        let mut ledger = match self.0.ledger(zone) {
            Some(ledger) => ledger,
            None => {
                let row = sqlx::query_as(HEAD)
                    .bind(zone.as_str())
                    .fetch_one(&mut *self.0)
                    .await?;
                head(row)?
            }
        };
        let recorded_at = clock::occurred_now().max(ledger.recorded_at);
        ledger.recorded_at = recorded_at;
        let first = ledger.place(ledger.seq + 1);
        let mut rows = packed::Rows::at(first);
        let chain = Chain::of(zone);
        for (event, content) in events {
            ledger.seq += 1;
            ledger.hash = chain.link(ledger.seq, recorded_at, &ledger.hash, content);
            let id = Uuid::try_parse(event.id).map_err(|_| damaged("an event's id"))?;
            let mac = self.1.mac(&ledger.hash.0);
            rows.entry(id.as_bytes(), &ledger.hash.0, &mac, content);
        }
        let facts = events.iter().map(|(facts, _)| *facts);
        let noted = Noted {
            number: ledger.number,
            begin: ledger.begin(),
            written: Written::of(zone, (first..).zip(facts)),
        };
        Ok(Appended {
            ledger,
            rows,
            noted,
        })
    }

    /// Which of these events are in the ledger already, and their text.
    pub(crate) async fn known_events(&mut self, ids: &[&str]) -> Result<Vec<(String, String)>> {
        let keys: Vec<String> = ids
            .iter()
            .filter_map(|id| Uuid::try_parse(id).ok())
            .map(|id| id.simple().to_string())
            .collect();
        let sql = "SELECT hex(event_id), event FROM json_each(?) AS asked
                   JOIN audit_entries ON event_id = unhex(asked.value)";
        let rows: Vec<(String, String)> = sqlx::query_as(sql)
            .bind(sqlx::types::Json(keys))
            .fetch_all(&mut *self.0)
            .await?;
        let readable = |(id, event): (String, String)| {
            let id = Uuid::try_parse(&id).ok()?.to_string();
            Some((id, event))
        };
        Ok(rows.into_iter().filter_map(readable).collect())
    }

    /// A new checkpoint.
    pub(crate) async fn insert_checkpoint(
        &mut self,
        ledger: &LedgerHead,
        checkpoint: &CheckpointRow,
    ) -> Result<()> {
        let sql =
            "INSERT INTO audit_checkpoints (ledger, seq, at, seals, signed) VALUES (?, ?, ?, ?, ?)";
        let CheckpointRow {
            seals,
            signed: with_signature,
        } = checkpoint;
        sqlx::query(sql)
            .bind(ledger.number)
            .bind(signed(with_signature.checkpoint.seq))
            .bind(signed(with_signature.checkpoint.at.0))
            .bind(seals)
            .bind(sqlx::types::Json(with_signature))
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }
}

/// A row that was found, for those parts of the store that look for events.
async fn fetch(store: &Store, places: &[i64]) -> Result<Vec<Entry>> {
    let sql = "SELECT entry, hash, mac, recorded_at, event FROM json_each(?) AS asked
               JOIN audit_entries ON entry = asked.value ORDER BY asked.key";
    let rows: Vec<EntryRow> = sqlx::query_as(sql)
        .bind(sqlx::types::Json(places))
        .fetch_all(&store.readers)
        .await?;
    rows.into_iter().map(entry).collect()
}
