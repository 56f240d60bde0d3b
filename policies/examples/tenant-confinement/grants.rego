# caracal:data-document
# One application serves several tenants. Every session carries its tenant as a label, and no grant,
# however wide, lets it out of its tenant's scopes.
package caracal.authz

import rego.v1

app_ids := {"support": "app-support"}

grants := {"resource://tickets": {
	"application": "support",
	"roles": {"agent": ["acme:read", "acme:write", "globex:read", "globex:write"]},
}}

# Of all confinements whose prefix one of the session's labels has, every one must hold.
confinement := [
	{"label_prefix": "tenant:acme", "scopes": ["acme:read", "acme:write"]},
	{"label_prefix": "tenant:globex", "scopes": ["globex:read", "globex:write"]},
	# What is known about a session that is being watched can only narrow further.
	{"label_prefix": "watched", "scopes": ["acme:read", "globex:read"]},
]
