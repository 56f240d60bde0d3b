# The world of the contract's tests: a shop whose sessions work on orders by their roles, and a reporting
# service that reads them as itself. The documents come in as a whole, so that a test says what there is.
package caracal.contract_test

import rego.v1

world := {
	"app_ids": {"shop": "app-shop", "shop-eu": "app-shop", "reporter": "app-reporter"},
	"grants": {
		"resource://orders": {
			"application": "shop",
			"roles": {
				"clerk": ["orders:read", "orders:write"],
				"auditor": ["orders:read"],
				"archivist": ["orders:archive"],
			},
			"applications": {"reporter": ["orders:read"]},
		},
		"resource://stock": {"application": "shop-eu", "roles": {"clerk": ["stock:read"]}},
	},
}

# The world with other documents beside it, or in place of its own.
changed(documents) := object.union(world, documents)

# In one word: the policy that allows, or the reason of the denial.
answer(asked, documents) := decision.determining_policies[0].id if {
	decision := result(asked, documents)
	decision.decision == "allow"
} else := reason if {
	decision := result(asked, documents)
	decision.decision == "deny"
	count(decision.diagnostics) == 1
	reason := decision.diagnostics[0].reason
}

result(asked, documents) := decision if {
	decision := data.caracal.contract.result with input as asked with data.caracal.authz as documents
}

# An exchange by an application as itself.
exchange(application, scopes) := {
	"schema_version": "2026-05-20",
	"principal": {"type": "Application", "id": application, "zone_id": "z", "registration_method": "managed"},
	"resource": {
		"type": "Resource",
		"id": "r",
		"identifier": "resource://orders",
		"scopes": ["orders:read", "orders:write", "orders:archive"],
	},
	"action": {"id": "TokenExchange"},
	"context": {
		"actor_claims": {"caracal_client_id": application},
		"challenge_resolved": false,
		"requested_scopes": scopes,
	},
}

# An exchange by a session of the shop, under a delegation that passes `delegated` on.
mint(labels, delegated, scopes) := object.union(exchange("app-shop", scopes), {
	"principal": {"agent_session_id": "s1", "labels": labels},
	"delegation_edge": {"id": "d1", "scopes": delegated, "path": ["d1"]},
})

# A call with a mandate of the application as itself.
call(application, scope) := object.union(exchange(application, []), {
	"action": {"id": "Request", "method": "GET", "path": "/orders", "host": "api"},
	"session": {"id": "sid1"},
	"context": {"subject_claims": {"sub": application, "scope": scope, "target": ["resource://orders"]}},
})

# A call with a mandate of a session of the shop.
use(labels, scope) := object.union(call("app-shop", scope), {
	"principal": {"agent_session_id": "s1", "labels": labels},
	"delegation_edge": {"id": "d1", "path": ["d1"]},
	"context": {"subject_claims": {"agent_session_id": "s1", "delegation_edge_id": "d1", "labels": labels}},
})

# A workload under a launcher.
injection(scopes) := object.union(exchange("workload-1", scopes), {
	"principal": {"type": "Workload"},
	"action": {"id": "CredentialInjection"},
})

lifecycle := ["agent:lifecycle"]
