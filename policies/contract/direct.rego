# Direct grants: an application uses a resource as itself, without a session and without delegation.
package caracal.authz

import rego.v1

direct_mint if {
	input.action.id == "TokenExchange"
	not delegated
	not in_session
	count(requested_scopes) > 0
	not "agent:lifecycle" in requested_scopes
	every scope in requested_scopes {
		scope in direct_scopes
	}
}

# Decided again on every call, so that narrowing a grant narrows the mandates that live off it.
direct_use if {
	input.action.id == "Request"
	not delegated
	not in_session
	count(requested_scopes) == 0
	count(presented_scopes) > 0
	targeted
	every scope in presented_scopes {
		scope in direct_scopes
	}
}

exceeds_grant if {
	input.action.id == "TokenExchange"
	some scope in requested_scopes
	scope != "agent:lifecycle"
	not scope in direct_scopes
}

exceeds_grant if {
	input.action.id == "Request"
	some scope in presented_scopes
	not scope in direct_scopes
}
