package caracal.contract_test

import rego.v1

tenant := {"confinement": [{"label_prefix": "tenant:a", "scopes": ["orders:read"]}]}

test_a_confined_session_stays_within_its_scopes if {
	labels := ["clerk", "tenant:a:eu"]
	answer(mint(labels, both, ["orders:read"]), changed(tenant)) == "caracal-shop-mint"
	answer(mint(labels, both, ["orders:write"]), changed(tenant)) == "confinement_violation"
}

test_others_are_not_confined if {
	answer(mint(["clerk", "tenant:b"], both, ["orders:write"]), changed(tenant)) == "caracal-shop-mint"
}

test_several_confinements_narrow_further if {
	narrow := {"label_prefix": "tenant:", "scopes": ["orders:write"]}
	documents := changed({"confinement": [narrow, tenant.confinement[0]]})
	answer(mint(["clerk", "tenant:a"], both, ["orders:read"]), documents) == "confinement_violation"
	answer(mint(["clerk", "tenant:b"], both, ["orders:write"]), documents) == "caracal-shop-mint"
}

test_live_mandates_are_confined_too if {
	answer(use(["clerk", "tenant:a"], "orders:read"), changed(tenant)) == "caracal-shop-use"
	answer(use(["clerk", "tenant:a"], "orders:read orders:write"), changed(tenant)) == "confinement_violation"
}

test_direct_grants_are_confined_too if {
	labelled := {"principal": {"labels": ["tenant:a"]}}
	closed := changed({"confinement": [{"label_prefix": "tenant:a", "scopes": []}]})
	answer(object.union(exchange("app-reporter", ["orders:read"]), labelled), closed) == "confinement_violation"
	answer(object.union(call("app-reporter", "orders:read"), labelled), closed) == "confinement_violation"
}

test_confinement_that_cannot_be_read_confines_everything if {
	every confinement in [
		null, true, "tenant", {"label_prefix": "x", "scopes": []}, [null], ["tenant"],
		[{"label_prefix": "x"}], [{"label_prefix": 1, "scopes": []}], [{"scopes": []}],
		[{"label_prefix": "x", "scopes": "orders:read"}], [{"label_prefix": "x", "scopes": [1]}],
	] {
		documents := changed({"confinement": confinement})
		answer(exchange("app-reporter", ["orders:read"]), documents) == "confinement_violation"
		answer(call("app-reporter", "orders:read"), documents) == "confinement_violation"
		answer(mint(["clerk"], both, both), documents) == "confinement_violation"
		answer(use(["clerk"], "orders:read"), documents) == "confinement_violation"
	}
}

test_no_confinement_confines_nobody if {
	answer(exchange("app-reporter", ["orders:read"]), changed({"confinement": []})) == "caracal-direct-mint"
}
