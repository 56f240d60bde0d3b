-- What a decision was made by can be shown for ever: versions, and the names that became their modules'
-- names, never change and never go away. Only what is compiled from a version may be compiled anew.

CREATE TRIGGER policies_keep_their_names BEFORE UPDATE ON policies
BEGIN SELECT RAISE(ABORT, 'policies never change'); END;
CREATE TRIGGER policies_stay BEFORE DELETE ON policies
BEGIN SELECT RAISE(ABORT, 'policies are never deleted'); END;
CREATE TRIGGER policy_versions_never_change BEFORE UPDATE ON policy_versions
BEGIN SELECT RAISE(ABORT, 'policy versions never change'); END;
CREATE TRIGGER policy_versions_stay BEFORE DELETE ON policy_versions
BEGIN SELECT RAISE(ABORT, 'policy versions are never deleted'); END;
CREATE TRIGGER policy_set_versions_never_change
BEFORE UPDATE OF id, policy_set_id, zone_id, version, manifest, manifest_sha256, kind, created_at ON policy_set_versions
BEGIN SELECT RAISE(ABORT, 'policy set versions never change'); END;
CREATE TRIGGER policy_set_versions_stay BEFORE DELETE ON policy_set_versions
BEGIN SELECT RAISE(ABORT, 'policy set versions are never deleted'); END;

CREATE INDEX policy_set_versions_by_manifest ON policy_set_versions (policy_set_id, manifest_sha256);

-- Which version was in force from when on.
CREATE TABLE policy_activations (
    id INTEGER PRIMARY KEY,
    zone_id TEXT NOT NULL REFERENCES zones (id),
    policy_set_id TEXT NOT NULL REFERENCES policy_sets (id),
    policy_set_version_id TEXT NOT NULL REFERENCES policy_set_versions (id),
    sequence INTEGER NOT NULL, -- of the first bundle that had it
    rolled_back INTEGER NOT NULL, -- 1 if it took the place of a later one
    activated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX policy_activations_by_zone ON policy_activations (zone_id, id);
INSERT INTO policy_activations
    (zone_id, policy_set_id, policy_set_version_id, sequence, rolled_back, activated_at)
    SELECT zones.id, policy_set_id, policy_set_versions.id, sequence, 0, policy_set_versions.created_at
    FROM zones JOIN policy_set_versions ON policy_set_versions.id = active_policy_set_version_id;

-- The policy input of each resource of an exchange, the newest of each zone: what a candidate is tried on.
CREATE TABLE policy_inputs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    zone_id TEXT NOT NULL REFERENCES zones (id),
    event_id TEXT NOT NULL REFERENCES audit_events (id),
    resource TEXT NOT NULL,
    verdict TEXT NOT NULL, -- of the policy that was in force
    input TEXT NOT NULL
) STRICT;
CREATE INDEX policy_inputs_by_zone ON policy_inputs (zone_id, id);

-- The version that is evaluated and not enforced.
ALTER TABLE zones ADD COLUMN shadow_policy_set_version_id TEXT REFERENCES policy_set_versions (id);

-- What became of a zone's shadow, that of today or the last one there was.
CREATE TABLE shadow_runs (
    zone_id TEXT PRIMARY KEY REFERENCES zones (id),
    policy_set_id TEXT NOT NULL REFERENCES policy_sets (id),
    version_id TEXT NOT NULL REFERENCES policy_set_versions (id),
    since INTEGER NOT NULL,
    ended_at INTEGER,
    same INTEGER NOT NULL DEFAULT 0,
    different INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE shadow_disagreements (
    zone_id TEXT NOT NULL REFERENCES zones (id),
    disagreement TEXT NOT NULL, -- who, what, what counted and what the shadow said
    count INTEGER NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    PRIMARY KEY (zone_id, disagreement)
) STRICT;
