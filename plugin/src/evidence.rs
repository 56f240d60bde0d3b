//! What a worker decided and the STS does not know yet: held in bounded memory, given out in batches, and
//! forgotten only when the STS has it on disk. No host here: whoever uses this sends the batches.

mod held;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, rc::Rc, time::Duration};

use authority::{
    audit::{Event, EventType, OccurredAt, Writer},
    decision::{Account, Decided},
    ids::ZoneId,
};
use data_encoding::HEXLOWER;
use serde_json::json;
use sha2::{Digest, Sha256};

use self::held::{ENOUGH, Held, MOST_TOGETHER};
use crate::sync::{Backoff, Millis, millis};

/// What is done with a decision for whose evidence there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnOverflow {
    /// The request is refused.
    #[default]
    Deny,
    /// The decision stands, and a gap tells of it.
    Drop,
}

/// Of a resource, only one in so many requests that are let pass has an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// Its identifier.
    pub resource: String,
    /// One in so many.
    pub one_in: u64,
}

/// How evidence is kept.
#[derive(Clone, Debug)]
pub struct Audit {
    /// Events that a worker holds.
    pub buffer_events: usize,
    /// How long the first of a batch waits for more.
    pub flush: Duration,
    /// What happens when there is no more room.
    pub on_overflow: OnOverflow,
    /// Where not every request that is let pass has an event.
    pub sampling: Vec<Sampling>,
    /// Whether the event is left in Envoy's filter state for access logs.
    pub filter_state: bool,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            buffer_events: 10_000,
            flush: Duration::from_millis(200),
            on_overflow: OnOverflow::Deny,
            sampling: Vec::new(),
            filter_state: false,
        }
    }
}

/// There is no room for evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// Requests of which there is no event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Gap {
    requests: u64,
    since: OccurredAt,
    until: OccurredAt,
}

/// The evidence of a worker.
#[derive(Debug)]
pub struct Evidence {
    settings: Audit,
    ids: Ids,
    /// An event is written when it happens, and not with the batch that it goes in: to write hundreds at once would
    /// hold up whatever is asked meanwhile.
    held: Held,
    /// Decisions from when nobody knew the id of the zone, which all others come after.
    untold: Vec<Untold>,
    /// How many of both are of requests without a good mandate: strangers may fill half of the room.
    strangers: usize,
    /// Where events are written, before as much as they take is kept.
    scratch: Writer,
    sampled: Vec<u64>,
    /// Since the last gap that was told of.
    gap: Option<Gap>,
    /// The gap that is being told of, with its id, until the STS has it.
    told: Option<(String, Gap)>,
    under_way: Option<UnderWay>,
    /// How many events go into one batch: fewer after one that the STS did not take.
    together: usize,
    due: Option<Millis>,
    backoff: Backoff,
}

/// A decision of which there is no text yet.
#[derive(Debug)]
struct Untold {
    account: Rc<Account>,
    decided: Decided,
}

#[derive(Debug)]
struct UnderWay {
    call: u32,
    events: usize,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Events that the STS has.
    pub sent: u64,
    /// Events that it will never take.
    pub refused: u64,
}

impl Evidence {
    /// None yet. `seed` is what tells this worker from every other, before and after it.
    pub fn new(settings: Audit, seed: &[u8]) -> Self {
        let sampled = vec![0; settings.sampling.len()];
        Self {
            settings,
            ids: Ids::new(seed),
            held: Held::default(),
            untold: Vec::new(),
            strangers: 0,
            scratch: Writer::default(),
            sampled,
            gap: None,
            told: None,
            under_way: None,
            together: MOST_TOGETHER,
            due: None,
            backoff: Backoff::default(),
        }
    }

    /// Whether a request may be decided on, as far as evidence of it is concerned.
    pub fn has_room(&self) -> bool {
        self.settings.on_overflow == OnOverflow::Drop
            || self.backlog() < self.settings.buffer_events
    }

    /// Takes down a decision in `zone`, once that is known, which took from `started` to `now` in nanoseconds since the Unix epoch.
    /// What was taken down, unless it is one of many that another stands for.
    ///
    /// # Errors
    /// [`NoRoom`]: the request is to be refused.
    pub fn add(
        &mut self,
        zone: Option<&ZoneId>,
        account: Rc<Account>,
        reason: Option<&str>,
        cut: bool,
        (started, now): (u64, u64),
    ) -> Result<Option<Decided>, NoRoom> {
        let at = OccurredAt(now / 1_000);
        let mut stands_for = None;
        if reason.is_none()
            && let Some(rate) = self.sample(&account)
        {
            match rate {
                Rate::Skipped => return Ok(None),
                Rate::StandsFor(requests) => stands_for = Some(requests),
            }
        }
        let room = self.settings.buffer_events;
        let is_stranger = account.mandate.is_none();
        if self.backlog() >= room || (is_stranger && self.strangers >= room.div_ceil(2)) {
            self.miss(at);
            return match self.settings.on_overflow {
                OnOverflow::Deny => Err(NoRoom),
                OnOverflow::Drop => Ok(None),
            };
        }
        let decided = Decided {
            id: self.ids.next(at),
            at,
            reason: reason.map(Event::text),
            latency_us: now.saturating_sub(started) / 1_000,
            stands_for,
            cut,
        };
        self.strangers += usize::from(is_stranger);
        match zone {
            Some(zone) => {
                self.tell_untold(zone);
                self.tell(zone, &account, &decided);
            }
            None => self.untold.push(Untold {
                account,
                decided: decided.clone(),
            }),
        }
        Ok(Some(decided))
    }

    fn tell(&mut self, zone: &ZoneId, account: &Account, decided: &Decided) {
        let is_stranger = account.mandate.is_none();
        self.scratch.clear();
        match account.write(zone, decided, &mut self.scratch) {
            Ok(()) => self
                .held
                .push(self.scratch.written(), decided.at, is_stranger),
            // No account is such; a gap would tell of it.
            Err(_) => {
                self.strangers -= usize::from(is_stranger);
                self.miss(decided.at);
            }
        }
    }

    fn tell_untold(&mut self, zone: &ZoneId) {
        for Untold { account, decided } in std::mem::take(&mut self.untold) {
            self.tell(zone, &account, &decided);
        }
    }

    /// One more request of which there is no event.
    pub fn miss(&mut self, at: OccurredAt) {
        let gap = self.gap.get_or_insert(Gap {
            requests: 0,
            since: at,
            until: at,
        });
        gap.requests += 1;
        gap.until = gap.until.max(at);
    }

    fn sample(&mut self, account: &Account) -> Option<Rate> {
        let resource = account.resource.as_deref()?;
        let place = self
            .settings
            .sampling
            .iter()
            .position(|sampling| sampling.resource == resource)?;
        let (sampling, count) = (
            self.settings.sampling.get(place)?,
            self.sampled.get_mut(place)?,
        );
        *count += 1;
        Some(if (*count - 1).is_multiple_of(sampling.one_in) {
            Rate::StandsFor(sampling.one_in)
        } else {
            Rate::Skipped
        })
    }

    /// How many events the STS does not have yet.
    pub fn backlog(&self) -> usize {
        self.held.len() + self.untold.len()
    }

    /// The next batch, when it is time for one: a body for the STS, and how many events it has.
    pub fn batch(&mut self, zone: &ZoneId, now: Millis) -> Option<(Cow<'_, [u8]>, usize)> {
        if self.under_way.is_some() || !self.backoff.is_due(now) {
            return None;
        }
        self.tell_untold(zone);
        if self.held.len() == 0 && self.gap.is_none() && self.told.is_none() {
            self.due = None;
            return None;
        }
        let flush = millis(self.settings.flush);
        let due = *self.due.get_or_insert(now.saturating_add(flush));
        // A clock that went back must not silence the worker.
        let waits = now < due && due - now <= flush;
        if waits && self.held.len() < self.together.min(ENOUGH) {
            return None;
        }
        if self.told.is_none() {
            self.told = self.gap.take().map(|gap| (self.ids.next(gap.until), gap));
        }
        let gap = self.told.as_ref().and_then(|(id, gap)| {
            serde_json::to_vec(&gap.event(id, zone, self.settings.on_overflow)).ok()
        });
        Some(self.held.body(self.together, gap.as_deref()))
    }

    /// A batch of so many events was sent, and its answer comes under this number.
    pub fn sent(&mut self, call: u32, events: usize) {
        self.under_way = Some(UnderWay { call, events });
    }

    /// A batch could not be sent.
    pub fn unsent(&mut self, now: Millis) {
        self.backoff.failed(now);
    }

    /// Takes the answer to a batch; `None` if `call` is not one's.
    pub fn answered(&mut self, call: u32, status: u16, now: Millis) -> Option<Settled> {
        let under_way = self.under_way.take_if(|own| own.call == call)?;
        self.due = None;
        match status {
            200..300 => {
                self.backoff.succeeded();
                self.strangers -= self.held.forget(under_way.events);
                self.told = None;
                self.together = MOST_TOGETHER;
                Some(Settled {
                    sent: under_way.events.try_into().unwrap_or(u64::MAX),
                    refused: 0,
                })
            }
            // One of them is at fault: fewer at once find out which, and that one alone is lost.
            400 | 409 | 413 | 422 if under_way.events > 1 => {
                self.together = under_way.events.div_ceil(2);
                Some(Settled::default())
            }
            400 | 409 | 413 | 422 => {
                if let Some(at) = self.held.first_at() {
                    self.miss(at);
                }
                self.strangers -= self.held.forget(under_way.events);
                self.told = None;
                Some(Settled {
                    sent: 0,
                    refused: 1,
                })
            }
            _ => {
                self.backoff.failed(now);
                Some(Settled::default())
            }
        }
    }
}

enum Rate {
    Skipped,
    StandsFor(u64),
}

impl Gap {
    fn event(&self, id: &str, zone: &ZoneId, on_overflow: OnOverflow) -> Event {
        let mut event = Event::new(
            id.to_owned(),
            zone.clone(),
            EventType::AuditGap,
            id.to_owned(),
            self.until,
        );
        let answered = match on_overflow {
            OnOverflow::Deny => "audit_unavailable",
            OnOverflow::Drop => "as_decided",
        };
        let told = json!({
            "requests": self.requests,
            "since": self.since,
            "until": self.until,
            "answered": answered,
        });
        event.metadata_json = told.as_object().cloned();
        event
    }
}

/// Makes UUIDv7s (RFC 9562 section 5.7) in a place without randomness: what would be random begins where a
/// seed says that no other worker has, and counts up (section 6.2, method 2).
#[derive(Debug)]
struct Ids {
    /// 74 bits, and more that is not used.
    next: u128,
}

impl Ids {
    fn new(seed: &[u8]) -> Self {
        let digest: [u8; 32] = Sha256::digest(seed).into();
        let first = digest.first_chunk().copied().unwrap_or_default();
        Self {
            next: u128::from_be_bytes(first),
        }
    }

    fn next(&mut self, at: OccurredAt) -> String {
        let random = self.next;
        self.next = random.wrapping_add(1);
        let millis = u128::from(at.0 / 1_000 % (1 << 48));
        let rest = random & ((1 << 48) - 1);
        let variant_and_b = 0x8000 | (random >> 48 & 0x3fff);
        let version_and_a = 0x7000 | (random >> 62 & 0x0fff);
        let id = millis << 80 | version_and_a << 64 | variant_and_b << 48 | rest;
        let mut digits = [0; 32];
        HEXLOWER.encode_mut(&id.to_be_bytes(), &mut digits);
        let mut text = *b"00000000-0000-0000-0000-000000000000";
        let places = [0, 4, 9, 14, 19, 24, 28, 32];
        for (place, four) in places.into_iter().zip(digits.as_chunks::<4>().0) {
            if let Some(to) = text.get_mut(place..).and_then(<[u8]>::first_chunk_mut) {
                *to = *four;
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}
