//! Keeping a worker in step with the STS on keys and policy: polling while it holds the lease, and
//! taking over what the polling worker left in shared data. Revocation has a poll of its own, next door.

use std::time::Duration;

use authority::{
    bundle::{self, Bundle, SIGNATURE_HEADER},
    jwks::KeySet,
    snapshot::Snapshot,
};
use proxy_wasm::{
    hostcalls,
    types::{BufferType, MapType},
};

use crate::{
    config::{Source, Sts},
    host::{self, SharedCell},
    revocation::RevocationPolling,
    sync::{Backoff, CALL_SLACK, KEY_REFETCH_INTERVAL, Lease, LongPoll, Millis, TICK, millis},
    worker::Worker,
};

/// The cells of shared data through which the workers of a gateway keep in step.
struct Cells {
    lease: SharedCell,
    /// When the STS was last heard of.
    contact: SharedCell,
    /// Counts what has been accepted, so that followers need not read it to know that it is new.
    stamp: SharedCell,
    bundle: SharedCell,
    keys: SharedCell,
    key_wish: SharedCell,
    /// The `ETag` of the bundle.
    etag: SharedCell,
    /// How many workers there have been.
    workers: SharedCell,
}

pub(crate) struct Polling {
    cells: Cells,
    worker: u64,
    seen_stamp: Option<u64>,
    sequence: u64,
    bundles: LongPoll,
    keys_call: Option<u32>,
    keys_backoff: Backoff,
    keys_fetched: Millis,
    /// The keys that the next bundle is verified by.
    keys: KeySet,
    keys_wanted: bool,
    revocations: RevocationPolling,
    bells: Bells,
}

/// The queues by which workers are woken: one each, since a queue wakes only one.
struct Bells {
    zone: String,
    vm_id: String,
    tokens: std::collections::BTreeMap<u64, u32>,
}

/// How many of the latest workers are woken. One that broke is followed by one with another number.
const MAX_BELLS: u64 = 1_024;

impl Bells {
    fn new(zone: &str) -> Self {
        let vm_id = host::property("plugin_vm_id")
            .and_then(|id| String::from_utf8(id).ok())
            .unwrap_or_default();
        Self {
            zone: zone.to_owned(),
            vm_id,
            tokens: std::collections::BTreeMap::new(),
        }
    }

    fn name(&self, worker: u64) -> String {
        format!("caracal/{}/bell-{worker}", self.zone)
    }

    /// Wakes the workers up to number `last`, but not `except`.
    fn ring(&mut self, last: u64, except: u64) {
        for worker in last.saturating_sub(MAX_BELLS) + 1..=last {
            if worker == except {
                continue;
            }
            let token = match self.tokens.get(&worker) {
                Some(token) => Some(*token),
                None => {
                    let found = hostcalls::resolve_shared_queue(&self.vm_id, &self.name(worker));
                    let found = found.ok().flatten();
                    self.tokens.extend(found.map(|token| (worker, token)));
                    found
                }
            };
            if let Some(token) = token {
                let _ = hostcalls::enqueue_shared_queue(token, Some(b"!"));
            }
        }
    }
}

/// An answer of the STS; status 0 if there was none.
pub(crate) struct Answer {
    pub(crate) status: u16,
    etag: String,
    pub(crate) signature: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn read(headers: usize, body_size: usize) -> Self {
        // An answer that broke off has no headers, and asking for one would be a fault to the host.
        if headers == 0 {
            return Self {
                status: 0,
                etag: String::new(),
                signature: String::new(),
                body: Vec::new(),
            };
        }
        let header = |name: &str| {
            hostcalls::get_map_value_bytes(MapType::HttpCallResponseHeaders, name)
                .ok()
                .flatten()
                .and_then(|value| String::from_utf8(value).ok())
                .unwrap_or_default()
        };
        let size = body_size.min(bundle::MAX_BUNDLE_BYTES + 1);
        Self {
            status: header(":status").parse().unwrap_or(0),
            etag: header("etag"),
            signature: header(SIGNATURE_HEADER),
            body: hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, size)
                .ok()
                .flatten()
                .unwrap_or_default(),
        }
    }
}

impl Polling {
    /// The polling of a worker of `zone`; `None` if the host's shared data does not work.
    pub(crate) fn new(zone: &str) -> Option<Self> {
        let cell = |name: &str| SharedCell::new(zone, name);
        let workers = cell("workers");
        let worker = workers.next_number()?;
        Some(Self {
            cells: Cells {
                lease: cell("lease"),
                contact: cell("contact"),
                stamp: cell("stamp"),
                bundle: cell("bundle"),
                keys: cell("keys"),
                key_wish: cell("key-wish"),
                etag: cell("etag"),
                workers,
            },
            worker,
            seen_stamp: None,
            sequence: 0,
            bundles: LongPoll::default(),
            keys_call: None,
            keys_backoff: Backoff::default(),
            keys_fetched: 0,
            keys: KeySet::default(),
            keys_wanted: true,
            revocations: RevocationPolling::new(zone),
            bells: Bells::new(zone),
        })
    }

    /// The queue by which this worker is woken.
    pub(crate) fn register_bell(&self) -> Option<u32> {
        hostcalls::register_shared_queue(&self.bells.name(self.worker)).ok()
    }

    /// A tick has passed: follows, and polls while this worker holds the lease.
    pub(crate) fn tick(&mut self, worker: &mut Worker, now: Millis) {
        for contact in &mut worker.contacts {
            contact.tick();
        }
        self.follow(worker, now);
        self.poll(worker, now);
        worker.end_streams(now);
    }

    /// Takes over what the polling worker has accepted since the last look.
    pub(crate) fn follow(&mut self, worker: &mut Worker, now: Millis) {
        if let (Some(contact), [bundle, _]) = (self.cells.contact.number(), &mut worker.contacts) {
            bundle.heard(contact);
        }
        self.follow_bundle(worker);
        if self.revocations.follow(worker, now) {
            worker.look_at_streams(now);
        }
        let age = u64::try_from(worker.age(now).as_millis()).unwrap_or(u64::MAX);
        worker.metrics.set("caracal_state_age_ms", age);
    }

    fn follow_bundle(&mut self, worker: &mut Worker) {
        let stamp = self.cells.stamp.number();
        if stamp.is_none() || stamp == self.seen_stamp {
            return;
        }
        self.seen_stamp = stamp;
        if let Some(body) = self.cells.bundle.read().0 {
            // Verified by the worker that put it there.
            match serde_json::from_slice::<Bundle>(&body) {
                Ok(bundle) if bundle.sequence >= self.sequence => self.apply(worker, bundle),
                Ok(_) => {}
                Err(error) => self.refuse(worker, "bundle", &error),
            }
        }
        if let Some(keys) = self.cells.keys.read().0
            && let Ok(keys) = KeySet::parse(&keys)
            && self.keys != keys
        {
            self.use_keys(worker, keys);
        }
    }

    /// Polls the STS while this worker holds the lease.
    fn poll(&mut self, worker: &mut Worker, now: Millis) {
        let (current, token) = self.cells.lease.read();
        let current = current.as_deref().and_then(Lease::decode);
        let mine = match Lease::claim(current, self.worker, now) {
            Some(wanted) => self.cells.lease.replace(&wanted.encode(), token),
            None => current.is_some_and(|lease| lease.is_held_by(self.worker, now)),
        };
        let Source::Sts(sts) = &worker.config.source else {
            return;
        };
        self.revocations.mine = mine;
        if !mine {
            return;
        }
        let wished = self
            .cells
            .key_wish
            .number()
            .is_some_and(|wish| wish > self.keys_fetched)
            && now.saturating_sub(self.keys_fetched) >= millis(KEY_REFETCH_INTERVAL);
        if (self.keys_wanted || wished) && self.keys_call.is_none() && self.keys_backoff.is_due(now)
        {
            self.keys_fetched = now;
            self.keys_call = fetch_keys(sts, &worker.config.zone);
            if self.keys_call.is_none() {
                self.keys_backoff.failed(now);
            }
        }
        if self.keys.is_empty() {
            return;
        }
        let [bundle, _] = &worker.contacts;
        let age = (self.sequence > 0).then(|| bundle.age(now));
        if let Some(wait) = self.bundles.due(sts.long_poll, age, now) {
            let call = self.fetch_bundle(sts, &worker.config.zone, wait);
            if !self.bundles.sent(call, wait, now) {
                self.refuse(worker, "bundle", &"the STS cluster cannot be called");
            }
        }
        self.revocations.poll(worker, now);
    }

    /// Takes the answer to the call `token`, if it is one of these. Whether it was.
    pub(crate) fn answered(
        &mut self,
        worker: &mut Worker,
        token: u32,
        answer: &Answer,
        now: Millis,
    ) -> bool {
        if self.bundles.ended(token) {
            self.bundle_answered(worker, answer, now);
        } else if self.keys_call == Some(token) {
            self.keys_call = None;
            self.keys_answered(worker, answer, now);
            // What waits for keys need not wait for a tick as well.
            self.poll(worker, now);
        } else {
            return match self
                .revocations
                .answered(worker, token, answer, &self.keys, now)
            {
                None => false,
                Some(outcome) => {
                    if outcome.news {
                        self.ring_all();
                        worker.look_at_streams(now);
                    }
                    // A key that is not known yet comes with the next fetch of the keys.
                    self.keys_wanted |= outcome.unknown_key;
                    true
                }
            };
        }
        true
    }

    /// Wakes every worker, so that none learns of news only at its next tick.
    fn ring_all(&mut self) {
        let workers = self.cells.workers.number().unwrap_or_default();
        self.bells.ring(workers, self.worker);
    }

    fn fetch_bundle(&self, sts: &Sts, zone: &str, wait: Duration) -> Option<u32> {
        let bearer = format!("Bearer {}", sts.token);
        let etag = self
            .cells
            .etag
            .read()
            .0
            .and_then(|etag| String::from_utf8(etag).ok());
        let mut headers = vec![("authorization", bearer.as_str())];
        // Without a snapshot of our own there is nothing that the answer could be newer than.
        if let Some(etag) = etag.as_deref().filter(|_| self.sequence > 0) {
            headers.push(("if-none-match", etag));
        }
        let path = format!("/v1/zones/{zone}/gateway/bundle?wait={}", wait.as_secs());
        host::get(
            &sts.cluster,
            &sts.authority,
            &path,
            &headers,
            wait + CALL_SLACK,
        )
    }

    fn bundle_answered(&mut self, worker: &mut Worker, answer: &Answer, now: Millis) {
        let problem: Box<dyn std::fmt::Display> = match answer.status {
            304 => {
                self.heard(worker, now);
                return;
            }
            200 => match self.open(worker, answer) {
                Ok(bundle) => {
                    self.cells.bundle.write(&answer.body);
                    // The cell of the keys always holds the newest, wherever they came from: followers
                    // read it last.
                    if let Ok(keys) = serde_json::to_vec(&bundle.keys) {
                        self.cells.keys.write(&keys);
                    }
                    self.cells.etag.write(answer.etag.as_bytes());
                    self.announce();
                    self.apply(worker, bundle);
                    self.heard(worker, now);
                    return;
                }
                Err(error) => {
                    // A key that is not known yet comes with the next fetch of the keys.
                    self.keys_wanted = true;
                    Box::new(error)
                }
            },
            0 => Box::new("the STS does not answer"),
            status => Box::new(format!("the STS answered {status}")),
        };
        self.bundles.failed(now);
        self.refuse(worker, "bundle", &problem);
    }

    fn open(&self, worker: &Worker, answer: &Answer) -> Result<Bundle, bundle::BundleError> {
        let config = &worker.config;
        bundle::open(
            &answer.body,
            &answer.signature,
            &self.keys,
            &config.zone,
            &config.issuer,
            self.sequence,
        )
    }

    fn keys_answered(&mut self, worker: &mut Worker, answer: &Answer, now: Millis) {
        let problem: Box<dyn std::fmt::Display> = match answer.status {
            200 => match KeySet::parse(&answer.body) {
                Ok(keys) => {
                    self.keys_wanted = false;
                    self.keys_backoff.succeeded();
                    self.cells.keys.write(&answer.body);
                    self.announce();
                    self.use_keys(worker, keys);
                    return;
                }
                Err(error) => Box::new(error),
            },
            0 => Box::new("the STS does not answer"),
            status => Box::new(format!("the STS answered {status}")),
        };
        self.keys_backoff.failed(now);
        self.refuse(worker, "keys", &problem);
    }

    fn heard(&mut self, worker: &mut Worker, now: Millis) {
        self.bundles.succeeded();
        self.cells.contact.write_number(now);
        let [bundle, _] = &mut worker.contacts;
        bundle.heard(now);
    }

    fn announce(&mut self) {
        self.seen_stamp = self.cells.stamp.next_number();
        self.ring_all();
    }

    fn use_keys(&mut self, worker: &mut Worker, keys: KeySet) {
        self.keys = keys.clone();
        if let Some(snapshot) = &mut worker.snapshot
            && *snapshot.keys() != keys
        {
            snapshot.replace_keys(keys);
        }
    }

    /// Decides by `bundle` from now on, or keeps the last good one and says why.
    fn apply(&mut self, worker: &mut Worker, bundle: Bundle) {
        let sequence = bundle.sequence;
        let bindings = worker.config.bindings.clone();
        match Snapshot::from_bundle(bundle, bindings, worker.snapshot.as_ref()) {
            Ok(mut snapshot) => {
                if let Some(error) = snapshot.shadow_error() {
                    self.refuse(worker, "shadow", error);
                }
                self.keys = snapshot.keys().clone();
                snapshot.keep_mandates(
                    worker.config.mandate_cache,
                    worker.tag_key,
                    worker.snapshot.take(),
                );
                worker.snapshot = Some(snapshot);
                self.sequence = sequence;
                worker.metrics.set("caracal_bundle_sequence", sequence);
                worker.metrics.count("caracal_bundles_applied");
                log::info!(
                    "caracal: worker {} decides by bundle {sequence}",
                    self.worker
                );
            }
            Err(error) => self.refuse(worker, "bundle", &error),
        }
    }

    fn refuse(&self, worker: &mut Worker, what: &str, problem: &dyn std::fmt::Display) {
        worker.metrics.count(match what {
            "keys" => "caracal_sync_failures.artifact.keys",
            "shadow" => "caracal_sync_failures.artifact.shadow",
            _ => "caracal_sync_failures.artifact.bundle",
        });
        log::warn!(
            "caracal: worker {}: {what} not taken over: {problem}",
            self.worker
        );
    }
}

fn fetch_keys(sts: &Sts, zone: &str) -> Option<u32> {
    let path = format!("/.well-known/jwks.json?zone_id={zone}");
    host::get(&sts.cluster, &sts.authority, &path, &[], TICK * 100)
}
