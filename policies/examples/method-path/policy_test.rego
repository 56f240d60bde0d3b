package caracal.authz_test

import rego.v1

calls(method, host, path) := {
	"principal": {"type": "Application", "id": "app-shop", "zone_id": "z"},
	"resource": {"type": "Resource", "id": "r", "identifier": "resource://orders", "scopes": []},
	"action": {"id": "Request", "method": method, "path": path, "host": host},
	"context": {
		"requested_scopes": [],
		"subject_claims": {"scope": "orders:read orders:write", "target": ["resource://orders"]},
	},
}

decision := data.caracal.authz.result.decision

reason := data.caracal.authz.result.diagnostics[0].reason

test_reading_is_permitted_everywhere if {
	decision == "allow" with input as calls("GET", "api", "/orders/7")
}

test_drafts_may_be_changed if {
	decision == "allow" with input as calls("PUT", "api", "/orders/drafts/7")
}

test_orders_may_not if {
	reason == "method_or_path_not_permitted" with input as calls("PUT", "api", "/orders/7")
	reason == "method_or_path_not_permitted" with input as calls("POST", "api", "/orders/draftsX/7")
}

test_only_the_internal_host_deletes_drafts if {
	decision == "allow" with input as calls("DELETE", "orders.internal", "/orders/drafts/7")
	reason == "method_or_path_not_permitted" with input as calls("DELETE", "api", "/orders/drafts/7")
	reason == "method_or_path_not_permitted" with input as calls("DELETE", "orders.internal", "/orders/drafts/7/lines")
	reason == "method_or_path_not_permitted" with input as calls("DELETE", "orders.internal", "/orders/drafts")
}

test_a_mint_has_no_method if {
	asks := {
		"principal": {"type": "Application", "id": "app-shop", "zone_id": "z"},
		"resource": {"type": "Resource", "id": "r", "identifier": "resource://orders", "scopes": []},
		"action": {"id": "TokenExchange"},
		"context": {"requested_scopes": ["orders:write"], "challenge_resolved": false},
	}
	decision == "allow" with input as asks
}
