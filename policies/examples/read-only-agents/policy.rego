# Sessions that an AI drives may look at everything that they are granted, and change nothing.
package caracal.authz

import data.caracal.contract
import rego.v1

result := denial if {
	ai
	not harmless
	denial := contract.deny("agents_are_read_only")
} else := contract.result

# The label is set when the session starts, and travels in every mandate.
ai if {
	some label in contract.session_labels
	startswith(label, "ai:")
}

# At the mint the scopes must be for reading; at the gateway the method as well, so that an operation
# which was given the wrong scope does no harm.
harmless if {
	contract.at_exchange
	only_reading
}

harmless if {
	contract.at_gateway
	only_reading
	input.action.method in {"GET", "HEAD", "OPTIONS"}
}

only_reading if {
	every scope in contract.wanted_scopes {
		endswith(scope, ":read")
	}
}
