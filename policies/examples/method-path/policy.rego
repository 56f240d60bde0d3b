# What the scope allows, the method and the path may still forbid: orders are changed as drafts only,
# and nothing is deleted from outside.
package caracal.authz

import data.caracal.contract
import rego.v1

result := denial if {
	contract.at_gateway
	not permitted
	denial := contract.deny("method_or_path_not_permitted")
} else := contract.result

permitted if input.action.method in {"GET", "HEAD"}

# The path is normalised: it has one reading, and no query.
permitted if {
	input.action.method in {"POST", "PUT", "PATCH"}
	startswith(input.action.path, "/orders/drafts/")
}

# An internal host may do more; which one is meant is up to the policy, so it is named in full.
permitted if {
	input.action.method == "DELETE"
	input.action.host == "orders.internal"
	parts := split(input.action.path, "/")
	count(parts) == 4
	array.slice(parts, 0, 3) == ["", "orders", "drafts"]
}
