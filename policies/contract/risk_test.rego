package caracal.contract_test

import rego.v1

risky := {
	"risk": [{"scope": "orders:write", "tier": "high"}, {"scope": "orders:read", "tier": "low"}],
	"approval_tiers": [{"tier": "high", "approver": "subject", "privacy": "anonymous", "ttl_seconds": 60}],
}

remarks(asked, documents) := result(asked, documents).diagnostics

test_a_mint_says_the_risk_of_its_scopes if {
	expected := [{"risk": [{"scope": "orders:read", "tier": "low"}]}]
	remarks(exchange("app-reporter", ["orders:read"]), changed(risky)) == expected
}

test_a_tier_that_needs_an_approval_asks_for_it if {
	remarks(mint(["clerk"], both, both), changed(risky)) == [
		{"risk": [{"scope": "orders:read", "tier": "low"}, {"scope": "orders:write", "tier": "high"}]},
		{"step_up_required": {"type": "human_approval", "tiers": risky.approval_tiers}},
	]
}

test_an_approval_that_was_given_is_not_asked_for_again if {
	approved := object.union(mint(["clerk"], both, ["orders:write"]), {"context": {"challenge_resolved": true}})
	remarks(approved, changed(risky)) == [{"risk": [{"scope": "orders:write", "tier": "high"}]}]
}

test_a_workload_needs_approvals_too if {
	asked := remarks(injection(["orders:write"]), changed(risky))
	asked[1].step_up_required.tiers == risky.approval_tiers
}

test_a_scope_may_be_in_several_tiers if {
	twice := [{"scope": "orders:write", "tier": "audited"}, {"scope": "orders:write", "tier": "high"}]
	asked := remarks(mint(["clerk"], both, ["orders:write"]), changed({"risk": twice}))
	asked == [{"risk": twice}]
}

test_use_has_no_remarks if {
	remarks(use(["clerk"], "orders:write"), changed(risky)) == []
}

test_scopes_without_a_tier_have_no_remarks if {
	remarks(mint(["archivist"], ["orders:archive"], ["orders:archive"]), changed(risky)) == []
}

test_risk_that_cannot_be_read_fails_every_mint_and_no_live_mandate if {
	every risk in [
		null, false, "high", {"scope": "x", "tier": "y"}, ["x"], [null], [{"scope": "x"}], [{"tier": "x"}],
		[{"scope": "x", "tier": 1}], [{"scope": "", "tier": "y"}], [{"scope": ["x"], "tier": "y"}],
	] {
		documents := changed({"risk": risk})
		answer(exchange("app-reporter", ["orders:read"]), documents) == "malformed_risk_data"
		answer(exchange("app-shop", lifecycle), documents) == "malformed_risk_data"
		answer(mint(["clerk"], both, both), documents) == "malformed_risk_data"
		answer(injection(["orders:read"]), documents) == "malformed_risk_data"
		answer(use(["clerk"], "orders:read"), documents) == "caracal-shop-use"
	}
}

test_approvals_that_cannot_be_read_fail_every_mint_and_no_live_mandate if {
	every tiers in [
		null, true, "high", {"tier": "high"}, ["high"], [{}], [{"tier": ""}], [{"tier": 1}],
		[{"tier": "high", "approver": "anyone"}], [{"tier": "high", "privacy": "none"}],
		[{"tier": "high", "ttl_seconds": 0}], [{"tier": "high", "ttl_seconds": 1.5}],
		[{"tier": "high", "ttl_seconds": "60"}], [{"tier": "high", "aprover": "subject"}],
		[{"tier": "high"}, {"tier": "high", "approver": "any"}],
	] {
		documents := changed({"approval_tiers": tiers})
		answer(exchange("app-reporter", ["orders:read"]), documents) == "malformed_approval_data"
		answer(exchange("app-shop", lifecycle), documents) == "malformed_approval_data"
		answer(mint(["clerk"], both, both), documents) == "malformed_approval_data"
		answer(injection(["orders:read"]), documents) == "malformed_approval_data"
		answer(use(["clerk"], "orders:read"), documents) == "caracal-shop-use"
	}
}

test_every_declared_member_may_be_left_out_but_the_tier if {
	documents := changed({"approval_tiers": [{"tier": "high"}, {"tier": "low", "approver": "any", "ttl_seconds": 900}]})
	answer(exchange("app-reporter", ["orders:read"]), documents) == "caracal-direct-mint"
}
