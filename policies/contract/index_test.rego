package caracal.contract_test

import rego.v1

test_an_application_is_found_by_its_id_whatever_its_keys if {
	keys := data.caracal.index.keys_of with data.caracal.authz as world
	keys == {"app-shop": {"shop", "shop-eu"}, "app-reporter": {"reporter"}}
}

test_malformed_app_ids_name_nobody if {
	every app_ids in [null, "app-shop", ["app-shop"], {"shop": ["app-shop"]}, {"shop": {"id": "app-shop"}}, {"shop": null}] {
		documents := {"app_ids": app_ids, "grants": world.grants}
		answer(exchange("app-shop", lifecycle), documents) == "resource_not_granted"
	}
	keyed_by_numbers := {"app_ids": {1: "app-shop"}, "grants": {"resource://orders": {"application": 1}}}
	answer(exchange("app-shop", lifecycle), keyed_by_numbers) == "resource_not_granted"
}

test_lists_may_be_sets if {
	documents := changed({
		"grants": {"resource://orders": {"applications": {"reporter": {"orders:read"}}}},
		"confinement": {{"label_prefix": "x", "scopes": {"orders:read"}}},
		"risk": {{"scope": "orders:read", "tier": "low"}},
		"approval_tiers": {{"tier": "high"}},
		"restrict": set(),
	})
	answer(exchange("app-reporter", ["orders:read"]), documents) == "caracal-direct-mint"
}
