package caracal.authz_test

import rego.v1

asks(labels, scopes) := {
	"principal": {"type": "Application", "id": "app-support", "zone_id": "z", "agent_session_id": "s1", "labels": labels},
	"resource": {"type": "Resource", "id": "r", "identifier": "resource://tickets", "scopes": scopes},
	"action": {"id": "TokenExchange"},
	"delegation_edge": {"id": "d1", "scopes": scopes},
	"context": {"requested_scopes": scopes, "challenge_resolved": false},
}

calls(labels, scope) := {
	"principal": {"type": "Application", "id": "app-support", "zone_id": "z", "agent_session_id": "s1", "labels": labels},
	"resource": {"type": "Resource", "id": "r", "identifier": "resource://tickets", "scopes": []},
	"action": {"id": "Request", "method": "GET", "path": "/tickets"},
	"delegation_edge": {"id": "d1"},
	"context": {"requested_scopes": [], "subject_claims": {
		"scope": scope,
		"target": ["resource://tickets"],
		"delegation_edge_id": "d1",
	}},
}

decision := data.caracal.authz.result.decision

reason := data.caracal.authz.result.diagnostics[0].reason

test_a_session_works_within_its_tenant if {
	decision == "allow" with input as asks(["agent", "tenant:acme"], ["acme:read", "acme:write"])
}

test_it_does_not_reach_into_another if {
	reason == "confinement_violation" with input as asks(["agent", "tenant:acme"], ["globex:read"])
}

test_a_mandate_from_before_the_confinement_is_confined_too if {
	reason == "confinement_violation" with input as calls(["agent", "tenant:acme"], "acme:read globex:read")
}

test_a_watched_session_reads_its_own_tenant if {
	decision == "allow" with input as calls(["agent", "tenant:globex", "watched"], "globex:read")
	reason == "confinement_violation" with input as calls(["agent", "tenant:globex", "watched"], "globex:write")
}

test_two_tenants_at_once_are_none if {
	reason == "confinement_violation" with input as asks(["agent", "tenant:acme", "tenant:globex"], ["acme:read"])
}
