-- Events that are written together are found together. A segment is a run of events in a ledger, close to each
-- other in time; of one there is a row for each thing that any of its events can be found by.
CREATE TABLE audit_segments (
    first INTEGER PRIMARY KEY, -- the entry that it begins with
    events INTEGER NOT NULL,
    at INTEGER NOT NULL -- when the last of them happened, in microseconds since the Unix epoch
) STRICT;

-- at, entry: of the segment, when the last of its events happened and with which it begins.
-- events: which of them are found, 4 bytes for each, big-endian: in the upper 14 bits how many stand before it
-- in the segment, in the lower 18 how many microseconds before at it happened. Empty: the segment is one event.
ALTER TABLE audit_terms ADD COLUMN events BLOB NOT NULL DEFAULT (x'');
