-- Governed sessions and the delegations between them. Both know their ancestors by a path: a JSON array
-- of ids from the root down, itself last, so that a subtree is a range of paths. Whether one is good for
-- anything is never stored but follows from the times in its row and in those of its ancestors.

CREATE TABLE sessions (
    id TEXT PRIMARY KEY, -- agent_session_id
    zone_id TEXT NOT NULL REFERENCES zones (id),
    application_id TEXT NOT NULL REFERENCES applications (id),
    parent_id TEXT REFERENCES sessions (id),
    path TEXT NOT NULL,
    depth INTEGER NOT NULL, -- 0 for a root
    subject_authority_record_id TEXT REFERENCES authority_records (id),
    subject TEXT NOT NULL, -- sub of its mandates
    originates INTEGER NOT NULL, -- may begin delegations, rather than only pass them on
    lifecycle TEXT NOT NULL, -- task, service
    labels TEXT NOT NULL,
    metadata TEXT NOT NULL,
    ttl_seconds INTEGER, -- of a task
    started_at INTEGER NOT NULL,
    expires_at INTEGER, -- of a task
    last_heartbeat_at INTEGER,
    heartbeat_deadline_at INTEGER, -- of a service; past it, it is suspended
    lease_generation INTEGER NOT NULL,
    suspended_at INTEGER,
    suspended_by TEXT, -- operator, application
    ended_at INTEGER,
    ended_as TEXT, -- terminated, expired
    end_reason TEXT
) STRICT;
CREATE INDEX sessions_by_zone ON sessions (zone_id, id);
CREATE INDEX sessions_by_application ON sessions (application_id, id);
CREATE INDEX sessions_by_parent ON sessions (parent_id, id);
CREATE INDEX sessions_by_path ON sessions (path);
CREATE INDEX sessions_by_expiry ON sessions (expires_at) WHERE ended_at IS NULL AND expires_at IS NOT NULL;
CREATE INDEX sessions_by_deadline ON sessions (heartbeat_deadline_at)
    WHERE ended_at IS NULL AND heartbeat_deadline_at IS NOT NULL;

-- How many sessions have not ended, by application and, under the empty id, in the whole zone. Kept by
-- the triggers below, so that no code can forget to.
CREATE TABLE live_sessions (
    zone_id TEXT NOT NULL REFERENCES zones (id),
    application_id TEXT NOT NULL,
    live INTEGER NOT NULL,
    PRIMARY KEY (zone_id, application_id)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER sessions_started AFTER INSERT ON sessions
BEGIN
    INSERT INTO live_sessions (zone_id, application_id, live)
    VALUES (new.zone_id, new.application_id, 1), (new.zone_id, '', 1)
    ON CONFLICT DO UPDATE SET live = live + 1;
END;

CREATE TRIGGER sessions_ended AFTER UPDATE OF ended_at ON sessions
WHEN old.ended_at IS NULL AND new.ended_at IS NOT NULL
BEGIN
    UPDATE live_sessions SET live = live - 1
    WHERE zone_id = new.zone_id AND application_id IN (new.application_id, '');
END;

CREATE TABLE delegations (
    id TEXT PRIMARY KEY, -- delegation_edge_id
    zone_id TEXT NOT NULL REFERENCES zones (id),
    source_session_id TEXT NOT NULL REFERENCES sessions (id),
    target_session_id TEXT NOT NULL REFERENCES sessions (id),
    issuer_application_id TEXT NOT NULL REFERENCES applications (id),
    receiver_application_id TEXT NOT NULL REFERENCES applications (id),
    parent_edge_id TEXT REFERENCES delegations (id),
    path TEXT NOT NULL,
    inherited INTEGER NOT NULL,
    resources TEXT NOT NULL, -- identifiers
    scopes TEXT NOT NULL,
    max_hops INTEGER NOT NULL,
    mandate_ttl_seconds INTEGER,
    budget INTEGER,
    constraints TEXT NOT NULL, -- as they were given
    expires_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;
CREATE INDEX delegations_by_zone ON delegations (zone_id, id);
CREATE INDEX delegations_by_source ON delegations (source_session_id, id);
CREATE INDEX delegations_by_target ON delegations (target_session_id, id);
CREATE INDEX delegations_by_issuer ON delegations (issuer_application_id);
CREATE INDEX delegations_by_receiver ON delegations (receiver_application_id);
CREATE INDEX delegations_by_path ON delegations (path);
CREATE INDEX delegations_by_parent ON delegations (parent_edge_id) WHERE parent_edge_id IS NOT NULL;

-- What was answered to requests that carried an Idempotency-Key, for when they come again.
CREATE TABLE idempotency_receipts (
    zone_id TEXT NOT NULL REFERENCES zones (id),
    owner TEXT NOT NULL, -- an application, or empty for the operator
    operation TEXT NOT NULL,
    key_sha256 TEXT NOT NULL,
    generated INTEGER NOT NULL, -- the client made the key up for this request alone
    request_sha256 TEXT NOT NULL,
    made_id TEXT NOT NULL, -- of what was made
    answer TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (zone_id, owner, operation, key_sha256)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_receipts_by_expiry ON idempotency_receipts (expires_at);
CREATE INDEX idempotency_receipts_by_owner ON idempotency_receipts (zone_id, owner, operation, generated);

-- Which governed session asked, and under which delegations.
ALTER TABLE audit_events ADD COLUMN agent_session_id TEXT;
ALTER TABLE audit_events ADD COLUMN delegation_path TEXT NOT NULL DEFAULT '[]';
