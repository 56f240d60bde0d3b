# What the data documents say about the principal and the resource of this decision.
package caracal.authz

import rego.v1

# An application may go by several keys in the data documents.
principal_keys contains key if {
	some key, id in data.caracal.authz.app_ids
	id == input.principal.id
}

# Anything but nothing in `restrict` closes the zone; what is malformed there closes it too.
restricted if {
	data.caracal.authz.restrict != []
	data.caracal.authz.restrict != {}
	data.caracal.authz.restrict != set()
}

grant := data.caracal.authz.grants[input.resource.identifier]

owns_resource if grant.application in principal_keys

# Scopes that this application holds on the resource itself, without a session.
direct_scopes := {scope |
	some key in principal_keys
	some scope in grant.applications[key]
}

granted if owns_resource

granted if count(direct_scopes) > 0

requested_scopes := {scope | some scope in input.context.requested_scopes}

presented_scopes := {scope |
	some scope in split(input.context.subject_claims.scope, " ")
	scope != ""
}

# A mandate's delegation or a governed session: what they may do is decided by their own paths.
delegated if input.delegation_edge.id

delegated if input.context.subject_claims.delegation_edge_id

in_session if input.principal.agent_session_id

targeted if input.resource.identifier in input.context.subject_claims.target
