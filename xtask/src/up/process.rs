//! A server that runs while xtask runs, and ends with it however xtask ends.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    console::{Failure, OrFail, Result},
    step::telling_part,
};

/// Runs a command and ends it when standard input closes. xtask holds the other end of that pipe, so
/// its death by any signal, kill -9 included, closes it.
const GUARDIAN: &str = r#"
exec 3<&0
"$@" 3<&- </dev/null &
server=$!
(
  read -r _ <&3
  kill -TERM $server
  sleep 5
  kill -KILL $server
) >/dev/null 2>&1 &
watcher=$!
exec 3<&-
wait $server
code=$?
kill $watcher 2>/dev/null
exit $code
"#;

const STOP_LIMIT: Duration = Duration::from_secs(8);

/// A running server.
pub(super) struct Process {
    name: &'static str,
    guardian: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, with its output in `log`.
    pub(super) fn start(name: &'static str, command: &Command, log: &Path) -> Result<Self> {
        let doing = || format!("cannot write {}", log.display());
        let output = File::create(log).or_fail(doing)?;
        let errors = output.try_clone().or_fail(doing)?;
        let mut guardian = Command::new("/bin/sh");
        guardian
            .args(["-c", GUARDIAN, "guardian"])
            .arg(command.get_program())
            .args(command.get_args());
        for (variable, value) in command.get_envs() {
            match value {
                Some(value) => guardian.env(variable, value),
                None => guardian.env_remove(variable),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            guardian.current_dir(directory);
        }
        // A group of its own: Ctrl-C reaches xtask alone, and the pipe tells the rest.
        guardian
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors);
        let guardian = guardian
            .spawn()
            .or_fail(|| format!("cannot start {name}"))?;
        Ok(Self {
            name,
            guardian,
            log: log.to_owned(),
        })
    }

    /// Fails if the server has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        match self.guardian.try_wait() {
            Ok(Some(status)) => {
                Err(self.failure(&format!("has ended by itself ({})", read(status))))
            }
            _ => Ok(()),
        }
    }

    /// A failure of this server, with the end of its log.
    pub(super) fn failure(&self, what: &str) -> Failure {
        let text = fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default();
        Failure::new(
            format!("{} {what}", self.name),
            format!("its log is {}", self.log.display()),
        )
        .with_log(telling_part(&text))
    }

    /// Ends the server and waits for its end.
    pub(super) fn stop(&mut self) {
        drop(self.guardian.stdin.take());
        let started = Instant::now();
        while matches!(self.guardian.try_wait(), Ok(None)) && started.elapsed() < STOP_LIMIT {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

fn read(status: ExitStatus) -> String {
    status
        .code()
        .map_or_else(|| status.to_string(), |code| format!("exit code {code}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("xtask-{name}-{}.log", std::process::id()))
    }

    fn server_id(log: &Path) -> String {
        loop {
            let text = fs::read_to_string(log).unwrap();
            if let Some(id) = text.strip_suffix('\n') {
                return id.to_owned();
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn lives(id: &str) -> bool {
        Command::new("kill")
            .args(["-0", id])
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
    }

    #[test]
    fn a_server_ends_when_it_is_dropped() {
        let log = log("drop");
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$; exec sleep 60"]);
        let process = Process::start("the server", &command, &log).unwrap();
        let id = server_id(&log);
        assert!(lives(&id));
        let started = Instant::now();
        drop(process);
        assert!(!lives(&id));
        assert!(started.elapsed() < Duration::from_secs(4));
        fs::remove_file(log).unwrap();
    }

    #[test]
    fn a_server_that_ends_by_itself_is_reported_with_code_and_log() {
        let log = log("code");
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such database; exit 3"]);
        let mut process = Process::start("the server", &command, &log).unwrap();
        let failure = loop {
            match process.check() {
                Err(failure) => break failure.to_string(),
                Ok(()) => thread::sleep(Duration::from_millis(10)),
            }
        };
        assert!(
            failure.contains("exit code 3") && failure.contains("no such database"),
            "{failure}"
        );
        fs::remove_file(log).unwrap();
    }
}
