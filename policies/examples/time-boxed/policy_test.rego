package caracal.authz_test

import rego.v1

calls(scope, age) := {
	"principal": {"type": "Application", "id": "app-billing", "zone_id": "z"},
	"resource": {"type": "Resource", "id": "r", "identifier": "resource://payments", "scopes": []},
	"action": {"id": "Request", "method": "POST", "path": "/payments/1/approve"},
	"context": {
		"requested_scopes": [],
		"time": 1800000000 + age,
		"subject_claims": {"scope": scope, "target": ["resource://payments"], "iat": 1800000000, "exp": 1800000900},
	},
}

decision := data.caracal.authz.result.decision

reason := data.caracal.authz.result.diagnostics[0].reason

test_a_fresh_mandate_approves if {
	decision == "allow" with input as calls("payments:approve", 0)
	decision == "allow" with input as calls("payments:approve", 60)
}

test_an_older_one_does_not if {
	reason == "mandate_too_old" with input as calls("payments:approve", 61)
}

test_the_shortest_time_counts if {
	reason == "mandate_too_old" with input as calls("payments:refund payments:approve", 61)
	decision == "allow" with input as calls("payments:refund", 61)
}

test_other_scopes_live_as_long_as_the_mandate if {
	decision == "allow" with input as calls("payments:read", 899)
}

test_without_a_time_the_mandate_is_too_old if {
	timeless := json.remove(calls("payments:approve", 0), ["context/time"])
	reason == "mandate_too_old" with input as timeless
}

test_the_grant_still_decides if {
	stranger := object.union(calls("payments:read", 0), {"principal": {"id": "app-other"}})
	reason == "resource_not_granted" with input as stranger
}
