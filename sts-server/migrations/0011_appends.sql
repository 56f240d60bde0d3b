-- Adding to a ledger in one statement, which is then a transaction by itself: each time that the database's thread is
-- called costs as much as to add many events. What is written here is nowhere but in the tables that the triggers name.
--
-- `entries` has 96 bytes for each entry: id, hash, MAC, and in 8 decimal digits each where its content begins in
-- `contents` and how long it is. The first of them gets the number `first`; all were recorded at `recorded_at`. The
-- ledger of the zone stands at `seq`, with `hash`, afterwards.
CREATE VIEW ledger_appends (entries, contents, first, recorded_at, seq, hash, zone_id) AS
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL WHERE 0;
-- The numbers below the count of entries are counted up over a table: a recursive query takes as long for each as to
-- write the row.
CREATE TRIGGER ledger_is_appended_to INSTEAD OF INSERT ON ledger_appends
BEGIN
    INSERT INTO audit_entries (entry, event_id, recorded_at, hash, mac, event)
    SELECT new.first + n, substr(new.entries, n * 96 + 1, 16), new.recorded_at,
        substr(new.entries, n * 96 + 17, 32), substr(new.entries, n * 96 + 49, 32),
        CAST(substr(new.contents, CAST(substr(new.entries, n * 96 + 81, 8) AS INTEGER) + 1,
            CAST(substr(new.entries, n * 96 + 89, 8) AS INTEGER)) AS TEXT)
    FROM (SELECT high.n * 1024 + low.n AS n FROM numbers AS high CROSS JOIN numbers AS low
        WHERE high.n <= (length(new.entries) / 96 - 1) / 1024 AND low.n < length(new.entries) / 96 - high.n * 1024);
    UPDATE ledgers SET seq = new.seq, hash = new.hash, recorded_at = new.recorded_at WHERE zone_id = new.zone_id;
END;

-- The same with what else exchanges leave: their authority records, and what the policy was asked, each with its
-- request, at `at`. Whenever a 64th of those is added, the old ones go, all past the newest `kept`.
CREATE VIEW exchange_appends (entries, contents, first, recorded_at, seq, hash, zone_id, records, inputs, at, kept) AS
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL WHERE 0;
CREATE TRIGGER exchanges_are_appended INSTEAD OF INSERT ON exchange_appends
BEGIN
    INSERT INTO ledger_appends (entries, contents, first, recorded_at, seq, hash, zone_id)
    VALUES (new.entries, new.contents, new.first, new.recorded_at, new.seq, new.hash, new.zone_id);
    INSERT INTO authority_records (id, root_id, parent_id, zone_id, application_id, subject, jti, mandate_use,
        scope, targets, issued_at, expires_at, agent_session_id, delegation_edge_id)
    SELECT value ->> 0, value ->> 1, value ->> 2, new.zone_id, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
        value ->> 7, value -> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12
    FROM json_each(new.records);
    INSERT INTO policy_inputs (zone_id, request_id, occurred_at, resource, verdict, input)
    SELECT new.zone_id, value ->> 0, new.at, value ->> '$[1].resource', value -> '$[1].verdict', value -> '$[1].input'
    FROM json_each(new.inputs);
    DELETE FROM policy_inputs WHERE last_insert_rowid() % 64 < json_array_length(new.inputs) AND zone_id = new.zone_id
        AND id <= (SELECT id FROM policy_inputs WHERE zone_id = new.zone_id ORDER BY id DESC LIMIT 1 OFFSET new.kept);
END;
