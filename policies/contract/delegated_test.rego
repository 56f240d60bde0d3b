package caracal.contract_test

import rego.v1

both := ["orders:read", "orders:write"]

test_a_session_mints_what_its_role_and_its_delegation_cover if {
	answer(mint(["clerk"], both, ["orders:read"]), world) == "caracal-shop-mint"
	answer(mint(["clerk"], both, both), world) == "caracal-shop-mint"
}

test_the_key_of_the_grant_names_the_policy if {
	stock := object.union(mint(["clerk"], ["stock:read"], ["stock:read"]), {"resource": {"identifier": "resource://stock"}})
	answer(stock, world) == "caracal-shop-eu-mint"
}

test_one_of_several_roles_suffices if {
	answer(mint(["auditor", "clerk", "unknown"], both, both), world) == "caracal-shop-mint"
}

test_roles_do_not_add_up if {
	every_scope := ["orders:archive", "orders:read"]
	answer(mint(["auditor", "archivist"], every_scope, every_scope), world) == "role_scope_mismatch"
}

test_a_scope_beyond_the_delegation_is_not_minted if {
	answer(mint(["clerk"], ["orders:read"], both), world) == "delegation_scope_exceeded"
}

test_a_delegation_without_scopes_passes_nothing_on if {
	bare := object.remove(mint(["clerk"], [], ["orders:read"]), ["delegation_edge"])
	answer(object.union(bare, {"delegation_edge": {"id": "d1"}}), world) == "delegation_scope_exceeded"
}

test_the_scopes_of_a_delegation_are_a_list if {
	answer(mint(["clerk"], "orders:read", ["orders:read"]), world) == "delegation_scope_exceeded"
}

test_a_role_without_the_scope_does_not_mint if {
	answer(mint(["auditor"], both, ["orders:write"]), world) == "role_scope_mismatch"
}

test_a_session_without_roles_does_not_mint if {
	answer(mint([], both, ["orders:read"]), world) == "role_scope_mismatch"
	answer(mint(["unknown"], both, ["orders:read"]), world) == "role_scope_mismatch"
}

test_an_application_that_does_not_own_the_resource_has_no_roles_there if {
	stranger := object.union(mint(["clerk"], both, both), {"principal": {"id": "app-other"}})
	answer(stranger, world) == "resource_not_granted"
	reporter := object.union(mint(["clerk"], both, ["orders:read"]), {"principal": {"id": "app-reporter"}})
	answer(reporter, world) == "no_rule_matched"
}

test_nothing_requested_is_nothing_minted if {
	answer(mint(["clerk"], both, []), world) == "no_rule_matched"
}

test_lifecycle_is_not_minted_under_a_delegation if {
	scopes := ["agent:lifecycle", "orders:read"]
	answer(mint(["clerk"], scopes, scopes), world) == "no_rule_matched"
}

test_a_delegation_is_of_no_use_without_its_session if {
	asked := mint(["clerk"], both, ["orders:read"])
	bare := object.union(asked, {"principal": {"agent_session_id": false}})
	answer(bare, world) == "no_rule_matched"
}

test_a_session_is_of_no_use_without_a_delegation if {
	asked := object.remove(mint(["clerk"], both, ["orders:read"]), ["delegation_edge"])
	answer(asked, world) == "role_scope_mismatch"
	answer(object.union(asked, {"delegation_edge": null}), world) == "role_scope_mismatch"
}

test_a_mandate_does_not_mint_under_a_delegation if {
	presented := object.union(mint(["clerk"], both, both), {"context": {"subject_claims": {"sub": "app-shop"}}})
	answer(presented, world) == "no_rule_matched"
}

test_malformed_roles_grant_nothing if {
	asked := mint(["clerk"], both, ["orders:read"])
	every roles in [null, "clerk", ["orders:read"], {"clerk": "orders:read"}, {"clerk": {"x": "orders:read"}}, {"clerk": null}] {
		grant := {"application": "shop", "roles": roles}
		answer(asked, {"app_ids": world.app_ids, "grants": {"resource://orders": grant}}) == "role_scope_mismatch"
	}
}

test_what_the_owner_passed_on_another_application_mints_by_the_roles if {
	others := {"principal": {"id": "app-other"}, "delegation_edge": {"root_application_id": "app-shop"}}
	answer(object.union(mint(["clerk"], both, ["orders:read"]), others), world) == "caracal-shop-mint"
	answer(object.union(mint(["auditor"], both, ["orders:write"]), others), world) == "role_scope_mismatch"
	answer(object.union(use(["clerk"], "orders:read"), others), world) == "caracal-shop-use"
	answer(object.union(use(["auditor"], "orders:write"), others), world) == "role_scope_mismatch"
}

test_what_an_application_that_owns_nothing_passed_on_is_nothing if {
	others := {"principal": {"id": "app-other"}, "delegation_edge": {"root_application_id": "app-reporter"}}
	answer(object.union(mint(["clerk"], both, both), others), world) == "resource_not_granted"
	answer(object.union(use(["clerk"], "orders:read"), others), world) == "resource_not_granted"
}
