//! A server under test, which never outlives the test's process, however that ends.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

/// What the kernel counts processor time in, on every Linux for user space (`USER_HZ`).
const TICKS_A_SECOND: u64 = 100;

/// Runs a command and ends it when standard input closes. The test holds the other end of that pipe,
/// so the end of its process closes it, even where nothing is dropped.
const GUARDIAN: &str = r#"
exec 3<&0
"$@" 3<&- </dev/null &
server=$!
(
  read -r _ <&3
  kill -KILL $server
) >/dev/null 2>&1 &
watcher=$!
exec 3<&-
wait $server
code=$?
kill $watcher 2>/dev/null
exit $code
"#;

/// A server with its log.
pub struct Process {
    guardian: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` in `dir`, with its output added to the file `log` there.
    pub fn start(command: &Command, dir: &Path) -> Self {
        let log = dir.join("log");
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let mut guardian = Command::new("/bin/sh");
        guardian
            .args(["-c", GUARDIAN, "guardian"])
            .arg(command.get_program())
            .args(command.get_args())
            .current_dir(dir)
            // Nothing of the tests' own environment counts.
            .env_clear()
            .envs(
                command
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        Self {
            guardian: guardian.spawn().unwrap(),
            log,
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.guardian.try_wait().unwrap()
    }

    /// Fails the test if it has ended.
    pub(crate) fn check(&mut self) {
        if let Some(status) = self.ended() {
            panic!("a server ended ({status}): {}", self.log_end());
        }
    }

    /// The memory that the server holds, in KB.
    pub fn memory_kb(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.server())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        line.unwrap()
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap()
    }

    /// The processor time that the server has taken, in the kernel and outside.
    pub fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.server())).unwrap();
        // The name, in brackets, may hold anything (proc_pid_stat(5)).
        let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
        let ticks: u64 = fields
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<u64>().unwrap())
            .sum();
        Duration::from_millis(ticks * 1_000 / TICKS_A_SECOND)
    }

    /// Sends the server a signal, such as `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args(["-s", name, &self.server()])
            .status();
        assert!(sent.unwrap().success(), "no signal {name}");
    }

    /// The server's process id.
    pub(crate) fn server(&self) -> String {
        let guardian = self.guardian.id();
        let children = format!("/proc/{guardian}/task/{guardian}/children");
        let children = fs::read_to_string(children).unwrap();
        // Beside the server there is the guardian's watcher, which is a shell like itself.
        let guardian = fs::read_link(format!("/proc/{guardian}/exe")).unwrap();
        let server = children
            .split_whitespace()
            .find(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe != guardian));
        server.unwrap().to_owned()
    }

    /// What it has written so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of the same, for a failure's text.
    pub fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.guardian.stdin.take());
        let _ = self.guardian.wait();
    }
}
