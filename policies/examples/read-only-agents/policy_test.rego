package caracal.authz_test

import rego.v1

asks(labels, scopes) := {
	"principal": {"type": "Application", "id": "app-shop", "zone_id": "z", "agent_session_id": "s1", "labels": labels},
	"resource": {"type": "Resource", "id": "r", "identifier": "resource://orders", "scopes": []},
	"action": {"id": "TokenExchange"},
	"delegation_edge": {"id": "d1", "scopes": ["orders:read", "orders:write"]},
	"context": {"requested_scopes": scopes, "challenge_resolved": false},
}

calls(labels, scope, method) := object.union(asks(labels, []), {
	"action": {"id": "Request", "method": method, "path": "/orders"},
	"context": {"subject_claims": {"scope": scope, "target": ["resource://orders"], "delegation_edge_id": "d1"}},
})

decision := data.caracal.authz.result.decision

reason := data.caracal.authz.result.diagnostics[0].reason

test_an_agent_reads if {
	decision == "allow" with input as asks(["clerk", "ai:planner"], ["orders:read"])
	decision == "allow" with input as calls(["clerk", "ai:planner"], "orders:read", "GET")
}

test_an_agent_does_not_write if {
	reason == "agents_are_read_only" with input as asks(["clerk", "ai:planner"], ["orders:read", "orders:write"])
	reason == "agents_are_read_only" with input as calls(["clerk", "ai:planner"], "orders:write", "GET")
	reason == "agents_are_read_only" with input as calls(["clerk", "ai:planner"], "orders:read", "POST")
}

test_people_write if {
	decision == "allow" with input as asks(["clerk"], ["orders:write"])
	decision == "allow" with input as calls(["clerk"], "orders:write", "POST")
}

test_reading_still_needs_a_grant if {
	reason == "role_scope_mismatch" with input as asks(["ai:planner"], ["orders:read"])
}
