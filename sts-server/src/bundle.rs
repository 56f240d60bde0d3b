//! The bundle as it is published: made from the store, signed, and waited for.

use std::time::Duration;

use authority::{
    bundle::{Bundle, BundlePolicy, FORMAT, MAX_BUNDLE_BYTES, content_sha256, sign},
    ids::ZoneId,
};

use crate::{
    clock::Moment,
    error::{Error, Result},
    keys,
    store::{BundleRows, PolicySetVersion},
    sts::Sts,
    zones,
};

/// Longest wait for something newer.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(25);

/// A bundle, ready to be sent.
pub(crate) struct Publication {
    pub(crate) body: Vec<u8>,
    pub(crate) etag: String,
    pub(crate) signature: String,
}

impl Sts {
    /// The bundle of `zone`, if it is another than the one that the gateway knows. Waits for that up
    /// to `wait`, and no longer than the server runs.
    pub(crate) async fn newer_bundle(
        &self,
        zone: &ZoneId,
        known: impl Fn(&str) -> bool,
        wait: Duration,
    ) -> Result<Option<Publication>> {
        let mut news = self.news.subscribe(zone);
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            news.mark_unchanged();
            let publication = self.bundle(zone).await?;
            if !known(&publication.etag) {
                return Ok(Some(publication));
            }
            tokio::select! {
                biased;
                () = self.closed() => return Ok(None),
                () = tokio::time::sleep_until(deadline) => return Ok(None),
                // The sender lives as long as there is a receiver.
                _ = news.changed() => {}
            }
        }
    }

    async fn bundle(&self, zone: &ZoneId) -> Result<Publication> {
        let now = Moment::now();
        let rows = self
            .store
            .bundle_rows(zone)
            .await?
            .ok_or_else(|| zones::not_found(zone.as_str()))?;
        let (kid, key) = self.publisher(zone, &rows.keys)?;
        let mut bundle = self.contents(&rows, now)?;
        let mut body = serde_json::to_vec(&bundle).map_err(Error::internal)?;
        if body.len() > MAX_BUNDLE_BYTES && bundle.shadow.take().is_some() {
            // No gateway would take it, and a shadow is no reason to be without news.
            tracing::warn!(zone = %zone, "the shadow policy makes the bundle too large and is left out");
            body = serde_json::to_vec(&bundle).map_err(Error::internal)?;
        }
        let digest = content_sha256(&body);
        let etag = format!(
            "\"{}-{}\"",
            rows.zone.sequence,
            digest.get(..16).unwrap_or(&digest)
        );
        Ok(Publication {
            signature: sign(&body, &kid, &key),
            body,
            etag,
        })
    }

    fn contents(&self, rows: &BundleRows, now: Moment) -> Result<Bundle> {
        Ok(Bundle {
            format: FORMAT.to_owned(),
            zone_id: rows.zone.id.clone(),
            zone_slug: rows.zone.slug.clone(),
            issuer: self.issuer.clone(),
            sequence: rows.zone.sequence,
            keys: keys::jwks(&rows.keys, now),
            resources: rows.resources.iter().map(|row| row.spec()).collect(),
            policy: rows.policy.as_ref().map(bundled),
            shadow: rows.shadow.as_ref().map(bundled),
        })
    }
}

fn bundled(version: &PolicySetVersion) -> BundlePolicy {
    BundlePolicy::new(
        version.policy_set_id.clone(),
        version.id.clone(),
        version.manifest_sha256.clone(),
        &version.compiled(),
    )
}
