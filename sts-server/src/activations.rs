//! Activation: which version of a policy set is in force in a zone, and the way back.

use authority::{audit::EventType, ids::PolicySetVersionId};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    clock::Moment,
    error::{Code, Error, Result},
    ledger::Changed,
    store::{ActivationRow, PolicySet, PolicySetVersion, Zone},
    sts::Sts,
};

/// Which version to activate.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Activation {
    version_id: String,
}

/// What an activation did.
#[derive(Debug, Serialize)]
pub(crate) struct Activated {
    activated: bool,
    version_id: PolicySetVersionId,
    version: i64,
    manifest_sha256: String,
    sequence: u64,
}

impl Sts {
    /// Makes a version the policy of its zone, once it is certain that it runs.
    pub(crate) async fn activate(
        &self,
        zone: &Zone,
        set: &PolicySet,
        activation: &Activation,
    ) -> Result<Activated> {
        let version = self.version_of(zone, set, &activation.version_id).await?;
        self.put_in_force(zone, version, false).await
    }

    /// Makes the version of this set that was in force before the present one the policy of its zone.
    pub(crate) async fn roll_back(&self, zone: &Zone, set: &PolicySet) -> Result<Activated> {
        let history = self.store.activations(&zone.id).await?;
        let own: Vec<ActivationRow> = history
            .into_iter()
            .filter(|row| row.policy_set_id == set.id)
            .collect();
        let (present, before) = present_and_before(&own);
        let active = zone.active_policy_set_version_id.as_deref();
        if active.is_none() || present.map(PolicySetVersionId::as_str) != active {
            return Err(Error::new(
                Code::NO_EARLIER_VERSION,
                "no version of this set is in force; activate one by its number",
            ));
        }
        let before = before.ok_or_else(|| {
            Error::new(
                Code::NO_EARLIER_VERSION,
                "no other version of this set was in force before",
            )
        })?;
        let version = self.version_of(zone, set, before.as_str()).await?;
        self.put_in_force(zone, version, true).await
    }

    async fn put_in_force(
        &self,
        zone: &Zone,
        version: PolicySetVersion,
        rolled_back: bool,
    ) -> Result<Activated> {
        self.programs.load(&version)?;
        let now = Moment::now();
        let active = zone.active_policy_set_version_id.as_deref();
        let mut change = self.store.begin().await?;
        change.recompile_policy_set_version(&version).await?; // differs only after an upgrade
        if !change
            .activate_policy_set_version(&zone.id, &version, active, rolled_back, now)
            .await?
        {
            return Err(Error::new(
                Code::OVERLOADED,
                "another version was activated at the same moment; look, and try again",
            )
            .retry_after(std::time::Duration::from_secs(1)));
        }
        // What is in force needs no shadow: it would agree with itself.
        change.end_shadow(&zone.id, &version.id, now).await?;
        let action = if rolled_back {
            "policy_set_version.roll_back"
        } else {
            "policy_set_version.activate"
        };
        let activated = Changed::new(action, &version.id)
            .of_type(EventType::Activation)
            .before(&json!({"policy_set_version_id": active}))
            .after(&json!({
                "policy_set_id": version.policy_set_id,
                "policy_set_version_id": version.id,
                "version": version.version,
                "manifest_sha256": version.manifest_sha256,
            }));
        change.record(&zone.id, activated).await?;
        let sequence = self.publish(change, &zone.id).await?;
        tracing::info!(zone = %zone.id, version = %version.id, sequence, rolled_back, "policy set version activated");
        Ok(Activated {
            activated: true,
            version_id: version.id,
            version: version.version,
            manifest_sha256: version.manifest_sha256,
            sequence,
        })
    }
}

/// The version that is in force after these activations, and the one to go back to. Going back twice
/// goes two steps back: what was rolled back from is gone.
fn present_and_before(
    history: &[ActivationRow],
) -> (Option<&PolicySetVersionId>, Option<&PolicySetVersionId>) {
    let mut stack: Vec<&PolicySetVersionId> = Vec::new();
    for row in history {
        if row.rolled_back {
            while stack.pop_if(|top| **top != row.version_id).is_some() {}
        }
        if stack.last() != Some(&&row.version_id) {
            stack.push(&row.version_id);
        }
    }
    let present = stack.pop();
    (present, stack.pop())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(history: &[(&str, bool)]) -> (String, String) {
        let rows: Vec<ActivationRow> = history
            .iter()
            .map(|(version, rolled_back)| ActivationRow {
                policy_set_id: "set".into(),
                version_id: (*version).into(),
                rolled_back: *rolled_back,
            })
            .collect();
        let (present, before) = present_and_before(&rows);
        let text =
            |id: Option<&PolicySetVersionId>| id.map_or_else(String::new, ToString::to_string);
        (text(present), text(before))
    }

    #[test]
    fn going_back_goes_one_step_each_time() {
        let (on, back) = (false, true);
        for (history, present, before) in [
            (&[][..], "", ""),
            (&[("a", on)], "a", ""),
            (&[("a", on), ("b", on), ("b", on)], "b", "a"),
            (&[("a", on), ("b", on), ("c", on), ("b", back)], "b", "a"),
            (
                &[
                    ("a", on),
                    ("b", on),
                    ("c", on),
                    ("b", back),
                    ("a", back),
                    ("c", on),
                ],
                "c",
                "a",
            ),
            (&[("a", on), ("b", on), ("a", on)], "a", "b"),
            (&[("a", on), ("b", on), ("a", on), ("b", back)], "b", "a"),
        ] {
            assert_eq!(
                after(history),
                (present.to_owned(), before.to_owned()),
                "{history:?}"
            );
        }
    }
}
