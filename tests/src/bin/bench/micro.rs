//! `cargo xtask bench micro`: the parts of a decision, natively and in Envoy's V8, beside what was last
//! accepted.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use ::micro::{Took, measure};
use e2e::{gateway::GatewaySpec, parts};
use serde_json::json;

/// What is done with the figures.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Fail if a part is slower than accepted by more than 15 %
    #[arg(long)]
    check: bool,
    /// Accept what comes out
    #[arg(long, conflicts_with = "check")]
    accept: bool,
}

/// How much slower than accepted is too slow.
const TOLERANCE: f64 = 1.15;
/// The longest that the filter may take for all of its parts.
const PATIENCE: Duration = Duration::from_secs(180);

/// By place and part, in runs of the calibration loop.
type Accepted = BTreeMap<String, BTreeMap<String, f64>>;
type Figures = Vec<(String, Took)>;

pub(crate) fn run(options: &Options) -> ExitCode {
    let file = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/micro/accepted.json"));
    let accepted: Accepted = fs::read_to_string(&file)
        .map(|text| serde_json::from_str(&text).expect("the accepted figures"))
        .unwrap_or_default();
    let found = [("native", natively()), ("v8", in_v8())];
    println!("| part | native, ns | of accepted | in V8, ns | of accepted |");
    println!("|---|---|---|---|---|");
    let mut slower = Vec::new();
    // Some things there are in V8 only.
    for (name, _) in &found[1].1 {
        let mut line = format!("| {name} |");
        for (host, figures) in &found {
            let Some((_, took)) = figures.iter().find(|(own, _)| own == name) else {
                line += " | |";
                continue;
            };
            let known = accepted.get(*host).and_then(|known| known.get(name));
            let of_accepted = known.map(|known| took.ratio / known);
            let shown = of_accepted.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            line += &format!(" {:.0} | {shown} |", took.nanos);
            if of_accepted.is_some_and(|ratio| ratio > TOLERANCE) {
                slower.push(format!("{name} ({host}, {shown})"));
            }
        }
        println!("{line}");
    }
    if options.accept {
        let ratios = |figures: &Figures| -> BTreeMap<String, f64> {
            let rounded = |took: &Took| (took.ratio * 1e4).round() / 1e4;
            let all = figures.iter();
            all.map(|(name, took)| (name.clone(), rounded(took)))
                .collect()
        };
        let accepted: Accepted = found
            .iter()
            .map(|(host, figures)| ((*host).to_owned(), ratios(figures)))
            .collect();
        fs::write(&file, format!("{:#}\n", json!(accepted))).unwrap();
        println!("accepted, in {}", file.display());
    }
    if slower.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!(
        "slower than accepted by more than 15 %: {}",
        slower.join(", ")
    );
    ExitCode::from(u8::from(options.check))
}

fn natively() -> Figures {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    authority::policy::set_clock(|| START.elapsed());
    let clock = || START.elapsed().as_nanos() as u64;
    let mut all = ::micro::parts();
    let took = all
        .iter_mut()
        .map(|part| (part.name.to_owned(), measure(part, clock)));
    took.collect()
}

fn in_v8() -> Figures {
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let gateway = GatewaySpec {
        wasm: Some(parts::micro()),
        answers_itself: true,
        ..GatewaySpec::new(json!({}), nowhere)
    }
    .start();
    let started = Instant::now();
    loop {
        let log = gateway.log();
        let told: Vec<(&str, Took)> = log.lines().filter_map(read).collect();
        if let Some(((_, _), parts)) = told.split_last().filter(|((name, _), _)| *name == "done") {
            let owned = parts.iter().map(|(name, took)| ((*name).to_owned(), *took));
            return owned.collect();
        }
        assert!(
            started.elapsed() < PATIENCE,
            "the filter does not end: {log}"
        );
        thread::sleep(Duration::from_millis(200));
    }
}

/// What the filter wrote of a part.
fn read(line: &str) -> Option<(&str, Took)> {
    let (_, told) = line.split_once("micro=")?;
    let (name, numbers) = told.split_once(" nanos=")?;
    let (nanos, ratio) = numbers.split_once(" ratio=")?;
    // What Envoy adds to a line comes after it.
    let ratio = ratio.split_whitespace().next()?;
    Some((
        name,
        Took {
            nanos: nanos.parse().ok()?,
            ratio: ratio.parse().ok()?,
        },
    ))
}
