# The forms that entries of the data documents must have. What has another form is malformed, and denies.
package caracal.contract.forms

import rego.v1

is_confinement(confinement) if {
	is_object(confinement)
	is_string(confinement.label_prefix)
	is_list(confinement.scopes)
	every scope in confinement.scopes {
		is_string(scope)
	}
}

is_risk(entry) if {
	is_object(entry)
	is_text(entry.scope)
	is_text(entry.tier)
}

is_approval(declaration) if {
	is_object(declaration)
	is_text(declaration.tier)

	# A misspelt member would silently leave its default in force.
	every name, _ in declaration {
		name in {"tier", "approver", "privacy", "ttl_seconds"}
	}
	object.get(declaration, "approver", "operator") in {"operator", "subject", "any"}
	object.get(declaration, "privacy", "identified") in {"identified", "pseudonymous", "anonymous"}
	is_lifetime(object.get(declaration, "ttl_seconds", 1))
}

is_lifetime(seconds) if {
	is_number(seconds)
	seconds > 0
	floor(seconds) == seconds
}

is_text(value) if {
	is_string(value)
	value != ""
}

# Lists may be written as arrays or as sets. An object is neither: its keys would be left unread.
is_list(value) if is_array(value)

is_list(value) if is_set(value)
