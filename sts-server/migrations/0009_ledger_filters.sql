-- What is in each run of the index, in brief: a search passes over those that do not have what it looks for. Runs that are
-- not here are looked into.
CREATE TABLE audit_filters (
    bucket INTEGER NOT NULL, -- the upper 8 bits of a term
    run INTEGER NOT NULL,
    marks TEXT NOT NULL, -- for each of the run's terms in this bucket a character: the 15 bits from bit 40 on, and 1
    PRIMARY KEY (bucket, run)
) STRICT, WITHOUT ROWID;
