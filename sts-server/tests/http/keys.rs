//! Signing keys over time.

use std::{collections::BTreeSet, time::Duration};

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Value, json};

use crate::world::World;

fn kid(token: &str) -> String {
    let header = Base64UrlUnpadded::decode_vec(token.split('.').next().unwrap()).unwrap();
    serde_json::from_slice::<Value>(&header).unwrap()["kid"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn kids(jwks: &Value) -> BTreeSet<String> {
    jwks["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn three_rotations_in_a_row_break_no_mandate_and_no_verifier() {
    let world = World::with(|config| config.key_publish_lead = Duration::from_secs(2));
    let demo = world.demo();
    let jwks_path = format!("/.well-known/jwks.json?zone_id={}", demo.zone.slug);
    let jwks = || kids(&world.get(&jwks_path).expect(200).body);
    let mint = || demo.exchange(&[]).expect(200).text("access_token");
    let first = mint();
    let mut mandates = vec![first.clone()];
    assert_eq!(jwks(), BTreeSet::from([kid(&first)]));

    let rotations: Vec<_> = (0..3)
        .map(|_| {
            world
                .admin("POST", &demo.zone.path("/keys/rotate"), None)
                .expect(200)
        })
        .collect();
    let new: Vec<_> = rotations.iter().map(|reply| reply.text("kid")).collect();
    assert!(
        rotations
            .iter()
            .all(|reply| reply.body["rotated"] == true && reply.body["zone_id"] == *demo.zone.id)
    );

    // Published before it signs.
    assert_eq!(jwks().len(), 4);
    mandates.push(mint());
    assert_eq!(kid(&mandates[1]), kid(&first));
    let states = |reply: Value| -> Vec<String> {
        reply["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key["state"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        states(world.get(&demo.zone.path("/keys")).expect(200).body),
        ["signing", "published", "published", "published"]
    );

    std::thread::sleep(Duration::from_millis(2500));
    mandates.push(mint());
    assert_eq!(kid(&mandates[2]), new[2]);
    let listed = world.get(&demo.zone.path("/keys")).expect(200).body;
    assert_eq!(
        states(listed.clone()),
        ["retiring", "retiring", "retiring", "signing"]
    );
    assert!(
        listed["items"][0]["retires_at"].is_string() && listed["items"][3]["retires_at"].is_null()
    );

    // Every mandate so far still verifies.
    assert_eq!(jwks().len(), 4);
    for mandate in &mandates {
        demo.zone
            .claims(mandate, authority::mandate::MandateUse::Gateway);
    }
}

#[test]
fn a_mandate_that_was_used_before_is_worth_nothing_once_its_key_is_withdrawn() {
    let world = World::new();
    let zone = world.governed();
    let list = || zone.call("GET", "/agents", &zone.token, None);
    for _ in 0..2 {
        list().expect(200);
    }
    let withdrawn = json!({"anchor_type": "kid", "id": kid(&zone.token)});
    let path = zone.demo.zone.path("/revocations");
    world.admin("POST", &path, Some(&withdrawn)).expect(200);
    let reply = list();
    assert_eq!(reply.error(), (401, "invalid_token"));
    assert_eq!(reply.body["reason"], "key_unknown");
}

#[test]
fn keys_are_published_for_one_zone_or_for_all() {
    let world = World::new();
    let (one, other) = (world.zone("one"), world.zone("other"));
    let of = |query: &str| world.send("GET", &format!("/.well-known/jwks.json{query}"), &[], None);
    let reply = of("").expect(200);
    assert_eq!(
        reply.header("cache-control"),
        "public, max-age=300, must-revalidate"
    );
    assert_eq!(kids(&reply.body).len(), 2);
    let by_id = kids(&of(&format!("?zone_id={}", one.id)).expect(200).body);
    assert_eq!(by_id, kids(&of("?zone_id=one").expect(200).body));
    assert!(by_id.is_disjoint(&kids(
        &of(&format!("?zone_id={}", other.id)).expect(200).body
    )));
    assert_eq!(of("?zone_id=none").error(), (404, "zone_not_found"));
    assert_eq!(of("?zone_id=a&zone_id=b").error(), (400, "invalid_request"));
    let members: BTreeSet<_> = reply.body["keys"][0]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    assert_eq!(
        members,
        ["alg", "crv", "kid", "kty", "use", "x", "y"]
            .map(str::to_owned)
            .into()
    );
}
