//! What `/metrics` tells, in OpenMetrics. Labels only take values from our own lists, never from a
//! request.

use std::time::Duration;

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// The media type of [`Metrics::render`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ExchangeLabels {
    decision: &'static str,
    error: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShadowLabels {
    agreement: &'static str,
}

/// The counters and histograms of a server.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    exchanges: Family<ExchangeLabels, Counter>,
    exchange_seconds: Histogram,
    policy_seconds: Histogram,
    shadow_decisions: Family<ShadowLabels, Counter>,
    gateway_polls: Gauge,
    revocations: Counter,
    restored_databases: Counter,
    audit_events: Counter,
    ledger_faults: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("caracal_sts");
        let requests = Family::<RequestLabels, Counter>::default();
        let exchanges = Family::<ExchangeLabels, Counter>::default();
        // 100 us to 3 s; 5 us to 80 ms.
        let exchange_seconds = Histogram::new(exponential_buckets(0.0001, 2.0, 16));
        let policy_seconds = Histogram::new(exponential_buckets(0.000_005, 2.0, 15));
        let shadow_decisions = Family::<ShadowLabels, Counter>::default();
        let gateway_polls = Gauge::default();
        let revocations = Counter::default();
        let restored_databases = Counter::default();
        registry.register(
            "revocations",
            "Anchors that were revoked on request",
            revocations.clone(),
        );
        registry.register(
            "epoch_ahead",
            "Polls of gateways that know revocations of which this database knows nothing",
            restored_databases.clone(),
        );
        let audit_events = Counter::default();
        let ledger_faults = Counter::default();
        registry.register(
            "audit_events",
            "Audit events that were written to the ledgers, those of changes left out",
            audit_events.clone(),
        );
        registry.register(
            "ledger_faults",
            "Ledgers that do not hold what their last checkpoint speaks of",
            ledger_faults.clone(),
        );
        registry.register(
            "http_requests",
            "HTTP requests by route and status",
            requests.clone(),
        );
        registry.register(
            "exchanges",
            "Token exchanges by decision and error code",
            exchanges.clone(),
        );
        registry.register(
            "exchange_seconds",
            "Time of a token exchange",
            exchange_seconds.clone(),
        );
        registry.register(
            "policy_seconds",
            "Time of a policy evaluation",
            policy_seconds.clone(),
        );
        registry.register(
            "shadow_decisions",
            "Exchanges that a shadow policy was compared on, by whether it agreed",
            shadow_decisions.clone(),
        );
        registry.register(
            "gateway_polls",
            "Gateways that wait for news right now",
            gateway_polls.clone(),
        );
        Self {
            registry,
            requests,
            exchanges,
            exchange_seconds,
            policy_seconds,
            shadow_decisions,
            gateway_polls,
            revocations,
            restored_databases,
            audit_events,
            ledger_faults,
        }
    }

    pub(crate) fn revoked(&self, anchors: usize) {
        self.revocations
            .inc_by(u64::try_from(anchors).unwrap_or_default());
    }

    pub(crate) fn restored_database(&self) {
        self.restored_databases.inc();
    }

    pub(crate) fn audited(&self, events: usize) {
        self.audit_events
            .inc_by(u64::try_from(events).unwrap_or_default());
    }

    pub(crate) fn ledger_fault(&self) {
        self.ledger_faults.inc();
    }

    pub(crate) fn request(&self, method: &str, route: &str, status: u16) {
        let labels = RequestLabels {
            method: method.to_owned(),
            route: route.to_owned(),
            status,
        };
        self.requests.get_or_create(&labels).inc();
    }

    pub(crate) fn exchange(&self, decision: &'static str, error: &'static str, took: Duration) {
        self.exchanges
            .get_or_create(&ExchangeLabels { decision, error })
            .inc();
        self.exchange_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn policy(&self, took: Duration) {
        self.policy_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn shadow(&self, agreement: &'static str) {
        self.shadow_decisions
            .get_or_create(&ShadowLabels { agreement })
            .inc();
    }

    /// Counts a gateway that waits, until the guard is dropped.
    pub(crate) fn gateway_poll(&self) -> impl Drop + use<> {
        struct Waiting(Gauge);
        impl Drop for Waiting {
            fn drop(&mut self) {
                self.0.dec();
            }
        }
        self.gateway_polls.inc();
        Waiting(self.gateway_polls.clone())
    }

    pub(crate) fn render(&self) -> Result<String, std::fmt::Error> {
        let mut page = String::new();
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}
