//! Brings evidence to the STS: each worker its own, in batches, one at a time.

use std::time::Duration;

use crate::{config::Source, host, sync::Millis, worker::Worker};

/// How long the STS may take over a batch.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Sends the next batch, when it is time for one.
pub(crate) fn deliver(worker: &mut Worker, now: Millis) {
    let Worker {
        config,
        snapshot,
        evidence,
        metrics,
        ..
    } = worker;
    // Until there was a bundle nobody knows the id of the zone.
    let (Source::Sts(sts), Some(snapshot)) = (&config.source, snapshot) else {
        return;
    };
    let Some((body, events)) = evidence.batch(snapshot.zone(), now) else {
        return;
    };
    let bearer = format!("Bearer {}", sts.token);
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let path = format!("/v1/zones/{}/gateway/decisions", config.zone);
    let call = host::post(
        &sts.cluster,
        &sts.authority,
        &path,
        &headers,
        &body,
        TIMEOUT,
    );
    drop(body);
    match call {
        Some(call) => evidence.sent(call, events),
        None => evidence.unsent(now),
    }
    metrics.record("caracal_audit_batch_events", backlog(events));
    metrics.record("caracal_audit_backlog_events", backlog(evidence.backlog()));
}

/// Takes the answer to a batch, if `call` is one's.
pub(crate) fn delivered(worker: &mut Worker, call: u32, status: u16, now: Millis) -> bool {
    let Some(settled) = worker.evidence.answered(call, status, now) else {
        return false;
    };
    if settled.sent == 0 {
        worker.metrics.count("caracal_audit_batches.outcome.failed");
        log::info!("caracal: the STS did not take evidence ({status}); it is kept and sent again");
    } else {
        worker.metrics.count("caracal_audit_batches.outcome.taken");
    }
    if settled.refused > 0 {
        worker.metrics.count("caracal_audit_lost.outcome.refused");
        log::error!("caracal: the STS refuses an audit event for good ({status})");
    }
    deliver(worker, now);
    true
}

fn backlog(events: usize) -> u64 {
    events.try_into().unwrap_or(u64::MAX)
}
