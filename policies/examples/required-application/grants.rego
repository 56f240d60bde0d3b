# caracal:data-document
package caracal.authz

import rego.v1

app_ids := {"hr": "app-hr", "approvals": "app-approvals"}

grants := {
	"resource://payroll": {"application": "hr", "roles": {"assistant": ["payroll:read"]}, "applications": {"hr": ["payroll:read"]}},
	"resource://directory": {"application": "hr", "applications": {"hr": ["directory:read"]}},
}
