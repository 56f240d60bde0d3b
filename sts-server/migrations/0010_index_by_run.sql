-- What events are found by is written a run at a time, once a run has come to its end: for each thing a row of all the
-- run's events that are found by it. The index of those after `indexed` is in memory, and made from the entries where it
-- is not. What was written before goes, and is made anew in that way when the database is opened.
DROP TABLE audit_terms;
DROP TABLE audit_segments;
DELETE FROM audit_runs;
DELETE FROM audit_filters;
CREATE TABLE audit_index (
    run INTEGER NOT NULL, -- of the entries: their number without the lower 14 bits
    term INTEGER NOT NULL, -- 64 bits of the hash of what can be asked for
    -- 10 bytes for each event, big-endian and in order: when it happened, in microseconds since the Unix epoch, in 8, and
    -- the lower 14 bits of its entry's number.
    events BLOB NOT NULL,
    PRIMARY KEY (run, term)
) STRICT, WITHOUT ROWID;
ALTER TABLE ledgers DROP COLUMN first_run;
ALTER TABLE ledgers ADD COLUMN indexed INTEGER NOT NULL DEFAULT 0; -- the number of an event

-- The places of rows that are packed side by side, for the statements that take them apart.
CREATE TABLE numbers (n INTEGER PRIMARY KEY) STRICT;
INSERT INTO numbers
    WITH RECURSIVE number (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n < 1023) SELECT n FROM number;
