package caracal.authz_test

import rego.v1

asks(application, scopes) := {
	"principal": {"type": "Application", "id": application, "zone_id": "z"},
	"resource": {"type": "Resource", "id": "r", "identifier": "resource://orders", "scopes": []},
	"action": {"id": "TokenExchange"},
	"context": {"requested_scopes": scopes, "challenge_resolved": false},
}

calls(application, scope) := object.union(asks(application, []), {
	"action": {"id": "Request", "method": "GET", "path": "/orders"},
	"context": {"subject_claims": {"scope": scope, "target": ["resource://orders"]}},
})

reason := data.caracal.authz.result.diagnostics[0].reason

allowed_by := data.caracal.authz.result.determining_policies[0].id

test_the_zone_is_closed if {
	reason == "restriction_active" with input as asks("app-shop", ["orders:read"])
	reason == "restriction_active" with input as calls("app-shop", "orders:read")
}

test_a_responder_reads if {
	allowed_by == "break-glass" with input as asks("app-responder", ["orders:read"])
	allowed_by == "break-glass" with input as calls("app-responder", "orders:read")
}

test_a_responder_does_not_write if {
	reason == "restriction_active" with input as asks("app-responder", ["orders:write"])
	reason == "restriction_active" with input as calls("app-responder", "orders:read orders:write")
}

test_a_responder_stays_within_its_grants if {
	elsewhere := object.union(calls("app-responder", "orders:read"), {"resource": {"identifier": "resource://other"}})
	reason == "restriction_active" with input as elsewhere
}

test_confinement_holds_behind_the_glass if {
	labelled := object.union(calls("app-responder", "orders:read"), {"principal": {"labels": ["watched"]}})
	reason == "restriction_active" with input as labelled with data.caracal.authz.confinement as [{"label_prefix": "watched", "scopes": []}]
}

test_when_the_incident_is_over_the_grants_decide_again if {
	allowed_by == "caracal-direct-mint" with input as asks("app-responder", ["orders:write"]) with data.caracal.authz.restrict as []
	allowed_by == "caracal-direct-use" with input as calls("app-shop", "orders:write") with data.caracal.authz.restrict as []
}
