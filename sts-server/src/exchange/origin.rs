//! Where a path of delegations begins: with what the policy would let the issuing application mint itself.

use authority::{
    decision::shadow::{failure, own_reason},
    policy::input::{Exchange, PolicyInput},
    refusal::Reason,
    resource::Resource,
};
use serde_json::Value;

use super::standing::{delegation_facts, session_facts};
use crate::{
    clock::Moment,
    error::{Code, Error, Result},
    store::{Application, DelegationRow, SessionRow, Zone},
    sts::Sts,
};

impl Sts {
    /// Whether the policy would let `issuer` mint what `edge` passes on, on each of its resources: as
    /// itself, or in a session with the labels of the source or of the target, which are the
    /// application's to give.
    pub(crate) async fn check_root_delegation(
        &self,
        zone: &Zone,
        issuer: &Application,
        source: &SessionRow,
        target: &SessionRow,
        edge: &DelegationRow,
    ) -> Result<()> {
        let policy = self.active_policy(zone).await?;
        let own = DelegationRow {
            receiver_application_id: issuer.id.clone(),
            ..edge.clone()
        };
        let constraints = Value::Object(own.constraints.clone()).to_string();
        for identifier in &edge.resources {
            let row = self
                .store
                .resource_by_identifier(&zone.id, identifier)
                .await?
                .ok_or_else(|| Error::internal("a resource is gone"))?;
            let resource = Resource::new(row.spec()).map_err(Error::internal)?;
            let scopes: Vec<String> = edge
                .scopes
                .iter()
                .filter(|scope| resource.has_scope(scope))
                .cloned()
                .collect();
            let mut reason = Reason::NoActivePolicySet.code().to_owned();
            let mut allowed = false;
            for labels in [None, Some(&source.labels), Some(&target.labels)] {
                let input = PolicyInput::exchange(&Exchange {
                    client_id: issuer.id.as_str(),
                    zone_id: zone.id.as_str(),
                    registration_method: &issuer.registration_method,
                    resource: &resource,
                    requested_scopes: &scopes,
                    subject: None,
                    session: labels.map(|labels| session_facts(target, labels)),
                    delegation: labels.map(|_| {
                        delegation_facts(&own, issuer.id.as_str(), &own.path, &constraints)
                    }),
                    now: Moment::now().timestamp(),
                    trace_id: None,
                });
                match policy
                    .as_ref()
                    .map(|policy| self.evaluate(zone, policy, &input))
                {
                    Some(Ok(result)) if result.allows() => {
                        allowed = true;
                        break;
                    }
                    Some(Ok(result)) => reason = own_reason(&result).to_owned(),
                    Some(Err(error)) => reason = failure(&error).code().to_owned(),
                    None => {}
                }
            }
            if !allowed {
                return Err(Error::new(
                    Code::DELEGATION_EXCEEDS_POLICY,
                    format!("the policy would not let the issuer mint this on {identifier} itself ({reason})"),
                )
                .reason(reason));
            }
        }
        Ok(())
    }
}
