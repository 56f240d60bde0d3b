-- The ledger: for each zone a chain of events that are only ever added at its end and removed from its
-- beginning, and the checkpoints that say where the chain stood.
DROP TABLE policy_inputs;
DROP TABLE audit_events;

CREATE TABLE ledgers (
    zone_id TEXT PRIMARY KEY REFERENCES zones (id),
    number INTEGER NOT NULL UNIQUE,
    seq INTEGER NOT NULL DEFAULT 0, -- of the last event
    hash BLOB NOT NULL DEFAULT (zeroblob(32)), -- of the last event
    recorded_at INTEGER NOT NULL DEFAULT 0, -- of the last event, in microseconds since the Unix epoch
    pruned INTEGER NOT NULL DEFAULT 0 -- events up to this one have been removed, or are being
) STRICT;
INSERT INTO ledgers (zone_id, number) SELECT id, row_number() OVER (ORDER BY id) FROM zones;
CREATE TRIGGER zones_have_a_ledger AFTER INSERT ON zones
BEGIN
    INSERT INTO ledgers (zone_id, number) SELECT new.id, coalesce(max(number), 0) + 1 FROM ledgers;
END;

CREATE TABLE audit_entries (
    entry INTEGER PRIMARY KEY, -- number of the ledger * 2^40 + number of the event in it
    event_id BLOB NOT NULL, -- UUIDv7
    recorded_at INTEGER NOT NULL, -- microseconds since the Unix epoch
    hash BLOB NOT NULL,
    mac BLOB NOT NULL,
    event TEXT NOT NULL -- in canonical form, as it was hashed
) STRICT;
CREATE UNIQUE INDEX audit_entries_by_event ON audit_entries (event_id);
CREATE TRIGGER audit_entries_never_change BEFORE UPDATE ON audit_entries
BEGIN SELECT RAISE(ABORT, 'audit events never change'); END;
CREATE TRIGGER audit_entries_stay BEFORE DELETE ON audit_entries
WHEN (old.entry & 0xffffffffff) > (SELECT pruned FROM ledgers WHERE number = old.entry >> 40)
BEGIN SELECT RAISE(ABORT, 'audit events are removed from the beginning of a ledger only'); END;

-- By what events are found: a row for each thing that can be asked for, under 64 bits of its hash.
CREATE TABLE audit_terms (
    term INTEGER NOT NULL,
    at INTEGER NOT NULL, -- when it happened, in microseconds since the Unix epoch
    entry INTEGER NOT NULL,
    PRIMARY KEY (term, at, entry)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit_checkpoints (
    ledger INTEGER NOT NULL, -- its number
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL, -- microseconds since the Unix epoch
    seals INTEGER NOT NULL, -- 1: a segment ends here, up to which the ledger may be cut off
    signed TEXT NOT NULL, -- the checkpoint and its signature
    PRIMARY KEY (ledger, seq)
) STRICT, WITHOUT ROWID;

-- The public half of every key that ever signed a checkpoint: what was signed stays verifiable.
CREATE TABLE audit_keys (
    kid TEXT PRIMARY KEY,
    zone_id TEXT NOT NULL REFERENCES zones (id),
    jwk TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX audit_keys_by_zone ON audit_keys (zone_id, created_at);
INSERT INTO audit_keys (kid, zone_id, jwk, created_at)
    SELECT kid, zone_id, jwk, created_at FROM signing_keys;
CREATE TRIGGER signing_keys_are_remembered AFTER INSERT ON signing_keys
BEGIN
    INSERT INTO audit_keys (kid, zone_id, jwk, created_at)
    VALUES (new.kid, new.zone_id, new.jwk, new.created_at);
END;

-- The policy input of each resource of an exchange, the newest of each zone: what a candidate is tried on.
CREATE TABLE policy_inputs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    zone_id TEXT NOT NULL REFERENCES zones (id),
    request_id TEXT NOT NULL,
    occurred_at INTEGER NOT NULL,
    resource TEXT NOT NULL,
    verdict TEXT NOT NULL, -- of the policy that was in force
    input TEXT NOT NULL
) STRICT;
CREATE INDEX policy_inputs_by_zone ON policy_inputs (zone_id, id);
