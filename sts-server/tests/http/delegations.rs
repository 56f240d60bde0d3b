//! Delegations, and the mandates that are minted under them.

use authority::mandate::MandateUse;
use serde_json::json;

use crate::world::{ACCESS_TOKEN, RESOURCE_MANDATE, World};

#[test]
fn a_child_mints_what_was_delegated_to_it_and_the_mandate_shows_the_chain() {
    let world = World::new();
    let zone = world.governed();
    let root = zone.start(json!({}));
    let child = zone.child(&root);
    let grandchild = zone.child(&child);
    let first = zone.delegate(
        &root,
        &child,
        json!({"scopes": ["read", "write"], "constraints": {"max_hops": 2}}),
    );
    let second = zone.delegate(&child, &grandchild, json!({}));

    let reply = zone.mint(&grandchild, &second, &[]).expect(200);
    let claims = zone
        .demo
        .zone
        .claims(&reply.text("access_token"), MandateUse::Gateway);
    let text = |ids: &[authority::ids::DelegationId]| -> Vec<String> {
        ids.iter().map(ToString::to_string).collect()
    };
    assert_eq!(claims.scope.as_deref(), Some("read"));
    assert_eq!(
        text(&claims.delegation_path),
        [first.clone(), second.clone()]
    );
    assert_eq!(claims.hop_count, Some(2));
    let sessions: Vec<&str> = claims.session_path.iter().map(|id| id.as_str()).collect();
    assert_eq!(sessions, [&root, &child, &grandchild]);
    assert_eq!(claims.labels, ["reader", "writer"]);
    let chain = serde_json::to_value(&claims.delegation_chain).unwrap();
    let agent = &zone.demo.agent;
    let expected = json!([
        {"application_id": agent, "agent_session_id": root, "delegation_edge_id": first},
        {"application_id": agent, "agent_session_id": child, "delegation_edge_id": second},
        {"application_id": agent, "agent_session_id": grandchild},
    ]);
    assert_eq!(chain, expected);
    let act = serde_json::to_value(&claims.act).unwrap();
    let expected = json!({
        "sub": agent, "agent_session_id": grandchild,
        "act": {"sub": agent, "agent_session_id": child},
    });
    assert_eq!(act, expected);
    let root_sid = zone.demo.zone.claims(&zone.token, MandateUse::Session).sid;
    assert_eq!(claims.root_sid, root_sid);

    let resource = zone.mint(
        &grandchild,
        &second,
        &[("requested_token_type", RESOURCE_MANDATE)],
    );
    let claims = zone.demo.zone.claims(
        &resource.expect(200).text("access_token"),
        MandateUse::Resource,
    );
    assert_eq!(claims.aud, ["resource://demo"]);
    let wider = zone.mint(&grandchild, &second, &[("scope", "write")]);
    assert_eq!(wider.error(), (403, "access_denied"));
    assert_eq!(wider.body["reason"], "delegation_scope_exceeded");
    zone.mint(&child, &first, &[("scope", "write")]).expect(200);
}

#[test]
fn a_delegation_is_never_more_than_what_its_source_holds() {
    let world = World::new();
    let zone = world.governed();
    let root = zone.start(json!({}));
    let child = zone.child(&root);
    let grandchild = zone.child(&child);
    let bounded = json!({"constraints": {
        "max_hops": 2, "ttl_seconds": 60, "budget": 10, "resources": ["resource://demo"],
    }});
    zone.delegate(&root, &child, bounded);
    for (more, status, error) in [
        (
            json!({"scopes": ["write"]}),
            403,
            "delegation_exceeds_parent_authority",
        ),
        (
            json!({"resource_id": "resource://other"}),
            403,
            "delegation_exceeds_parent_authority",
        ),
        (
            json!({"constraints": {"max_hops": 2}}),
            403,
            "delegation_exceeds_parent_authority",
        ),
        (
            json!({"constraints": {"ttl_seconds": 61}}),
            403,
            "delegation_exceeds_parent_authority",
        ),
        (
            json!({"constraints": {"budget": 11}}),
            403,
            "delegation_exceeds_parent_authority",
        ),
        (
            json!({"ttl_seconds": null, "constraints": {"expires_at": "2100-01-01T00:00:00Z"}}),
            403,
            "delegation_exceeds_parent_authority",
        ),
        (
            json!({"constraints": {"max_hops": 0}}),
            400,
            "invalid_request",
        ),
        (
            json!({"constraints": {"max_hops": 11}}),
            400,
            "invalid_request",
        ),
        (
            json!({"constraints": {"unknown": 1}}),
            400,
            "invalid_request",
        ),
        (json!({"scopes": []}), 400, "invalid_request"),
        (
            json!({"scopes": ["agent:lifecycle"]}),
            403,
            "delegation_exceeds_parent_authority",
        ),
        (
            json!({"ttl_seconds": null}),
            400,
            "delegation_expiry_required",
        ),
        (
            json!({"constraints": {"expires_at": "2020-01-01T00:00:00Z"}}),
            400,
            "delegation_expired",
        ),
        (
            json!({"resource_id": "resource://none"}),
            404,
            "resource_not_found",
        ),
        (
            json!({"constraints": {"resources": ["resource://other"]}}),
            400,
            "delegation_resource_scope_mismatch",
        ),
        (
            json!({"parent_edge_id": "none"}),
            403,
            "parent_delegation_not_active",
        ),
        (
            json!({"target_session_id": child}),
            400,
            "self_delegation_denied",
        ),
        (
            json!({"target_session_id": "none"}),
            404,
            "delegation_endpoint_not_found",
        ),
        (
            json!({"receiver_application_id": zone.peer}),
            409,
            "delegation_application_mismatch",
        ),
        (
            json!({"target_session_id": root}),
            409,
            "delegation_cycle_denied",
        ),
        (
            json!({"issuer_application_id": zone.peer}),
            403,
            "issuer_ownership_required",
        ),
    ] {
        let reply = zone.try_delegate(&child, &grandchild, more.clone());
        assert_eq!(reply.error(), (status, error), "{more}: {reply:?}");
    }
    // What is left open is the parent's.
    let reply = zone
        .try_delegate(&child, &grandchild, json!({"resource_id": null}))
        .expect(201);
    assert_eq!(reply.body["resources"], json!(["resource://demo"]));
    assert_eq!(reply.body["mandate_ttl_seconds"], 60);
    assert_eq!(reply.body["budget"], 10);
    let edge = reply.text("delegation_edge_id");
    assert_eq!(
        zone.mint(&grandchild, &edge, &[]).expect(200).body["expires_in"],
        60
    );
}

#[test]
fn an_application_begins_delegations_of_what_its_policy_gives_it_and_no_more() {
    let world = World::new();
    let zone = world.governed();
    let (root, other) = (zone.start(json!({})), zone.start(json!({})));
    for (more, error, reason) in [
        (
            json!({"scopes": ["admin"]}),
            "delegation_exceeds_policy",
            "role_scope_mismatch",
        ),
        (
            json!({"resource_id": "resource://other"}),
            "delegation_exceeds_policy",
            "resource_not_granted",
        ),
    ] {
        let reply = zone.try_delegate(&root, &other, more.clone());
        assert_eq!(reply.error(), (403, error), "{more}: {reply:?}");
        assert_eq!(reply.body["reason"], reason);
    }
    let reply = zone.try_delegate(&root, &other, json!({"resource_id": null}));
    assert_eq!(reply.error(), (403, "broad_delegation_permission_required"));
    let unknown = zone.try_delegate(&root, &other, json!({"scopes": ["unheard"]}));
    assert_eq!(unknown.error(), (403, "delegation_scopes_exceed_resource"));
    // A child that was given nothing does not fall back on what its application may.
    let (child, grandchild) = (zone.child(&root), zone.child(&root));
    let reply = zone.try_delegate(&child, &grandchild, json!({}));
    assert_eq!(reply.error(), (403, "delegation_exceeds_parent_authority"));
    let reply = zone.demo.exchange(&[("agent_session_id", &child)]);
    assert_eq!(reply.body["reason"], "delegation_required");
    let heir = zone.start(json!({"parent_id": root}));
    zone.delegate(&heir, &grandchild, json!({}));
}

#[test]
fn two_tokens_delegate_as_the_rfc_has_it() {
    let world = World::new();
    let zone = world.governed();
    let root = zone.start(json!({}));
    let child = zone.child(&root);
    let (subject, actor) = (zone.bound(&root), zone.bound(&child));
    let reply = zone.act(&subject, &actor, &[]).expect(200);
    let claims = zone
        .demo
        .zone
        .claims(&reply.text("access_token"), MandateUse::Gateway);
    assert_eq!(claims.agent_session_id.as_ref().unwrap().as_str(), child);
    assert_eq!(claims.source_session_id.as_ref().unwrap().as_str(), root);
    assert_eq!(claims.hop_count, Some(1));
    let edge = claims.delegation_edge_id.unwrap();
    // The same again rests on the same delegation; something else on another.
    let again = zone.act(&subject, &actor, &[]).expect(200);
    let claims = zone
        .demo
        .zone
        .claims(&again.text("access_token"), MandateUse::Gateway);
    assert_eq!(claims.delegation_edge_id.unwrap(), edge);
    let wider = zone.act(&subject, &actor, &[("scope", "admin")]);
    assert_eq!(wider.body["reason"], "role_scope_mismatch", "{wider:?}");
    for (subject, actor, reason) in [
        (&zone.token, &actor, "session_required"),
        (&subject, &zone.token, "session_required"),
        (&subject, &subject, "self_delegation_denied"),
        (&actor, &subject, "delegation_exceeds_parent_authority"),
    ] {
        let reply = zone.act(subject, actor, &[]);
        assert_eq!(reply.body["reason"], reason, "{reply:?}");
    }
    zone.terminate(&child);
    let reply = zone.act(&subject, &actor, &[]);
    assert_eq!(reply.body["reason"], "token_revoked");
}

#[test]
fn a_session_mandate_mints_under_the_delegation_to_its_session() {
    let world = World::new();
    let zone = world.governed();
    let root = zone.start(json!({}));
    let child = zone.child(&root);
    let edge = zone.delegate(&root, &child, json!({}));
    let bound = zone.bound(&child);
    let alone = [
        ("application_id", ""),
        ("client_secret", ""),
        ("subject_token", bound.as_str()),
        ("subject_token_type", ACCESS_TOKEN),
        ("delegation_edge_id", edge.as_str()),
    ];
    let reply = zone.demo.exchange(&alone).expect(200);
    let claims = zone
        .demo
        .zone
        .claims(&reply.text("access_token"), MandateUse::Gateway);
    assert_eq!(claims.delegation_edge_id.unwrap().as_str(), edge);
    let other = zone
        .demo
        .exchange(&[&alone[..], &[("agent_session_id", &root)]].concat());
    assert_eq!(other.body["reason"], "session_mismatch");
    // It is good for its own session and below, and for nothing beside.
    let sibling = zone.start(json!({"parent_id": root}));
    let reply = zone.call("DELETE", &format!("/agents/{sibling}"), &bound, None);
    assert_eq!(reply.error(), (403, "parent_ownership_required"));
    let body = json!({"application_id": zone.demo.agent});
    let reply = zone.call("POST", "/agents", &bound, Some(body));
    assert_eq!(reply.error(), (403, "parent_ownership_required"));
    let body = json!({"application_id": zone.demo.agent, "parent_id": child});
    zone.call("POST", "/agents", &bound, Some(body)).expect(201);
}

#[test]
fn a_gateway_gets_a_resource_mandate_for_what_was_presented_to_it_and_no_more() {
    let world = World::new();
    let zone = world.governed();
    let gateway = zone.demo.zone.gateway("edge");
    let root = zone.start(json!({}));
    let child = zone.child(&root);
    let edge = zone.delegate(&root, &child, json!({}));
    let presented = zone
        .mint(&child, &edge, &[("ttl_seconds", "120")])
        .expect(200)
        .text("access_token");
    let bearer = format!("Bearer {gateway}");
    let ask = |token: &str, bearer: &str, resource: &str| {
        let form = [
            ("grant_type", crate::world::GRANT_TYPE),
            ("zone_id", zone.demo.zone.id.as_str()),
            ("subject_token", token),
            ("subject_token_type", ACCESS_TOKEN),
            ("requested_token_type", RESOURCE_MANDATE),
            ("resource", resource),
        ];
        world.token_form(&form, &[("authorization", bearer)])
    };
    let reply = ask(&presented, &bearer, "resource://demo").expect(200);
    let own = zone.demo.zone.claims(&presented, MandateUse::Gateway);
    let claims = zone
        .demo
        .zone
        .claims(&reply.text("access_token"), MandateUse::Resource);
    assert_eq!(claims.aud, ["resource://demo"]);
    assert_eq!(claims.scope, own.scope);
    assert_eq!(claims.delegation_chain, own.delegation_chain);
    assert_eq!(claims.client_id, own.client_id);
    assert_eq!(claims.root_sid, own.root_sid);
    assert!(claims.exp <= own.exp);
    let elsewhere = ask(&presented, &bearer, "resource://other");
    assert_eq!(elsewhere.body["reason"], "mandate_target_mismatch");
    let stranger = ask(&presented, "Bearer gw_nobody", "resource://demo");
    assert_eq!(stranger.error(), (401, "invalid_client"));
    let session = ask(&zone.token, &bearer, "resource://demo");
    assert_eq!(session.body["reason"], "use_not_allowed", "{session:?}");
    zone.revoke(&edge).expect(200);
    let revoked = ask(&presented, &bearer, "resource://demo");
    assert_eq!(revoked.error(), (400, "invalid_grant"));
    assert_eq!(revoked.body["reason"], "token_revoked");
}

#[test]
fn what_is_revoked_suspended_or_ended_mints_nothing() {
    let world = World::new();
    let zone = world.governed();
    let root = zone.start(json!({}));
    let child = zone.child(&root);
    let grandchild = zone.child(&child);
    let hops = json!({"constraints": {"max_hops": 3}});
    let first = zone.delegate(&root, &child, hops);
    let second = zone.delegate(&child, &grandchild, json!({}));
    let reason = |session: &str, edge: &str| {
        let reply = zone.mint(session, edge, &[]);
        reply.body["reason"].as_str().unwrap_or("none").to_owned()
    };
    let patch = |session: &str, what: &str| {
        zone.call(
            "PATCH",
            &format!("/agents/{session}/{what}"),
            &zone.token,
            None,
        )
    };
    assert_eq!(patch(&child, "suspend").expect(200).body["suspended"], 2);
    assert_eq!(reason(&grandchild, &second), "session_inactive");
    assert_eq!(reason(&child, &first), "session_inactive");
    assert_eq!(patch(&child, "resume").expect(200).body["resumed"], 2);
    assert_eq!(reason(&grandchild, &second), "none");

    let impact = zone.call(
        "GET",
        &format!("/delegations/{first}/impact"),
        &zone.token,
        None,
    );
    let impact = impact.expect(200).body;
    assert_eq!(
        (&impact["revoked_edges"], &impact["affected_sessions"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(impact["edge_id"], first.as_str());
    let mut fallen = [child.as_str(), &grandchild];
    fallen.sort_unstable();
    assert_eq!(impact["affected_agents"], json!(fallen));
    let revoked = zone.revoke(&first).expect(200).body;
    assert_eq!(revoked["revoked_edges"], 2);
    assert_eq!(zone.revoke(&first).expect(200).body["revoked_edges"], 0);
    assert_eq!(reason(&child, &first), "delegation_inactive");
    assert_eq!(reason(&grandchild, &second), "delegation_inactive");

    let third = zone.delegate(&root, &grandchild, json!({}));
    assert_eq!(reason(&grandchild, &third), "none");
    let side = zone.start(json!({}));
    let fourth = zone.delegate(&side, &grandchild, json!({}));
    zone.terminate(&side);
    assert_eq!(reason(&grandchild, &fourth), "delegation_inactive");
    assert_eq!(reason(&grandchild, &third), "none");
    zone.terminate(&root);
    zone.terminate(&root);
    assert_eq!(reason(&grandchild, &third), "session_inactive");
}

#[test]
fn a_confused_deputy_is_refused_with_its_reason() {
    let world = World::new();
    let zone = world.governed();
    let root = zone.start(json!({}));
    let child = zone.child(&root);
    let edge = zone.delegate(&root, &child, json!({}));
    let theirs = zone.start_peer();
    let as_peer = [
        ("application_id", zone.peer.as_str()),
        ("client_secret", zone.peer_secret.as_str()),
    ];
    // Another application's session, with and without the delegation to it.
    let reply = zone.mint(&child, &edge, &as_peer);
    assert_eq!(reply.body["reason"], "session_not_owned");
    // Another's delegation in a session of one's own.
    let reply = zone.mint(&theirs, &edge, &as_peer);
    assert_eq!(reply.body["reason"], "delegation_target_mismatch");
    for (method, rest) in [
        ("GET", format!("/agents/{child}")),
        ("DELETE", format!("/agents/{child}")),
        ("PATCH", format!("/agents/{child}/suspend")),
        ("GET", format!("/agents/{child}/children")),
        ("GET", format!("/agents/{child}/effective-authority")),
        ("GET", format!("/delegations/inbound/{child}")),
        ("GET", format!("/delegations/outbound/{root}")),
    ] {
        let reply = zone.call(method, &rest, &zone.peer_token, None);
        assert_eq!(
            reply.error(),
            (403, "application_ownership_required"),
            "{method} {rest}"
        );
    }
    for (method, rest) in [
        ("GET", format!("/delegations/{edge}")),
        ("GET", format!("/delegations/{edge}/impact")),
        ("PATCH", format!("/delegations/{edge}/revoke")),
    ] {
        let reply = zone.call(method, &rest, &zone.peer_token, None);
        assert_eq!(
            reply.error(),
            (403, "issuer_ownership_required"),
            "{method} {rest}"
        );
    }
    let start = |more: serde_json::Value| {
        let mut body = json!({"application_id": zone.peer});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        zone.call("POST", "/agents", &zone.peer_token, Some(body))
    };
    let record = zone.demo.zone.claims(&zone.token, MandateUse::Session).sid;
    for (more, error) in [
        (
            json!({"application_id": zone.demo.agent}),
            "application_ownership_required",
        ),
        (json!({"parent_id": root}), "parent_ownership_required"),
        (
            json!({"subject_session_id": record.as_str()}),
            "subject_proof_required",
        ),
        (
            json!({"subject_session_id": record.as_str(), "subject_token": zone.peer_token}),
            "subject_proof_required",
        ),
        (
            json!({"subject_session_id": record.as_str(), "subject_token": "forged"}),
            "subject_proof_required",
        ),
    ] {
        let reply = start(more.clone());
        assert_eq!(reply.error(), (403, error), "{more}: {reply:?}");
    }
    // With the proof, the session acts on behalf of whom it was given by.
    let proven = json!({"subject_session_id": record.as_str(), "subject_token": zone.token});
    assert_eq!(
        start(proven).expect(201).body["subject"],
        zone.demo.agent.as_str()
    );
    // Another's token does for nobody else.
    let reply = zone.demo.exchange(&[
        ("subject_token", &zone.peer_token),
        ("subject_token_type", ACCESS_TOKEN),
    ]);
    assert_eq!(reply.body["reason"], "client_mismatch");
}

#[test]
fn another_application_acts_by_what_the_owner_delegated_to_it() {
    let world = World::new();
    let zone = world.governed();
    let root = zone.start(json!({}));
    let theirs = zone.start_peer();
    let across = json!({"receiver_application_id": zone.peer});
    let edge = zone.delegate(&root, &theirs, across);
    let as_peer = [
        ("application_id", zone.peer.as_str()),
        ("client_secret", zone.peer_secret.as_str()),
    ];
    let reply = zone.mint(&theirs, &edge, &as_peer).expect(200);
    let claims = zone
        .demo
        .zone
        .claims(&reply.text("access_token"), MandateUse::Gateway);
    assert_eq!(claims.client_id.as_str(), zone.peer);
    assert_eq!(claims.sub, zone.demo.agent);
    assert_eq!(claims.act.unwrap().sub, zone.peer);
    // Its consent is its own credentials: the issuer cannot use the delegation for it.
    let reply = zone.mint(&theirs, &edge, &[]);
    assert_eq!(reply.body["reason"], "session_not_owned");
    let inbound = format!("/delegations/inbound/{theirs}/{edge}");
    let reply = zone
        .call("GET", &inbound, &zone.peer_token, None)
        .expect(200);
    assert_eq!(reply.body["status"], "active");
    zone.revoke(&edge).expect(200);
    let reply = zone.mint(&theirs, &edge, &as_peer);
    assert_eq!(reply.body["reason"], "delegation_inactive");

    // What an application delegated ends with the application.
    let again = zone.delegate(
        &root,
        &theirs,
        json!({"receiver_application_id": zone.peer}),
    );
    zone.mint(&theirs, &again, &as_peer).expect(200);
    let agent = zone
        .demo
        .zone
        .path(&format!("/applications/{}", zone.demo.agent));
    world.admin("DELETE", &agent, None).expect(204);
    let reply = zone.mint(&theirs, &again, &as_peer);
    assert_eq!(reply.body["reason"], "delegation_inactive");
    let ended = world
        .get(&zone.path(&format!("/agents/{root}")))
        .expect(200);
    assert_eq!(ended.body["end_reason"], "application archived");
}
