# During an incident the zone is closed by a restriction. The responders still get in, to read, and every
# such decision says so in the evidence.
package caracal.authz

import data.caracal.contract
import data.caracal.index
import rego.v1

result := answer if {
	index.restricted
	responder
	harmless
	within_grant
	answer := contract.allow("break-glass")
} else := contract.result

responder if "responder" in contract.principal_keys

# Whatever the responders' grants say at other times.
harmless if {
	count(contract.wanted_scopes) > 0
	every scope in contract.wanted_scopes {
		endswith(scope, ":read")
	}
}

# The glass opens the zone, not the grants: the contract's own paths still have to be walked.
within_grant if {
	contract.direct_mint
	not contract.confinement_violated
	not contract.malformed_risk_data
	not contract.malformed_approval_data
	count(contract.required_approvals) == 0
}

within_grant if {
	contract.direct_use
	not contract.confinement_violated
}
