//! What a mint rests on is the same whether it is read or kept, and whoever looks.

use super::*;

/// Which of `anchors` are revoked, by a look outside of a change and by one within.
async fn revoked(store: &Store, zone: &Zone, anchors: &[Anchor<'_>]) -> Vec<String> {
    let ids = |rows: Vec<RevocationRow>| -> Vec<String> {
        rows.into_iter().map(|row| row.anchor_id).collect()
    };
    let outside = ids(store.revocations_of(&zone.id, anchors).await.unwrap());
    let mut change = store.begin().await.unwrap();
    let within = ids(change.revocations_of(&zone.id, anchors).await.unwrap());
    assert_eq!(outside, within);
    outside
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_revoked_is_so_at_once_and_what_is_withdrawn_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let (store, zone) = with_zone(dir.path()).await;
    let now = Moment::now();
    let anchors = ["a", "b", "c"].map(|id| Anchor {
        kind: AnchorKind::Jti,
        id,
    });
    let [a, b, _] = anchors;
    let none: [&str; 0] = [];
    assert_eq!(revoked(&store, &zone, &anchors).await, none);
    for (anchor, all) in [(a, vec!["a"]), (b, vec!["a", "b"])] {
        let mut change = store.begin().await.unwrap();
        let before = change.revocations_of(&zone.id, &anchors).await.unwrap();
        change
            .revoke_for_good(&zone.id, anchor, "test", now)
            .await
            .unwrap();
        let within = change.revocations_of(&zone.id, &anchors).await.unwrap();
        assert_eq!(within.len(), before.len() + 1, "not even committed");
        change.commit().await.unwrap();
        assert_eq!(revoked(&store, &zone, &anchors).await, all);
    }
    let mut given_up = store.begin().await.unwrap();
    given_up
        .revoke_for_good(&zone.id, anchors[2], "test", now)
        .await
        .unwrap();
    drop(given_up);
    assert_eq!(revoked(&store, &zone, &anchors).await, ["a", "b"]);
    let mut change = store.begin().await.unwrap();
    change.withdraw(&zone.id, a, now, now).await.unwrap();
    change.commit().await.unwrap();
    assert_eq!(revoked(&store, &zone, &anchors).await, ["b"]);
    let mut change = store.begin().await.unwrap();
    change
        .revoke_for_good(&zone.id, a, "test", now)
        .await
        .unwrap();
    change.commit().await.unwrap();
    assert_eq!(revoked(&store, &zone, &anchors).await, ["a", "b"]);
}

fn application(zone: &Zone, now: Moment) -> Application {
    Application {
        id: entropy::id().into(),
        zone_id: zone.id.clone(),
        name: "agent".to_owned(),
        registration_method: "admin".to_owned(),
        traits: Vec::new(),
        secret_hash: "hash".to_owned(),
        created_at: now,
    }
}

/// A service whose lease lapses in a minute.
fn session(of: &Application, parent: Option<&SessionRow>, now: Moment) -> SessionRow {
    let id = entropy::id();
    let above = parent.map(|parent| parent.path.clone());
    SessionRow {
        path: [above.unwrap_or_default(), vec![id.clone()]].concat(),
        id: id.as_str().into(),
        zone_id: of.zone_id.clone(),
        application_id: of.id.clone(),
        parent_id: parent.map(|parent| parent.id.to_string()),
        depth: parent.map_or(0, |parent| parent.depth + 1),
        subject_authority_record_id: None,
        subject: of.id.to_string(),
        originates: true,
        lifecycle: "service".to_owned(),
        labels: Vec::new(),
        metadata: Default::default(),
        ttl_seconds: None,
        started_at: now,
        expires_at: None,
        last_heartbeat_at: Some(now),
        heartbeat_deadline_at: Some(now.plus(Duration::from_secs(60))),
        lease_generation: 1,
        suspended_at: None,
        suspended_by: None,
        ended_at: None,
        ended_as: None,
        end_reason: None,
        held_from: None,
    }
}

fn delegation(from: &SessionRow, to: &SessionRow, now: Moment) -> DelegationRow {
    let id = entropy::id();
    DelegationRow {
        path: vec![id.clone()],
        id: id.into(),
        zone_id: from.zone_id.clone(),
        source_session_id: from.id.clone(),
        target_session_id: to.id.clone(),
        issuer_application_id: from.application_id.clone(),
        receiver_application_id: to.application_id.clone(),
        parent_edge_id: None,
        inherited: false,
        resources: Vec::new(),
        scopes: Vec::new(),
        max_hops: 1,
        mandate_ttl_seconds: None,
        budget: None,
        constraints: Default::default(),
        expires_at: now.plus(Duration::from_secs(90)),
        created_at: now,
        revoked_at: None,
    }
}

/// How many of these sessions are active at `now` and how many of these delegations in force, by a look outside of
/// a change and by one within.
async fn good(
    store: &Store,
    sessions: [&SessionRow; 2],
    edge: &DelegationRow,
    now: Moment,
) -> (usize, usize) {
    let ids = sessions.map(|row| row.id.to_string());
    let outside = store.sessions_by_id(&ids).await.unwrap();
    let active = outside
        .iter()
        .filter(|row| row.state(now) == SessionState::Active);
    let edges = store.delegations_along(&edge.path).await.unwrap();
    let in_force = edges.iter().filter(|edge| edge.status(now) == "active");
    let outside = (active.count(), in_force.count());
    let mut change = store.begin().await.unwrap();
    let ids = sessions.map(|row| row.id.as_str()).into();
    let active = change.active_among(&ids, now).await.unwrap();
    let in_force = change.in_force_among(&[edge.id.as_str()].into(), now).await;
    assert_eq!((active.len(), in_force.unwrap().len()), outside);
    outside
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_ends_a_session_or_a_delegation_is_seen_at_once_by_whoever_looks() {
    let dir = tempfile::tempdir().unwrap();
    let (store, zone) = with_zone(dir.path()).await;
    let now = Moment::now();
    let application = application(&zone, now);
    let parent = session(&application, None, now);
    let mut child = session(&application, Some(&parent), now);
    child.heartbeat_deadline_at = Some(now.plus(Duration::from_secs(120)));
    let edge = delegation(&parent, &child, now);
    let mut change = store.begin().await.unwrap();
    change.insert_application(&application).await.unwrap();
    change.insert_session(&parent).await.unwrap();
    change.insert_session(&child).await.unwrap();
    change.insert_delegation(&edge).await.unwrap();
    change.commit().await.unwrap();
    let after = |seconds| now.plus(Duration::from_secs(seconds));
    let look = async |at| good(&store, [&parent, &child], &edge, at).await;
    // Nothing is written for that time goes by; the second look finds what the first one kept.
    for _ in 0..2 {
        assert_eq!(look(now).await, (2, 1));
        assert_eq!(
            look(after(60)).await,
            (0, 1),
            "the lease of the one above lapsed"
        );
        assert_eq!(
            look(after(90)).await,
            (0, 0),
            "and then the delegation expired"
        );
    }
    let suspend = async |row: &SessionRow, by| {
        let mut change = store.begin().await.unwrap();
        change.set_suspended(row, by).await.unwrap();
        let ids = [parent.id.as_str(), child.id.as_str()].into();
        let within = change.active_among(&ids, now).await.unwrap().len();
        change.commit().await.unwrap();
        within
    };
    assert_eq!(suspend(&child, Some((now, "operator"))).await, 1);
    assert_eq!(look(now).await, (1, 1));
    assert_eq!(suspend(&child, None).await, 2);
    assert_eq!(look(now).await, (2, 1));
    assert_eq!(suspend(&parent, Some((now, "operator"))).await, 0);
    assert_eq!(look(now).await, (0, 1));
    assert_eq!(suspend(&parent, None).await, 2);
    let mut change = store.begin().await.unwrap();
    change
        .end_subtree(&child, "terminated", "test", now)
        .await
        .unwrap();
    drop(change);
    assert_eq!(look(now).await, (2, 1), "it was given up");
    let mut change = store.begin().await.unwrap();
    change
        .end_subtree(&child, "terminated", "test", now)
        .await
        .unwrap();
    change.commit().await.unwrap();
    assert_eq!(look(now).await, (1, 0));
}
