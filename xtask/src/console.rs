//! What the user sees: one line per step, elapsed seconds while it takes long, and failures.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

/// Why a command could not do its work, and what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    cause: String,
    way_out: String,
    log: Vec<String>,
}

/// What every part of xtask returns.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// `cause` says what went wrong, `way_out` what the user can do; both without a full stop.
    pub(crate) fn new(cause: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            way_out: way_out.into(),
            log: Vec::new(),
        }
    }

    /// The same with the end of a log.
    pub(crate) fn with_log(mut self, lines: Vec<String>) -> Self {
        self.log = lines;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.log {
            writeln!(f, "  | {line}")?;
        }
        write!(f, "error: {}; {}.", self.cause, self.way_out)
    }
}

/// Adds cause and way out to an error of the operating system.
pub(crate) trait OrFail<T> {
    fn or_fail(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T> OrFail<T> for io::Result<T> {
    fn or_fail(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| {
            Failure::new(
                format!("{}: {error}", doing()),
                "check the disk and the permissions, then run it again",
            )
        })
    }
}

/// One line of output. A closed standard output is no reason to stop.
pub(crate) fn line(text: impl fmt::Display) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// A failure, on standard error.
pub(crate) fn failure(failure: &Failure) {
    let _ = writeln!(io::stderr(), "{failure}");
}

/// The line of a running step: grows elapsed seconds on a terminal; elsewhere a line when it starts
/// and, if it took long, one when it ends.
pub(crate) struct Progress {
    title: String,
    started: Instant,
    shown_seconds: u64,
    terminal: bool,
}

const WORTH_SHOWING: Duration = Duration::from_secs(2);

impl Progress {
    pub(crate) fn start(title: &str) -> Self {
        let terminal = io::stdout().is_terminal();
        let mut out = io::stdout();
        let _ = if terminal {
            write!(out, "  {title}")
        } else {
            writeln!(out, "  {title}")
        };
        let _ = out.flush();
        Self {
            title: title.to_owned(),
            started: Instant::now(),
            shown_seconds: 0,
            terminal,
        }
    }

    /// Called often while the step runs.
    pub(crate) fn tick(&mut self) {
        let elapsed = self.started.elapsed();
        if self.terminal && elapsed >= WORTH_SHOWING && elapsed.as_secs() != self.shown_seconds {
            self.shown_seconds = elapsed.as_secs();
            let mut out = io::stdout();
            let _ = write!(out, "\r\x1b[K  {} ... {} s", self.title, self.shown_seconds);
            let _ = out.flush();
        }
    }

    pub(crate) fn end(self, outcome: &str) {
        let elapsed = self.started.elapsed();
        let title = &self.title;
        match (self.terminal, elapsed >= WORTH_SHOWING) {
            (true, true) => line(format_args!(
                "\r\x1b[K  {title} ... {outcome} in {}",
                seconds(elapsed)
            )),
            (true, false) if outcome == DONE => line(""),
            (true, false) => line(format_args!(" ... {outcome}")),
            (false, true) => line(format_args!(
                "  {title} ... {outcome} in {}",
                seconds(elapsed)
            )),
            (false, false) if outcome == DONE => {}
            (false, false) => line(format_args!("  {title} ... {outcome}")),
        }
    }
}

/// The outcome of a step that went well.
pub(crate) const DONE: &str = "done";

/// A duration as people read it.
pub(crate) fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        format!(
            "{} min {:02} s",
            duration.as_secs() / 60,
            duration.as_secs() % 60
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_reads_log_then_cause_then_way_out() {
        let failure = Failure::new("it broke", "mend it").with_log(vec!["a".into(), "b".into()]);
        assert_eq!(
            failure.to_string(),
            "  | a\n  | b\nerror: it broke; mend it."
        );
    }

    #[test]
    fn durations_over_a_minute_are_in_minutes() {
        assert_eq!(seconds(Duration::from_millis(2340)), "2.3 s");
        assert_eq!(seconds(Duration::from_secs(125)), "2 min 05 s");
    }
}
