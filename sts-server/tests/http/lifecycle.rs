//! The server from start to stop, and what operators see of it.

use std::path::Path;

use authority::mandate::MandateUse;
use serde_json::{Value, json};
use sts_server::{ServeConfig, ServeError, StoreError, serve};

use crate::world::{Demo, World, Zone};

#[test]
fn a_restart_with_the_same_data_directory_keeps_everything() {
    let mut world = World::new();
    let (id, agent, secret, gateway, token, before) = {
        let demo = world.demo();
        let token = demo.exchange(&[]).expect(200).text("access_token");
        let before = state(&world, &demo.zone.id);
        (
            demo.zone.id.clone(),
            demo.agent.clone(),
            demo.secret.clone(),
            demo.zone.gateway("edge"),
            token,
            before,
        )
    };
    let admin_token = world.admin_token.clone();
    world.stop();
    assert!(!world.dir.path().join("url").exists());
    world.start();
    assert_eq!(world.admin_token, admin_token);
    assert_eq!(state(&world, &id), before);
    let zone = Zone {
        world: &world,
        id,
        slug: "demo".to_owned(),
    };
    zone.claims(&token, MandateUse::Gateway);
    let bearer = format!("Bearer {gateway}");
    world
        .send(
            "GET",
            &zone.path("/gateway/bundle"),
            &[("authorization", &bearer)],
            None,
        )
        .expect(200);
    Demo {
        zone,
        agent,
        secret,
    }
    .exchange(&[])
    .expect(200);
}

fn state(world: &World, zone: &str) -> Vec<Value> {
    [
        "",
        "/applications",
        "/resources",
        "/policies",
        "/policy-sets",
        "/keys",
    ]
    .iter()
    .map(|list| {
        world
            .get(&format!("/v1/zones/{zone}{list}"))
            .expect(200)
            .body
    })
    .collect()
}

#[tokio::test]
async fn a_data_directory_serves_one_server_at_a_time() {
    let world = World::new();
    let outcome = serve(World::config(world.dir.path()), async {}).await;
    assert!(
        matches!(outcome, Err(ServeError::DataDir(_))),
        "{outcome:?}"
    );
    assert!(world.dir.path().join("url").exists());
    world.send("GET", "/health", &[], None).expect(200);
}

#[test]
fn a_database_serves_one_server_at_a_time() {
    fn name(config: &mut ServeConfig, dir: &Path) {
        config.database_url = Some(format!("sqlite:{}", dir.join("named.db").display()));
    }
    let mut world = World::with(|config| name(config, &config.data_dir.clone()));
    let zone = world.zone("demo").id;
    let second = tempfile::tempdir().unwrap();
    let mut config = World::config(second.path());
    name(&mut config, world.dir.path());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let outcome = runtime.block_on(serve(config, async {}));
    assert!(
        matches!(outcome, Err(ServeError::Store(StoreError::InUse(_)))),
        "{outcome:?}"
    );
    world.stop();
    world.start();
    world.get(&format!("/v1/zones/{zone}")).expect(200);
}

#[tokio::test]
async fn another_key_encryption_key_is_noticed_at_the_start() {
    let mut world = World::new();
    world.zone("demo");
    world.stop();
    std::fs::write(world.dir.path().join("kek"), [7; 32]).unwrap();
    let outcome = serve(World::config(world.dir.path()), async {}).await;
    assert!(matches!(outcome, Err(ServeError::Seal(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_bad_configuration_fails_at_the_start_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    for issuer in ["sts.test", "ftp://sts.test", "http://sts.test?x=1", ""] {
        let mut config = World::config(dir.path());
        config.issuer = Some(issuer.to_owned());
        let error = serve(config, async {}).await.unwrap_err();
        assert!(error.to_string().contains("issuer"), "{error}");
    }
    let mut config = World::config(dir.path());
    config.database_url = Some("postgres://user:password@host/db".to_owned());
    let error = serve(config, async {}).await.unwrap_err().to_string();
    assert!(
        error.contains("SQLite") && !error.contains("password"),
        "{error}"
    );
}

#[test]
fn no_secret_reaches_the_log_or_the_disk() {
    let mut world = World::new();
    let secrets = {
        let demo = world.demo();
        let gateway = demo.zone.gateway("edge");
        let session = demo.session();
        let mandate = demo.exchange(&[]).expect(200).text("access_token");
        demo.exchange(&[("client_secret", "cs_guessed_secret")])
            .expect(401);
        demo.exchange(&[
            ("subject_token", "eyJ_guessed_token"),
            ("client_secret", ""),
        ]);
        for (path, token) in [
            ("/v1/zones", "at_guessed_token"),
            ("/v1/zones/demo/gateway/bundle", &gateway),
        ] {
            world.send(
                "GET",
                path,
                &[("authorization", &format!("Bearer {token}"))],
                None,
            );
        }
        world.send(
            "GET",
            "/v1/zones/cs_in_a_path?token=cs_in_a_query",
            &[],
            None,
        );
        let rotate = demo
            .zone
            .path(&format!("/applications/{}/rotate-secret", demo.agent));
        let rotated = world
            .admin("POST", &rotate, None)
            .expect(200)
            .text("client_secret");
        world
            .post(
                "/v1/zones",
                json!({"name": 1, "client_secret": "cs_in_garbage"}),
            )
            .expect(400);
        let guessed = [
            "cs_guessed_secret",
            "eyJ_guessed_token",
            "at_guessed_token",
            "cs_in_a_path",
            "cs_in_a_query",
            "cs_in_garbage",
        ];
        let own = [
            demo.secret,
            rotated,
            gateway,
            session,
            mandate,
            world.admin_token.clone(),
        ];
        own.into_iter()
            .chain(guessed.map(str::to_owned))
            .collect::<Vec<_>>()
    };
    world.stop();
    let log = world.log.text();
    assert!(
        log.contains("mandate minted") && log.contains("request_id"),
        "{log}"
    );
    let mut places = vec![("log".to_owned(), log.into_bytes())];
    for entry in std::fs::read_dir(world.dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name != "admin-token") {
            places.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    for (place, content) in places {
        for secret in &secrets {
            let found = content
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} in {place}");
        }
    }
}

#[test]
fn operators_see_health_readiness_and_metrics() {
    let world = World::new();
    let demo = world.demo();
    demo.exchange(&[]).expect(200);
    demo.exchange(&[("scope", "admin")]).expect(403);
    let public = |path: &str| world.send("GET", path, &[], None).expect(200);
    assert_eq!(public("/health").body["status"], "ok");
    assert_eq!(public("/ready").body["status"], "ready");
    let metrics = public("/metrics");
    assert!(
        metrics
            .header("content-type")
            .starts_with("application/openmetrics-text")
    );
    let page = String::from_utf8(metrics.bytes).unwrap();
    for line in [
        r#"caracal_sts_exchanges_total{decision="allow",error="none"} 1"#,
        r#"caracal_sts_exchanges_total{decision="deny",error="access_denied"} 1"#,
        r#"caracal_sts_http_requests_total{method="POST",route="/oauth/2/token",status="200"} 1"#,
        "caracal_sts_exchange_seconds_count 2",
        "caracal_sts_policy_seconds_count 2",
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
    let metadata = public("/.well-known/oauth-authorization-server").body;
    assert_eq!(metadata["issuer"], "http://sts.test");
    assert_eq!(metadata["token_endpoint"], "http://sts.test/oauth/2/token");
    assert_eq!(
        metadata["jwks_uri"],
        "http://sts.test/.well-known/jwks.json"
    );
}

#[test]
fn a_request_id_is_the_clients_own_if_it_is_fit() {
    let world = World::new();
    let id_of = |id: &str| {
        world
            .send("GET", "/nowhere", &[("x-request-id", id)], None)
            .expect(404)
    };
    for fit in ["a", "my request 1", &"x".repeat(128)] {
        let reply = id_of(fit);
        assert_eq!(
            (
                reply.header("x-request-id"),
                reply.text("requestId").as_str()
            ),
            (fit, fit)
        );
        assert_eq!(reply.error(), (404, "not_found"));
    }
    for unfit in ["", &"x".repeat(129), "a\tb"] {
        let reply = id_of(unfit);
        assert_ne!(reply.header("x-request-id"), unfit);
        assert_eq!(reply.text("requestId").len(), 36);
    }
}

#[test]
fn after_an_upgrade_what_is_in_use_is_compiled_anew_and_a_shadow_that_cannot_be_is_ended() {
    let mut world = World::new();
    let (zone_id, bundle_path, gateway) = {
        let demo = world.demo();
        let zone = &demo.zone;
        let shadow = zone.policy(&crate::world::grants("somebody"));
        let set = world
            .post(&zone.path("/policy-sets"), json!({"name": "trial"}))
            .expect(201)
            .text("id");
        let set = zone.path(&format!("/policy-sets/{set}"));
        let manifest = json!({"manifest": [{"policy_version_id": shadow}]});
        let version = world
            .post(&format!("{set}/versions"), manifest)
            .expect(201)
            .text("version_id");
        world
            .post(&format!("{set}/shadow"), json!({"version_id": version}))
            .expect(200);
        (
            zone.id.clone(),
            zone.path("/gateway/bundle"),
            zone.gateway("edge"),
        )
    };
    let bundle = |world: &World| {
        let bearer = format!("Bearer {gateway}");
        world
            .send("GET", &bundle_path, &[("authorization", &bearer)], None)
            .expect(200)
            .body
    };
    let first = bundle(&world);

    // As another version left them; the shadow's text is one that this version no longer takes.
    let change = |world: &World, statements: &[&'static str]| {
        let file = world.dir.path().join("caracal.db");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            use sqlx::{Connection, Executor};
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
            let mut database = sqlx::SqliteConnection::connect_with(&options)
                .await
                .unwrap();
            for statement in statements {
                database.execute(*statement).await.unwrap();
            }
            database.close().await.unwrap();
        });
    };
    world.stop();
    change(
        &world,
        &["UPDATE policy_set_versions SET compiler = 'old', program = x'00'"],
    );
    world.start();
    let second = bundle(&world);
    for policy in ["policy", "shadow"] {
        assert_eq!(second[policy]["program"], first[policy]["program"]);
        assert_eq!(second[policy]["compiler"], authority::policy::COMPILER);
    }
    assert!(second["sequence"].as_u64() > first["sequence"].as_u64());

    world.stop();
    change(
        &world,
        &[
            "UPDATE policy_set_versions SET compiler = 'old', program = x'00'",
            "DROP TRIGGER policy_versions_never_change",
            "UPDATE policy_versions SET content = 'package' WHERE content LIKE '%somebody%'",
        ],
    );
    world.start();
    let third = bundle(&world);
    assert_eq!(third["policy"]["program"], first["policy"]["program"]);
    assert!(third.get("shadow").is_none());
    let told = world
        .get(&format!("/v1/zones/{zone_id}/shadow"))
        .expect(200);
    assert!(told.body["ended_at"].is_string());
}
