package caracal.contract_test

import rego.v1

test_a_delegated_mandate_is_used_by_a_role_that_covers_it if {
	answer(use(["clerk"], "orders:read orders:write"), world) == "caracal-shop-use"
	answer(use(["auditor"], "orders:read"), world) == "caracal-shop-use"
}

test_a_role_that_was_narrowed_stops_a_live_mandate if {
	narrowed := changed({"grants": {"resource://orders": {"roles": {"clerk": ["orders:read"]}}}})
	answer(use(["clerk"], "orders:read orders:write"), narrowed) == "role_scope_mismatch"
	answer(use(["clerk"], "orders:read"), narrowed) == "caracal-shop-use"
}

test_a_grant_that_was_taken_away_stops_a_live_mandate if {
	answer(use(["clerk"], "orders:read"), {"app_ids": world.app_ids}) == "resource_not_granted"
}

test_roles_do_not_add_up_at_the_gateway_either if {
	answer(use(["auditor", "archivist"], "orders:read orders:archive"), world) == "role_scope_mismatch"
}

test_a_mandate_for_other_resources_is_of_no_use if {
	other := object.union(use(["clerk"], "orders:read"), {"context": {"subject_claims": {"target": ["resource://stock"]}}})
	answer(other, world) == "mandate_target_mismatch"
	text := object.union(use(["clerk"], "orders:read"), {"context": {"subject_claims": {"target": "resource://orders"}}})
	answer(text, world) == "mandate_target_mismatch"
}

test_a_mandate_without_scopes_is_of_no_use if {
	answer(use(["clerk"], ""), world) == "no_rule_matched"
	answer(use(["clerk"], " "), world) == "no_rule_matched"
}

test_nothing_is_requested_at_the_gateway if {
	asked := object.union(use(["clerk"], "orders:read"), {"context": {"requested_scopes": ["orders:read"]}})
	answer(asked, world) == "no_rule_matched"
}

test_the_mandate_itself_must_carry_the_delegation if {
	claims := {"scope": "orders:read", "target": ["resource://orders"]}
	context := {"context": {"subject_claims": claims, "requested_scopes": []}}
	asked := object.union(object.remove(use(["clerk"], "orders:read"), ["context"]), context)
	answer(asked, world) == "no_rule_matched"
}

test_an_application_that_does_not_own_the_resource_does_not_use_it_by_roles if {
	reporter := object.union(use(["clerk"], "orders:read"), {"principal": {"id": "app-reporter"}})
	answer(reporter, world) == "no_rule_matched"
}
