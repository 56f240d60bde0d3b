-- What events are found by is written a run at a time, once a run has come to its end. Of those after `indexed` it is
-- in memory, and made anew from the entries where it is not.
ALTER TABLE ledgers ADD COLUMN indexed INTEGER NOT NULL DEFAULT 0; -- the number of an event
UPDATE ledgers SET indexed = seq;

-- The places of rows that are packed side by side, for the statements that take them apart.
CREATE TABLE numbers (n INTEGER PRIMARY KEY) STRICT;
INSERT INTO numbers
    WITH RECURSIVE number (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n < 1023) SELECT n FROM number;
