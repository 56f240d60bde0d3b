# The decision: one document, always complete, that allows only by a path that has a name.
package caracal.contract

import rego.v1

result := allowed if {
	allowed := object.union(allow(allowed_by), {"diagnostics": remarks})
} else := deny(deny_reason)

# The result document of an allow by the policy `id`, for policies of one's own too.
allow(id) := {
	"decision": "allow",
	"evaluation_status": "complete",
	"determining_policies": [{"id": id}],
	"diagnostics": [],
}

# The result document of a denial.
deny(reason) := {
	"decision": "deny",
	"evaluation_status": "complete",
	"determining_policies": [],
	"diagnostics": [{"reason": reason}],
}

# The paths exclude each other, so their order says nothing.
allowed_by := "caracal-bootstrap" if {
	open
	bootstrap
} else := id if {
	open
	delegated_mint
	id := concat("", ["caracal-", owner, "-mint"])
} else := "caracal-workload-mint" if {
	open
	workload_mint
} else := id if {
	open
	mandate_use
	id := concat("", ["caracal-", owner, "-use"])
} else := "caracal-direct-mint" if {
	open
	direct_mint
} else := "caracal-direct-use" if {
	open
	direct_use
}

# What holds for everybody is asked before any path, so that no path can forget it.
open if {
	not data.caracal.index.restricted
	not malformed_risk_data
	not malformed_approval_data
	not confinement_violated
}
