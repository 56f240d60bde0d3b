//! Shadow policies: a version that is evaluated beside the one in force, here and at the gateways, and
//! the account of where the two disagree.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use authority::{
    decision::shadow::{MAX_REPORT_ROWS, Moment as DecisionMoment, Report, ShadowVerdict, Tally},
    ids::{PolicySetVersionId, ZoneId},
};
use serde::{Deserialize, Serialize};

use crate::{
    clock::Moment,
    error::{Code, Error, Result},
    ledger::Changed,
    policy_sets::Loaded,
    store::{DisagreementRow, PolicySet, ShadowRun, Zone},
    sts::Sts,
};

/// How often what exchanges found is written down.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// Most decisions of one kind that a report may tell of: what no gateway reaches, and what cannot add up
/// to more than the database counts.
const MAX_COUNT: u64 = 1 << 32;

/// Which version to evaluate without enforcing it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewShadow {
    version_id: String,
}

/// A shadow that was set.
#[derive(Debug, Serialize)]
pub(crate) struct Shadowed {
    version_id: PolicySetVersionId,
    version: i64,
    manifest_sha256: String,
    sequence: u64,
}

/// A zone's shadow and where it disagreed, in the shape of a list.
#[derive(Debug, Serialize)]
pub(crate) struct ShadowAccount {
    #[serde(flatten)]
    run: ShadowRun,
    items: Vec<DisagreementRow>,
    next_cursor: Option<String>,
}

/// What exchanges found since it was last written down.
#[derive(Default)]
pub(crate) struct Shadows {
    tallies: Mutex<HashMap<ZoneId, Tally>>,
    /// Held while it is written down, so that whoever reads after that finds it.
    writing: tokio::sync::Mutex<()>,
}

impl Shadows {
    /// Counts one verdict.
    pub(crate) fn add(&self, zone: &ZoneId, version: &PolicySetVersionId, verdict: ShadowVerdict) {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        tallies
            .entry(zone.clone())
            .or_insert_with(|| Tally::listing(MAX_REPORT_ROWS))
            .add(version.as_str(), verdict);
    }

    fn take(&self) -> Vec<(ZoneId, Report)> {
        let tallies =
            std::mem::take(&mut *self.tallies.lock().unwrap_or_else(PoisonError::into_inner));
        tallies
            .into_iter()
            .filter_map(|(zone, mut tally)| Some((zone, tally.take()?)))
            .collect()
    }
}

impl Sts {
    /// Lets a version ride along in the zone's bundle.
    pub(crate) async fn begin_shadow(
        &self,
        zone: &Zone,
        set: &PolicySet,
        new: &NewShadow,
    ) -> Result<Shadowed> {
        let version = self.version_of(zone, set, &new.version_id).await?;
        if zone.active_policy_set_version_id.as_deref() == Some(version.id.as_str()) {
            return Err(Error::invalid(
                "version_id: this version is in force; a shadow is another",
            ));
        }
        self.programs.load(&version)?;
        let mut change = self.store.begin().await?;
        change.recompile_policy_set_version(&version).await?; // differs only after an upgrade
        change
            .begin_shadow(&zone.id, &version, Moment::now())
            .await?;
        let begun = Changed::new("policy_set_version.begin_shadow", &version.id);
        change.record(&zone.id, begun).await?;
        let sequence = self.publish(change, &zone.id).await?;
        tracing::info!(zone = %zone.id, version = %version.id, sequence, "shadow policy set");
        Ok(Shadowed {
            version_id: version.id,
            version: version.version,
            manifest_sha256: version.manifest_sha256,
            sequence,
        })
    }

    /// Ends the zone's shadow, if it is of this set.
    pub(crate) async fn end_shadow(&self, zone: &Zone, set: &PolicySet) -> Result<()> {
        self.flush_shadows().await;
        let run = self.store.shadow_run(&zone.id).await?;
        let current = run
            .filter(|(run, _)| run.ended_at.is_none() && run.policy_set_id == set.id)
            .ok_or_else(no_shadow)?
            .0;
        let mut change = self.store.begin().await?;
        if !change
            .end_shadow(&zone.id, &current.version_id, Moment::now())
            .await?
        {
            return Err(no_shadow());
        }
        let ended = Changed::new("policy_set_version.end_shadow", &current.version_id);
        change.record(&zone.id, ended).await?;
        self.publish(change, &zone.id).await?;
        tracing::info!(zone = %zone.id, version = %current.version_id, "shadow policy ended");
        Ok(())
    }

    /// The zone's shadow, that of today or the last one, and where it disagreed.
    pub(crate) async fn shadow_account(&self, zone: &Zone) -> Result<ShadowAccount> {
        self.flush_shadows().await;
        let (run, items) = self
            .store
            .shadow_run(&zone.id)
            .await?
            .ok_or_else(no_shadow)?;
        Ok(ShadowAccount {
            run,
            items,
            next_cursor: None,
        })
    }

    /// Takes in what a gateway found.
    pub(crate) async fn add_shadow_report(&self, zone: &ZoneId, report: Report) -> Result<()> {
        let listed = report
            .rows
            .iter()
            .try_fold(0_u64, |sum, row| sum.checked_add(row.count));
        let holds_together = report.rows.len() <= MAX_REPORT_ROWS
            && listed.is_some_and(|listed| listed <= report.different)
            && report.same <= MAX_COUNT
            && report.different <= MAX_COUNT
            && report
                .rows
                .iter()
                .all(|row| row.disagreement.moment == DecisionMoment::Request && row.count > 0);
        if !holds_together {
            return Err(Error::invalid(format!(
                "expected {MAX_REPORT_ROWS} rows of requests at most, whose counts add up to no more than \"different\""
            )));
        }
        if self.write_report(zone, &report).await? {
            Ok(())
        } else {
            Err(Error::new(
                Code::SHADOW_NOT_CURRENT,
                "this version is not the zone's shadow",
            ))
        }
    }

    /// The policy that is evaluated beside the one in force. One that cannot be had is none: it may not
    /// cost an exchange anything.
    pub(crate) async fn shadow_policy(&self, zone: &Zone) -> Option<Arc<Loaded>> {
        let id = zone.shadow_policy_set_version_id.as_ref()?;
        match self.loaded(zone, id).await {
            Ok(loaded) => Some(loaded),
            Err(error) => {
                tracing::warn!(zone = %zone.id, version = %id, %error, "the shadow policy cannot be used");
                None
            }
        }
    }

    /// Writes down, again and again, what exchanges found, until the server begins to shut down.
    pub(crate) async fn keep_shadows(&self) {
        loop {
            tokio::select! {
                () = self.closed() => return,
                () = tokio::time::sleep(FLUSH_INTERVAL) => self.flush_shadows().await,
            }
        }
    }

    /// Writes down what exchanges found. What cannot be written is lost, and said so.
    pub(crate) async fn flush_shadows(&self) {
        let _writing = self.shadows.writing.lock().await;
        for (zone, report) in self.shadows.take() {
            if let Err(error) = self.write_report(&zone, &report).await {
                tracing::warn!(%zone, %error, "what a shadow policy found is not recorded");
            }
        }
    }

    async fn write_report(&self, zone: &ZoneId, report: &Report) -> Result<bool> {
        let mut change = self.store.begin().await?;
        let current = change
            .add_shadow_report(zone, report, Moment::now())
            .await?;
        change.commit().await?;
        Ok(current)
    }
}

fn no_shadow() -> Error {
    Error::new(
        Code::SHADOW_NOT_FOUND,
        "the zone has no shadow policy, or none of this set",
    )
}
