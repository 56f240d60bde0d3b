package caracal.contract_test

import rego.v1

test_the_owner_of_a_resource_may_start_sessions if {
	answer(exchange("app-shop", lifecycle), world) == "caracal-bootstrap"
}

test_the_owner_by_another_of_its_keys_may_too if {
	stock := object.union(exchange("app-shop", lifecycle), {"resource": {"identifier": "resource://stock"}})
	answer(stock, world) == "caracal-bootstrap"
}

test_whoever_holds_a_direct_grant_may_too if {
	answer(exchange("app-reporter", lifecycle), world) == "caracal-bootstrap"
}

test_a_stranger_may_not if {
	answer(exchange("app-other", lifecycle), world) == "resource_not_granted"
}

test_lifecycle_does_not_travel_with_other_scopes if {
	answer(exchange("app-reporter", ["agent:lifecycle", "orders:read"]), world) == "no_rule_matched"
}

test_a_session_does_not_bootstrap if {
	session := object.union(exchange("app-shop", lifecycle), {"principal": {"agent_session_id": "s1"}})
	answer(session, world) == "no_rule_matched"
}

test_a_delegation_does_not_bootstrap if {
	delegated := object.union(exchange("app-shop", lifecycle), {"delegation_edge": {"id": "d1", "scopes": lifecycle}})
	answer(delegated, world) == "no_rule_matched"
}

test_a_mandate_does_not_bootstrap if {
	presented := object.union(exchange("app-shop", lifecycle), {"context": {"subject_claims": {"sub": "app-shop"}}})
	answer(presented, world) == "no_rule_matched"
}

test_a_call_does_not_bootstrap if {
	answer(call("app-reporter", "agent:lifecycle"), world) == "no_rule_matched"
}

test_only_an_application_bootstraps if {
	lower_case := object.union(exchange("app-shop", lifecycle), {"principal": {"type": "application"}})
	answer(lower_case, world) == "no_rule_matched"
}
