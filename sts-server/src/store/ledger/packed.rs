//! Rows of the ledger for one statement, however many they are: packed side by side in what SQL takes apart
//! with `substr`. As JSON they would be escaped, parsed and unescaped, which took longer than to write them.

/// Rows that [`INSERT`] takes.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Of 96 bytes each: id, hash, MAC, and in 8 decimal digits each where the content begins and how long it is.
    pub(super) entries: Vec<u8>,
    /// The contents, one after the other.
    pub(super) contents: Vec<u8>,
    /// Of 48 bytes each: term and time in 20 decimal characters, and in 8 the number of the entry.
    pub(super) terms: Vec<u8>,
}

/// Adds entries (`?1`, `?2`) and their terms (`?3`), the first of them at `?4` and recorded at `?5`, and notes
/// that the ledger of the zone `?8` stands at `?6` with the hash `?7`.
pub(super) const INSERT: &str = "
    WITH RECURSIVE number (n) AS (
      SELECT 0 WHERE length(?1) > 0 UNION ALL SELECT n + 1 FROM number WHERE (n + 1) * 96 < length(?1))
    INSERT INTO audit_entries (entry, event_id, recorded_at, hash, mac, event)
    SELECT ?4 + n, substr(?1, n * 96 + 1, 16), ?5, substr(?1, n * 96 + 17, 32), substr(?1, n * 96 + 49, 32),
      CAST(substr(?2, CAST(substr(?1, n * 96 + 81, 8) AS INTEGER) + 1, CAST(substr(?1, n * 96 + 89, 8) AS INTEGER))
        AS TEXT)
    FROM number;
    WITH RECURSIVE number (n) AS (
      SELECT 0 WHERE length(?3) > 0 UNION ALL SELECT n + 1 FROM number WHERE (n + 1) * 48 < length(?3))
    INSERT OR IGNORE INTO audit_terms (term, at, entry)
    SELECT CAST(substr(?3, n * 48 + 1, 20) AS INTEGER), CAST(substr(?3, n * 48 + 21, 20) AS INTEGER),
      ?4 + CAST(substr(?3, n * 48 + 41, 8) AS INTEGER)
    FROM number;
    UPDATE ledgers SET seq = ?6, hash = ?7, recorded_at = ?5 WHERE zone_id = ?8";

impl Rows {
    /// One more entry.
    pub(super) fn entry(&mut self, id: &[u8; 16], hash: &[u8; 32], mac: &[u8; 32], content: &str) {
        self.entries.extend_from_slice(id);
        self.entries.extend_from_slice(hash);
        self.entries.extend_from_slice(mac);
        let place = format!("{:08}{:08}", self.contents.len(), content.len());
        self.entries.extend_from_slice(place.as_bytes());
        self.contents.extend_from_slice(content.as_bytes());
    }

    /// What the last entry is found by, and the microsecond at which it happened.
    pub(super) fn terms(&mut self, terms: &[i64], at: u64) {
        let number = (self.entries.len() / 96).saturating_sub(1);
        for term in terms {
            let row = format!("{term:020}{at:020}{number:08}");
            self.terms.extend_from_slice(row.as_bytes());
        }
    }
}
