//! What the database itself holds to, whatever the code above it asks for.

use authority::policy::PolicyKind;
use sqlx::Executor;

use super::*;
use crate::{clock::Moment, entropy};

#[tokio::test]
async fn versions_of_policies_cannot_be_changed_or_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_file(&dir.path().join("test.db")).await.unwrap();
    let now = Moment::now();
    let zone = Zone {
        id: entropy::id().into(),
        slug: "demo".to_owned(),
        name: "demo".to_owned(),
        sequence: 1,
        active_policy_set_version_id: None,
        shadow_policy_set_version_id: None,
        created_at: now,
    };
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
        let told = store.writer.execute(sql).await.unwrap_err().to_string();
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
