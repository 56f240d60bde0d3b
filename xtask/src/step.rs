//! A step: a command whose output goes to a log, with a line for the user and the log's telling part
//! on failure.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    console::{DONE, Failure, OrFail, Progress, Result},
    workspace::Workspace,
};

const TAIL_LINES: usize = 20;
const ERROR_LINES: usize = 60;

/// One command to run.
pub(crate) struct Step<'a> {
    workspace: &'a Workspace,
    title: &'a str,
    name: &'a str,
    limit: Option<Duration>,
}

impl<'a> Step<'a> {
    /// `title` is what the user reads, `name` is the log's file name.
    pub(crate) fn new(workspace: &'a Workspace, title: &'a str, name: &'a str) -> Self {
        Self {
            workspace,
            title,
            name,
            limit: None,
        }
    }

    /// Gives up after `limit`.
    pub(crate) fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Where the output goes.
    pub(crate) fn log(&self) -> PathBuf {
        self.workspace
            .tools()
            .join("logs")
            .join(format!("{}.log", self.name))
    }

    /// Runs it to its end. `way_out` is what the user can do if it fails.
    pub(crate) fn run(&self, command: &mut Command, way_out: &str) -> Result<()> {
        let mut progress = Progress::start(self.title);
        match self.wait(command, &mut progress) {
            Ok(status) if status.success() => {
                progress.end(DONE);
                Ok(())
            }
            Ok(status) => {
                progress.end("failed");
                Err(self.failure(&status.to_string(), way_out))
            }
            Err(failure) => {
                progress.end("failed");
                Err(failure)
            }
        }
    }

    fn failure(&self, what: &str, way_out: &str) -> Failure {
        let log = self.log();
        let text = fs::read(&log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default();
        Failure::new(
            format!(
                "{} failed ({what}, whole output in {})",
                self.title,
                log.display()
            ),
            way_out,
        )
        .with_log(telling_part(&text))
    }

    fn wait(&self, command: &mut Command, progress: &mut Progress) -> Result<ExitStatus> {
        let log = self.log();
        let doing = || format!("cannot write {}", log.display());
        fs::create_dir_all(self.workspace.tools().join("logs")).or_fail(doing)?;
        let output = File::create(&log).or_fail(doing)?;
        let errors = output.try_clone().or_fail(doing)?;
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(|error| {
                Failure::new(
                    format!("cannot run {program}: {error}"),
                    "install it and run this again",
                )
            })?;
        let started = Instant::now();
        loop {
            if let Some(status) = child
                .try_wait()
                .or_fail(|| format!("cannot wait for {program}"))?
            {
                return Ok(status);
            }
            if self.limit.is_some_and(|limit| started.elapsed() > limit) {
                let _ = child.kill();
                let _ = child.wait();
                return Err(
                    self.failure("no end in sight", "run it again when the network is better")
                );
            }
            progress.tick();
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// From a compiler's first error on, where there is one; else the end.
pub(crate) fn telling_part(log: &str) -> Vec<String> {
    let lines: Vec<&str> = log.lines().collect();
    let part: &[&str] = match lines.iter().position(|line| line.starts_with("error")) {
        Some(first) => lines
            .get(first..)
            .map_or(&[], |rest| rest.get(..ERROR_LINES).unwrap_or(rest)),
        None => lines
            .get(lines.len().saturating_sub(TAIL_LINES)..)
            .unwrap_or_default(),
    };
    part.iter().map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_telling_part_is_the_end_or_begins_at_the_first_error() {
        let plain: String = (0..30).map(|n| format!("line {n}\n")).collect();
        assert_eq!(telling_part(&plain).len(), 20);
        assert_eq!(telling_part(&plain).first().unwrap(), "line 10");
        let failed = format!("Compiling\nerror[E0308]: mismatched types\n{plain}");
        assert_eq!(
            telling_part(&failed).first().unwrap(),
            "error[E0308]: mismatched types"
        );
        assert!(telling_part("").is_empty());
    }
}
