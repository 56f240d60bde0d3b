# caracal:data-document
package caracal.authz

import rego.v1

app_ids := {"shop": "app-shop", "responder": "app-responder"}

grants := {"resource://orders": {
	"application": "shop",
	"applications": {
		"shop": ["orders:read", "orders:write"],
		"responder": ["orders:read", "orders:write"],
	},
}}
