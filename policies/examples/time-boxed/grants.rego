# caracal:data-document
package caracal.authz

import rego.v1

app_ids := {"billing": "app-billing"}

grants := {"resource://payments": {
	"application": "billing",
	"applications": {"billing": ["payments:read", "payments:approve", "payments:refund"]},
}}
