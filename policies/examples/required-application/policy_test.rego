package caracal.authz_test

import rego.v1

calls(applications) := {
	"principal": {"type": "Application", "id": "app-hr", "zone_id": "z", "agent_session_id": "s1", "labels": ["assistant"]},
	"resource": {"type": "Resource", "id": "r", "identifier": "resource://payroll", "scopes": []},
	"action": {"id": "Request", "method": "GET", "path": "/payroll"},
	"delegation_edge": {"id": "d1"},
	"context": {"requested_scopes": [], "subject_claims": {
		"scope": "payroll:read",
		"target": ["resource://payroll"],
		"delegation_edge_id": "d1",
		"delegation_chain": [{"application_id": application} | some application in applications],
	}},
}

directly(identifier, scope) := {
	"principal": {"type": "Application", "id": "app-hr", "zone_id": "z"},
	"resource": {"type": "Resource", "id": "r", "identifier": identifier, "scopes": []},
	"action": {"id": "Request", "method": "GET", "path": "/"},
	"context": {"requested_scopes": [], "subject_claims": {"scope": scope, "target": [identifier]}},
}

decision := data.caracal.authz.result.decision

reason := data.caracal.authz.result.diagnostics[0].reason

test_authority_that_came_through_the_approval_service_is_good if {
	decision == "allow" with input as calls(["app-approvals", "app-hr"])
}

test_authority_that_did_not_is_not if {
	reason == "required_application_missing" with input as calls(["app-other", "app-hr"])
	reason == "required_application_missing" with input as calls([])
}

test_not_even_the_owner_calls_it_directly if {
	reason == "required_application_missing" with input as directly("resource://payroll", "payroll:read")
}

test_other_resources_need_nobody_in_between if {
	decision == "allow" with input as directly("resource://directory", "directory:read")
}
