-- Times are milliseconds since the Unix epoch; ids are UUIDv7, so that their order is that of creation.

CREATE TABLE zones (
    id TEXT PRIMARY KEY,
    slug TEXT NOT NULL UNIQUE, -- never given out again, not even after archiving
    name TEXT NOT NULL,
    sequence INTEGER NOT NULL DEFAULT 1, -- of the bundle; grows with every change to it
    active_policy_set_version_id TEXT REFERENCES policy_set_versions (id),
    created_at INTEGER NOT NULL,
    archived_at INTEGER
) STRICT;

CREATE TABLE applications (
    id TEXT PRIMARY KEY,
    zone_id TEXT NOT NULL REFERENCES zones (id),
    name TEXT NOT NULL,
    name_folded TEXT NOT NULL,
    registration_method TEXT NOT NULL,
    traits TEXT NOT NULL,
    secret_hash TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    archived_at INTEGER
) STRICT;
CREATE UNIQUE INDEX applications_by_name ON applications (zone_id, name_folded) WHERE archived_at IS NULL;
CREATE INDEX applications_by_zone ON applications (zone_id, id);

CREATE TABLE resources (
    id TEXT PRIMARY KEY,
    zone_id TEXT NOT NULL REFERENCES zones (id),
    name TEXT NOT NULL,
    identifier TEXT NOT NULL,
    scopes TEXT NOT NULL,
    operations TEXT NOT NULL,
    operation_enforcement TEXT NOT NULL,
    upstream_url TEXT,
    created_at INTEGER NOT NULL,
    archived_at INTEGER
) STRICT;
CREATE UNIQUE INDEX resources_by_identifier ON resources (zone_id, identifier) WHERE archived_at IS NULL;
CREATE INDEX resources_by_zone ON resources (zone_id, id);

CREATE TABLE policies (
    id TEXT PRIMARY KEY,
    zone_id TEXT NOT NULL REFERENCES zones (id),
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX policies_by_zone ON policies (zone_id, id);

CREATE TABLE policy_versions (
    id TEXT PRIMARY KEY,
    policy_id TEXT NOT NULL REFERENCES policies (id),
    zone_id TEXT NOT NULL REFERENCES zones (id),
    version INTEGER NOT NULL,
    content TEXT NOT NULL,
    content_sha256 TEXT NOT NULL,
    kind TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (policy_id, version)
) STRICT;

CREATE TABLE policy_sets (
    id TEXT PRIMARY KEY,
    zone_id TEXT NOT NULL REFERENCES zones (id),
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (zone_id, name)
) STRICT;

CREATE TABLE policy_set_versions (
    id TEXT PRIMARY KEY,
    policy_set_id TEXT NOT NULL REFERENCES policy_sets (id),
    zone_id TEXT NOT NULL REFERENCES zones (id),
    version INTEGER NOT NULL,
    manifest TEXT NOT NULL, -- policy version ids, in order
    manifest_sha256 TEXT NOT NULL,
    kind TEXT NOT NULL,
    modules TEXT NOT NULL,
    compiler TEXT NOT NULL,
    program BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (policy_set_id, version)
) STRICT;

CREATE TABLE signing_keys (
    kid TEXT PRIMARY KEY,
    zone_id TEXT NOT NULL REFERENCES zones (id),
    sealed BLOB NOT NULL,
    jwk TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    activates_at INTEGER NOT NULL
) STRICT;
CREATE INDEX signing_keys_by_zone ON signing_keys (zone_id, activates_at);

CREATE TABLE gateways (
    id TEXT PRIMARY KEY,
    zone_id TEXT NOT NULL REFERENCES zones (id),
    name TEXT NOT NULL,
    token_sha256 TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;
CREATE INDEX gateways_by_zone ON gateways (zone_id, id);

-- One for every mandate.
CREATE TABLE authority_records (
    id TEXT PRIMARY KEY, -- sid
    root_id TEXT NOT NULL, -- root_sid
    parent_id TEXT REFERENCES authority_records (id),
    zone_id TEXT NOT NULL REFERENCES zones (id),
    application_id TEXT NOT NULL REFERENCES applications (id),
    subject TEXT NOT NULL,
    jti TEXT NOT NULL UNIQUE,
    mandate_use TEXT NOT NULL,
    scope TEXT NOT NULL,
    targets TEXT NOT NULL,
    issued_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE TABLE audit_events (
    id TEXT PRIMARY KEY,
    zone_id TEXT NOT NULL REFERENCES zones (id),
    event_type TEXT NOT NULL,
    request_id TEXT NOT NULL,
    decision TEXT NOT NULL, -- allow, deny
    reason TEXT, -- of a denial
    evaluation_status TEXT NOT NULL,
    policy_set_id TEXT,
    policy_set_version_id TEXT,
    manifest_sha256 TEXT,
    determining_policies TEXT NOT NULL,
    diagnostics TEXT NOT NULL,
    client_id TEXT,
    sub TEXT,
    sid TEXT,
    root_sid TEXT,
    jti TEXT,
    mandate_use TEXT,
    requested_scopes TEXT NOT NULL,
    resources TEXT NOT NULL, -- each resource that was asked for, and what was decided on it
    latency_us INTEGER NOT NULL,
    occurred_at INTEGER NOT NULL
) STRICT;
CREATE INDEX audit_events_by_zone ON audit_events (zone_id, id);
CREATE INDEX audit_events_by_request ON audit_events (request_id);
