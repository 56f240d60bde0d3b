# caracal:data-document
# Who may do what with orders: the shop's sessions by their roles, the reporting service as itself.
package caracal.authz

import rego.v1

app_ids := {"shop": "app-shop", "reporting": "app-reporting"}

grants := {"resource://orders": {
	# The application whose sessions use the resource.
	"application": "shop",
	# A session has the roles that its labels name. One role must cover all scopes of a mandate.
	"roles": {
		"clerk": ["orders:read", "orders:write"],
		"auditor": ["orders:read"],
	},
	# Applications that use the resource as themselves, without a session.
	"applications": {"reporting": ["orders:read"]},
}}
