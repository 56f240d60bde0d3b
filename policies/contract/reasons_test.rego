package caracal.contract_test

import rego.v1

# Everything is wrong with it at once.
wrong_mint := object.union(mint(["tenant:a"], [], ["orders:write"]), {"principal": {"id": "app-other"}})

wrong_use := object.union(use(["tenant:a"], "orders:write"), {
	"principal": {"id": "app-other"},
	"context": {"subject_claims": {"target": []}},
})

wrong_documents := changed({
	"restrict": ["all"],
	"risk": "high",
	"approval_tiers": "high",
	"confinement": [{"label_prefix": "tenant:a", "scopes": []}],
})

# Without what is named, the next reason in the precedence comes to the fore.
without(documents, names) := object.remove(documents, names)

test_the_reasons_of_a_mint_come_in_their_order if {
	owned := object.union(wrong_mint, {"principal": {"id": "app-shop"}})
	passed_on := object.union(owned, {"delegation_edge": {"scopes": ["orders:write"]}})
	answer(wrong_mint, wrong_documents) == "restriction_active"
	answer(wrong_mint, without(wrong_documents, ["restrict"])) == "malformed_risk_data"
	answer(wrong_mint, without(wrong_documents, ["restrict", "risk"])) == "malformed_approval_data"
	readable := without(wrong_documents, ["restrict", "risk", "approval_tiers"])
	answer(wrong_mint, readable) == "resource_not_granted"
	answer(owned, readable) == "delegation_scope_exceeded"
	answer(passed_on, readable) == "confinement_violation"
	answer(passed_on, world) == "role_scope_mismatch"
	answer(object.union(passed_on, {"context": {"requested_scopes": []}}), world) == "no_rule_matched"
}

test_the_reasons_of_a_use_come_in_their_order if {
	owned := object.union(wrong_use, {"principal": {"id": "app-shop"}})
	in_role := object.union(owned, {"principal": {"labels": ["clerk"]}})
	answer(wrong_use, wrong_documents) == "restriction_active"
	readable := without(wrong_documents, ["restrict"])
	answer(wrong_use, readable) == "resource_not_granted"
	answer(owned, readable) == "confinement_violation"
	answer(owned, world) == "role_scope_mismatch"
	answer(in_role, world) == "mandate_target_mismatch"
	no_scopes := object.union(in_role, {"context": {"subject_claims": {"target": ["resource://orders"], "scope": ""}}})
	answer(no_scopes, world) == "no_rule_matched"
}

test_anything_in_restrict_closes_every_path if {
	every restrict in [["all"], [null], {"a": 1}, true, false, null, "", 0] {
		documents := changed({"restrict": restrict})
		answer(exchange("app-shop", lifecycle), documents) == "restriction_active"
		answer(mint(["clerk"], both, both), documents) == "restriction_active"
		answer(injection(["orders:read"]), documents) == "restriction_active"
		answer(use(["clerk"], "orders:read"), documents) == "restriction_active"
		answer(exchange("app-reporter", ["orders:read"]), documents) == "restriction_active"
		answer(call("app-reporter", "orders:read"), documents) == "restriction_active"
	}
}

test_nothing_in_restrict_closes_nothing if {
	every restrict in [[], {}] {
		answer(exchange("app-reporter", ["orders:read"]), changed({"restrict": restrict})) == "caracal-direct-mint"
	}
}

test_without_documents_everything_is_denied if {
	answer(exchange("app-shop", lifecycle), {}) == "resource_not_granted"
	answer(use(["clerk"], "orders:read"), {}) == "resource_not_granted"
	answer({}, {}) == "resource_not_granted"
	answer({}, world) == "resource_not_granted"
}
