# The decision: one document, always complete, that allows only by a path that has a name.
package caracal.contract

import rego.v1

result := said if {
	said := allowed(allowed_by, remarks)
} else := deny(deny_reason)

# The result document of an allow by the policy `id`, for policies of one's own too.
allow(id) := allowed(id, [])

allowed(id, diagnostics) := {
	"decision": "allow",
	"evaluation_status": "complete",
	"determining_policies": [{"id": id}],
	"diagnostics": diagnostics,
}

# The result document of a denial.
deny(reason) := {
	"decision": "deny",
	"evaluation_status": "complete",
	"determining_policies": [],
	"diagnostics": [{"reason": reason}],
}

# The paths exclude each other, so their order says nothing. What is asked on every call comes first.
allowed_by := "caracal-direct-use" if {
	open
	direct_use
} else := id if {
	open
	mandate_use
	id := concat("", ["caracal-", owner, "-use"])
} else := "caracal-bootstrap" if {
	open
	bootstrap
} else := id if {
	open
	delegated_mint
	id := concat("", ["caracal-", owner, "-mint"])
} else := "caracal-workload-mint" if {
	open
	workload_mint
} else := "caracal-direct-mint" if {
	open
	direct_mint
}

# What holds for everybody is asked before any path, so that no path can forget it.
open if {
	not data.caracal.index.restricted
	not malformed_risk_data
	not malformed_approval_data
	not confinement_violated
}
