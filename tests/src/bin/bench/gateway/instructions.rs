//! Instructions instead of time: how many of them a request takes in Envoy, outside the kernel, as valgrind's callgrind
//! counts them. Time depends on the machine and the hour; these figures are the same within a few thousandths, so that a
//! change of a hundredth shows. Or what makes instructions wait: lines of code and of data that caches like those of a
//! processor core would not have had. They are Envoy's alone here, so there are more where others share them.

use std::{fs, path::Path, process::Command, time::Duration};

use super::{contenders::Contender, load};

/// Under valgrind everything takes some fifty times as long: what a request does only the first time is over by then.
const WARMING: u32 = 10;
/// Connections are open, and what they are good for is done.
const CALM: Duration = Duration::from_secs(1);

/// The command that counts the instructions of another, once it is told to. It follows from Envoy's launcher to Envoy.
pub(super) fn counted(caches: bool) -> Vec<String> {
    let mut command = vec![
        "valgrind",
        "--tool=callgrind",
        "--trace-children=yes",
        // V8 writes code while it runs.
        "--smc-check=all-non-file",
        "--instr-atstart=no",
        // In the gateway's own directory.
        "--callgrind-out-file=instructions.%p",
    ];
    if caches {
        // A core's: 32 KiB of code and of data, and as the last that is simulated a second level of 1 MiB.
        command.extend(["--cache-sim=yes", "--I1=32768,8,64", "--D1=32768,8,64"]);
        command.push("--LL=1048576,8,64");
    }
    command.into_iter().map(str::to_owned).collect()
}

/// Fails without the tool, before anything is started.
pub(super) fn check() {
    let version = Command::new("valgrind").arg("--version").output();
    version.expect("valgrind runs (on Debian: apt-get install valgrind)");
}

/// What a request takes.
struct Each {
    instructions: f64,
    /// Lines that the first level of a core's caches did not have.
    code: f64,
    data: f64,
    /// Those of them that the second did not have either.
    beyond: f64,
}

/// The counts of one contender after the other, told as they come.
pub(super) struct Counts {
    caches: bool,
    /// Instructions.
    first: Option<f64>,
}

impl Counts {
    pub(super) fn new(caches: bool) -> Self {
        println!("\nwhat a request takes in Envoy, outside the kernel\n");
        if caches {
            println!(
                "| | lines of code not in L1 | of data not in L1 | neither in L2 |\n|---|---|---|---|"
            );
        } else {
            println!("| | instructions | of the first |\n|---|---|---|");
        }
        Self {
            caches,
            first: None,
        }
    }

    pub(super) fn add(&mut self, contender: &Contender<'_>, dir: &Path, seconds: u32) {
        let each = count(contender, dir, seconds);
        let first = *self.first.get_or_insert(each.instructions);
        let name = &contender.name;
        if self.caches {
            let Each {
                code, data, beyond, ..
            } = each;
            println!("| {name} | {code:.0} | {data:.0} | {beyond:.0} |");
        } else {
            let own = each.instructions;
            println!("| {name} | {own:.0} | {:.3} |", own / first);
        }
    }
}

fn count(contender: &Contender<'_>, dir: &Path, seconds: u32) -> Each {
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
    // Instructions, reads and writes. With caches also lines of code, read and written: not in the first, in neither.
    let mut totals = [0.0; 9];
    for file in contender.gateway.files("instructions.") {
        let text = fs::read_to_string(file).unwrap();
        let own = text.lines().find_map(|line| line.strip_prefix("totals: "));
        for (total, own) in totals
            .iter_mut()
            .zip(own.unwrap_or_default().split_whitespace())
        {
            *total += own.parse::<f64>().unwrap();
        }
    }
    assert!(totals[0] > 0.0, "{}: nothing was counted", contender.name);
    let [instructions, _, _, code, read, written, rest @ ..] = totals.map(|total| total / requests);
    Each {
        instructions,
        code,
        data: read + written,
        beyond: rest.iter().sum(),
    }
}
