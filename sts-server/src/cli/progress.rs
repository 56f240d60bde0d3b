//! How far something long has come.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

/// How often the progress is shown.
const SHOWN_EVERY: Duration = Duration::from_millis(200);
const BAR_CHARACTERS: u64 = 30;

/// A bar on a terminal, and nothing elsewhere.
pub(super) struct Progress {
    unit: &'static str,
    total: u64,
    done: u64,
    shown: Option<Instant>,
    is_terminal: bool,
}

impl Progress {
    /// Of `total` of that unit.
    pub(super) fn new(total: u64, unit: &'static str) -> Self {
        Self {
            unit,
            total,
            done: 0,
            shown: None,
            is_terminal: std::io::stderr().is_terminal(),
        }
    }

    /// So many more are done.
    pub(super) fn advance(&mut self, by: u64) {
        self.done += by;
        if self.is_terminal && self.shown.is_none_or(|shown| shown.elapsed() > SHOWN_EVERY) {
            self.show();
        }
    }

    /// How many there were.
    pub(super) fn done(&self) -> u64 {
        self.done
    }

    fn show(&mut self) {
        let filled = (self.done * BAR_CHARACTERS)
            .checked_div(self.total)
            .unwrap_or(BAR_CHARACTERS);
        let bar: String = (0..BAR_CHARACTERS)
            .map(|place| if place < filled { '#' } else { '.' })
            .collect();
        // A bar that cannot be drawn is no reason to stop.
        let _ = write!(
            std::io::stderr().lock(),
            "\r  [{bar}] {} of {} {}",
            self.done,
            self.total,
            self.unit
        );
        self.shown = Some(Instant::now());
    }

    /// It is all done.
    pub(super) fn end(&mut self) {
        if self.is_terminal {
            self.show();
            let _ = writeln!(std::io::stderr().lock());
        }
    }
}
