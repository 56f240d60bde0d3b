-- The index of a ledger, in runs: so many events on end, with what they are found by side by side. What is written
-- together stands in a few pages of the newest run then, and not all over an index of everything.
ALTER TABLE audit_terms RENAME TO audit_terms_of_all;
CREATE TABLE audit_terms (
    run INTEGER NOT NULL, -- of the entry: its number without the lower 14 bits, or the first run of its ledger
    term INTEGER NOT NULL, -- 64 bits of the hash of what can be asked for
    -- Of the segment: when the last of its events happened, in microseconds since the Unix epoch, and the entry with
    -- which it begins.
    at INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    -- Which of them are found, 4 bytes for each, big-endian: in the upper 14 bits how many stand before it in the
    -- segment, in the lower 18 how many microseconds before at it happened. Empty: the segment is one event.
    events BLOB NOT NULL DEFAULT (x''),
    PRIMARY KEY (run, term, at, entry)
) STRICT, WITHOUT ROWID;
-- What is there already is one run of each ledger, that of its next entry, and so keeps its order.
ALTER TABLE ledgers ADD COLUMN first_run INTEGER NOT NULL DEFAULT 0;
UPDATE ledgers SET first_run = ((number << 40) + seq + 1) >> 14;
INSERT INTO audit_terms (run, term, at, entry, events)
    SELECT first_run, term, at, entry, events FROM audit_terms_of_all CROSS JOIN ledgers ON number = entry >> 40;
DROP TABLE audit_terms_of_all;

-- The runs that nothing is added to any more, by the newest of what they hold. The last of each ledger is not here.
CREATE TABLE audit_runs (
    ledger INTEGER NOT NULL, -- its number
    run INTEGER NOT NULL,
    oldest INTEGER NOT NULL, -- the least and the greatest time of a row, in microseconds since the Unix epoch
    newest INTEGER NOT NULL,
    PRIMARY KEY (ledger, newest, run)
) STRICT, WITHOUT ROWID;
