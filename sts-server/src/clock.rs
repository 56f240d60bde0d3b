//! The clock, and points in time as the STS stores and shows them.

use std::{
    sync::LazyLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use authority::{audit::OccurredAt, time::Timestamp};
use serde::{Serialize, Serializer};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Gives policies a clock that bounds them. Whoever compiles or evaluates calls this first; again does
/// nothing.
pub fn bound_policies() {
    fn now() -> Duration {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        START.elapsed()
    }
    authority::policy::set_clock(now);
}

/// The present, as evidence tells it.
pub(crate) fn occurred_now() -> OccurredAt {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    OccurredAt(u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX))
}

/// Milliseconds since the Unix epoch; in JSON an RFC 3339 text in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, sqlx::Type)]
#[sqlx(transparent)]
pub(crate) struct Moment(i64);

impl Moment {
    /// The present.
    pub(crate) fn now() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    /// This moment plus `duration`.
    #[must_use]
    pub(crate) fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// This moment less `duration`.
    #[must_use]
    pub(crate) fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// How much later this is than `earlier`; nothing if it is not.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or_default())
    }

    /// As a number; 0 for what is before the Unix epoch.
    pub(crate) fn millis(self) -> u64 {
        u64::try_from(self.0).unwrap_or_default()
    }

    /// In whole seconds, rounded down, as claims carry it.
    pub(crate) fn timestamp(self) -> Timestamp {
        Timestamp(u64::try_from(self.0 / 1000).unwrap_or_default())
    }
}

impl From<Timestamp> for Moment {
    fn from(timestamp: Timestamp) -> Self {
        Self(
            i64::try_from(timestamp.seconds())
                .unwrap_or(i64::MAX)
                .saturating_mul(1000),
        )
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .ok()
            .and_then(|time| time.format(&Rfc3339).ok());
        text.serialize(serializer)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
