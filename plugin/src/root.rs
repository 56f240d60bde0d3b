//! One worker of the gateway: reads the configuration, polls the STS while it holds the lease, and
//! takes over what the polling worker left in shared data.

use std::{cell::RefCell, rc::Rc, time::Duration};

use authority::{
    bundle::{self, Bundle, SIGNATURE_HEADER},
    decision::shadow::{MAX_REPORT_ROWS, Tally},
    jwks::KeySet,
    mandate::Claims,
    refusal::Reason,
    snapshot::Snapshot,
    time::Timestamp,
};
use proxy_wasm::{
    hostcalls,
    traits::{Context, HttpContext, RootContext},
    types::{BufferType, ContextType, MapType},
};

use crate::{
    config::{Config, Source, Sts},
    environment,
    exchanges::{self, Exchanges, Failure, Key},
    filter::{Filter, Waiter},
    host::{self, SharedCell},
    metrics::Metrics,
    replay::{Mark, Marked, SHARDS},
    report::Reporting,
    sync::{Backoff, KEY_REFETCH_INTERVAL, Lease, Millis, TICK, is_stale, millis},
};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(proxy_wasm::types::LogLevel::Info);
    authority::policy::set_clock(host::clock);
    proxy_wasm::set_root_context(|context_id| Box::new(Root { context_id, ..Root::default() }));
}}

/// How often a cell that other workers write to is tried.
const MAX_TRIES: usize = 32;
/// Resource mandates that are held however few mandates are.
const MIN_HELD: usize = 100;
/// How long the STS may take over an exchange.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a worker's requests need, shared between its contexts, which the host runs one at a time.
pub(crate) struct Worker {
    pub(crate) config: Config,
    pub(crate) metrics: Metrics,
    pub(crate) snapshot: Option<Snapshot>,
    /// What the shadow policy said since the last report.
    pub(crate) shadow: Tally,
    /// Resource mandates, and the requests that wait for them.
    pub(crate) exchanges: Exchanges<Waiter>,
    /// By which the requests of this worker wake its root context, which alone may call the STS: a call
    /// of a request's own would end with that request, whoever else waits for it.
    bell: Option<u32>,
    replay: Vec<SharedCell>,
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

    /// Marks a mandate for a single use as used, for all workers.
    ///
    /// # Errors
    /// [`Reason::TokenReplayed`]; [`Reason::ReplaySetFull`] also where the set cannot be written.
    pub(crate) fn use_up(&self, claims: &Claims) -> Result<(), Reason> {
        let mark = Mark::new(claims.zone_id.as_str(), &claims.jti, claims.exp);
        let now = host::to_timestamp(host::now_nanos());
        let cell = self.replay.get(mark.shard()).ok_or(Reason::ReplaySetFull)?;
        for _ in 0..MAX_TRIES {
            // Without a token the host would write whatever is there by then.
            let (shard, Some(token)) = cell.read() else {
                return Err(Reason::ReplaySetFull);
            };
            match mark.add(
                &shard.unwrap_or_default(),
                now,
                self.config.replay_set / SHARDS,
            ) {
                Marked::Used => return Err(Reason::TokenReplayed),
                Marked::Full => return Err(Reason::ReplaySetFull),
                Marked::Fresh(shard) => {
                    if cell.replace(&shard, Some(token)) {
                        return Ok(());
                    }
                }
            }
        }
        Err(Reason::ReplaySetFull)
    }

    /// Wakes the root context if there is something to be asked. Its next tick would see it anyway.
    pub(crate) fn ring(&self) {
        if let Some(bell) = self.bell.filter(|_| self.exchanges.has_questions()) {
            let _ = hostcalls::enqueue_shared_queue(bell, Some(b"!"));
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
    context_id: u32,
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
        let replay: Vec<SharedCell> = (0..SHARDS)
            .map(|shard| cell(&format!("used-{shard}")))
            .collect();
        // The first VM that is configured is alone, and its writes are the start of every cell.
        for cell in replay.iter().filter(|cell| cell.read().1.is_none()) {
            cell.write(&[0]);
        }
        let bell = self.polling.as_ref().and_then(|polling| {
            let name = format!("caracal/{}/bell-{}", config.zone, polling.worker);
            hostcalls::register_shared_queue(&name).ok()
        });
        let exchanges = Exchanges::new(config.mandate_cache.max(MIN_HELD));
        self.worker = Some(Rc::new(RefCell::new(Worker {
            config,
            metrics: Metrics::default(),
            snapshot,
            shadow: Tally::listing(MAX_REPORT_ROWS),
            exchanges,
            bell,
            replay,
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
            ask(&mut worker);
            let Worker { config, shadow, .. } = &mut *worker;
            if let Source::Sts(sts) = &config.source {
                self.reporting.send(sts, &config.zone, shadow, now);
            }
        }
    }

    fn on_queue_ready(&mut self, queue: u32) {
        while let Ok(Some(_)) = hostcalls::dequeue_shared_queue(queue) {}
        if let Some(worker) = &self.worker
            && let Ok(mut worker) = worker.try_borrow_mut()
        {
            ask(&mut worker);
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
            } else if let Some(key) = worker.exchanges.asked(token) {
                exchanged(&mut worker, &key, &answer);
                // What comes after this is the root context's again.
                let _ = hostcalls::set_effective_context(self.context_id);
                ask(&mut worker);
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

/// Sends what is to be asked to the STS.
fn ask(worker: &mut Worker) {
    let Source::Sts(sts) = &worker.config.source else {
        return;
    };
    let bearer = format!("Bearer {}", sts.token);
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let mut unsent = Vec::new();
    while let Some(question) = worker.exchanges.take() {
        let call = host::post(
            &sts.cluster,
            &sts.authority,
            "/oauth/2/token",
            &headers,
            exchanges::form(&worker.config.zone, &question).as_bytes(),
            EXCHANGE_TIMEOUT,
        );
        match call {
            Some(call) => worker.exchanges.sent(&question.key, call),
            None => unsent.push(question.key),
        }
    }
    for key in unsent {
        conclude(worker, &key, Err(Failure::Unavailable));
    }
}

/// Takes the STS's answer on a resource mandate.
fn exchanged(worker: &mut Worker, key: &Key, answer: &Answer) {
    let now = host::to_timestamp(host::now_nanos());
    let read = exchanges::read_answer(answer.status, &answer.body, now);
    if let Err(failure) = &read {
        log::info!(
            "caracal: no resource mandate ({}): {failure:?}",
            answer.status
        );
    }
    conclude(worker, key, read);
}

fn conclude(worker: &mut Worker, key: &Key, answer: Result<(String, Timestamp), Failure>) {
    worker.metrics.count(match &answer {
        Ok(_) => "caracal_exchanges.outcome.granted",
        Err(Failure::Refused(_)) => "caracal_exchanges.outcome.refused",
        Err(Failure::Unavailable) => "caracal_exchanges.outcome.unavailable",
    });
    let waiting = worker
        .exchanges
        .answered(key, answer.as_ref().ok().cloned());
    let answer = answer.map(|(token, _)| token);
    for waiter in waiting {
        waiter.resume(worker, &answer);
    }
}

fn fetch_keys(sts: &Sts, zone: &str) -> Option<u32> {
    let path = format!("/.well-known/jwks.json?zone_id={zone}");
    host::get(&sts.cluster, &sts.authority, &path, &[], TICK * 100)
}
