//! Instructions instead of time: how many of them a request takes in Envoy, outside the kernel, as valgrind's callgrind
//! counts them. Time depends on the machine and the hour; these figures are the same within a few thousandths, so that a
//! change of a hundredth shows. They say nothing of what waits for memory.

use std::{fs, path::Path, process::Command, time::Duration};

use super::{contenders::Contender, load};

/// Under valgrind everything takes some fifty times as long: what a request does only the first time is over by then.
const WARMING: u32 = 10;
/// Connections are open, and what they are good for is done.
const CALM: Duration = Duration::from_secs(1);

/// The command that counts the instructions of another, once it is told to. It follows from Envoy's launcher to Envoy.
pub(super) fn counted() -> Vec<String> {
    [
        "valgrind",
        "--tool=callgrind",
        "--trace-children=yes",
        // V8 writes code while it runs.
        "--smc-check=all-non-file",
        "--instr-atstart=no",
        // In the gateway's own directory.
        "--callgrind-out-file=instructions.%p",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Fails without the tool, before anything is started.
pub(super) fn check() {
    let version = Command::new("valgrind").arg("--version").output();
    version.expect("valgrind runs (on Debian: apt-get install valgrind)");
}

pub(super) fn run(contenders: &[Contender<'_>], dir: &Path, seconds: u32) {
    println!(
        "\ninstructions a request takes in Envoy, outside the kernel\n\n| | instructions | of the first |\n|---|---|---|"
    );
    let mut first = None;
    for contender in contenders {
        let each = count(contender, dir, seconds);
        let base = *first.get_or_insert(each);
        println!("| {} | {each:.0} | {:.3} |", contender.name, each / base);
    }
}

fn count(contender: &Contender<'_>, dir: &Path, seconds: u32) -> f64 {
    let _turn = contender.turn();
    let process = contender.gateway.process_id();
    let control = |arguments: &[&str]| {
        let done = Command::new("callgrind_control")
            .args(arguments)
            .arg(&process)
            .output()
            .expect("callgrind_control runs (on Debian: apt-get install valgrind)");
        assert!(done.status.success(), "{done:?}");
    };
    let before = load::wrk(contender, dir, WARMING, 0.0);
    control(&["--instr=on"]);
    // In so much time few requests are made, and those before are known by now: a new mandate is to be a new one.
    let requests = load::wrk(contender, dir, seconds, before);
    std::thread::sleep(CALM);
    control(&["--dump"]);
    control(&["--instr=off"]);
    let total: f64 = contender
        .gateway
        .files("instructions.")
        .iter()
        .map(|file| {
            let text = fs::read_to_string(file).unwrap();
            let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
            total.map_or(0.0, |total| total.parse().unwrap())
        })
        .sum();
    assert!(total > 0.0, "{}: nothing was counted", contender.name);
    total / requests
}
