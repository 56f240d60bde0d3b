# What the data documents say for every decision alike. No rule here reads the input, so that the
# compiler can answer them once for a version of the policy and decisions look the answers up.
package caracal.index

import data.caracal.contract.forms
import rego.v1

# An application may go by several keys. A table that is no object, or an entry that is not text, names
# nobody, so that whoever depends on it is denied.
keys_of[application_id] contains key if {
	is_object(data.caracal.authz.app_ids)
	some key, application_id in data.caracal.authz.app_ids
	is_string(key)
	is_string(application_id)
}

# Anything but nothing in `restrict` closes the zone, and what is malformed there closes it too: it was
# meant to close something.
restricted if {
	data.caracal.authz.restrict != []
	data.caracal.authz.restrict != {}
	data.caracal.authz.restrict != set()
}

# The tiers of a scope. Found by scope, however long the document is.
tiers_of[scope] contains tier if {
	not malformed_risk
	some entry in data.caracal.authz.risk
	scope := entry.scope
	tier := entry.tier
}

# A confinement that cannot be read might have confined this very session, so it confines all of them.
malformed_confinement if {
	document := data.caracal.authz.confinement
	not forms.is_list(document)
}

malformed_confinement if {
	forms.is_list(data.caracal.authz.confinement)
	some confinement in data.caracal.authz.confinement
	not forms.is_confinement(confinement)
}

# A scope whose tier cannot be read might need an approval.
malformed_risk if {
	document := data.caracal.authz.risk
	not forms.is_list(document)
}

malformed_risk if {
	forms.is_list(data.caracal.authz.risk)
	some entry in data.caracal.authz.risk
	not forms.is_risk(entry)
}

# An approval that cannot be read might have been the one that is needed.
malformed_approval if {
	document := data.caracal.authz.approval_tiers
	not forms.is_list(document)
}

malformed_approval if {
	forms.is_list(data.caracal.authz.approval_tiers)
	some declaration in data.caracal.authz.approval_tiers
	not forms.is_approval(declaration)
}

# Two declarations of one tier contradict each other: nobody could say which of them to follow.
malformed_approval if {
	forms.is_list(data.caracal.authz.approval_tiers)
	tiers := {declaration.tier | some declaration in data.caracal.authz.approval_tiers}
	count(tiers) != count(data.caracal.authz.approval_tiers)
}
