# The first step of an agent: a session mandate, good for nothing but to ask for more.
package caracal.authz

import rego.v1

bootstrap if {
	input.action.id == "TokenExchange"
	requested_scopes == {"agent:lifecycle"}
	not input.context.subject_claims
	not delegated
	not in_session
	granted
}
