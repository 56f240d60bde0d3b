//! Limits on how often something may happen: fixed windows of a minute, in memory.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const WINDOW: Duration = Duration::from_secs(60);
/// Most keys that are counted at once. Past it, windows that have ended are swept out; should all be
/// open, new keys are refused: whoever can open that many is not to be let through.
const MAX_KEYS: usize = 100_000;

struct Window {
    since: Instant,
    count: u32,
}

/// Counts events by key.
pub(crate) struct Limit<K> {
    most: u32,
    windows: Mutex<HashMap<K, Window>>,
}

impl<K: Hash + Eq> Limit<K> {
    /// At most `most` events a minute for each key.
    pub(crate) fn per_minute(most: u32) -> Self {
        Self {
            most,
            windows: Mutex::default(),
        }
    }

    /// Whether `key` is at its limit; if it is, the time until its window ends.
    ///
    /// # Errors
    /// The time until the window ends.
    pub(crate) fn check(&self, key: &K) -> Result<(), Duration> {
        let windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        match windows.get(key) {
            Some(window) if window.count >= self.most => left(window, Instant::now()),
            _ => Ok(()),
        }
    }

    /// Counts one event, unless `key` is at its limit.
    ///
    /// # Errors
    /// The time until the window ends.
    pub(crate) fn take(&self, key: K) -> Result<(), Duration> {
        let now = Instant::now();
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= MAX_KEYS && !windows.contains_key(&key) {
            windows.retain(|_, window| left(window, now).is_err());
            if windows.len() >= MAX_KEYS {
                return Err(WINDOW);
            }
        }
        let window = windows.entry(key).or_insert(Window {
            since: now,
            count: 0,
        });
        if left(window, now).is_ok() {
            *window = Window {
                since: now,
                count: 0,
            };
        }
        if window.count >= self.most {
            return left(window, now);
        }
        window.count += 1;
        Ok(())
    }
}

/// The time that `window` still lasts, as the error that a limit answers with.
fn left(window: &Window, now: Instant) -> Result<(), Duration> {
    match WINDOW.saturating_sub(now.saturating_duration_since(window.since)) {
        Duration::ZERO => Ok(()),
        left => Err(left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_limit() {
        let limit = Limit::per_minute(2);
        assert!(limit.take("a").is_ok());
        assert!(limit.check(&"a").is_ok());
        assert!(limit.take("a").is_ok());
        assert!(
            limit
                .check(&"a")
                .is_err_and(|left| left <= WINDOW && left > Duration::from_secs(50))
        );
        assert!(limit.take("a").is_err());
        assert!(limit.take("b").is_ok());
    }

    #[test]
    fn a_window_that_ended_counts_no_more() {
        let limit = Limit::per_minute(1);
        assert!(limit.take("a").is_ok());
        limit.windows.lock().unwrap().get_mut("a").unwrap().since -= WINDOW;
        assert!(limit.check(&"a").is_ok());
        assert!(limit.take("a").is_ok());
        assert!(limit.take("a").is_err());
    }
}
