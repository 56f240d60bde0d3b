package caracal.contract_test

import rego.v1

test_a_workload_gets_what_is_bound_to_it if {
	answer(injection(["orders:read"]), world) == "caracal-workload-mint"
}

test_an_application_is_no_workload if {
	asked := object.union(injection(["orders:read"]), {"principal": {"type": "Application", "id": "app-reporter"}})
	answer(asked, world) == "no_rule_matched"
}

test_a_workload_does_nothing_but_take_credentials if {
	asked := object.union(injection(["orders:read"]), {"action": {"id": "TokenExchange"}})
	answer(asked, world) == "no_rule_matched"
}

test_a_workload_starts_no_sessions if {
	answer(injection(lifecycle), world) == "no_rule_matched"
	answer(injection([]), world) == "no_rule_matched"
}

test_restrictions_and_confinement_hold_for_workloads_too if {
	answer(injection(["orders:read"]), changed({"restrict": ["all"]})) == "restriction_active"
	labelled := object.union(injection(["orders:read"]), {"principal": {"labels": ["batch"]}})
	confined := changed({"confinement": [{"label_prefix": "batch", "scopes": []}]})
	answer(labelled, confined) == "confinement_violation"
}
