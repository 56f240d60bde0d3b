-- What is revoked, by the ids that mandates stand or fall with. An epoch is one more than the one
-- before it in the same zone; with one writer, its order is that of the commits.
ALTER TABLE zones ADD COLUMN revocation_epoch INTEGER NOT NULL DEFAULT 0;
-- A gateway that knows less than this is given the whole filter: rows that it would need are gone.
ALTER TABLE zones ADD COLUMN revocation_horizon INTEGER NOT NULL DEFAULT 0;
ALTER TABLE zones ADD COLUMN revocation_key BLOB; -- of the digests, 16 bytes
UPDATE zones SET revocation_key = randomblob(16);
CREATE TRIGGER zones_have_a_revocation_key AFTER INSERT ON zones WHEN new.revocation_key IS NULL
BEGIN
    UPDATE zones SET revocation_key = randomblob(16) WHERE id = new.id;
END;

CREATE TABLE revocations (
    zone_id TEXT NOT NULL REFERENCES zones (id),
    anchor_type TEXT NOT NULL, -- jti, sid, root_sid, agent_session_id, ...
    anchor_id TEXT NOT NULL,
    by_time INTEGER NOT NULL, -- 1: only mandates issued up to a time; beside it there may be one of all
    issued_until INTEGER, -- that time, in seconds since the Unix epoch
    reason TEXT NOT NULL,
    revoked_at INTEGER NOT NULL,
    withdrawn_at INTEGER,
    published_until INTEGER NOT NULL, -- then no mandate that a gateway takes can carry it any more
    kept_until INTEGER, -- then nothing can come of it any more; without it, it stays
    epoch INTEGER NOT NULL, -- of its last change
    PRIMARY KEY (zone_id, anchor_type, anchor_id, by_time)
) STRICT, WITHOUT ROWID;
CREATE INDEX revocations_by_epoch ON revocations (zone_id, epoch);
CREATE INDEX revocations_by_end ON revocations (kept_until) WHERE kept_until IS NOT NULL;

-- What a mandate was minted in and under: how many are in date, for those who ask what would fall.
ALTER TABLE authority_records ADD COLUMN agent_session_id TEXT;
ALTER TABLE authority_records ADD COLUMN delegation_edge_id TEXT;
CREATE INDEX authority_records_by_root ON authority_records (root_id);
CREATE INDEX authority_records_by_parent ON authority_records (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX authority_records_by_session ON authority_records (agent_session_id)
    WHERE agent_session_id IS NOT NULL;
CREATE INDEX authority_records_by_application ON authority_records (application_id, expires_at);
CREATE INDEX authority_records_by_expiry ON authority_records (zone_id, expires_at);

-- Whether an answer that goes on and on, a stream of events for one, ends with the mandate.
ALTER TABLE resources ADD COLUMN end_streams_at_expiry INTEGER NOT NULL DEFAULT 0;
