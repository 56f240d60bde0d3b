# Dangerous scopes are good for a short time after the mint, however long the mandate lives.
package caracal.authz

import data.caracal.contract
import rego.v1

# Seconds after the mint in which a mandate with this scope may be used.
max_age_seconds := {"payments:approve": 60, "payments:refund": 300}

result := denial if {
	too_old
	denial := contract.deny("mandate_too_old")
} else := contract.result

# The whole mandate is too old once one of its scopes is: ask for the dangerous scope by itself, when it
# is needed.
too_old if {
	contract.at_gateway
	some scope in contract.presented_scopes
	max_age_seconds[scope]
	not young_enough(max_age_seconds[scope])
}

# Undefined, and so too old, if the input should come without a time.
young_enough(seconds) if input.context.time - input.context.subject_claims.iat <= seconds
