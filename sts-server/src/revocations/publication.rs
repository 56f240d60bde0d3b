//! What gateways are told of revocation: the whole filter, made in the background from what is revoked,
//! and what changed since. Everything told is signed, and is durable before it is told.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use authority::{
    ids::ZoneId,
    revocation::{
        Anchor, AnchorKind, Base, Changes, Content, Digest, HashKey, MAX_CHANGES, Publication, sign,
    },
};
use tokio::sync::Notify;

use crate::{
    clock::Moment,
    entropy,
    error::{Code, Error, Result},
    store::RevocationRow,
    sts::Sts,
    zones,
};

/// Rows that are read and hashed at a time, so that nothing else waits long.
const BATCH: u32 = 5_000;
/// After how many changes another base is made: half of what makes a gateway ask for it.
const WORN_AFTER: u64 = 4_096;
/// After how long another base is made, without what has expired.
const BASE_AGE: Duration = Duration::from_secs(300);
/// How often bases are looked at.
const LOOK: Duration = Duration::from_secs(30);
/// Revocations that are removed from the database at a time.
const FORGET_BATCH: u32 = 1_000;

/// A publication, ready to be sent.
pub(crate) struct Published {
    pub(crate) body: Vec<u8>,
    pub(crate) signature: String,
    pub(crate) epoch: u64,
}

/// What was revoked at some epoch.
struct Built {
    epoch: u64,
    at: Instant,
    key: HashKey,
    load: u64,
    base: Base,
    /// Cutoffs by time.
    cutoffs: Vec<(Digest, u64)>,
    /// Live ids that the base finds by mistake.
    exceptions: Vec<Digest>,
    changed_at: u64,
}

impl Built {
    fn is_due(&self, epoch: u64) -> bool {
        epoch - self.epoch.min(epoch) > WORN_AFTER || self.load > 0 && self.at.elapsed() > BASE_AGE
    }
}

/// The bases of all zones that gateways have asked about.
#[derive(Default)]
pub(crate) struct Bases {
    built: Mutex<HashMap<ZoneId, Arc<Built>>>,
    /// One build at a time, whoever waits for it.
    building: tokio::sync::Mutex<()>,
    due: Notify,
}

impl Bases {
    fn get(&self, zone: &ZoneId) -> Option<Arc<Built>> {
        let built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        built.get(zone).cloned()
    }

    fn put(&self, zone: &ZoneId, base: Built) -> Arc<Built> {
        let base = Arc::new(base);
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        built.insert(zone.clone(), Arc::clone(&base));
        base
    }

    fn zones(&self) -> Vec<ZoneId> {
        let built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        built.keys().cloned().collect()
    }
}

impl Sts {
    /// A new id, which the zone's filter does not find by mistake as any of `kinds`.
    pub(crate) fn unsuspected_id(&self, zone: &ZoneId, kinds: &[AnchorKind]) -> String {
        let built = self.bases.get(zone);
        loop {
            let id = entropy::id();
            let suspected = built.as_deref().is_some_and(|built| {
                kinds
                    .iter()
                    .any(|&kind| finds(&built.base, &built.key.digest(Anchor { kind, id: &id })))
            });
            if !suspected {
                return id;
            }
        }
    }

    /// What a gateway of `zone` that knows the epoch `after` is to be told, or one that knows nothing.
    /// Waits for news up to `wait`, and no longer than the server runs.
    pub(crate) async fn newer_revocations(
        &self,
        zone: &ZoneId,
        after: Option<u64>,
        wait: Duration,
    ) -> Result<Option<Published>> {
        let mut news = self.revocation_news.subscribe(zone);
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            news.mark_unchanged();
            let state = self
                .store
                .revocation_state(zone)
                .await?
                .ok_or_else(|| zones::not_found(zone.as_str()))?;
            match after {
                Some(after) if after > state.epoch => {
                    return Err(self.epoch_ahead(zone, after, state.epoch));
                }
                Some(after) if after == state.epoch => {}
                Some(after) if after >= state.horizon => {
                    if let Some(delta) = self.delta(zone, after).await? {
                        return Ok(Some(delta));
                    }
                    return self.whole(zone).await.map(Some);
                }
                _ => return self.whole(zone).await.map(Some),
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

    fn epoch_ahead(&self, zone: &ZoneId, known: u64, epoch: u64) -> Error {
        self.metrics.restored_database();
        tracing::error!(
            zone = %zone,
            known,
            epoch,
            "a gateway knows revocations that this database does not: it was restored from an older state"
        );
        Error::new(
            Code::EPOCH_AHEAD,
            format!(
                "the epoch {known} is ahead of this database's, {epoch}: it was restored from an older state"
            ),
        )
    }

    /// What changed after `after`; nothing if that is too much.
    async fn delta(&self, zone: &ZoneId, after: u64) -> Result<Option<Published>> {
        let most = u32::try_from(MAX_CHANGES).unwrap_or(u32::MAX);
        let mut view = self
            .store
            .revocation_view(zone)
            .await?
            .ok_or_else(|| zones::not_found(zone.as_str()))?;
        let rows = view.changes(after, most + 1).await?;
        let state = view.state;
        if rows.len() > MAX_CHANGES {
            return Ok(None);
        }
        let (changes, changed_at) = changes(&rows, state.key, Moment::now());
        let publication = Publication {
            zone_id: zone.clone(),
            key: state.key,
            epoch: state.epoch,
            changed_at,
            changes,
            content: Content::Delta { after },
        };
        self.signed(&publication).await.map(Some)
    }

    async fn whole(&self, zone: &ZoneId) -> Result<Published> {
        let mut built = match self.bases.get(zone) {
            Some(built) => built,
            None => self.build(zone, None).await?,
        };
        loop {
            let mut view = self
                .store
                .revocation_view(zone)
                .await?
                .ok_or_else(|| zones::not_found(zone.as_str()))?;
            let state = view.state;
            if built.is_due(state.epoch) {
                self.bases.due.notify_one();
            }
            let most = u32::try_from(4 * MAX_CHANGES).unwrap_or(u32::MAX);
            let rows = view.changes(built.epoch, most + 1).await?;
            drop(view);
            // Far behind, or from before a horizon that was moved: only another base will do.
            if rows.len() > 4 * MAX_CHANGES || built.epoch < state.horizon {
                built = self.build(zone, Some(built.epoch)).await?;
                continue;
            }
            let (mut changes, changed_at) = changes(&rows, state.key, Moment::now());
            // What changed since comes last, so that it counts.
            let known: std::collections::HashSet<Digest> =
                changes.cutoffs.iter().map(|(digest, _)| *digest).collect();
            let older = built
                .cutoffs
                .iter()
                .filter(|(digest, _)| !known.contains(digest));
            changes.cutoffs.extend(older);
            let revoked: std::collections::HashSet<Digest> =
                changes.added.iter().copied().collect();
            let excepted = built
                .exceptions
                .iter()
                .filter(|digest| !revoked.contains(*digest));
            changes.removed.extend(excepted);
            let publication = Publication {
                zone_id: zone.clone(),
                key: state.key,
                epoch: state.epoch,
                changed_at: changed_at.max(built.changed_at),
                changes,
                content: Content::Whole {
                    load: built.load,
                    base: built.base.clone(),
                },
            };
            return self.signed(&publication).await;
        }
    }

    async fn signed(&self, publication: &Publication) -> Result<Published> {
        let rows = self.store.keys(&publication.zone_id).await?;
        let (kid, key) = self.publisher(&publication.zone_id, &rows)?;
        let body = publication.encode();
        let epoch = publication.epoch;
        // Hashing a large filter takes milliseconds.
        tokio::task::spawn_blocking(move || Published {
            signature: sign(&body, &kid, &key),
            body,
            epoch,
        })
        .await
        .map_err(Error::internal)
    }

    /// Another base than that of `than`, made by whoever comes first.
    async fn build(&self, zone: &ZoneId, than: Option<u64>) -> Result<Arc<Built>> {
        let _turn = self.bases.building.lock().await;
        if let Some(built) = self.bases.get(zone)
            && Some(built.epoch) != than
        {
            return Ok(built);
        }
        let built = self.read_base(zone).await?;
        Ok(self.bases.put(zone, built))
    }

    async fn read_base(&self, zone: &ZoneId) -> Result<Built> {
        let at = Instant::now();
        let now = Moment::now();
        let mut view = self
            .store
            .revocation_view(zone)
            .await?
            .ok_or_else(|| zones::not_found(zone.as_str()))?;
        let state = view.state;
        let changed_at = view.changed_at().await?.map_or(0, Moment::millis);
        let (mut digests, mut cutoffs) = (Vec::new(), Vec::new());
        for kind in AnchorKind::ALL {
            let mut last = None;
            loop {
                let mut rows = view.published(kind, last.as_ref(), now, BATCH).await?;
                for (id, until) in &rows {
                    let digest = state.key.digest(Anchor { kind, id });
                    match until {
                        Some(until) => cutoffs.push((digest, seconds(*until))),
                        None => digests.push(digest),
                    }
                }
                last = rows.pop();
                if last.is_none() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        let load = u64::try_from(digests.len()).unwrap_or(u64::MAX);
        digests.sort_unstable();
        let digests = Arc::new(digests);
        let base = {
            let digests = Arc::clone(&digests);
            tokio::task::spawn_blocking(move || Base::of(digests.to_vec()))
                .await
                .map_err(Error::internal)?
        };
        let mut exceptions = Vec::new();
        if matches!(base, Base::Bloom(_)) {
            for kind in AnchorKind::ALL {
                let mut after = String::new();
                loop {
                    let mut ids = view.live_ids(kind, &after, now, BATCH).await?;
                    let found = ids
                        .iter()
                        .map(|id| state.key.digest(Anchor { kind, id }))
                        .filter(|digest| {
                            finds(&base, digest) && digests.binary_search(digest).is_err()
                        });
                    exceptions.extend(found);
                    match ids.pop() {
                        Some(id) => after = id,
                        None => break,
                    }
                    tokio::task::yield_now().await;
                }
            }
        }
        tracing::info!(
            zone = %zone,
            epoch = state.epoch,
            anchors = load,
            bytes = base.size_bytes(),
            exceptions = exceptions.len(),
            took_ms = at.elapsed().as_millis(),
            "revocation filter built"
        );
        Ok(Built {
            epoch: state.epoch,
            at,
            key: state.key,
            load,
            base,
            cutoffs,
            exceptions,
            changed_at,
        })
    }

    /// Makes bases anew when they are due, and forgets what nothing can come of, until the server closes.
    pub(crate) async fn keep_revocations(&self) {
        loop {
            tokio::select! {
                biased;
                () = self.closed() => return,
                () = self.bases.due.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
            if let Err(error) = self.renew_bases().await {
                tracing::warn!(%error, "the revocation filters could not be renewed");
                tokio::select! {
                    biased;
                    () = self.closed() => return,
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                }
            }
        }
    }

    async fn renew_bases(&self) -> Result<()> {
        loop {
            let mut change = self.store.begin().await?;
            let forgotten = change
                .forget_revocations(Moment::now(), FORGET_BATCH)
                .await?;
            change.commit().await?;
            if forgotten < u64::from(FORGET_BATCH) {
                break;
            }
        }
        for zone in self.bases.zones() {
            let (Some(built), Some(state)) = (
                self.bases.get(&zone),
                self.store.revocation_state(&zone).await?,
            ) else {
                continue;
            };
            if built.is_due(state.epoch) {
                self.build(&zone, Some(built.epoch)).await?;
            }
        }
        Ok(())
    }
}

fn finds(base: &Base, digest: &Digest) -> bool {
    match base {
        Base::Exact(digests) => digests.binary_search(digest).is_ok(),
        Base::Bloom(bloom) => bloom.contains(digest),
    }
}

fn seconds(until: i64) -> u64 {
    u64::try_from(until).unwrap_or_default()
}

/// What rows mean to a gateway, and when the last of them changed.
fn changes(rows: &[RevocationRow], key: HashKey, now: Moment) -> (Changes, u64) {
    let (mut changes, mut changed_at) = (Changes::default(), 0);
    for row in rows {
        let Some(anchor) = row.anchor() else { continue };
        let digest = key.digest(anchor);
        let at = row.withdrawn_at.unwrap_or(row.revoked_at);
        changed_at = changed_at.max(at.millis());
        match (row.issued_until, row.withdrawn_at) {
            (Some(_), Some(_)) => changes.cutoffs.push((digest, 0)),
            (None, Some(_)) => changes.removed.push(digest),
            _ if row.published_until <= now => {}
            (Some(until), None) => changes.cutoffs.push((digest, seconds(until))),
            (None, None) => changes.added.push(digest),
        }
    }
    (changes, changed_at)
}
