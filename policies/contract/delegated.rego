# A session asks for a mandate under a delegation: within the delegation, and by one of its roles.
package caracal.contract

import rego.v1

# The delegation says what was passed on, the role what this session may do with it; both must agree.
delegated_mint if {
	at_exchange
	is_application
	input.delegation_edge.id
	in_session
	not presents_mandate
	count(requested_scopes) > 0
	not wants_lifecycle
	not delegation_exceeded
	owns_resource
	count(covering_roles) > 0
}

# A child never gets more than its parent passed on. A delegation that names no scopes passes none on.
delegation_exceeded if {
	at_exchange
	delegated
	some scope in requested_scopes
	not scope in input.delegation_edge.scopes
}
