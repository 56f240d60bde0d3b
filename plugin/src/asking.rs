//! What a worker asks the STS in the name of its requests: resource mandates, and whether what the filter
//! suspects is revoked. Only the root context calls, so that no answer is lost with the request that
//! was the first to need it.

use std::time::Duration;

use authority::{refusal::Reason, revocation::Anchor, time::Timestamp};

use crate::{
    checks::{self, Suspicion},
    config::Source,
    exchanges::{self, Failure, Key},
    filter::Paused,
    host,
    polling::Answer,
    worker::Worker,
};

/// How long the STS may take over an exchange, or a check.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Sends what is to be asked to the STS.
pub(crate) fn ask(worker: &mut Worker) {
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
            TIMEOUT,
        );
        match call {
            Some(call) => worker.exchanges.sent(&question.key, call),
            None => unsent.push(question.key),
        }
    }
    for key in unsent {
        conclude(worker, &key, Err(Failure::Unavailable));
    }
    ask_checks(worker);
}

fn ask_checks(worker: &mut Worker) {
    let Source::Sts(sts) = &worker.config.source else {
        return;
    };
    let bearer = format!("Bearer {}", sts.token);
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let path = format!("/v1/zones/{}/gateway/revocations/check", worker.config.zone);
    let mut unsent = Vec::new();
    while let Some((key, asked)) = worker.checks.take() {
        let body = checks::body(&asked);
        let body = body.as_bytes();
        match host::post(&sts.cluster, &sts.authority, &path, &headers, body, TIMEOUT) {
            Some(call) => worker.checks.sent(&key, call),
            None => unsent.push(key),
        }
    }
    for key in unsent {
        checked(worker, &key, None);
    }
}

/// Takes the STS's answer on what was suspected. Without one the suspicion stands.
pub(crate) fn checked(worker: &mut Worker, asked: &Suspicion, answer: Option<&Answer>) {
    let checked =
        answer.and_then(|answer| checks::read_answer(answer.status, &answer.body, asked.len()));
    let outcome = match &checked {
        None => "caracal_revocation_hits.outcome.unconfirmed",
        Some(checked) if checked.revoked.contains(&true) => {
            "caracal_revocation_hits.outcome.confirmed"
        }
        Some(_) => "caracal_revocation_hits.outcome.false",
    };
    worker.metrics.count(outcome);
    if let (Some(checked), Some(filter)) = (&checked, &mut worker.revoked) {
        for ((kind, id), revoked) in asked.iter().zip(&checked.revoked) {
            filter.answer(Anchor { kind: *kind, id }, checked.epoch, *revoked);
        }
    }
    let now = host::to_millis(host::now_nanos());
    for waiting in worker.checks.answered(asked) {
        match waiting {
            Paused::Request(request) => request.decide_again(worker),
            Paused::Stream(context) => {
                if checked
                    .as_ref()
                    .is_none_or(|checked| checked.revoked.contains(&true))
                {
                    worker.cut(context, Reason::TokenRevoked, now);
                }
            }
        }
    }
}

/// Takes the STS's answer on a resource mandate.
pub(crate) fn exchanged(worker: &mut Worker, key: &Key, answer: &Answer) {
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
