package caracal.authz_test

import rego.v1

asks(path, scope) := {
	"principal": {"type": "Application", "id": "app-shop", "zone_id": "z", "agent_session_id": "s1", "labels": ["clerk"]},
	"resource": {"type": "Resource", "id": "r", "identifier": "resource://orders", "scopes": []},
	"action": {"id": "TokenExchange"},
	"delegation_edge": {"id": "d1", "scopes": [scope], "path": path},
	"context": {"requested_scopes": [scope], "challenge_resolved": false},
}

calls(path, scope) := object.union(asks(path, scope), {
	"action": {"id": "Request", "method": "GET", "path": "/orders"},
	"context": {"requested_scopes": [], "subject_claims": {
		"scope": scope,
		"target": ["resource://orders"],
		"delegation_edge_id": "d1",
		"delegation_path": path,
	}},
})

decision := data.caracal.authz.result.decision

reason := data.caracal.authz.result.diagnostics[0].reason

test_a_few_hands_are_fine if {
	decision == "allow" with input as asks(["d1", "d2", "d3"], "orders:read")
	decision == "allow" with input as calls(["d1", "d2", "d3"], "orders:read")
}

test_too_many_are_not if {
	reason == "delegated_too_often" with input as asks(["d1", "d2", "d3", "d4"], "orders:read")
	reason == "delegated_too_often" with input as calls(["d1", "d2", "d3", "d4"], "orders:read")
}

test_what_is_sensitive_is_passed_on_once if {
	decision == "allow" with input as calls(["d1"], "orders:refund")
	reason == "delegated_too_often" with input as calls(["d1", "d2"], "orders:refund")
}

test_a_delegation_of_unknown_depth_is_too_deep if {
	pathless := json.remove(asks([], "orders:read"), ["delegation_edge/path"])
	reason == "delegated_too_often" with input as pathless
}
