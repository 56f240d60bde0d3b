//! Metrics through the host. Proxy-wasm has no labels, so they are written into the name and taken
//! apart by Envoy's `stats_tags`; the names are an interface, listed in the documentation.

use proxy_wasm::{hostcalls, types::MetricType};

/// The metrics of one worker, defined when first used. Counts are kept here and given to the host
/// [together](Metrics::flush), so that a request does not wait for a call into the host for each.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
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

impl Metrics {
    /// Counts a decision: `None` for an allowed request, else the reason of the refusal.
    pub(crate) fn decided(&mut self, refused_for: Option<&'static str>) {
        self.add(refused_for.map_or(Name::Allowed, Name::Refused));
    }

    /// Adds one to the counter `name`.
    pub(crate) fn count(&mut self, name: &'static str) {
        self.add(Name::Plain(name));
    }

    fn add(&mut self, name: Name) {
        match self.counters.iter_mut().find(|known| known.name == name) {
            Some(counter) => counter.more += 1,
            None => self.counters.push(Counter {
                name,
                id: None,
                more: 1,
            }),
        }
    }

    /// Tells the host what was counted since the last time.
    pub(crate) fn flush(&mut self) {
        for counter in self.counters.iter_mut().filter(|counter| counter.more > 0) {
            let define = || hostcalls::define_metric(MetricType::Counter, &counter.name.text());
            counter.id = counter.id.or_else(|| define().ok());
            let more = i64::try_from(counter.more).unwrap_or(i64::MAX);
            if let Some(id) = counter.id
                && hostcalls::increment_metric(id, more).is_ok()
            {
                counter.more = 0;
            }
        }
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
