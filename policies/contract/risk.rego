# Risk: what a mint is worth to an attacker, told to the auditor, and the approvals that it needs first.
# At the gateway nothing is requested, so nothing is said there: what was minted has been approved.
package caracal.contract

import rego.v1

# Malformed risk or approval data fails every mint, and no live mandate: those were minted by data that
# could be read.
malformed_risk_data if {
	not at_gateway
	data.caracal.index.malformed_risk
}

malformed_approval_data if {
	not at_gateway
	data.caracal.index.malformed_approval
}

# Each requested scope with its tier, for the evidence.
requested_risk := [{"scope": scope, "tier": tier} |
	some scope in requested_scopes
	some tier in data.caracal.index.tiers_of[scope]
]

requested_tiers contains tier if {
	some scope in requested_scopes
	some tier in data.caracal.index.tiers_of[scope]
}

# The tiers that are declared to need an approval.
approval_tiers := declarations if {
	not data.caracal.index.malformed_approval
	declarations := data.caracal.authz.approval_tiers
} else := []

# Those of them that are in this request.
required_approvals := [declaration |
	some declaration in approval_tiers
	declaration.tier in requested_tiers
]

risk_remarks := [{"risk": requested_risk}] if {
	count(requested_risk) > 0
} else := []

# An allow with this remark holds once a human has approved; whoever mints has to see to that.
step_up_remarks := [{"step_up_required": {"type": "human_approval", "tiers": required_approvals}}] if {
	count(required_approvals) > 0
	not input.context.challenge_resolved == true
} else := []

remarks := [] if {
	count(requested_scopes) == 0
} else := array.concat(risk_remarks, step_up_remarks)
