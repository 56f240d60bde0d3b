# caracal:data-document
# Activated for the incident, and left out again when it is over. Anything in here closes the zone.
package caracal.authz

import rego.v1

restrict := ["incident-4711"]
