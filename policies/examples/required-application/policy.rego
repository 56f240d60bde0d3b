# Payroll is reached through the approval service only: whoever calls, the approval service must be one of
# the applications through whose hands the authority came.
package caracal.authz

import data.caracal.contract
import rego.v1

# By resource: the key of the application that must be in the chain.
required := {"resource://payroll": "approvals"}

result := denial if {
	contract.at_gateway
	required[input.resource.identifier]
	not passed_through
	denial := contract.deny("required_application_missing")
} else := contract.result

passed_through if {
	some link in input.context.subject_claims.delegation_chain
	link.application_id == data.caracal.authz.app_ids[required[input.resource.identifier]]
}
