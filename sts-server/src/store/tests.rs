//! What the database itself holds to, whatever the code above it asks for.

mod grounds;

use std::time::Duration;

use authority::{
    audit::{Event, EventType, Facts},
    policy::PolicyKind,
    revocation::{Anchor, AnchorKind},
};
use sqlx::Executor;

use super::*;
use crate::{clock::Moment, entropy, sealing::Kek};

pub(super) fn chain_key(dir: &Path) -> ChainKey {
    Kek::of_data_dir(dir).unwrap().chain_key()
}

fn zone(now: Moment) -> Zone {
    Zone {
        id: entropy::id().into(),
        slug: "demo".to_owned(),
        name: "demo".to_owned(),
        sequence: 1,
        active_policy_set_version_id: None,
        shadow_policy_set_version_id: None,
        created_at: now,
    }
}

#[tokio::test]
async fn versions_of_policies_cannot_be_changed_or_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_file(&dir.path().join("test.db"), chain_key(dir.path()))
        .await
        .unwrap();
    let now = Moment::now();
    let zone = zone(now);
    let policy = Policy {
        id: entropy::id(),
        zone_id: zone.id.clone(),
        name: "grants".to_owned(),
        created_at: now,
    };
    let mut version = PolicyVersion {
        id: entropy::id(),
        policy_id: policy.id.clone(),
        version: 0,
        content: "package caracal.authz\n".to_owned(),
        content_sha256: "00".to_owned(),
        kind: PolicyKind::Authored,
        created_at: now,
    };
    let set = PolicySet {
        id: entropy::id().into(),
        zone_id: zone.id.clone(),
        name: "main".to_owned(),
        active_version_id: None,
        created_at: now,
    };
    let mut set_version = PolicySetVersion {
        id: entropy::id().into(),
        policy_set_id: set.id.clone(),
        version: 0,
        manifest: vec![],
        manifest_sha256: "00".to_owned(),
        kind: PolicyKind::Authored,
        modules: vec![],
        compiler: "one".to_owned(),
        program: vec![1],
        created_at: now,
    };
    let mut change = store.begin().await.unwrap();
    change.insert_zone(&zone).await.unwrap();
    change.insert_policy(&policy).await.unwrap();
    change
        .insert_policy_version(&zone.id, &mut version)
        .await
        .unwrap();
    change.insert_policy_set(&set).await.unwrap();
    change
        .insert_policy_set_version(&zone.id, &mut set_version)
        .await
        .unwrap();
    change.commit().await.unwrap();

    for sql in [
        "UPDATE policies SET name = 'other'",
        "DELETE FROM policies",
        "UPDATE policy_versions SET content = 'package other'",
        "UPDATE policy_versions SET content_sha256 = '11'",
        "DELETE FROM policy_versions",
        "UPDATE policy_set_versions SET manifest = '[]'",
        "UPDATE policy_set_versions SET manifest_sha256 = '11'",
        "UPDATE policy_set_versions SET version = 2",
        "DELETE FROM policy_set_versions",
    ] {
        let mut turn = store.writer.begin_late().await.unwrap();
        let told = turn.execute(sql).await.unwrap_err().to_string();
        assert!(told.contains("never"), "{sql}: {told}");
    }
    // What was compiled from it is made anew after an upgrade.
    set_version.compiler = "two".to_owned();
    let mut change = store.begin().await.unwrap();
    change
        .recompile_policy_set_version(&set_version)
        .await
        .unwrap();
    change.commit().await.unwrap();
}

#[tokio::test]
async fn what_has_expired_is_forgotten_and_who_missed_a_withdrawal_gets_everything() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_file(&dir.path().join("test.db"), chain_key(dir.path()))
        .await
        .unwrap();
    let now = Moment::now();
    let zone = zone(now);
    let later = |seconds: u64| now.plus(Duration::from_secs(seconds));
    let revocation = |kind: AnchorKind, id: &str, kept: Option<u64>| NewRevocation {
        kind,
        id: id.to_owned(),
        issued_until: None,
        reason: "test".to_owned(),
        published_until: later(10),
        kept_until: kept.map(later),
    };
    let held = Anchor {
        kind: AnchorKind::Session,
        id: "held",
    };
    let mut change = store.begin().await.unwrap();
    change.insert_zone(&zone).await.unwrap();
    for new in [
        revocation(AnchorKind::Jti, "short", Some(10)),
        revocation(AnchorKind::Jti, "long", Some(30)),
        revocation(AnchorKind::Session, "held", None),
    ] {
        change.revoke(&zone.id, &new, now).await.unwrap();
    }
    change.commit().await.unwrap();
    let published = async |at: Moment| {
        let mut view = store.revocation_view(&zone.id).await.unwrap().unwrap();
        let mut ids = Vec::new();
        for kind in AnchorKind::ALL {
            let found = view.published(kind, None, at, 10).await.unwrap();
            ids.extend(found.into_iter().map(|(id, _)| id));
        }
        (ids, view.state.epoch, view.state.horizon)
    };
    let names = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        published(now).await,
        (names(&["long", "short", "held"]), 3, 0)
    );
    assert_eq!(published(later(10)).await, (names(&[]), 3, 0));

    let forget = async |at: Moment| {
        let mut change = store.begin().await.unwrap();
        let forgotten = change.forget_revocations(at, 10).await.unwrap();
        change.commit().await.unwrap();
        forgotten
    };
    // What never comes back may be forgotten by one and still be known to another.
    assert_eq!((forget(later(9)).await, forget(later(10)).await), (0, 1));
    assert_eq!(published(now).await, (names(&["long", "held"]), 3, 0));
    let mut change = store.begin().await.unwrap();
    assert!(
        change
            .withdraw(&zone.id, held, now, later(20))
            .await
            .unwrap()
    );
    assert!(
        !change
            .withdraw(&zone.id, held, now, later(20))
            .await
            .unwrap()
    );
    change.commit().await.unwrap();
    assert_eq!(published(now).await, (names(&["long"]), 4, 0));
    // A withdrawal that is forgotten was the last that anybody could have heard of it.
    assert_eq!(forget(later(20)).await, 1);
    assert_eq!(published(now).await, (names(&["long"]), 4, 4));
    assert_eq!(forget(later(40)).await, 1);
    assert_eq!(published(now).await, (names(&[]), 4, 4));
    let mut change = store.begin().await.unwrap();
    let again = revocation(AnchorKind::Session, "held", None);
    change.revoke(&zone.id, &again, now).await.unwrap();
    change.commit().await.unwrap();
    assert_eq!(published(now).await, (names(&["held"]), 5, 4));
}

pub(crate) fn told(zone: &Zone, number: u32) -> Event {
    let mut event = crate::ledger::new_event(
        &zone.id,
        EventType::GatewayRequest,
        format!("request-{number}"),
    );
    event.path = Some("x".repeat(2_000));
    event
}

pub(crate) async fn with_zone(dir: &Path) -> (Store, Zone) {
    let store = Store::open_file(&dir.join("test.db"), chain_key(dir))
        .await
        .unwrap();
    let zone = zone(Moment::now());
    let mut change = store.begin().await.unwrap();
    change.insert_zone(&zone).await.unwrap();
    change.commit().await.unwrap();
    (store, zone)
}

/// Whether the ledger of `zone` is one chain; how long it is.
pub(crate) async fn chain(store: &Store, zone: &Zone) -> u64 {
    let ledger = store.ledger(&zone.id).await.unwrap();
    let entries = store.entries_after(&ledger, 0, 100_000).await.unwrap();
    let mut hash = authority::audit::GENESIS;
    for (entry, seq) in entries.iter().zip(1..) {
        assert_eq!(entry.seq, seq);
        entry.follows(&zone.id, &hash, store.chain_key()).unwrap();
        hash = entry.hash;
    }
    assert_eq!(
        (ledger.seq, ledger.hash),
        (entries.len().try_into().unwrap(), hash)
    );
    ledger.seq
}

/// Adds an event, as a change that writes nothing else.
async fn append_alone(store: &Store, zone: &Zone, event: &Event) -> Result<()> {
    let text = event.canonical().unwrap();
    let change = store.begin_late().await?;
    let events = [(&Facts::from(event), text.as_str())];
    change
        .append_written_and_commit(&zone.id, &events)
        .await
        .map(drop)
}

#[tokio::test]
async fn a_change_that_is_one_statement_happens_or_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, zone) = with_zone(dir.path()).await;
    let (first, second) = (told(&zone, 1), told(&zone, 2));
    append_alone(&store, &zone, &first).await.unwrap();
    // Two events in one, of which the second is there already.
    let texts = [&second, &first].map(|event| event.canonical().unwrap());
    let facts = [Facts::from(&second), Facts::from(&first)];
    let events: Vec<_> = facts.iter().zip(texts.iter().map(String::as_str)).collect();
    let change = store.begin_late().await.unwrap();
    let refused = change.append_written_and_commit(&zone.id, &events).await;
    assert!(matches!(refused, Err(StoreError::Conflict)), "{refused:?}");
    assert_eq!(chain(&store, &zone).await, 1);
    drop(store.begin_late().await.unwrap());
    append_alone(&store, &zone, &second).await.unwrap();
    // The same behind a change that is not committed yet, and nothing of either once that is given up.
    let mut change = store.begin().await.unwrap();
    let third = told(&zone, 3);
    change
        .append(&zone.id, &[third.clone(), told(&zone, 4)])
        .await
        .unwrap();
    let behind = (store.clone(), zone.clone(), third.clone());
    let behind = tokio::spawn(async move {
        let (store, zone, event) = behind;
        append_alone(&store, &zone, &event).await
    });
    tokio::task::yield_now().await;
    change.commit().await.unwrap();
    let refused = behind.await.unwrap();
    assert!(matches!(refused, Err(StoreError::Conflict)), "{refused:?}");
    append_alone(&store, &zone, &told(&zone, 5)).await.unwrap();
    assert_eq!(chain(&store, &zone).await, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_that_queue_up_are_all_there_and_those_that_are_given_up_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let (store, zone) = with_zone(dir.path()).await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..300 {
        let (store, zone) = (store.clone(), zone.clone());
        tasks.spawn(async move {
            if number % 4 == 3 {
                append_alone(&store, &zone, &told(&zone, number))
                    .await
                    .unwrap();
                return true;
            }
            let mut change = store.begin().await.unwrap();
            change
                .append(&zone.id, &[told(&zone, number)])
                .await
                .unwrap();
            match number % 4 {
                // Given up in the middle, also by whoever came last.
                0 => false,
                1 => change.commit().await.is_ok(),
                // Whoever does not wait for the outcome does not change it.
                _ => tokio::time::timeout(Duration::ZERO, change.commit())
                    .await
                    .is_ok_and(|done| done.is_ok()),
            }
        });
    }
    let mut known = 0;
    while let Some(done) = tasks.join_next().await {
        known += u64::from(done.unwrap());
    }
    // Whatever was begun to be committed is, once the next one is.
    let mut change = store.begin().await.unwrap();
    change.append(&zone.id, &[told(&zone, 999)]).await.unwrap();
    change.commit().await.unwrap();
    assert!(known >= 150);
    assert_eq!(chain(&store, &zone).await, 226);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_goes_away_at_any_moment_leaves_the_writer_and_the_chain_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (store, zone) = with_zone(dir.path()).await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..600 {
        let (task_store, zone) = (store.clone(), zone.clone());
        let work = tasks.spawn(async move {
            if number % 2 == 1 {
                return append_alone(&task_store, &zone, &told(&zone, number)).await;
            }
            let mut change = task_store.begin().await?;
            change.append(&zone.id, &[told(&zone, number)]).await?;
            change.commit().await
        });
        // As a client does that hangs up: before it began, in the middle, or when it was done.
        tokio::time::sleep(Duration::from_micros(u64::from(number % 40) * 25)).await;
        work.abort();
    }
    let mut known = 0;
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok(outcome) => {
                outcome.unwrap();
                known += 1;
            }
            Err(cancelled) => assert!(cancelled.is_cancelled()),
        }
    }
    let mut change = store.begin().await.unwrap();
    change.append(&zone.id, &[told(&zone, 999)]).await.unwrap();
    change.commit().await.unwrap();
    let length = chain(&store, &zone).await;
    assert!(
        (known + 1..=601).contains(&length),
        "{known} known, {length} there"
    );
}

#[tokio::test]
async fn a_full_disk_refuses_what_it_cannot_keep_and_keeps_what_it_did_not_refuse() {
    let dir = tempfile::tempdir().unwrap();
    let (store, zone) = with_zone(dir.path()).await;
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count")
        .fetch_one(&store.readers)
        .await
        .unwrap();
    // To SQLite this is what a disk without room is.
    let full = format!("PRAGMA max_page_count = {}", pages + 20);
    let mut turn = store.writer.begin_late().await.unwrap();
    turn.execute(sqlx::AssertSqlSafe(full)).await.unwrap();
    drop(turn);
    let written = async || {
        let mut change = store.begin().await?;
        change.append(&zone.id, &[told(&zone, 1)]).await?;
        change.commit().await
    };
    let mut kept = 0;
    for alone in [true, false] {
        let refused = loop {
            let written = if alone {
                append_alone(&store, &zone, &told(&zone, 1)).await
            } else {
                written().await
            };
            match written {
                Ok(()) => kept += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, StoreError::Full), "{refused}");
        assert!(kept > 5, "{kept}");
        assert_eq!(chain(&store, &zone).await, kept);
    }
    // There is room again, and nobody has to be told.
    let recovered = async {
        while written().await.is_err() {
            let room = "PRAGMA max_page_count = 1000000";
            let mut turn = store.writer.begin_late().await.unwrap();
            turn.execute(room).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(30), recovered)
        .await
        .unwrap();
    assert_eq!(chain(&store, &zone).await, kept + 1);
}

#[tokio::test]
async fn the_anchors_of_a_mint_are_looked_up_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_file(&dir.path().join("test.db"), chain_key(dir.path()))
        .await
        .unwrap();
    let sql = format!("EXPLAIN QUERY PLAN {}", revocations::IN_FORCE);
    let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind("[]")
        .bind("zone")
        .fetch_all(&store.readers)
        .await
        .unwrap();
    let steps: Vec<&str> = plan.iter().map(|(.., step)| step.as_str()).collect();
    let looked_up = |step: &&str| step.contains("zone_id=? AND anchor_type=? AND anchor_id=?");
    assert!(steps.iter().any(looked_up), "{steps:?}");
    assert!(
        !steps.iter().any(|step| step.contains("SCAN r")),
        "{steps:?}"
    );
}
