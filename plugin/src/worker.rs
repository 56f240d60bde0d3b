//! What the contexts of one worker share, and what its requests may do with it.

use std::{rc::Rc, sync::Arc, time::Duration};

use authority::{
    audit::{Event, OccurredAt},
    decision::{Account, Decided, Suspect, shadow::Tally},
    ids::ZoneId,
    mandate::{Claims, Mandate},
    refusal::Reason,
    revocation::{Anchor, AnchorKind, Filter, Finding},
    snapshot::Snapshot,
    tags::TagKey,
};
use proxy_wasm::hostcalls;

use crate::{
    checks::Checks,
    config::{Config, Source},
    evidence::{Evidence, NoRoom},
    exchanges::Exchanges,
    filter::{Paused, Waiter, refuse},
    host::{self, SharedCell},
    metrics::Metrics,
    replay::{Mark, Marked, SHARDS},
    streams::{Cut, Streams},
    sync::{Freshness, Millis},
};

/// How often a cell that other workers write to is tried.
const MAX_TRIES: usize = 32;

/// What a worker's requests need, shared between its contexts, which the host runs one at a time.
pub(crate) struct Worker {
    pub(crate) config: Config,
    pub(crate) metrics: Metrics,
    /// By which mandates are kept.
    pub(crate) tag_key: TagKey,
    pub(crate) snapshot: Option<Snapshot>,
    /// What is revoked.
    pub(crate) revoked: Option<Filter>,
    /// What the shadow policy said since the last report.
    pub(crate) shadow: Tally,
    /// Resource mandates, and the requests that wait for them.
    pub(crate) exchanges: Exchanges<Waiter>,
    /// What the STS is still to learn of.
    pub(crate) evidence: Evidence,
    /// Whether suspected mandates are revoked, and what waits for the answers.
    pub(crate) checks: Checks<Paused>,
    /// What has passed and is not over.
    pub(crate) streams: Streams,
    /// By which the requests of this worker wake its root context, which alone may call the STS: a call
    /// of a request's own would end with that request, whoever else waits for it.
    pub(crate) bell: Option<u32>,
    pub(crate) replay: Vec<SharedCell>,
    /// Of bundle and revocations.
    pub(crate) contacts: [Freshness; 2],
    pub(crate) key_wish: Option<SharedCell>,
}

impl Worker {
    /// Whether what is known is too old to decide on.
    pub(crate) fn is_stale(&self, now: Millis) -> bool {
        match &self.config.source {
            Source::Sts(sts) => self.age(now) > sts.max_staleness,
            Source::Inline(_) => false,
        }
    }

    /// How old what is known is.
    pub(crate) fn age(&self, now: Millis) -> Duration {
        let ages = self.contacts.iter().map(|contact| contact.age(now));
        ages.max().unwrap_or_default()
    }

    /// What is revoked, where it takes an STS to know.
    ///
    /// # Errors
    /// [`Reason::NotReady`].
    pub(crate) fn check_ready(&self) -> Result<(), Reason> {
        match self.config.source {
            Source::Sts(_) if self.revoked.is_none() => Err(Reason::NotReady),
            _ => Ok(()),
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
        let asks = self.exchanges.has_questions() || self.checks.has_any();
        if let Some(bell) = self.bell.filter(|_| asks) {
            let _ = hostcalls::enqueue_shared_queue(bell, Some(b"!"));
        }
    }

    /// Asks whichever worker polls to fetch the keys again. What comes of it is rate-limited there.
    pub(crate) fn wish_for_keys(&self, now: Millis) {
        if let Some(cell) = &self.key_wish {
            cell.write_number(now);
        }
    }

    /// Takes down a decision on a request whose context is the effective one.
    ///
    /// # Errors
    /// [`Reason::AuditUnavailable`].
    pub(crate) fn witness(
        &mut self,
        account: Rc<Account>,
        reason: Option<&str>,
        cut: bool,
        started: u64,
    ) -> Result<(), Reason> {
        let span = (started, host::now_nanos());
        // Without an STS there is nobody to tell.
        let taken = match self.config.source {
            Source::Sts(_) => {
                let zone = self.snapshot.as_ref().map(|snapshot| snapshot.zone());
                let account = Rc::clone(&account);
                self.evidence.add(zone, account, reason, cut, span)
            }
            Source::Inline(_) => Ok(None),
        };
        match taken {
            Ok(taken) => {
                if self.config.audit.filter_state {
                    self.show(&account, taken, reason, cut, span);
                }
                Ok(())
            }
            Err(NoRoom) => {
                self.metrics.count("caracal_audit_lost.outcome.denied");
                Err(Reason::AuditUnavailable)
            }
        }
    }

    /// Leaves the event in Envoy's filter state, as `wasm.caracal`, for access logs to carry.
    /// Without an event of its own, because many stand for one or nobody takes any, it has no id.
    fn show(
        &self,
        account: &Account,
        taken: Option<Decided>,
        reason: Option<&str>,
        cut: bool,
        (started, now): (u64, u64),
    ) {
        let zone = self.snapshot.as_ref().map(|snapshot| snapshot.zone());
        let unknown = ZoneId::from(self.config.zone.as_str());
        let decided = taken.unwrap_or_else(|| Decided {
            id: String::new(),
            at: OccurredAt(now / 1_000),
            reason: reason.map(Event::text),
            latency_us: now.saturating_sub(started) / 1_000,
            stands_for: None,
            cut,
        });
        let event = account.event(zone.unwrap_or(&unknown), &decided);
        if let Ok(text) = serde_json::to_string(&event) {
            let _ = hostcalls::set_property(vec!["caracal"], Some(text.as_bytes()));
        }
    }

    /// Lets `paused` wait until the STS has said whether a mandate is revoked.
    ///
    /// # Errors
    /// What was to wait, if too much does: the suspicion stands.
    pub(crate) fn settle(&mut self, anchors: &[Anchor<'_>], paused: Paused) -> Result<(), Paused> {
        let question: Vec<(AnchorKind, String)> = anchors
            .iter()
            .map(|anchor| (anchor.kind, anchor.id.to_owned()))
            .collect();
        let waits = self.checks.wait(question.clone(), question, paused);
        self.ring();
        waits.inspect_err(|_| {
            self.metrics
                .count("caracal_revocation_hits.outcome.unconfirmed");
        })
    }

    /// The same for a request.
    pub(crate) fn settle_request(
        &mut self,
        suspect: &Suspect,
        paused: Paused,
    ) -> Result<(), Paused> {
        self.settle(&suspect.anchors(), paused)
    }

    /// Looks again at everything that passes, now that more is known of revocation.
    pub(crate) fn look_at_streams(&mut self, now: Millis) {
        let Some(filter) = &self.revoked else { return };
        let found: Vec<(u32, Arc<Mandate>, Finding)> = self
            .streams
            .mandates()
            .map(|(context, mandate)| (context, mandate, filter.find(mandate)))
            .filter(|(_, _, finding)| *finding != Finding::Clear)
            .map(|(context, mandate, finding)| (context, Arc::clone(mandate), finding))
            .collect();
        for (context, mandate, finding) in found {
            match finding {
                Finding::Clear => {}
                Finding::Revoked => self.cut(context, Reason::TokenRevoked, now),
                Finding::Suspect(places) => {
                    let anchors = mandate.anchors();
                    let suspected: Vec<Anchor<'_>> = places
                        .iter()
                        .filter_map(|place| anchors.get(*place).copied())
                        .collect();
                    if self.settle(&suspected, Paused::Stream(context)).is_err() {
                        self.cut(context, Reason::TokenRevoked, now);
                    }
                }
            }
        }
    }

    /// Cuts what is over its time.
    pub(crate) fn end_streams(&mut self, now: Millis) {
        for context in self.streams.expired(host::to_timestamp(host::now_nanos())) {
            self.cut(context, Reason::TokenExpired, now);
        }
        for context in self.streams.overdue(now) {
            self.streams.close(context);
            reset(context);
        }
    }

    /// Cuts a request that passes.
    pub(crate) fn cut(&mut self, context: u32, reason: Reason, now: Millis) {
        let name = match reason {
            Reason::TokenExpired => "caracal_streams_cut.reason.token_expired",
            _ => "caracal_streams_cut.reason.token_revoked",
        };
        self.metrics.count(name);
        log::info!("caracal: a stream is cut: {}", reason.code());
        let account = self.streams.account(context);
        let code = reason.code().to_owned();
        let is_answered = host::is_answered(context);
        match self.streams.cut(context, reason.clone(), is_answered, now) {
            Some(Cut::Refuse(request_id)) => {
                self.streams.close(context);
                if hostcalls::set_effective_context(context).is_ok() {
                    refuse(self, &reason.into(), &request_id);
                }
            }
            Some(Cut::Reset) => {
                self.streams.close(context);
                reset(context);
            }
            None => {}
        }
        // It is cut, whether there is room to tell of it or not.
        if let Some(account) = account {
            let _ = hostcalls::set_effective_context(context);
            let _ = self.witness(account, Some(&code), true, host::now_nanos());
        }
    }

    /// What is known of a mandate that has waited for something else.
    pub(crate) fn check_revocation(&self, mandate: &Mandate) -> Result<(), Reason> {
        match self.revoked.as_ref().map(|filter| filter.find(mandate)) {
            None | Some(Finding::Clear) => Ok(()),
            // What it may be only now waits for nothing more.
            Some(_) => Err(Reason::TokenRevoked),
        }
    }
}

fn reset(context: u32) {
    if hostcalls::set_effective_context(context).is_ok() {
        let _ = hostcalls::reset_http_response();
    }
}
