# Authority may be passed on, but not without end: a mandate that has come through too many hands is
# refused, and what is sensitive is not passed on at all.
package caracal.authz

import data.caracal.contract
import rego.v1

max_hops := 3

max_hops_of := {"orders:refund": 1}

result := denial if {
	contract.delegated
	too_deep
	denial := contract.deny("delegated_too_often")
} else := contract.result

# The delegations from the first to this one: of the delegation itself in an exchange, of the mandate on
# a call. Without either, nobody can say how deep it is.
hops := length if {
	contract.at_gateway
	length := count(input.context.subject_claims.delegation_path)
} else := count(input.delegation_edge.path)

too_deep if not within(max_hops)

too_deep if {
	some scope in contract.wanted_scopes
	max_hops_of[scope]
	not within(max_hops_of[scope])
}

within(most) if hops <= most
