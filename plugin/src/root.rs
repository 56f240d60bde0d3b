//! One worker of the gateway: reads the configuration, polls the STS while it holds the lease, and
//! takes over what the polling worker left in shared data.

use std::{cell::RefCell, rc::Rc};

use authority::{
    bundle::{self, Bundle, SIGNATURE_HEADER},
    decision::shadow::{MAX_REPORT_ROWS, Tally},
    jwks::KeySet,
    snapshot::Snapshot,
};
use proxy_wasm::{
    hostcalls,
    traits::{Context, HttpContext, RootContext},
    types::{BufferType, ContextType, MapType},
};

use crate::{
    config::{Config, Source, Sts},
    environment,
    filter::Filter,
    host::{self, SharedCell},
    metrics::Metrics,
    report::Reporting,
    sync::{Backoff, KEY_REFETCH_INTERVAL, Lease, Millis, TICK, is_stale, millis},
};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(proxy_wasm::types::LogLevel::Info);
    authority::policy::set_clock(host::clock);
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

/// What a worker's requests need, shared between its contexts, which the host runs one at a time.
pub(crate) struct Worker {
    pub(crate) config: Config,
    pub(crate) metrics: Metrics,
    pub(crate) snapshot: Option<Snapshot>,
    /// What the shadow policy said since the last report.
    pub(crate) shadow: Tally,
    last_contact: Millis,
    key_wish: Option<SharedCell>,
}

impl Worker {
    /// Whether what is known is too old to decide on.
    pub(crate) fn is_stale(&self, now: Millis) -> bool {
        match &self.config.source {
            Source::Sts(sts) => is_stale(self.last_contact, sts.max_staleness, now),
            Source::Inline(_) => false,
        }
    }

    /// Asks whichever worker polls to fetch the keys again. What comes of it is rate-limited there.
    pub(crate) fn wish_for_keys(&self, now: Millis) {
        if let Some(cell) = &self.key_wish {
            cell.write_number(now);
        }
    }
}

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
}

struct Polling {
    cells: Cells,
    worker: u64,
    seen_stamp: Option<u64>,
    sequence: u64,
    bundle_call: Option<u32>,
    keys_call: Option<u32>,
    backoff: Backoff,
    keys_backoff: Backoff,
    keys_fetched: Millis,
    /// The keys that the next bundle is verified by.
    keys: KeySet,
    keys_wanted: bool,
}

#[derive(Default)]
struct Root {
    worker: Option<Rc<RefCell<Worker>>>,
    polling: Option<Polling>,
    reporting: Reporting,
}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        let json = hostcalls::get_buffer(BufferType::PluginConfiguration, 0, size)
            .ok()
            .flatten()
            .unwrap_or_default();
        let mut config = match Config::parse(&json, environment::variable) {
            Ok(config) => config,
            Err(error) => {
                log::error!("caracal: the configuration is refused: {error}");
                return false;
            }
        };
        let snapshot = match &mut config.source {
            Source::Inline(snapshot) => snapshot.take().map(|snapshot| *snapshot),
            Source::Sts(_) => None,
        };
        let cell = |name: &str| SharedCell::new(&config.zone, name);
        if matches!(config.source, Source::Sts(_)) {
            let Some(worker) = cell("workers").next_number() else {
                log::error!("caracal: the host's shared data does not work");
                return false;
            };
            self.polling = Some(Polling {
                cells: Cells {
                    lease: cell("lease"),
                    contact: cell("contact"),
                    stamp: cell("stamp"),
                    bundle: cell("bundle"),
                    keys: cell("keys"),
                    key_wish: cell("key-wish"),
                    etag: cell("etag"),
                },
                worker,
                seen_stamp: None,
                sequence: 0,
                bundle_call: None,
                keys_call: None,
                backoff: Backoff::default(),
                keys_backoff: Backoff::default(),
                keys_fetched: 0,
                keys: KeySet::default(),
                keys_wanted: true,
            });
        }
        let key_wish = self.polling.is_some().then(|| cell("key-wish"));
        self.worker = Some(Rc::new(RefCell::new(Worker {
            config,
            metrics: Metrics::default(),
            snapshot,
            shadow: Tally::listing(MAX_REPORT_ROWS),
            last_contact: 0,
            key_wish,
        })));
        // A worker that comes back after a fault knows at once what the others know. It does not poll
        // yet: the host tries a configuration in a VM that it then throws away, and the lease with it.
        if let (Some(worker), Some(polling)) = (&self.worker, &mut self.polling)
            && let Ok(mut worker) = worker.try_borrow_mut()
        {
            polling.follow(&mut worker, host::to_millis(host::now_nanos()));
        }
        self.polling.is_none() || hostcalls::set_tick_period(TICK).is_ok()
    }

    fn on_tick(&mut self) {
        if let (Some(worker), Some(polling)) = (&self.worker, &mut self.polling)
            && let Ok(mut worker) = worker.try_borrow_mut()
        {
            let now = host::to_millis(host::now_nanos());
            polling.follow(&mut worker, now);
            polling.poll(&mut worker, now);
            let Worker { config, shadow, .. } = &mut *worker;
            if let Source::Sts(sts) = &config.source {
                self.reporting.send(sts, &config.zone, shadow, now);
            }
        }
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Filter::new(
            Rc::clone(self.worker.as_ref()?),
            context_id,
        )))
    }
}

impl Context for Root {
    fn on_http_call_response(
        &mut self,
        token: u32,
        _headers: usize,
        body_size: usize,
        _trailers: usize,
    ) {
        if let (Some(worker), Some(polling)) = (&self.worker, &mut self.polling)
            && let Ok(mut worker) = worker.try_borrow_mut()
        {
            let answer = Answer::read(body_size);
            let now = host::to_millis(host::now_nanos());
            if polling.bundle_call == Some(token) {
                polling.bundle_call = None;
                polling.bundle_answered(&mut worker, &answer, now);
            } else if polling.keys_call == Some(token) {
                polling.keys_call = None;
                polling.keys_answered(&mut worker, &answer, now);
            } else {
                self.reporting
                    .answered(token, answer.status, &mut worker.shadow, now);
            }
        }
    }
}

/// An answer of the STS; status 0 if there was none.
struct Answer {
    status: u16,
    etag: String,
    signature: String,
    body: Vec<u8>,
}

impl Answer {
    fn read(body_size: usize) -> Self {
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
    /// Takes over what the polling worker has accepted since the last look.
    fn follow(&mut self, worker: &mut Worker, now: Millis) {
        if let Some(contact) = self.cells.contact.number() {
            worker.last_contact = contact;
        }
        worker.metrics.set(
            "caracal_state_age_ms",
            now.saturating_sub(worker.last_contact),
        );
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
        if !self.keys.is_empty() && self.bundle_call.is_none() && self.backoff.is_due(now) {
            self.bundle_call = self.fetch_bundle(sts, &worker.config.zone);
            if self.bundle_call.is_none() {
                self.backoff.failed(now);
                self.refuse(worker, "bundle", &"the STS cluster cannot be called");
            }
        }
    }

    fn fetch_bundle(&self, sts: &Sts, zone: &str) -> Option<u32> {
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
        let path = format!(
            "/v1/zones/{zone}/gateway/bundle?wait={}",
            sts.long_poll.as_secs()
        );
        host::get(
            &sts.cluster,
            &sts.authority,
            &path,
            &headers,
            sts.long_poll + TICK * 200,
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
        self.backoff.failed(now);
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
        self.backoff.succeeded();
        self.cells.contact.write_number(now);
        worker.last_contact = now;
    }

    fn announce(&mut self) {
        self.seen_stamp = self.cells.stamp.next_number();
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
        match Snapshot::from_bundle(bundle, worker.config.bindings.clone()) {
            Ok(mut snapshot) => {
                if let Some(error) = snapshot.shadow_error() {
                    self.refuse(worker, "shadow", error);
                }
                self.keys = snapshot.keys().clone();
                snapshot.keep_mandates(worker.config.mandate_cache, worker.snapshot.take());
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
        worker
            .metrics
            .count(&format!("caracal_sync_failures.artifact.{what}"));
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
