//! The token exchange.

use authority::mandate::MandateUse;
use base64ct::{Base64, Encoding};
use serde_json::json;

use crate::world::{ACCESS_TOKEN, GRANT_TYPE, RESOURCE_MANDATE, World};

#[test]
fn a_direct_exchange_gives_a_gateway_mandate_for_what_was_asked() {
    let world = World::new();
    let demo = world.demo();
    let reply = demo
        .exchange(&[("scope", "write read"), ("ttl_seconds", "60")])
        .expect(200);
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(reply.body["token_type"], "Bearer");
    assert_eq!(reply.body["expires_in"], 60);
    assert_eq!(reply.body["scope"], "read write");
    assert_eq!(reply.body["issued_token_type"], ACCESS_TOKEN);
    assert_eq!(reply.body["target_resources"], json!(["resource://demo"]));
    let claims = demo
        .zone
        .claims(&reply.text("access_token"), MandateUse::Gateway);
    assert_eq!(claims.aud, ["http://sts.test"]);
    assert_eq!(claims.target, ["resource://demo"]);
    assert_eq!(
        (claims.sub.as_str(), claims.client_id.as_str()),
        (demo.agent.as_str(), demo.agent.as_str())
    );
    assert_eq!(claims.exp.seconds() - claims.iat.seconds(), 60);
    assert_eq!(claims.sid, claims.root_sid);
    assert_eq!(claims.scopes().collect::<Vec<_>>(), ["read", "write"]);
    assert_eq!(demo.exchange(&[]).expect(200).body["expires_in"], 900);
}

#[test]
fn a_resource_mandate_is_addressed_to_its_resources() {
    let world = World::new();
    let demo = world.demo();
    let reply = demo
        .exchange(&[("requested_token_type", RESOURCE_MANDATE)])
        .expect(200);
    let claims = demo
        .zone
        .claims(&reply.text("access_token"), MandateUse::Resource);
    assert_eq!(claims.aud, ["resource://demo"]);
    assert_eq!(claims.target, ["resource://demo"]);
}

#[test]
fn a_session_mandate_asks_for_more_without_the_secret_but_never_for_wider() {
    let world = World::new();
    let demo = world.demo();
    let session = demo.session();
    let root = demo.zone.claims(&session, MandateUse::Session);
    assert_eq!(root.aud, ["http://sts.test"]);
    assert_eq!(root.target, ["resource://demo"]);
    assert_eq!(root.scope.as_deref(), Some("agent:lifecycle"));

    let with_session = [
        ("subject_token", session.as_str()),
        ("subject_token_type", ACCESS_TOKEN),
        ("client_secret", ""),
    ];
    let reply = demo.exchange(&with_session).expect(200);
    let claims = demo
        .zone
        .claims(&reply.text("access_token"), MandateUse::Gateway);
    assert_eq!(claims.root_sid, root.sid);
    assert_ne!(claims.sid, root.sid);

    let wider = [&with_session[..], &[("resource", "resource://other")]].concat();
    let reply = demo.exchange(&wider).expect(403);
    assert_eq!(reply.body["reason"], "mandate_target_mismatch");

    let gateway = demo.exchange(&[]).expect(200).text("access_token");
    let (other, other_secret) = demo.zone.application("other");
    for (changes, reason) in [
        (vec![("subject_token", gateway.as_str())], "use_not_allowed"),
        (vec![("subject_token", "x.y.z")], "token_malformed"),
        (vec![("application_id", other.as_str())], "client_mismatch"),
        (
            vec![
                ("application_id", other.as_str()),
                ("client_secret", &other_secret),
            ],
            "client_mismatch",
        ),
    ] {
        let changes = [&with_session[..], &changes].concat();
        let reply = demo.exchange(&changes);
        assert_eq!(reply.error(), (400, "invalid_grant"), "{reply:?}");
        assert_eq!(reply.body["reason"], reason);
    }
    let elsewhere = world.zone("elsewhere");
    let reply = demo.exchange(&[&with_session[..], &[("zone_id", &elsewhere.id)]].concat());
    assert_eq!(reply.error(), (400, "invalid_grant"));

    world
        .admin(
            "DELETE",
            &demo.zone.path(&format!("/applications/{}", demo.agent)),
            None,
        )
        .expect(204);
    let reply = demo.exchange(&with_session);
    assert_eq!(
        (reply.error(), &reply.body["reason"]),
        ((400, "invalid_grant"), &json!("token_revoked"))
    );
    assert_eq!(demo.exchange(&[]).error(), (401, "invalid_client"));
}

#[test]
fn each_mistake_has_its_own_answer() {
    let world = World::new();
    let demo = world.demo();
    let (stranger, stranger_secret) = world.zone("elsewhere").application("stranger");
    for (changes, status, error, reason) in [
        (
            &[("grant_type", "client_credentials")][..],
            400,
            "unsupported_grant_type",
            None,
        ),
        (&[("grant_type", "")], 400, "invalid_request", None),
        (
            &[("zone_id", "nowhere")],
            400,
            "invalid_request",
            Some("zone_not_found"),
        ),
        (&[("zone_id", "")], 400, "invalid_request", None),
        (&[("client_secret", "wrong")], 401, "invalid_client", None),
        (&[("client_secret", "")], 401, "invalid_client", None),
        (&[("application_id", "")], 401, "invalid_client", None),
        (
            &[("application_id", "unknown")],
            401,
            "invalid_client",
            None,
        ),
        (
            &[
                ("application_id", &stranger),
                ("client_secret", &stranger_secret),
            ],
            401,
            "invalid_client",
            None,
        ),
        (&[("resource", "")], 400, "invalid_request", None),
        (
            &[("resource", "resource://unknown")],
            400,
            "invalid_target",
            Some("resource_not_found"),
        ),
        (&[("scope", "")], 400, "invalid_request", None),
        (
            &[("scope", "unknown")],
            400,
            "invalid_scope",
            Some("scope_mismatch"),
        ),
        (
            &[("scope", "agent:lifecycle read")],
            400,
            "invalid_scope",
            None,
        ),
        (
            &[("scope", "admin")],
            403,
            "access_denied",
            Some("role_scope_mismatch"),
        ),
        (&[("ttl_seconds", "901")], 400, "invalid_request", None),
        (&[("ttl_seconds", "soon")], 400, "invalid_request", None),
        (
            &[("scope", "agent:lifecycle"), ("ttl_seconds", "3601")],
            400,
            "invalid_request",
            None,
        ),
        (
            &[("agent_session_id", "x")],
            403,
            "access_denied",
            Some("session_inactive"),
        ),
        (&[("delegation_edge_id", "x")], 400, "invalid_request", None),
        (&[("actor_token", "x")], 400, "invalid_request", None),
    ] {
        let reply = demo.exchange(changes);
        assert_eq!(reply.error(), (status, error), "{changes:?}: {reply:?}");
        assert_eq!(reply.body["reason"].as_str(), reason, "{changes:?}");
        assert!(!reply.text("error_description").is_empty());
        assert_eq!(reply.text("requestId"), reply.header("x-request-id"));
        assert_eq!(reply.header("cache-control"), "no-store");
    }
    assert_eq!(
        demo.exchange(&[("scope", "agent:lifecycle"), ("ttl_seconds", "3600")])
            .expect(200)
            .body["expires_in"],
        3600
    );
}

#[test]
fn the_form_of_a_request_is_checked_before_anything_else() {
    let world = World::new();
    let demo = world.demo();
    let form = ("content-type", "application/x-www-form-urlencoded");
    let twice = [demo.fields(), vec![("scope", "read")]].concat();
    let reply = world.token_form(&twice, &[]).expect(400);
    assert!(
        reply
            .text("error_description")
            .contains("duplicate form field: scope"),
        "{reply:?}"
    );
    let send = |headers: &[(&str, &str)], path: &str, body: &[u8]| {
        world.send("POST", path, headers, Some(body))
    };
    assert_eq!(
        send(
            &[("content-type", "application/json")],
            "/oauth/2/token",
            b"{}"
        )
        .error(),
        (415, "invalid_request")
    );
    assert_eq!(
        send(&[], "/oauth/2/token", b"grant_type=x").error(),
        (415, "invalid_request")
    );
    assert_eq!(
        send(&[form], "/oauth/2/token?zone_id=z", b"grant_type=x").error(),
        (400, "invalid_request")
    );
    assert_eq!(
        send(&[form], "/oauth/2/token", b"grant_type=%ff\xff").error(),
        (400, "invalid_request")
    );
    assert_eq!(
        send(&[form], "/oauth/2/token", &[b'a'; 64 * 1024 + 1]).error(),
        (413, "invalid_request")
    );
    assert_eq!(
        send(&[form], "/oauth/2/token", &[b'a'; 64 * 1024]).error(),
        (400, "invalid_request")
    );
    let reply = world.send("GET", "/oauth/2/token", &[], None).expect(405);
    assert_eq!(reply.header("allow"), "POST");
    assert_eq!(reply.error(), (405, "method_not_allowed"));
}

#[test]
fn http_basic_is_answered_in_kind() {
    let world = World::new();
    let demo = world.demo();
    let fields = demo.fields_with(&[("application_id", ""), ("client_secret", "")]);
    let basic = |secret: &str| {
        format!(
            "Basic {}",
            Base64::encode_string(format!("{}:{secret}", demo.agent).as_bytes())
        )
    };
    world
        .token_form(&fields, &[("authorization", &basic(&demo.secret))])
        .expect(200);
    let reply = world.token_form(&fields, &[("authorization", &basic("wrong"))]);
    assert_eq!(reply.error(), (401, "invalid_client"));
    assert_eq!(reply.header("www-authenticate"), "Basic realm=\"caracal\"");
    assert_eq!(
        demo.exchange(&[("client_secret", "wrong")])
            .header("www-authenticate"),
        ""
    );
    assert_eq!(
        world
            .token_form(&fields, &[("authorization", "Bearer x")])
            .error(),
        (400, "invalid_request")
    );
}

#[test]
fn a_rotated_secret_is_refused_at_once() {
    let world = World::new();
    let demo = world.demo();
    demo.exchange(&[]).expect(200); // remembered from here on
    let application = demo.zone.path(&format!("/applications/{}", demo.agent));
    let rotated = world
        .admin("POST", &format!("{application}/rotate-secret"), None)
        .expect(200)
        .text("client_secret");
    assert_eq!(demo.exchange(&[]).error(), (401, "invalid_client"));
    demo.exchange(&[("client_secret", &rotated)]).expect(200);

    let chosen = "0123456789abcdef0123456789abcdef";
    let reply = world.admin(
        "PATCH",
        &application,
        Some(&json!({"client_secret": "short"})),
    );
    assert_eq!(reply.error(), (400, "invalid_request"));
    let reply = world
        .admin(
            "PATCH",
            &application,
            Some(&json!({"client_secret": chosen})),
        )
        .expect(200);
    assert!(
        !String::from_utf8_lossy(&reply.bytes).contains("secret"),
        "{reply:?}"
    );
    assert_eq!(
        demo.exchange(&[("client_secret", &rotated)]).error(),
        (401, "invalid_client")
    );
    demo.exchange(&[("client_secret", chosen)]).expect(200);
}

#[tokio::test]
async fn every_outcome_is_on_record() {
    let mut world = World::new();
    let (allowed, zone, agent) = {
        let demo = world.demo();
        let allowed = demo.exchange(&[]).expect(200);
        demo.exchange(&[("scope", "admin")]).expect(403);
        demo.exchange(&[("client_secret", "wrong")]).expect(401);
        demo.exchange(&[("resource", "resource://unknown")])
            .expect(400);
        assert_eq!(
            world.token_form(&[("grant_type", GRANT_TYPE)], &[]).status,
            400
        ); // of no zone
        let claims = demo
            .zone
            .claims(&allowed.text("access_token"), MandateUse::Gateway);
        (
            (allowed.header("x-request-id").to_owned(), claims),
            demo.zone.id.clone(),
            demo.agent,
        )
    };
    world.stop();
    let url = format!("sqlite:{}", world.dir.path().join("caracal.db").display());
    let database = sqlx::SqlitePool::connect(&url).await.unwrap();
    type Row = (
        String,
        Option<String>,
        String,
        Option<String>,
        Option<String>,
        Option<String>,
        String,
    );
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT event ->> 'decision', event ->> 'reason', event ->> 'evaluation_status',
           event ->> 'client_id', event ->> 'sid', event ->> 'manifest_sha', event ->> 'request_id'
         FROM audit_entries WHERE event ->> 'zone_id' = ? AND event ->> 'event_type' = 'token_exchange'
         ORDER BY entry",
    )
    .bind(&zone)
    .fetch_all(&database)
    .await
    .unwrap();
    let seen: Vec<_> = rows
        .iter()
        .map(|row| (row.0.as_str(), row.1.as_deref(), row.2.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            ("allow", None, "complete"),
            ("deny", Some("role_scope_mismatch"), "complete"),
            ("deny", Some("invalid_client"), "authentication_failed"),
            ("deny", Some("resource_not_found"), "resource_not_found"),
        ]
    );
    let (request_id, claims) = allowed;
    assert!(
        rows.iter()
            .all(|row| row.3.as_deref() == Some(agent.as_str()))
    );
    assert_eq!(
        (rows[0].4.as_deref(), &rows[0].6),
        (Some(claims.sid.as_str()), &request_id)
    );
    assert!(rows[0].5.is_some());
    let records: i64 = sqlx::query_scalar("SELECT count(*) FROM authority_records")
        .fetch_one(&database)
        .await
        .unwrap();
    assert_eq!(records, 1);
}
