# The decision: one document, always complete, that allows only by a path that has a name.
package caracal.authz

import rego.v1

result := {
	"decision": "allow",
	"evaluation_status": "complete",
	"determining_policies": [{"id": allowed_by}],
	"diagnostics": [],
} if {
	allowed_by
}

result := {
	"decision": "deny",
	"evaluation_status": "complete",
	"determining_policies": [],
	"diagnostics": [{"reason": deny_reason}],
} if {
	not allowed_by
}

# The paths exclude each other, so their order says nothing; a restriction closes all of them.
allowed_by := "caracal-bootstrap" if {
	not restricted
	bootstrap
} else := "caracal-direct-mint" if {
	not restricted
	direct_mint
} else := "caracal-direct-use" if {
	not restricted
	direct_use
}

# The first of these that holds: what is wrong for everybody before what is wrong with this request.
deny_reason := "restriction_active" if {
	restricted
} else := "resource_not_granted" if {
	not granted
} else := "role_scope_mismatch" if {
	exceeds_grant
} else := "mandate_target_mismatch" if {
	not targeted
	input.action.id == "Request"
} else := "no_rule_matched"
