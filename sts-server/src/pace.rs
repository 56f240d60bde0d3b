//! How fast work is done that may take long: whether a thread that serves others too should do it.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use tokio::runtime::{Handle, RuntimeFlavor};

/// From here on a piece of work was slow.
const SLOW: Duration = Duration::from_millis(2);
/// What one that was slow counts, against one for each that was not.
const WEIGHT: u32 = 16;
/// From here on the next is expected to be slow. One that was is not enough: a machine with much to do lets anyone
/// wait at times.
const LIMIT: u32 = WEIGHT + WEIGHT / 2;
/// Highest count, so that work that is fast again is soon seen to be.
const HIGHEST: u32 = 4 * WEIGHT;

/// How fast the same kind of work was done of late.
#[derive(Debug, Default)]
pub(crate) struct Pace(AtomicU32);

impl Pace {
    /// Does a piece of work. If it is expected to be slow, the requests that this thread would otherwise serve do
    /// not wait for it. To let another thread take over costs more than most work takes, so what is not is done
    /// right here.
    pub(crate) fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        let timed = || {
            let started = Instant::now();
            let done = work();
            self.took(started.elapsed());
            done
        };
        if self.is_slow() && on_many_threads() {
            tokio::task::block_in_place(timed)
        } else {
            timed()
        }
    }

    fn is_slow(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= LIMIT
    }

    fn took(&self, time: Duration) {
        let count = self.0.load(Ordering::Relaxed);
        let next = if time >= SLOW {
            (count + WEIGHT).min(HIGHEST)
        } else {
            count.saturating_sub(1)
        };
        // Of two at once either may be the one that counts.
        if next != count {
            self.0.store(next, Ordering::Relaxed);
        }
    }
}

fn on_many_threads() -> bool {
    Handle::try_current()
        .is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_slow_while_it_often_is() {
        let pace = Pace::default();
        pace.took(SLOW);
        assert!(!pace.is_slow(), "once is an accident");
        pace.took(SLOW);
        assert!(pace.is_slow());
        for _ in 0..HIGHEST {
            pace.took(SLOW);
        }
        for _ in 0..HIGHEST - LIMIT {
            assert!(pace.is_slow());
            pace.took(Duration::ZERO);
        }
        pace.took(Duration::ZERO);
        assert!(!pace.is_slow(), "it was fast for long enough");
        for _ in 0..LIMIT {
            pace.took(Duration::ZERO);
        }
        for _ in 0..100 {
            pace.took(SLOW);
            for _ in 0..WEIGHT {
                assert!(!pace.is_slow(), "now and then it may be");
                pace.took(Duration::ZERO);
            }
        }
    }
}
