# The first step of an agent: a session mandate, good for nothing but to start sessions and to ask for
# more.
package caracal.contract

import rego.v1

# Whoever holds something on a resource may take this step; it carries no authority over the resource.
bootstrap if {
	at_exchange
	is_application
	requested_scopes == {"agent:lifecycle"}
	not presents_mandate
	not delegated
	not in_session
	granted
}
