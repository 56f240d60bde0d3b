//! Metrics through the host. Proxy-wasm has no labels, so they are written into the name and taken
//! apart by Envoy's `stats_tags`; the names are an interface, listed in the documentation.

use proxy_wasm::{hostcalls, types::MetricType};

/// The metrics of one worker, defined when first used. What every request that passes is counted in is kept
/// here and given to the host [together](Metrics::flush), so that it does not wait for a call into the host
/// for each.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// What nearly every request counts stands first.
    counters: Vec<Counter>,
    others: Vec<(&'static str, u32)>,
}

#[derive(Debug)]
struct Counter {
    name: Name,
    id: Option<u32>,
    /// What the host has not been told of yet.
    more: u64,
}

/// What a counter is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Plain(&'static str),
    /// Requests that were refused for this reason.
    Refused(&'static str),
    Allowed,
}

impl Name {
    /// Whether it is the same, by where it stands if that is enough.
    fn is(self, other: Self) -> bool {
        match (self, other) {
            (Self::Plain(own), Self::Plain(other)) if std::ptr::eq(own, other) => true,
            _ => self == other,
        }
    }

    fn text(self) -> String {
        match self {
            Self::Plain(name) => name.to_owned(),
            Self::Refused(reason) => {
                format!("caracal_decisions.outcome.deny.reason.{reason}")
            }
            Self::Allowed => "caracal_decisions.outcome.allow.reason.allowed".to_owned(),
        }
    }
}

impl Counter {
    fn new(name: Name) -> Self {
        let (id, more) = (None, 0);
        Self { name, id, more }
    }

    fn tell(&mut self) {
        let define = || hostcalls::define_metric(MetricType::Counter, &self.name.text());
        self.id = self.id.or_else(|| define().ok());
        let more = i64::try_from(self.more).unwrap_or(i64::MAX);
        if let Some(id) = self.id
            && hostcalls::increment_metric(id, more).is_ok()
        {
            self.more = 0;
        }
    }
}

/// What is known of a mandate, or of a policy, is what most requests count.
pub(crate) const MANDATE_HITS: &str = "caracal_mandate_cache_hits";
pub(crate) const MANDATE_MISSES: &str = "caracal_mandate_cache_misses";
pub(crate) const POLICY_HITS: &str = "caracal_policy_cache_hits";

impl Default for Metrics {
    fn default() -> Self {
        let often = [MANDATE_HITS, POLICY_HITS, MANDATE_MISSES].map(Name::Plain);
        let often = [Name::Allowed].into_iter().chain(often);
        Self {
            counters: often.map(Counter::new).collect(),
            others: Vec::new(),
        }
    }
}

impl Metrics {
    /// Counts a decision: `None` for an allowed request, else the reason of the refusal.
    pub(crate) fn decided(&mut self, refused_for: Option<&'static str>) {
        match refused_for {
            None => {
                self.add(Name::Allowed);
            }
            Some(reason) => self.add(Name::Refused(reason)).tell(),
        }
    }

    /// Adds one to the counter `name`.
    pub(crate) fn count(&mut self, name: &'static str) {
        self.add(Name::Plain(name)).tell();
    }

    /// Adds one to the counter `name`, of which the host hears with the next [flush](Self::flush).
    pub(crate) fn count_later(&mut self, name: &'static str) {
        self.add(Name::Plain(name));
    }

    fn add(&mut self, name: Name) -> &mut Counter {
        let known = self.counters.iter().position(|known| known.name.is(name));
        let place = known.unwrap_or_else(|| {
            self.counters.push(Counter::new(name));
            self.counters.len() - 1
        });
        #[expect(
            clippy::indexing_slicing,
            reason = "the place of one that was found, or that was just made"
        )]
        let counter = &mut self.counters[place];
        counter.more += 1;
        counter
    }

    /// Tells the host what was counted since the last time.
    pub(crate) fn flush(&mut self) {
        let untold = self.counters.iter_mut().filter(|counter| counter.more > 0);
        untold.for_each(Counter::tell);
    }

    /// Sets the gauge `name`.
    pub(crate) fn set(&mut self, name: &'static str, value: u64) {
        if let Some(id) = self.id(MetricType::Gauge, name) {
            let _ = hostcalls::record_metric(id, value);
        }
    }

    /// Records a duration in the histogram `name`, in microseconds.
    pub(crate) fn time(&mut self, name: &'static str, from_nanos: u64, to_nanos: u64) {
        self.record(name, to_nanos.saturating_sub(from_nanos) / 1_000);
    }

    /// Records a value in the histogram `name`.
    pub(crate) fn record(&mut self, name: &'static str, value: u64) {
        if let Some(id) = self.id(MetricType::Histogram, name) {
            let _ = hostcalls::record_metric(id, value);
        }
    }

    fn id(&mut self, kind: MetricType, name: &'static str) -> Option<u32> {
        if let Some((_, id)) = self.others.iter().find(|(known, _)| *known == name) {
            return Some(*id);
        }
        let id = hostcalls::define_metric(kind, name).ok()?;
        self.others.push((name, id));
        Some(id)
    }
}
