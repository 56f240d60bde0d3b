# Direct grants: an application uses a resource as itself, without a session and without a delegation.
package caracal.contract

import rego.v1

# The plain case of a service that calls an API.
direct_mint if {
	at_exchange
	is_application
	not delegated
	not in_session
	count(requested_scopes) > 0
	not wants_lifecycle
	every scope in requested_scopes {
		scope in direct_scopes
	}
}

# Decided again on every call, like the use of a delegated mandate.
direct_use if {
	at_gateway
	is_application
	not delegated
	not in_session
	count(requested_scopes) == 0
	count(presented_scopes) > 0
	targeted
	every scope in presented_scopes {
		scope in direct_scopes
	}
}
