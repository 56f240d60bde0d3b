package caracal.contract_test

import rego.v1

test_an_application_mints_what_it_holds_directly if {
	answer(exchange("app-reporter", ["orders:read"]), world) == "caracal-direct-mint"
}

test_with_a_session_mandate_as_subject_too if {
	presented := {"context": {"subject_claims": {"sub": "app-reporter", "scope": "agent:lifecycle"}}}
	asked := object.union(exchange("app-reporter", ["orders:read"]), presented)
	answer(asked, world) == "caracal-direct-mint"
}

test_it_mints_no_more_than_that if {
	answer(exchange("app-reporter", ["orders:read", "orders:write"]), world) == "role_scope_mismatch"
	answer(exchange("app-reporter", []), world) == "no_rule_matched"
}

test_the_owner_needs_a_direct_grant_of_its_own if {
	answer(exchange("app-shop", ["orders:read"]), world) == "role_scope_mismatch"
}

test_a_stranger_mints_nothing if {
	answer(exchange("app-other", ["orders:read"]), world) == "resource_not_granted"
}

test_any_of_an_applications_keys_may_hold_the_grant if {
	grant := {"resource://orders": {"application": "x", "applications": {"shop-eu": ["orders:write"]}}}
	answer(exchange("app-shop", ["orders:write"]), {"app_ids": world.app_ids, "grants": grant}) == "caracal-direct-mint"
}

test_an_application_uses_what_it_holds_directly if {
	answer(call("app-reporter", "orders:read"), world) == "caracal-direct-use"
}

test_a_mandate_that_says_more_than_the_grant_is_no_longer_good if {
	answer(call("app-reporter", "orders:read orders:write"), world) == "role_scope_mismatch"
}

test_a_direct_mandate_is_good_for_its_targets_only if {
	other := object.union(call("app-reporter", "orders:read"), {"context": {"subject_claims": {"target": []}}})
	answer(other, world) == "mandate_target_mismatch"
}

test_sessions_do_not_pass_as_direct_use if {
	session := object.union(call("app-reporter", "orders:read"), {"principal": {"agent_session_id": "s1"}})
	answer(session, world) == "no_rule_matched"
	asked := object.union(exchange("app-reporter", ["orders:read"]), {"principal": {"agent_session_id": "s1"}})
	answer(asked, world) == "no_rule_matched"
}

test_delegations_do_not_pass_as_direct_use if {
	claims := {"context": {"subject_claims": {"delegation_edge_id": "d1"}}}
	answer(object.union(call("app-reporter", "orders:read"), claims), world) == "no_rule_matched"
}

test_other_kinds_of_principal_have_no_direct_grants if {
	user := object.union(exchange("app-reporter", ["orders:read"]), {"principal": {"type": "User"}})
	answer(user, world) == "no_rule_matched"
}

test_other_actions_are_denied if {
	other := object.union(exchange("app-reporter", ["orders:read"]), {"action": {"id": "Introspect"}})
	answer(other, world) == "no_rule_matched"
}

test_malformed_direct_grants_grant_nothing if {
	asked := exchange("app-reporter", ["orders:read"])
	every applications in [
		null, "reporter", ["orders:read"],
		{"reporter": "orders:read"}, {"reporter": {"x": "orders:read"}}, {"reporter": null}, {"reporter": [["orders:read"]]},
	] {
		grant := {"application": "shop", "applications": applications}
		answer(asked, {"app_ids": world.app_ids, "grants": {"resource://orders": grant}}) == "resource_not_granted"
	}
}

test_malformed_grants_grant_nothing if {
	asked := exchange("app-reporter", ["orders:read"])
	every grants in [null, true, "resource://orders", ["resource://orders"], {"resource://orders": ["orders:read"]}, {"resource://orders": null}] {
		answer(asked, {"app_ids": world.app_ids, "grants": grants}) == "resource_not_granted"
	}
}
