//! Keeping the workers of a gateway in step with the STS: who polls, when, and what the poll's
//! answers mean. One worker holds a lease and polls; all follow what it leaves in shared data.

use std::time::Duration;

/// How long a lease lasts without being renewed. A worker that stalls longer loses it.
pub const LEASE: Duration = Duration::from_secs(3);
/// How often every worker looks for news and the poller renews its lease.
pub const TICK: Duration = Duration::from_millis(50);
/// When it looks first: at once, but in a VM that the host keeps.
pub const FIRST_TICK: Duration = Duration::from_millis(1);
/// Least time between two fetches of the keys that unknown `kid`s ask for.
pub const KEY_REFETCH_INTERVAL: Duration = Duration::from_secs(30);

/// Time that a call may need beyond what the STS is asked to wait.
pub const CALL_SLACK: Duration = Duration::from_secs(10);
/// How long after its wait the answer to a long poll is overdue. Less than what `max_staleness` must leave
/// beyond that wait, so that one lost answer makes nothing stale.
pub const OVERDUE: Duration = Duration::from_secs(1);

const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// Milliseconds since the Unix epoch.
pub type Millis = u64;

/// Who may poll, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The worker's number.
    pub holder: u64,
    /// When the lease ends.
    pub expires: Millis,
}

impl Lease {
    /// As it stands in shared data.
    pub fn encode(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let (holder, expires) = bytes.split_at_mut(8);
        holder.copy_from_slice(&self.holder.to_le_bytes());
        expires.copy_from_slice(&self.expires.to_le_bytes());
        bytes
    }

    /// From shared data; what is damaged is no lease.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (holder, expires) = bytes.split_at_checked(8)?;
        Some(Self {
            holder: decode_number(holder)?,
            expires: decode_number(expires)?,
        })
    }

    /// The lease that `worker` should try to write now, if it may hold one and it is time to.
    pub fn claim(current: Option<Self>, worker: u64, now: Millis) -> Option<Self> {
        let wanted = Self {
            holder: worker,
            expires: now.saturating_add(millis(LEASE)),
        };
        match current {
            // Renewed at half its life; also when the clock went back so far that it would last for ever.
            Some(lease) if lease.holder == worker => {
                let left = lease.expires.saturating_sub(now);
                (left < millis(LEASE) / 2 || left > millis(LEASE)).then_some(wanted)
            }
            Some(lease) if lease.expires > now && lease.expires - now <= millis(LEASE) => None,
            _ => Some(wanted),
        }
    }

    /// Whether `worker` may poll at `now`.
    pub fn is_held_by(self, worker: u64, now: Millis) -> bool {
        self.holder == worker && self.expires > now
    }
}

/// A number as it stands in shared data.
pub fn decode_number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

/// `duration` in whole milliseconds.
pub fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Waits longer after each failure, so that an STS that is down is not hammered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
    not_before: Millis,
}

impl Backoff {
    /// Whether an attempt is due.
    pub fn is_due(&self, now: Millis) -> bool {
        now >= self.not_before || self.not_before - now > millis(LAST_RETRY)
    }

    /// Whether the last attempt failed.
    pub fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// An attempt failed.
    pub fn failed(&mut self, now: Millis) {
        let wait = FIRST_RETRY
            .saturating_mul(1 << self.failures.min(10))
            .min(LAST_RETRY);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now.saturating_add(millis(wait));
    }

    /// An attempt succeeded.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }
}

/// Asks the STS for news of one thing, one call at a time: by long polls while they are answered, and
/// without a wait where something may have been missed, since a wait without an answer is no contact.
#[derive(Debug, Default)]
pub struct LongPoll {
    call: Option<u32>,
    waits: bool,
    backoff: Backoff,
}

impl LongPoll {
    /// For how long the STS is to wait with its answer to the call that is due at `now`, at most `wait`;
    /// `None` if none is due. `age` is that of what is known, where something is.
    pub fn due(&self, wait: Duration, age: Option<Duration>, now: Millis) -> Option<Duration> {
        if !self.backoff.is_due(now) {
            return None;
        }
        let is_overdue = age.is_none_or(|age| age > wait.saturating_add(OVERDUE));
        match self.call {
            // It was lost, or the clock has leapt: nobody should wait for it to end.
            Some(_) if self.waits && is_overdue => Some(Duration::ZERO),
            Some(_) => None,
            None if is_overdue || self.backoff.has_failed() => Some(Duration::ZERO),
            None => Some(wait),
        }
    }

    /// The call `call` was sent, to be answered after `wait`, in place of whichever was under way; or it
    /// could not be. Whether it was.
    pub fn sent(&mut self, call: Option<u32>, wait: Duration, now: Millis) -> bool {
        self.call = call;
        self.waits = !wait.is_zero();
        if call.is_none() {
            self.backoff.failed(now);
        }
        call.is_some()
    }

    /// Whether `call` is the one under way, which has ended then.
    pub fn ended(&mut self, call: u32) -> bool {
        self.call.take_if(|own| *own == call).is_some()
    }

    /// There was no answer, or none to be used.
    pub fn failed(&mut self, now: Millis) {
        self.backoff.failed(now);
    }

    /// The STS was heard of.
    pub fn succeeded(&mut self) {
        self.backoff.succeeded();
    }
}

/// How old what is known is: by the clock since the last contact, and by the ticks that have passed in
/// it. The clock may be set back, and ticks stop where a machine sleeps; the larger of the two counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Freshness {
    contact: Millis,
    ticks: u32,
}

impl Freshness {
    /// When the STS was last heard of, as far as is known now.
    pub fn heard(&mut self, contact: Millis) {
        if contact != self.contact {
            *self = Self { contact, ticks: 0 };
        }
    }

    /// A tick has passed.
    pub fn tick(&mut self) {
        self.ticks = self.ticks.saturating_add(1);
    }

    /// The age at `now`.
    pub fn age(&self, now: Millis) -> Duration {
        let by_clock = Duration::from_millis(now.saturating_sub(self.contact));
        by_clock.max(TICK.saturating_mul(self.ticks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_holds_the_lease_and_another_takes_over() {
        let first = Lease::claim(None, 1, 1_000).unwrap();
        assert_eq!(Lease::decode(&first.encode()), Some(first));
        assert!(first.is_held_by(1, 1_001) && !first.is_held_by(2, 1_001));
        assert_eq!(Lease::claim(Some(first), 2, 2_000), None);
        assert_eq!(Lease::claim(Some(first), 1, 2_000), None);
        assert_eq!(Lease::claim(Some(first), 1, 2_600).unwrap().expires, 5_600);
        assert_eq!(Lease::claim(Some(first), 2, 4_000).unwrap().holder, 2);
        assert!(!first.is_held_by(1, 4_000));
    }

    #[test]
    fn a_lease_from_a_wrong_clock_does_not_last_for_ever() {
        let future = Lease {
            holder: 1,
            expires: 1_000_000_000,
        };
        assert_eq!(Lease::claim(Some(future), 2, 1_000).unwrap().holder, 2);
        assert!(Lease::claim(Some(future), 1, 1_000).is_some());
        assert_eq!(Lease::decode(b"short"), None);
    }

    #[test]
    fn failures_wait_longer_up_to_a_bound() {
        let mut backoff = Backoff::default();
        assert!(backoff.is_due(0));
        let mut waits = Vec::new();
        for _ in 0..8 {
            backoff.failed(10_000);
            waits.push(backoff.not_before - 10_000);
        }
        assert_eq!(waits, [250, 500, 1_000, 2_000, 4_000, 5_000, 5_000, 5_000]);
        assert!(!backoff.is_due(14_999) && backoff.is_due(15_000));
        backoff.succeeded();
        assert!(backoff.is_due(0));
    }

    #[test]
    fn a_long_poll_that_is_lost_is_followed_by_one_that_does_not_wait() {
        const WAIT: Duration = Duration::from_secs(25);
        let age = |seconds| Some(Duration::from_secs(seconds));
        let mut poll = LongPoll::default();
        // Where nothing is known there is nothing to wait for.
        assert_eq!(poll.due(WAIT, None, 0), Some(Duration::ZERO));
        assert!(poll.sent(Some(1), Duration::ZERO, 0));
        assert_eq!(poll.due(WAIT, None, 5_000), None);
        assert!(!poll.ended(2) && poll.ended(1) && !poll.ended(1));
        poll.succeeded();
        assert_eq!(poll.due(WAIT, age(0), 5_000), Some(WAIT));
        assert!(poll.sent(Some(2), WAIT, 5_000));
        assert_eq!(poll.due(WAIT, age(26), 31_000), None);
        assert_eq!(poll.due(WAIT, age(27), 32_000), Some(Duration::ZERO));
        assert!(poll.sent(Some(3), Duration::ZERO, 32_000));
        // That one is given its time, and the lost one is forgotten.
        assert_eq!(poll.due(WAIT, age(28), 33_000), None);
        assert!(!poll.ended(2) && poll.ended(3));
        poll.succeeded();
        assert_eq!(poll.due(WAIT, age(0), 33_000), Some(WAIT));
    }

    #[test]
    fn after_a_failure_the_sts_is_not_asked_to_wait() {
        const WAIT: Duration = Duration::from_secs(25);
        let fresh = Some(Duration::ZERO);
        let mut poll = LongPoll::default();
        assert!(!poll.sent(None, WAIT, 1_000));
        assert_eq!(poll.due(WAIT, fresh, 1_249), None);
        assert_eq!(poll.due(WAIT, fresh, 1_250), Some(Duration::ZERO));
        assert!(poll.sent(Some(1), Duration::ZERO, 1_250));
        assert!(poll.ended(1));
        poll.failed(1_300);
        assert_eq!(poll.due(WAIT, fresh, 1_799), None);
        assert_eq!(poll.due(WAIT, fresh, 1_800), Some(Duration::ZERO));
        poll.succeeded();
        assert_eq!(poll.due(WAIT, fresh, 1_800), Some(WAIT));
    }

    #[test]
    fn age_only_grows_until_the_sts_is_heard_again_whatever_the_clock_does() {
        let mut contact = Freshness::default();
        contact.heard(100_000);
        assert_eq!(contact.age(160_000), Duration::from_secs(60));
        for _ in 0..1_200 {
            contact.tick();
            // The same contact again is nothing new.
            contact.heard(100_000);
        }
        // Set back by an hour, or to the contact itself.
        for now in [0, 100_000, 130_000] {
            assert_eq!(contact.age(now), Duration::from_secs(60), "{now}");
        }
        // Forward: nobody knows what was missed.
        assert_eq!(contact.age(3_700_000), Duration::from_secs(3_600));
        contact.heard(130_000);
        assert_eq!(contact.age(130_000), Duration::ZERO);
        // Heard of at a time that has not come.
        contact.heard(9_000_000);
        contact.tick();
        assert_eq!(contact.age(130_000), TICK);
    }
}
