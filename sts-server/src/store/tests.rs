//! What the database itself holds to, whatever the code above it asks for.

use std::time::Duration;

use authority::{
    policy::PolicyKind,
    revocation::{Anchor, AnchorKind},
};
use sqlx::Executor;

use super::*;
use crate::{clock::Moment, entropy, sealing::Kek};

fn chain_key(dir: &Path) -> ChainKey {
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
        let told = store
            .writer
            .pool()
            .execute(sql)
            .await
            .unwrap_err()
            .to_string();
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
