# caracal:data-document
package caracal.authz

import rego.v1

app_ids := {"shop": "app-shop"}

grants := {"resource://orders": {"application": "shop", "roles": {"clerk": ["orders:read", "orders:refund"]}}}
