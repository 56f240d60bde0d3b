//! The contexts that the host calls: one for each worker, which configures it, keeps it in step and takes
//! the answers of the STS.

use std::{cell::RefCell, rc::Rc};

use authority::{
    decision::shadow::{MAX_REPORT_ROWS, Tally},
    tags::TagKey,
};
use proxy_wasm::{
    hostcalls,
    traits::{Context, RootContext},
    types::BufferType,
};

use crate::{
    asking::{ask, checked, exchanged},
    checks,
    config::{Config, Source},
    contexts,
    delivery::{deliver, delivered},
    environment,
    evidence::Evidence,
    exchanges::Exchanges,
    host::{self, SharedCell},
    metrics::Metrics,
    polling::{Answer, Polling},
    raw,
    replay::SHARDS,
    report::Reporting,
    streams::Streams,
    sync::{FIRST_TICK, Freshness, TICK},
    worker::Worker,
};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(proxy_wasm::types::LogLevel::Info);
    authority::policy::set_clock(host::clock);
    proxy_wasm::set_root_context(|context_id| Box::new(Root { context_id, ..Root::default() }));
}}

/// Resource mandates that are held however few mandates are.
const MIN_HELD: usize = 100;

#[derive(Default)]
struct Root {
    context_id: u32,
    worker: Option<Rc<RefCell<Worker>>>,
    polling: Option<Polling>,
    reporting: Reporting,
    /// The first tick has passed.
    has_ticked: bool,
}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        let json = hostcalls::get_buffer(BufferType::PluginConfiguration, 0, size)
            .ok()
            .flatten()
            .unwrap_or_default();
        let mut config = match Config::parse(&json, environment::variable, host::settle_verifier) {
            Ok(config) => config,
            Err(error) => {
                log::error!("caracal: the configuration is refused: {error}");
                return false;
            }
        };
        let tag_key = raw::random().map(TagKey::new).unwrap_or_else(|| {
            log::error!(
                "caracal: the host gives no random bytes (random_get), so each mandate is verified with every request"
            );
            config.mandate_cache = 0;
            TagKey::NONE
        });
        let snapshot = match &mut config.source {
            Source::Inline(snapshot) => snapshot.take().map(|mut snapshot| {
                snapshot.keep_mandates(config.mandate_cache, tag_key, None);
                *snapshot
            }),
            Source::Sts(_) => None,
        };
        let cell = |name: &str| SharedCell::new(&config.zone, name);
        if matches!(config.source, Source::Sts(_)) {
            self.polling = Polling::new(&config.zone);
            if self.polling.is_none() {
                log::error!("caracal: the host's shared data does not work");
                return false;
            }
        }
        let key_wish = self.polling.is_some().then(|| cell("key-wish"));
        let replay: Vec<SharedCell> = (0..SHARDS)
            .map(|shard| cell(&format!("used-{shard}")))
            .collect();
        // The first VM that is configured is alone, and its writes are the start of every cell.
        for cell in replay.iter().filter(|cell| cell.read().1.is_none()) {
            cell.write(&[0]);
        }
        let bell = self.polling.as_ref().and_then(Polling::register_bell);
        let exchanges = Exchanges::new(config.mandate_cache.max(MIN_HELD));
        let evidence = Evidence::new(config.audit.clone(), &self.seed(&config));
        let worker = Rc::new(RefCell::new(Worker {
            config,
            metrics: Metrics::default(),
            tag_key,
            snapshot,
            revoked: None,
            shadow: Tally::listing(MAX_REPORT_ROWS),
            exchanges,
            evidence,
            checks: checks::none(),
            streams: Streams::default(),
            bell,
            replay,
            contacts: [Freshness::default(); 2],
            key_wish,
        }));
        contexts::serve(self.context_id, &worker);
        self.worker = Some(worker);
        // A worker that comes back after a fault knows at once what the others know. It does not poll
        // yet: the host tries a configuration in a VM that it then throws away, and the lease with it.
        if let (Some(worker), Some(polling)) = (&self.worker, &mut self.polling)
            && let Ok(mut worker) = worker.try_borrow_mut()
        {
            polling.follow(&mut worker, host::to_millis(host::now_nanos()));
        }
        hostcalls::set_tick_period(FIRST_TICK).is_ok()
    }

    fn on_tick(&mut self) {
        if !self.has_ticked {
            self.has_ticked = hostcalls::set_tick_period(TICK).is_ok();
        }
        let now = host::to_millis(host::now_nanos());
        if let Some(worker) = &self.worker
            && let Ok(mut worker) = worker.try_borrow_mut()
        {
            worker.metrics.flush();
        }
        if let (Some(worker), None) = (&self.worker, &self.polling)
            && let Ok(mut worker) = worker.try_borrow_mut()
        {
            worker.end_streams(now);
        }
        if let (Some(worker), Some(polling)) = (&self.worker, &mut self.polling)
            && let Ok(mut worker) = worker.try_borrow_mut()
        {
            polling.tick(&mut worker, now);
            // The work of streams speaks in their contexts.
            let _ = hostcalls::set_effective_context(self.context_id);
            ask(&mut worker);
            let Worker { config, shadow, .. } = &mut *worker;
            if let Source::Sts(sts) = &config.source {
                self.reporting.send(sts, &config.zone, shadow, now);
            }
            deliver(&mut worker, now);
        }
    }

    fn on_queue_ready(&mut self, queue: u32) {
        while let Ok(Some(_)) = hostcalls::dequeue_shared_queue(queue) {}
        if let Some(worker) = &self.worker
            && let Ok(mut worker) = worker.try_borrow_mut()
        {
            if let Some(polling) = &mut self.polling {
                polling.follow(&mut worker, host::to_millis(host::now_nanos()));
                let _ = hostcalls::set_effective_context(self.context_id);
            }
            ask(&mut worker);
        }
    }
}

impl Root {
    /// What tells this worker from every other of any gateway, before and after it: its gateway's token, its
    /// number among the workers, the moment, and where the host keeps it.
    fn seed(&self, config: &Config) -> Vec<u8> {
        let mut seed = host::now_nanos().to_le_bytes().to_vec();
        seed.extend(self.context_id.to_le_bytes());
        let number = SharedCell::new(&config.zone, "evidence").next_number();
        seed.extend(number.unwrap_or_default().to_le_bytes());
        if let Source::Sts(sts) = &config.source {
            seed.extend(sts.token.as_bytes());
        }
        for property in ["node\0id", "node\0cluster"] {
            let value = host::property(property);
            seed.extend(value.unwrap_or_default());
        }
        seed
    }
}

impl Context for Root {
    fn on_http_call_response(
        &mut self,
        token: u32,
        headers: usize,
        body_size: usize,
        _trailers: usize,
    ) {
        if let (Some(worker), Some(polling)) = (&self.worker, &mut self.polling)
            && let Ok(mut worker) = worker.try_borrow_mut()
        {
            let answer = Answer::read(headers, body_size);
            let now = host::to_millis(host::now_nanos());
            if polling.answered(&mut worker, token, &answer, now) {
                // What was news may have cut streams, in their contexts.
                let _ = hostcalls::set_effective_context(self.context_id);
                ask(&mut worker);
            } else if let Some(key) = worker.exchanges.asked(token) {
                exchanged(&mut worker, &key, &answer);
                // What comes after this is the root context's again.
                let _ = hostcalls::set_effective_context(self.context_id);
                ask(&mut worker);
            } else if let Some(asked) = worker.checks.asked(token) {
                checked(&mut worker, &asked, Some(&answer));
                let _ = hostcalls::set_effective_context(self.context_id);
                ask(&mut worker);
            } else if !delivered(&mut worker, token, answer.status, now) {
                self.reporting
                    .answered(token, answer.status, &mut worker.shadow, now);
            }
        }
    }
}
