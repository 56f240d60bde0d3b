//! What is measured in a round, and what the rounds come to.

use super::{contenders::Contender, load::Latencies};
use crate::median;

/// What was measured of a contender under full load.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Full {
    pub(super) requests_a_second: f64,
    /// Microseconds of the gateway's processor time a request, and of all that works with it.
    pub(super) envoy: f64,
    pub(super) beside: f64,
}

/// What was measured of a contender in one round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    pub(super) full: Full,
    pub(super) latencies: Latencies,
    pub(super) memory_kb: u64,
}

/// What came out for a contender: medians over the rounds, and the rounds.
pub(super) struct Measured {
    pub(super) name: String,
    pub(super) full: Full,
    pub(super) latencies: Latencies,
    pub(super) memory_kb: u64,
    rounds: Vec<Round>,
}

/// The rounds of all contenders.
#[derive(Default)]
pub(super) struct Rounds(Vec<(String, Vec<Round>)>);

impl Rounds {
    /// Adds a round, in which each contender had its turn.
    pub(super) fn add(&mut self, contenders: &[Contender<'_>], round: Vec<Round>) {
        if self.0.is_empty() {
            let names = contenders.iter().map(|one| one.name.clone());
            self.0 = names.map(|name| (name, Vec::new())).collect();
        }
        for ((_, rounds), round) in self.0.iter_mut().zip(round) {
            rounds.push(round);
        }
    }

    pub(super) fn measured(self) -> Vec<Measured> {
        let each = self.0.into_iter();
        each.map(|(name, rounds)| Measured::of(name, rounds))
            .collect()
    }
}

impl Measured {
    fn of(name: String, rounds: Vec<Round>) -> Self {
        let of = |what: fn(&Round) -> f64| median(rounds.iter().map(what).collect());
        let latencies: Vec<_> = rounds.iter().map(|round| round.latencies).collect();
        Self {
            name,
            full: Full {
                requests_a_second: of(|round| round.full.requests_a_second),
                envoy: of(|round| round.full.envoy),
                beside: of(|round| round.full.beside),
            },
            latencies: Latencies::medians(&latencies),
            memory_kb: of(|round| round.memory_kb as f64) as u64,
            rounds,
        }
    }

    /// How many times as long a request takes Envoy as one of `base` in the same round: the least, the median and the
    /// most, since the machine is seldom as fast in the next round.
    pub(super) fn times(&self, base: &Self) -> [f64; 3] {
        self.ratios(base, |full| full.envoy)
    }

    /// The same of all processes together.
    pub(super) fn times_in_all(&self, base: &Self) -> [f64; 3] {
        self.ratios(base, |full| full.envoy + full.beside)
    }

    fn ratios(&self, base: &Self, what: fn(&Full) -> f64) -> [f64; 3] {
        let rounds = self.rounds.iter().zip(&base.rounds);
        let ratios: Vec<f64> = rounds
            .map(|(own, base)| what(&own.full) / what(&base.full))
            .collect();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratios.iter().copied().fold(0.0, f64::max);
        [least, median(ratios), most]
    }
}
