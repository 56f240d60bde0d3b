//! Tells the STS what the shadow policy says. Each worker posts its own account every few seconds; one
//! that does not arrive is counted on and sent again.

use std::time::Duration;

use authority::decision::shadow::{Report, Tally};

use crate::{
    config::Sts,
    host,
    sync::{Backoff, Millis, millis},
};

/// How often a worker reports at most.
const INTERVAL: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(5);

/// The report that is under way, and when the next is due.
#[derive(Default)]
pub(crate) struct Reporting {
    under_way: Option<(u32, Report)>,
    due: Millis,
    backoff: Backoff,
}

impl Reporting {
    /// Sends what was counted, when it is time to.
    pub(crate) fn send(&mut self, sts: &Sts, zone: &str, tally: &mut Tally, now: Millis) {
        // A clock that went back must not silence the reports.
        let due = now >= self.due || self.due - now > millis(INTERVAL);
        if self.under_way.is_some() || !due || !self.backoff.is_due(now) {
            return;
        }
        let Some(report) = tally.take() else {
            return;
        };
        self.due = now.saturating_add(millis(INTERVAL));
        let call = serde_json::to_vec(&report)
            .ok()
            .and_then(|body| post(sts, zone, &body));
        match call {
            Some(token) => self.under_way = Some((token, report)),
            None => self.failed(report, tally, now),
        }
    }

    /// Takes the answer to a report, if `token` is one's. A refusal is final: the shadow is another by
    /// now, or the gateway's token is no good any more.
    pub(crate) fn answered(&mut self, token: u32, status: u16, tally: &mut Tally, now: Millis) {
        let Some((_, report)) = self.under_way.take_if(|(own, _)| *own == token) else {
            return;
        };
        match status {
            0 | 429 | 500.. => self.failed(report, tally, now),
            200..300 => self.backoff.succeeded(),
            other => {
                self.backoff.succeeded();
                log::info!("caracal: the STS refused a report on the shadow policy ({other})");
            }
        }
    }

    fn failed(&mut self, report: Report, tally: &mut Tally, now: Millis) {
        tally.put_back(report);
        self.backoff.failed(now);
    }
}

fn post(sts: &Sts, zone: &str, body: &[u8]) -> Option<u32> {
    let bearer = format!("Bearer {}", sts.token);
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let path = format!("/v1/zones/{zone}/gateway/shadow");
    host::post(&sts.cluster, &sts.authority, &path, &headers, body, TIMEOUT)
}
