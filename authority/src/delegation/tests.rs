//! Narrowing: every way to be more than the parent is found.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;

fn set(items: &[&str]) -> BTreeSet<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

fn parent() -> Bounds {
    Bounds {
        scopes: set(&["read", "write"]),
        resources: set(&["resource://a", "resource://b"]),
        expires_at: Timestamp(1_000),
        max_hops: 3,
        ttl_seconds: Some(60),
        budget: Some(100),
    }
}

fn child() -> Bounds {
    Bounds {
        scopes: set(&["read"]),
        resources: set(&["resource://b"]),
        max_hops: 2,
        ..parent()
    }
}

#[test]
fn a_subset_in_everything_is_passed_on() {
    assert_eq!(child().narrow(&parent(), Step::Delegated), Ok(()));
    let unbounded = Bounds {
        ttl_seconds: None,
        budget: None,
        ..parent()
    };
    assert_eq!(child().narrow(&unbounded, Step::Delegated), Ok(()));
}

type Change = fn(&mut Bounds);

#[test]
fn more_in_anything_is_refused() {
    let changes: [(Change, Excess); 8] = [
        (
            |b| b.scopes.extend(set(&["admin"])),
            Excess::Scope("admin".to_owned()),
        ),
        (
            |b| b.resources.extend(set(&["resource://c"])),
            Excess::Resource("resource://c".to_owned()),
        ),
        (|b| b.expires_at = Timestamp(1_001), Excess::Lifetime),
        (
            |b| b.max_hops = 3,
            Excess::Hops {
                asked: 3,
                allowed: 2,
            },
        ),
        (
            |b| b.max_hops = 0,
            Excess::Hops {
                asked: 0,
                allowed: 2,
            },
        ),
        (|b| b.ttl_seconds = Some(61), Excess::Ttl(60)),
        (|b| b.ttl_seconds = None, Excess::Ttl(60)),
        (|b| b.budget = Some(101), Excess::Budget(100)),
    ];
    for (change, excess) in changes {
        let mut wider = child();
        change(&mut wider);
        assert_eq!(wider.narrow(&parent(), Step::Delegated), Err(excess));
    }
}

#[test]
fn inheritance_costs_no_hop_and_gives_none() {
    let same = parent();
    assert_eq!(same.narrow(&parent(), Step::Inherited), Ok(()));
    assert!(same.narrow(&parent(), Step::Delegated).is_err());
    let more = Bounds {
        max_hops: 4,
        ..parent()
    };
    assert!(more.narrow(&parent(), Step::Inherited).is_err());
}

#[test]
fn a_path_is_checked_step_by_step_and_as_long_as_it_may_be() {
    let (first, second) = (parent(), child());
    let path = [(&first, Step::Delegated), (&second, Step::Delegated)];
    assert_eq!(check_path(path), Ok(()));
    let back = [(&second, Step::Delegated), (&first, Step::Delegated)];
    assert_eq!(check_path(back), Err(Excess::Scope("write".to_owned())));
    let same = parent();
    let inherited = |count: usize| check_path((0..count).map(|_| (&same, Step::Inherited)));
    assert_eq!(inherited(10), Ok(()));
    assert!(inherited(11).is_err());
}

#[test]
fn a_mandate_ends_with_what_it_rests_on() {
    assert_eq!(parent().mandate_end(Timestamp(100)), Timestamp(160));
    assert_eq!(parent().mandate_end(Timestamp(990)), Timestamp(1_000));
}

#[cfg(not(target_arch = "wasm32"))]
mod any_path {
    use proptest::{collection::btree_set, option, prelude::*};

    use super::*;

    fn bounds() -> impl Strategy<Value = Bounds> {
        let items =
            |kind: &'static str| btree_set((0..4u8).prop_map(move |n| format!("{kind}{n}")), 1..4);
        (
            items("s"),
            items("r"),
            0..5u64,
            0..5u32,
            option::of(0..4u64),
            option::of(0..4u64),
        )
            .prop_map(
                |(scopes, resources, end, max_hops, ttl_seconds, budget)| Bounds {
                    scopes,
                    resources,
                    expires_at: Timestamp(end),
                    max_hops,
                    ttl_seconds,
                    budget,
                },
            )
    }

    /// `bounds` cut to what `parent` holds, but for what `slip` leaves wider.
    fn cut(bounds: Bounds, parent: &Bounds, slip: u8) -> Bounds {
        let mut cut = bounds.clone();
        cut.scopes = cut.scopes.intersection(&parent.scopes).cloned().collect();
        cut.resources = cut
            .resources
            .intersection(&parent.resources)
            .cloned()
            .collect();
        cut.expires_at = cut.expires_at.min(parent.expires_at);
        cut.max_hops = cut.max_hops.min(parent.max_hops.saturating_sub(1));
        cut.ttl_seconds = cut
            .ttl_seconds
            .min(parent.ttl_seconds)
            .or(parent.ttl_seconds);
        cut.budget = cut.budget.min(parent.budget).or(parent.budget);
        match slip {
            0 => cut.scopes = bounds.scopes,
            1 => cut.resources = bounds.resources,
            2 => cut.expires_at = bounds.expires_at,
            3 => cut.max_hops = bounds.max_hops,
            4 => cut.ttl_seconds = bounds.ttl_seconds,
            5 => cut.budget = bounds.budget,
            _ => {}
        }
        cut
    }

    proptest! {
        #[test]
        fn what_is_accepted_exceeds_no_ancestor(
            first in bounds(),
            steps in prop::collection::vec((bounds(), 0..12u8, any::<bool>()), 1..6),
        ) {
            let mut path = vec![(first, Step::Delegated)];
            for (bounds, slip, inherits) in steps {
                let parent = &path.last().unwrap().0;
                if inherits {
                    path.push((parent.clone(), Step::Inherited));
                } else {
                    path.push((cut(bounds, parent, slip), Step::Delegated));
                }
            }
            if check_path(path.iter().map(|(bounds, step)| (bounds, *step))).is_ok() {
                for (index, (ancestor, _)) in path.iter().enumerate() {
                    for (descendant, _) in &path[index..] {
                        prop_assert!(descendant.scopes.is_subset(&ancestor.scopes));
                        prop_assert!(descendant.resources.is_subset(&ancestor.resources));
                        prop_assert!(descendant.expires_at <= ancestor.expires_at);
                        prop_assert!(descendant.max_hops <= ancestor.max_hops);
                        for (own, above) in [
                            (descendant.ttl_seconds, ancestor.ttl_seconds),
                            (descendant.budget, ancestor.budget),
                        ] {
                            prop_assert!(above.is_none_or(|above| own.is_some_and(|own| own <= above)));
                        }
                        let end = descendant.mandate_end(Timestamp(1));
                        prop_assert!(end <= ancestor.mandate_end(Timestamp(1)));
                    }
                }
            }
        }
    }
}
