package caracal.contract_test

import rego.v1

test_an_allow_is_complete if {
	result(exchange("app-reporter", ["orders:read"]), world) == {
		"decision": "allow",
		"evaluation_status": "complete",
		"determining_policies": [{"id": "caracal-direct-mint"}],
		"diagnostics": [],
	}
}

test_a_denial_is_complete if {
	result(exchange("app-other", ["orders:read"]), world) == {
		"decision": "deny",
		"evaluation_status": "complete",
		"determining_policies": [],
		"diagnostics": [{"reason": "resource_not_granted"}],
	}
}

test_a_denial_says_nothing_of_risk if {
	risk := changed({"risk": [{"scope": "orders:write", "tier": "high"}]})
	count(result(exchange("app-reporter", ["orders:write"]), risk).diagnostics) == 1
}
