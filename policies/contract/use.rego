# A delegated mandate at the gateway. The grant is read again on every call, so that narrowing it narrows
# the mandates that live off it.
package caracal.contract

import rego.v1

# Every scope that the mandate carries must still be covered by one role, not only the one that this call
# needs: a mandate that says more than the policy is no longer good.
mandate_use if {
	at_gateway
	is_application
	input.context.subject_claims.delegation_edge_id
	count(requested_scopes) == 0
	count(presented_scopes) > 0
	targeted
	owns_resource
	count(covering_roles) > 0
}
