//! The load: as much as there is an answer to, for throughput and processor time, and at a fixed rate, for
//! latencies.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{PATH, contenders::Contender, measured::Full};
use crate::median;

/// Connections of the load, in both forms.
const CONNECTIONS: usize = 16;
/// Seconds in which a gateway that was just started has met every mandate that repeats.
const WARMING: u32 = 1;
/// How long nothing is done any more beside the gateway when all evidence of the requests, which belongs to
/// them, has been taken in.
const SETTLED: Duration = Duration::from_millis(500);

/// Sends the tokens of a file by turns, the first after so many.
const SCRIPT: &str = r#"
local requests, at = {}, 0
function init(args)
  for token in io.lines(args[1]) do
    requests[#requests + 1] = wrk.format("GET", nil, {["Authorization"] = "Bearer " .. token})
  end
  at = tonumber(args[2])
end
function request()
  at = at % #requests + 1
  return requests[at]
end
"#;

/// Drives a contender as fast as it goes, when it has done what it does only once.
pub(super) fn full(contender: &Contender<'_>, dir: &Path, seconds: u32) -> Full {
    let _turn = contender.turn();
    let warming = wrk(contender, dir, WARMING, 0.0);
    settle(contender);
    let before = (contender.gateway.processor_time(), contender.beside());
    let requests = wrk(contender, dir, seconds, warming);
    settle(contender);
    let micros = |now: Duration, before: Duration| (now - before).as_secs_f64() * 1e6 / requests;
    Full {
        requests_a_second: requests / f64::from(seconds),
        envoy: micros(contender.gateway.processor_time(), before.0),
        beside: micros(contender.beside(), before.1),
    }
}

/// As many requests as there is an answer to, for so many seconds, with the tokens that come after so many: how many
/// there were.
pub(super) fn wrk(contender: &Contender<'_>, dir: &Path, seconds: u32, after: f64) -> f64 {
    let script = dir.join("tokens.lua");
    fs::write(&script, SCRIPT).unwrap();
    let output = Command::new("wrk")
        .args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s")])
        .arg("-s")
        .arg(script)
        .arg(format!("http://{}{PATH}", contender.gateway.address()))
        .arg("--")
        .arg(dir.join(&contender.mandates.file))
        .arg(after.to_string())
        .output()
        .expect("wrk runs (on Debian: apt-get install wrk)");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        !text.contains("Non-2xx"),
        "{}: {text}\n{:#?}",
        contender.name,
        contender.gateway.refusals()
    );
    text.lines()
        .find_map(|line| line.trim().split_once(" requests in "))
        .and_then(|(requests, _)| requests.parse().ok())
        .unwrap_or_else(|| panic!("wrk said: {text}"))
}

/// Waits until what works with the gateway has come to rest.
fn settle(contender: &Contender<'_>) {
    let mut before = contender.beside();
    loop {
        thread::sleep(SETTLED);
        let now = contender.beside();
        if now - before < SETTLED / 20 {
            break;
        }
        before = now;
    }
}

/// Latencies in microseconds, from when a request was due.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Latencies {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

impl Latencies {
    fn of(mut micros: Vec<f64>) -> Self {
        micros.sort_by(f64::total_cmp);
        let at = |share: f64| micros[((micros.len() - 1) as f64 * share) as usize];
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
        }
    }

    /// Each percentile's median over the rounds.
    pub(crate) fn medians(rounds: &[Self]) -> Self {
        let of = |what: fn(&Self) -> f64| median(rounds.iter().map(what).collect());
        Self {
            p50: of(|round| round.p50),
            p90: of(|round| round.p90),
            p99: of(|round| round.p99),
            p999: of(|round| round.p999),
        }
    }
}

/// Drives a contender at `rate` requests a second. A request that is due while its connection still waits
/// for the one before is late, and that is part of its latency.
pub(super) fn steady(contender: &Contender<'_>, rate: u32, lasting: Duration) -> Latencies {
    let _turn = contender.turn();
    open_loop(
        contender.gateway.address(),
        &contender.mandates.all,
        rate,
        lasting,
    )
}

/// The same with a gateway whose turn it is.
pub(crate) fn open_loop(
    address: SocketAddr,
    tokens: &[String],
    rate: u32,
    lasting: Duration,
) -> Latencies {
    let requests: Vec<Vec<u8>> = tokens
        .iter()
        .map(|token| {
            format!(
                "GET {PATH} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n"
            )
            .into_bytes()
        })
        .collect();
    let started = Instant::now() + Duration::from_millis(50);
    let number = (f64::from(rate) * lasting.as_secs_f64()) as usize;
    let due = |place: usize| started + Duration::from_secs_f64(place as f64 / f64::from(rate));
    // One thread for all connections: as many as there are of them would keep each other, and the gateway, waiting.
    let drive = move || {
        sleep_exactly();
        let mut lines: Vec<Line> = (0..CONNECTIONS.min(number))
            .map(|first| Line::open(address, first))
            .collect();
        let mut micros = Vec::with_capacity(number);
        while micros.len() < number {
            let now = Instant::now();
            for line in &mut lines {
                if !line.waits && line.place < number && due(line.place) <= now {
                    line.send(&requests[line.place % requests.len()]);
                }
            }
            let idle = lines
                .iter()
                .filter(|line| !line.waits && line.place < number);
            let next = idle.map(|line| due(line.place)).min();
            for place in answered(&mut lines, next) {
                micros.push(due(place).elapsed().as_secs_f64() * 1e6);
            }
        }
        micros
    };
    Latencies::of(thread::scope(|scope| scope.spawn(drive).join().unwrap()))
}

/// Waits for answers, or until `next` is due. The requests that were answered.
fn answered(lines: &mut [Line], next: Option<Instant>) -> Vec<usize> {
    let left = next.map(|next| next.saturating_duration_since(Instant::now()));
    let left = left.map(|left| Timespec::try_from(left).unwrap());
    let waiting: Vec<usize> = (0..lines.len())
        .filter(|index| lines[*index].waits)
        .collect();
    let mut polled: Vec<PollFd<'_>> = waiting
        .iter()
        .map(|index| PollFd::new(&lines[*index].stream, PollFlags::IN))
        .collect();
    poll(&mut polled, left.as_ref()).unwrap();
    let ready: Vec<bool> = polled
        .iter()
        .map(|polled| !polled.revents().is_empty())
        .collect();
    let ready = waiting.into_iter().zip(ready).filter(|(_, ready)| *ready);
    ready
        .filter_map(|(index, _)| lines[index].receive())
        .collect()
}

/// Lets the kernel wake this thread when it asks to, and not up to 50 us later (proc_pid_timerslack_ns(5)).
fn sleep_exactly() {
    let thread = fs::read_link("/proc/thread-self").unwrap();
    let id = thread.file_name().unwrap().to_str().unwrap().to_owned();
    // Where it is not to be had, all contenders are late alike.
    let _ = fs::write(format!("/proc/{id}/timerslack_ns"), "1000");
}

/// A connection that is good for requests whose answers are short.
struct Line {
    stream: TcpStream,
    read: Vec<u8>,
    filled: usize,
    /// The request that it is used for, or is to be used for next.
    place: usize,
    /// Whether it waits for an answer.
    waits: bool,
}

impl Line {
    fn open(address: SocketAddr, place: usize) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            read: vec![0; 16 * 1024],
            filled: 0,
            place,
            waits: false,
        }
    }

    fn send(&mut self, request: &[u8]) {
        self.stream.write_all(request).unwrap();
        (self.filled, self.waits) = (0, true);
    }

    /// Reads what is there. The request that was answered, if that was all of the answer.
    fn receive(&mut self) -> Option<usize> {
        let more = self.stream.read(&mut self.read[self.filled..]).unwrap();
        assert!(more > 0, "the gateway has closed the connection");
        self.filled += more;
        // Every contender's answer is this short text.
        if !self.read[..self.filled].ends_with(b"\r\n\r\nok") {
            return None;
        }
        assert!(self.read.starts_with(b"HTTP/1.1 200"));
        let place = self.place;
        (self.place, self.waits) = (place + CONNECTIONS, false);
        Some(place)
    }
}
