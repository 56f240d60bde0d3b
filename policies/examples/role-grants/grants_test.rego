package caracal.authz_test

import rego.v1

orders := {"type": "Resource", "id": "r", "identifier": "resource://orders", "scopes": ["orders:read", "orders:write"]}

asks(label, scopes) := {
	"principal": {"type": "Application", "id": "app-shop", "zone_id": "z", "agent_session_id": "s1", "labels": [label]},
	"resource": orders,
	"action": {"id": "TokenExchange"},
	"delegation_edge": {"id": "d1", "scopes": ["orders:read", "orders:write"]},
	"context": {"requested_scopes": scopes, "challenge_resolved": false},
}

calls(label, scope) := {
	"principal": {"type": "Application", "id": "app-shop", "zone_id": "z", "agent_session_id": "s1", "labels": [label]},
	"resource": orders,
	"action": {"id": "Request", "method": "POST", "path": "/orders"},
	"delegation_edge": {"id": "d1"},
	"context": {"requested_scopes": [], "subject_claims": {
		"scope": scope,
		"target": ["resource://orders"],
		"delegation_edge_id": "d1",
	}},
}

reports(scope) := {
	"principal": {"type": "Application", "id": "app-reporting", "zone_id": "z"},
	"resource": orders,
	"action": {"id": "TokenExchange"},
	"context": {"requested_scopes": [scope], "challenge_resolved": false},
}

reason := data.caracal.authz.result.diagnostics[0].reason

allowed_by := data.caracal.authz.result.determining_policies[0].id

test_a_clerk_gets_a_mandate_to_write if {
	allowed_by == "caracal-shop-mint" with input as asks("clerk", ["orders:read", "orders:write"])
}

test_an_auditor_does_not if {
	reason == "role_scope_mismatch" with input as asks("auditor", ["orders:write"])
}

test_a_clerk_writes if {
	allowed_by == "caracal-shop-use" with input as calls("clerk", "orders:write")
}

test_a_clerk_who_became_an_auditor_writes_no_more if {
	reason == "role_scope_mismatch" with input as calls("auditor", "orders:write")
}

test_reporting_reads_as_itself if {
	allowed_by == "caracal-direct-mint" with input as reports("orders:read")
}

test_reporting_does_not_write if {
	reason == "role_scope_mismatch" with input as reports("orders:write")
}
