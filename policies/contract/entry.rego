# Makes the contract the decision. It joins sets that consist of data documents; a policy of one's own
# defines `result` itself, and may fall back on `data.caracal.contract.result`.
package caracal.authz

import rego.v1

result := data.caracal.contract.result
