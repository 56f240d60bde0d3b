# Confinement: whatever else is granted, sessions with certain labels stay within certain scopes. It is
# asked on every path, so no grant can lead around it.
package caracal.contract

import rego.v1

# What cannot be read might have confined this session.
confinement_violated if data.caracal.index.malformed_confinement

# Every confinement that names one of the session's labels must hold, so several of them narrow further.
confinement_violated if {
	not data.caracal.index.malformed_confinement
	some confinement in data.caracal.authz.confinement
	some label in session_labels
	startswith(label, confinement.label_prefix)
	some scope in wanted_scopes
	not scope in confinement.scopes
}
