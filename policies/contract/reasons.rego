# Why not: exactly one reason for every denial.
package caracal.contract

import rego.v1

# The first of these that holds: what is wrong for everybody before what is wrong with this request, and
# within the request from the grant to the particulars.
deny_reason := "restriction_active" if {
	data.caracal.index.restricted
} else := "malformed_risk_data" if {
	malformed_risk_data
} else := "malformed_approval_data" if {
	malformed_approval_data
} else := "resource_not_granted" if {
	not granted
} else := "delegation_scope_exceeded" if {
	delegation_exceeded
} else := "confinement_violation" if {
	confinement_violated
} else := "role_scope_mismatch" if {
	scopes_uncovered
} else := "mandate_target_mismatch" if {
	at_gateway
	not targeted
} else := "no_rule_matched"

# A session whose roles do not cover what it wants.
scopes_uncovered if {
	delegated
	owns_resource
	not wants_lifecycle
	count(wanted_scopes) > 0
	count(covering_roles) == 0
}

# An application whose direct grant does not.
scopes_uncovered if {
	is_application
	not delegated
	some scope in wanted_scopes
	scope != "agent:lifecycle"
	not scope in direct_scopes
}
