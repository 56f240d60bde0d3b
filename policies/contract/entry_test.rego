package caracal.contract_test

import rego.v1

test_the_contract_is_the_decision_of_a_data_set if {
	decided := data.caracal.authz.result with input as exchange("app-shop", [])
	decided == data.caracal.contract.deny("resource_not_granted")
}
