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
