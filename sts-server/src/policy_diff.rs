//! What differs between two versions of a policy set: which modules came, went or changed, line by line.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use authority::ids::PolicySetVersionId;
use serde::{Deserialize, Serialize};
use similar::TextDiff;

use crate::{
    error::{Error, Result},
    policy_sets::StoredModule,
    store::{PolicySet, PolicySetVersion, Zone},
    sts::Sts,
};

/// Time after which a difference is told less finely.
const MAX_TIME: Duration = Duration::from_secs(5);
/// Lines around a change.
const CONTEXT_LINES: usize = 3;

/// Which versions to compare.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Comparison {
    from: String,
    to: String,
}

/// What differs.
#[derive(Debug, Serialize)]
pub(crate) struct Difference {
    from: Side,
    to: Side,
    modules: Vec<ModuleDifference>,
}

#[derive(Debug, Serialize)]
struct Side {
    version_id: PolicySetVersionId,
    version: i64,
    manifest_sha256: String,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct ModuleDifference {
    name: String,
    change: Change,
    /// A unified diff.
    diff: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Change {
    Added,
    Removed,
    Changed,
}

impl Sts {
    /// What differs between two versions of a set. Modules that are the same are left out.
    pub(crate) async fn compare(
        &self,
        zone: &Zone,
        set: &PolicySet,
        comparison: &Comparison,
    ) -> Result<Difference> {
        let from = self.version_of(zone, set, &comparison.from).await?;
        let to = self.version_of(zone, set, &comparison.to).await?;
        let old = self.modules_of(zone, &from.manifest).await?;
        let new = self.modules_of(zone, &to.manifest).await?;
        let modules = tokio::task::spawn_blocking(move || differences(&old, &new))
            .await
            .map_err(Error::internal)?;
        Ok(Difference {
            from: Side::of(from),
            to: Side::of(to),
            modules,
        })
    }
}

impl Side {
    fn of(version: PolicySetVersion) -> Self {
        Self {
            version_id: version.id,
            version: version.version,
            manifest_sha256: version.manifest_sha256,
        }
    }
}

fn differences(old: &[StoredModule], new: &[StoredModule]) -> Vec<ModuleDifference> {
    let deadline = Instant::now() + MAX_TIME;
    let mut sides: BTreeMap<&str, (Option<&str>, Option<&str>)> = BTreeMap::new();
    for StoredModule { module, .. } in old {
        sides.entry(&module.name).or_default().0 = Some(&module.source);
    }
    for StoredModule { module, .. } in new {
        sides.entry(&module.name).or_default().1 = Some(&module.source);
    }
    let change = |sides| match sides {
        (None, Some(_)) => Some(Change::Added),
        (Some(_), None) => Some(Change::Removed),
        (old, new) if old != new => Some(Change::Changed),
        _ => None,
    };
    sides
        .into_iter()
        .filter_map(|(name, sides)| {
            let (old, new) = (sides.0.unwrap_or_default(), sides.1.unwrap_or_default());
            Some(ModuleDifference {
                name: name.to_owned(),
                change: change(sides)?,
                diff: unified(name, old, new, deadline),
            })
        })
        .collect()
}

fn unified(name: &str, old: &str, new: &str, deadline: Instant) -> String {
    TextDiff::configure()
        .deadline(deadline)
        .diff_lines(old, new)
        .unified_diff()
        .context_radius(CONTEXT_LINES)
        .header(&format!("a/{name}"), &format!("b/{name}"))
        .to_string()
}

#[cfg(test)]
mod tests {
    use authority::policy::Module;

    use super::*;

    fn modules(all: &[(&str, &str)]) -> Vec<StoredModule> {
        let module = |(name, source): &(&str, &str)| StoredModule {
            module: Module {
                name: (*name).to_owned(),
                source: (*source).to_owned(),
            },
            version_id: String::new(),
            content_sha256: String::new(),
        };
        all.iter().map(module).collect()
    }

    #[test]
    fn modules_come_go_and_change_and_those_that_stay_are_left_out() {
        let old = modules(&[("gone", "x := 1\n"), ("grants", "a\nb\n"), ("same", "s\n")]);
        let new = modules(&[("grants", "a\nc\n"), ("new", "y := 1\n"), ("same", "s\n")]);
        let found = differences(&old, &new);
        let told: Vec<_> = found
            .iter()
            .map(|module| (module.name.as_str(), module.change))
            .collect();
        assert_eq!(
            told,
            [
                ("gone", Change::Removed),
                ("grants", Change::Changed),
                ("new", Change::Added)
            ]
        );
        assert_eq!(
            found[1].diff,
            "--- a/grants\n+++ b/grants\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"
        );
        assert!(found[0].diff.contains("\n-x := 1") && found[2].diff.contains("\n+y := 1"));
    }
}
