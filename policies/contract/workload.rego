# A credential for a workload under a launcher, as the original has it. This version's input is never of
# this kind; the path stays so that a policy set means the same in both.
package caracal.contract

import rego.v1

# The operator binds a workload to its resource and scopes, and that binding is the grant. Restrictions,
# confinement and approvals hold here as everywhere.
workload_mint if {
	is_workload
	input.action.id == "CredentialInjection"
	not presents_mandate
	not delegated
	not in_session
	count(requested_scopes) > 0
	not wants_lifecycle
}
