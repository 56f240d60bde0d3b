//! Keeping a worker in step with the STS on revocation: the holder of the lease polls, and leaves for the
//! others the whole filter and what changed since. Each takes over both; none of it is verified twice.

use std::time::Duration;

use authority::{
    jwks::KeySet,
    revocation::{ApplyError, Filter, Publication, PublicationError, open},
    signature::SignatureError,
};

use crate::{
    config::{Source, Sts},
    host::{self, SharedCell},
    polling::Answer,
    sync::{CALL_SLACK, LongPoll, Millis, millis},
    worker::Worker,
};

/// How often the whole filter is taken anew, so that what has expired goes.
const RENEWAL: Duration = Duration::from_secs(900);
/// Least time between two whole filters.
const LEAST_RENEWAL: Duration = Duration::from_secs(30);

struct Cells {
    /// When the STS was last heard of.
    contact: SharedCell,
    /// The newest whole filter.
    whole: SharedCell,
    /// Counts whole filters.
    wholes: SharedCell,
    /// What changed since.
    changes: SharedCell,
    /// The epoch that both lead to.
    epoch: SharedCell,
    /// Counts both.
    stamp: SharedCell,
}

/// What came of an answer.
pub(crate) struct Outcome {
    /// Whether something is known now that was not.
    pub(crate) news: bool,
    /// Whether it was signed by a key that is not known.
    pub(crate) unknown_key: bool,
}

/// A worker's view of the revocations.
pub(crate) struct RevocationPolling {
    cells: Cells,
    /// Whether this worker holds the lease.
    pub(crate) mine: bool,
    seen_stamp: Option<u64>,
    seen_whole: Option<u64>,
    /// What could not be taken over was said once.
    failed_stamp: Option<u64>,
    calls: LongPoll,
    whole_wanted: bool,
    whole_at: Millis,
}

impl RevocationPolling {
    pub(crate) fn new(zone: &str) -> Self {
        let cell = |name: &str| SharedCell::new(zone, &format!("revocations/{name}"));
        Self {
            cells: Cells {
                contact: cell("contact"),
                whole: cell("whole"),
                wholes: cell("wholes"),
                changes: cell("changes"),
                epoch: cell("epoch"),
                stamp: cell("stamp"),
            },
            mine: false,
            seen_stamp: None,
            seen_whole: None,
            failed_stamp: None,
            calls: LongPoll::default(),
            whole_wanted: false,
            whole_at: 0,
        }
    }

    /// Takes over what the polling worker has accepted since the last look. Whether that was news. Where it
    /// cannot be taken over, what this worker knows grows old, however fresh the others are.
    pub(crate) fn follow(&mut self, worker: &mut Worker, now: Millis) -> bool {
        // Read before what it vouches for, which is written first.
        let contact = self.cells.contact.number();
        let news = match self.take_over(worker) {
            Ok(news) => news,
            Err(error) => {
                // The two cells may be of different moments; at the next look they agree.
                let passing = matches!(error, Refused::Apply(ApplyError::Gap { .. }));
                if !passing && self.failed_stamp != self.cells.stamp.number() {
                    self.failed_stamp = self.cells.stamp.number();
                    refuse(worker, &error);
                }
                return false;
            }
        };
        if news {
            self.tell(worker, now);
        }
        let [_, revocations] = &mut worker.contacts;
        if let Some(contact) = contact {
            revocations.heard(contact);
        }
        let age = u64::try_from(revocations.age(now).as_millis()).unwrap_or(u64::MAX);
        worker.metrics.set("caracal_revocation_age_ms", age);
        news
    }

    fn take_over(&mut self, worker: &mut Worker) -> Result<bool, Refused> {
        let stamp = self.cells.stamp.number();
        if stamp.is_none() || stamp == self.seen_stamp {
            return Ok(false);
        }
        let mut news = false;
        let wholes = self.cells.wholes.number();
        if worker.revoked.is_none() || wholes != self.seen_whole {
            // Verified by the worker that put it there.
            if let Some(publication) = decode(&self.cells.whole)? {
                news |= accept(&mut worker.revoked, publication)?;
            }
            self.seen_whole = wholes;
        }
        if let Some(publication) = decode(&self.cells.changes)? {
            news |= accept(&mut worker.revoked, publication)?;
        }
        self.seen_stamp = stamp;
        Ok(news)
    }

    /// Polls, for a worker that holds the lease.
    pub(crate) fn poll(&mut self, worker: &mut Worker, now: Millis) {
        let Source::Sts(sts) = &worker.config.source else {
            return;
        };
        // The zone's id comes with the first bundle.
        if worker.snapshot.is_none() {
            return;
        }
        let [_, contact] = &worker.contacts;
        let age = worker.revoked.is_some().then(|| contact.age(now));
        if let Some(wait) = self.calls.due(sts.long_poll, age, now) {
            let call = self.fetch(worker, sts, now, wait);
            if !self.calls.sent(call, wait, now) {
                refuse(worker, &"the STS cluster cannot be called");
            }
        }
    }

    fn fetch(&self, worker: &Worker, sts: &Sts, now: Millis, wait: Duration) -> Option<u32> {
        let since = now.saturating_sub(self.whole_at);
        let known = worker.revoked.as_ref().filter(|filter| {
            let due = filter.is_worn() && since >= millis(LEAST_RENEWAL)
                || filter.load() > 0 && since >= millis(RENEWAL);
            !self.whole_wanted && !due
        });
        let after = known
            .map(|filter| format!("&after={}", filter.epoch()))
            .unwrap_or_default();
        let path = format!(
            "/v1/zones/{}/gateway/revocations?wait={}{after}",
            worker.config.zone,
            wait.as_secs()
        );
        let bearer = format!("Bearer {}", sts.token);
        let headers = [("authorization", bearer.as_str())];
        host::get(
            &sts.cluster,
            &sts.authority,
            &path,
            &headers,
            wait + CALL_SLACK,
        )
    }

    /// Takes the answer to the call `token`, if it is one of these.
    pub(crate) fn answered(
        &mut self,
        worker: &mut Worker,
        token: u32,
        answer: &Answer,
        keys: &KeySet,
        now: Millis,
    ) -> Option<Outcome> {
        if !self.calls.ended(token) {
            return None;
        }
        let mut outcome = Outcome {
            news: false,
            unknown_key: false,
        };
        let problem: Box<dyn std::fmt::Display> = match answer.status {
            304 => {
                self.heard(worker, now);
                return Some(outcome);
            }
            200 => match self.open(worker, answer, keys) {
                Ok(news) => {
                    outcome.news = news;
                    self.heard(worker, now);
                    // At once: until the next poll waits there, news would wait for it.
                    if self.mine {
                        self.poll(worker, now);
                    }
                    return Some(outcome);
                }
                Err(error) => {
                    outcome.unknown_key = matches!(
                        error,
                        Refused::Publication(PublicationError::Signature(
                            SignatureError::UnknownKey(_)
                        ))
                    );
                    self.whole_wanted |= matches!(error, Refused::Apply(ApplyError::Gap { .. }));
                    Box::new(error)
                }
            },
            0 => Box::new("the STS does not answer"),
            409 => Box::new("the STS knows less than this gateway: its database was restored"),
            status => Box::new(format!("the STS answered {status}")),
        };
        self.calls.failed(now);
        refuse(worker, &problem);
        Some(outcome)
    }

    /// Verifies what came, takes it over, and leaves it for the other workers.
    fn open(
        &mut self,
        worker: &mut Worker,
        answer: &Answer,
        keys: &KeySet,
    ) -> Result<bool, Refused> {
        let zone = worker.snapshot.as_ref().map(|snapshot| snapshot.zone());
        let zone = zone.ok_or(Refused::NoZone)?;
        let publication = open(&answer.body, &answer.signature, keys, zone)?;
        let is_whole = matches!(
            publication.content,
            authority::revocation::Content::Whole { .. }
        );
        let now = host::to_millis(host::now_nanos());
        let news = accept(&mut worker.revoked, publication)?;
        let Some(filter) = &worker.revoked else {
            return Ok(false);
        };
        let epoch = filter.epoch();
        let is_behind = |cells: &Cells| cells.epoch.number().is_some_and(|known| known > epoch);
        if is_whole {
            self.whole_wanted = false;
            self.whole_at = now;
        }
        // Where the lease has just changed hands, two may have asked: the one that knows less must not
        // write over what the other one left.
        if !is_behind(&self.cells) {
            if is_whole {
                self.cells.whole.write(&answer.body);
            }
            let changes = filter.since_whole();
            let changes = changes.map(|changes| changes.encode()).unwrap_or_default();
            self.cells.changes.write(&changes);
            self.cells.epoch.write_number(epoch);
            if is_whole {
                self.seen_whole = self.cells.wholes.next_number();
            }
            self.seen_stamp = self.cells.stamp.next_number();
        }
        // Should it have happened all the same, the whole filter puts it right.
        self.whole_wanted |= is_behind(&self.cells);
        self.tell(worker, now);
        Ok(news || is_whole)
    }

    fn heard(&mut self, worker: &mut Worker, now: Millis) {
        self.calls.succeeded();
        self.cells.contact.write_number(now);
        let [_, revocations] = &mut worker.contacts;
        revocations.heard(now);
    }

    /// Says what is known by now.
    fn tell(&self, worker: &mut Worker, now: Millis) {
        let Some(filter) = &worker.revoked else {
            return;
        };
        let metrics = &mut worker.metrics;
        metrics.set("caracal_revocation_epoch", filter.epoch());
        metrics.set("caracal_revocation_load", filter.load());
        let bytes = u64::try_from(filter.size_bytes()).unwrap_or(u64::MAX);
        metrics.set("caracal_revocation_bytes", bytes);
        // What is older was not waited for here.
        let took = now.saturating_sub(filter.changed_at());
        if took < 60_000 {
            metrics.record("caracal_revocation_propagation_ms", took);
        }
    }
}

/// Why a publication is not taken over.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Publication(#[from] PublicationError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("the zone is not known yet")]
    NoZone,
}

fn decode(cell: &SharedCell) -> Result<Option<Publication>, PublicationError> {
    match cell.read().0.filter(|bytes| !bytes.is_empty()) {
        Some(bytes) => Publication::decode(&bytes).map(Some),
        None => Ok(None),
    }
}

fn accept(filter: &mut Option<Filter>, publication: Publication) -> Result<bool, ApplyError> {
    match filter {
        Some(filter) => filter.apply(publication),
        None => {
            *filter = Some(Filter::new(publication)?);
            Ok(true)
        }
    }
}

fn refuse(worker: &mut Worker, problem: &dyn std::fmt::Display) {
    worker
        .metrics
        .count("caracal_sync_failures.artifact.revocations");
    log::warn!("caracal: revocations not taken over: {problem}");
}
