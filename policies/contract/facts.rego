# What a decision is about, read from the input and from the data documents: who asks, at which moment,
# for which scopes, and what the resource's grant says. Policies of one's own may use all of it.
package caracal.contract

import data.caracal.contract.forms
import rego.v1

# Before a mandate exists.
at_exchange if input.action.id == "TokenExchange"

# On every call. It stands for the original's exchange by the gateway, which carried the same claims.
at_gateway if input.action.id == "Request"

is_application if input.principal.type == "Application"

is_workload if input.principal.type == "Workload"

# A mandate that was presented: as subject token in an exchange, as bearer token at the gateway. Each has a subject,
# and who asks for all claims has all of them made for every decision.
presents_mandate if input.context.subject_claims.sub

# Authority that was passed on. What it may do is decided by the paths for delegations, and by no other.
delegated if input.delegation_edge.id

delegated if input.context.subject_claims.delegation_edge_id

# A governed session acts by its roles, and never as the bare application.
in_session if input.principal.agent_session_id

# The labels of the session. Each of them may name a role in a grant.
session_labels contains label if {
	some label in input.principal.labels
	is_string(label)
}

requested_scopes contains scope if {
	some scope in input.context.requested_scopes
}

presented_scopes contains scope if {
	some scope in split(input.context.subject_claims.scope, " ")
	scope != ""
}

# The scopes that this decision would let be used.
wanted_scopes := presented_scopes if {
	at_gateway
} else := requested_scopes

# `agent:lifecycle` starts sessions and reaches no resource, so it never travels with other scopes.
wants_lifecycle if "agent:lifecycle" in requested_scopes

# The keys by which the data documents know this application.
principal_keys contains key if {
	some key in data.caracal.index.keys_of[input.principal.id]
}

# The grant on the resource: one look-up, however many grants there are. Its members are optional, so
# they are read by `object.get`: OPA knows the form of a literal document, and refuses to compile a
# reference to what no grant in it has.
grant := found if {
	found := data.caracal.authz.grants[input.resource.identifier]
	is_object(found)
}

# The keys of the application with which a chain of delegations began: its authority is what is passed on.
root_keys contains key if {
	some key in data.caracal.index.keys_of[input.delegation_edge.root_application_id]
}

# The key of the application that the resource belongs to. Its sessions use the resource by their roles.
owner := object.get(grant, "application", null)

owns_resource if owner in principal_keys

# So do sessions of another application, by what the owner delegated to them.
owns_resource if owner in root_keys

# Scopes that the application holds as itself, without a session.
direct_scopes contains scope if {
	applications := object.get(grant, "applications", {})
	some key in principal_keys
	scopes := applications[key]
	forms.is_list(scopes)
	some scope in scopes
	is_string(scope)
}

granted if owns_resource

granted if count(direct_scopes) > 0

# What a workload may have is bound to it by the operator, outside of the grants.
granted if is_workload

# Roles that cover every scope that is wanted. One of them must cover all: scopes of several roles do
# not add up, since a session acts in one role at a time.
covering_roles contains label if {
	roles := object.get(grant, "roles", {})
	some label in session_labels
	scopes := roles[label]
	forms.is_list(scopes)
	every scope in wanted_scopes {
		scope in scopes
	}
}

# The mandate was minted for this resource.
targeted if input.resource.identifier in input.context.subject_claims.target
