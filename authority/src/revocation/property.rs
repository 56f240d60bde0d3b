//! Whatever reaches a gateway, in whatever order and with whatever losses: it knows exactly what was
//! revoked at the epoch that it has come to.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::testing::{HASH_KEY, whole};

const IDS: usize = 40;

/// What an STS does, or what the network does with what it published.
#[derive(Clone, Debug)]
enum Step {
    Revoke(usize),
    Withdraw(usize),
    /// A base is made of what is revoked now. With a filter, not a list: ids of it are suspects.
    Rebuild {
        as_filter: bool,
    },
    /// The gateway gets what it asks for.
    Poll,
    /// It gets a delta between any two epochs: an old one again, one of another's, one too new.
    Stray(prop::sample::Index, prop::sample::Index),
    /// It gets any whole filter that ever was.
    StrayWhole(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..IDS).prop_map(Step::Revoke),
        3 => (0..IDS).prop_map(Step::Withdraw),
        1 => any::<bool>().prop_map(|as_filter| Step::Rebuild { as_filter }),
        3 => Just(Step::Poll),
        3 => (any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(|(a, b)| Step::Stray(a, b)),
        1 => any::<prop::sample::Index>().prop_map(Step::StrayWhole),
    ]
}

fn digest(id: usize) -> Digest {
    let id = format!("id-{id}");
    HASH_KEY.digest(Anchor {
        kind: AnchorKind::Session,
        id: &id,
    })
}

/// All states that there have been: the set that was revoked at each epoch.
struct History {
    states: Vec<BTreeSet<usize>>,
    base: (u64, Base),
    wholes: Vec<Publication>,
}

impl History {
    fn now(&self) -> &BTreeSet<usize> {
        self.states.last().unwrap()
    }

    fn epoch(&self) -> u64 {
        u64::try_from(self.states.len() - 1).unwrap()
    }

    fn changes(&self, after: u64, epoch: u64) -> Changes {
        let at = |epoch: u64| usize::try_from(epoch).unwrap();
        let mut last = BTreeMap::new();
        for pair in self.states[at(after)..=at(epoch)].windows(2) {
            let [before, then] = pair else { unreachable!() };
            last.extend(
                then.symmetric_difference(before)
                    .map(|id| (*id, then.contains(id))),
            );
        }
        let of = |revoked: bool| {
            last.iter()
                .filter(move |(_, is)| **is == revoked)
                .map(|(id, _)| digest(*id))
                .collect()
        };
        Changes {
            cutoffs: Vec::new(),
            added: of(true),
            removed: of(false),
        }
    }

    fn delta(&self, after: u64, epoch: u64) -> Publication {
        Publication {
            changes: self.changes(after, epoch),
            content: Content::Delta { after },
            ..whole(epoch, Vec::new())
        }
    }

    fn whole(&self) -> Publication {
        let (built, base) = &self.base;
        Publication {
            changes: self.changes(*built, self.epoch()),
            content: Content::Whole {
                load: 1,
                base: base.clone(),
            },
            ..whole(self.epoch(), Vec::new())
        }
    }
}

fn as_filter(digests: &[Digest]) -> Base {
    let mut bloom = Bloom::sized_for(digests.len());
    for digest in digests {
        bloom.insert(digest);
    }
    Base::Bloom(bloom)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_gateway_knows_exactly_what_was_revoked_at_its_epoch(steps in prop::collection::vec(step(), 1..120)) {
        let mut sts = History {
            states: vec![BTreeSet::new()],
            base: (0, Base::Exact(Vec::new())),
            wholes: vec![whole(0, Vec::new())],
        };
        let mut gateway = Filter::new(sts.whole()).unwrap();
        for step in steps {
            let before = gateway.epoch();
            match step {
                Step::Revoke(id) => {
                    let mut next = sts.now().clone();
                    next.insert(id);
                    sts.states.push(next);
                }
                Step::Withdraw(id) => {
                    let mut next = sts.now().clone();
                    next.remove(&id);
                    sts.states.push(next);
                }
                Step::Rebuild { as_filter: filter } => {
                    let digests: Vec<_> = sts.now().iter().map(|id| digest(*id)).collect();
                    let base = if filter { as_filter(&digests) } else { Base::of(digests) };
                    sts.base = (sts.epoch(), base);
                    sts.wholes.push(sts.whole());
                }
                Step::Poll => {
                    if gateway.epoch() < sts.epoch() {
                        let news = gateway.apply(sts.delta(gateway.epoch(), sts.epoch()));
                        prop_assert_eq!(news, Ok(true));
                    }
                    prop_assert_eq!(gateway.epoch(), sts.epoch());
                }
                Step::Stray(one, other) => {
                    let [mut after, mut epoch] =
                        [one, other].map(|index| u64::try_from(index.index(sts.states.len())).unwrap());
                    if after > epoch {
                        (after, epoch) = (epoch, after);
                    }
                    if after < epoch {
                        let applied = gateway.apply(sts.delta(after, epoch));
                        prop_assert_eq!(applied.is_err(), after > before && epoch > before);
                    }
                }
                Step::StrayWhole(index) => {
                    let publication = index.get(&sts.wholes).clone();
                    let old = publication.epoch < before;
                    prop_assert_eq!(gateway.apply(publication).is_err(), old);
                }
            }
            prop_assert!(gateway.epoch() >= before, "never back");
            // What another worker makes of the whole filter and what changed since is the same.
            let known = &sts.states[usize::try_from(gateway.epoch()).unwrap()];
            for id in 0..IDS {
                let name = format!("id-{id}");
                let found = gateway.is_revoked(Anchor { kind: AnchorKind::Session, id: &name });
                if known.contains(&id) {
                    prop_assert_ne!(found, Some(false), "{} is missed", name);
                } else {
                    prop_assert_ne!(found, Some(true), "{} is not revoked", name);
                }
            }
        }
    }
}
