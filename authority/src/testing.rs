//! The world that tests live in: one zone with its keys, a resource, and mandates of every make.

use std::{cell::Cell, collections::BTreeMap, sync::Arc, time::Duration};

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Value, json};

use crate::{
    bundle::{Bundle, FORMAT},
    ids::KeyId,
    jwks::{Jwk, JwkSet, KeySet},
    key::SigningKey,
    mandate::{Claims, Expected, Mandate, MandateUse, SubjectType, verify},
    policy::{Members, Reads},
    refusal::{Reason, Refusal},
    resource::{Operation, OperationEnforcement, ResourceSpec},
    revocation::{
        Anchor, AnchorKind, Base, Changes, Content, Digest, Filter, HashKey, Publication,
    },
    tags::TagKey,
    time::Timestamp,
};

pub(crate) const NOW: Timestamp = Timestamp(1_790_000_000);
pub(crate) const ISSUER: &str = "https://sts.example.com";
pub(crate) const ZONE: &str = "zone-1";
pub(crate) const SLUG: &str = "demo";
pub(crate) const KID: &str = "key-1";
pub(crate) const APP: &str = "app-1";
pub(crate) const DEMO: &str = "resource://demo";

/// The order of the curve, big-endian.
pub(crate) const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// A clock for evaluations to be bounded by: it counts how often the thread reads it, so that what a bound
/// stops does not depend on how busy the machine is.
pub(crate) fn use_clock() {
    thread_local! {
        static READS: Cell<u64> = const { Cell::new(0) };
    }
    crate::policy::set_clock(|| {
        READS.set(READS.get() + 1);
        Duration::from_micros(10 * READS.get())
    });
}

/// The zone's key.
pub(crate) fn zone_key() -> SigningKey {
    key(1)
}

/// Any number of other keys.
pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32]).unwrap()
}

/// What the zone publishes: its key, as [`KID`].
pub(crate) fn jwks() -> JwkSet {
    let keys = vec![Jwk::new(&KID.into(), &zone_key().verifying_key())];
    JwkSet { keys }
}

pub(crate) fn keys() -> KeySet {
    KeySet::from_jwks(&jwks()).unwrap()
}

/// The claims of a gateway mandate for [`DEMO`] with the scope `read`, issued now.
pub(crate) fn claims() -> Claims {
    Claims {
        iss: ISSUER.into(),
        sub: APP.into(),
        aud: vec![ISSUER.into()],
        exp: NOW.plus(900),
        iat: NOW,
        nbf: None,
        jti: "jti-1".into(),
        zone_id: ZONE.into(),
        client_id: APP.into(),
        sid: "sid-1".into(),
        root_sid: "root-1".into(),
        mandate_use: MandateUse::Gateway,
        sub_type: SubjectType::Application,
        scope: Some("read".into()),
        target: vec![DEMO.into()],
        agent_session_id: None,
        session_path: Vec::new(),
        granting_sessions: Vec::new(),
        labels: Vec::new(),
        delegation_edge_id: None,
        source_session_id: None,
        target_session_id: None,
        delegation_path: Vec::new(),
        delegation_chain: Vec::new(),
        hop_count: None,
        act: None,
        once: false,
    }
}

/// [`claims`] as JSON with some of them replaced; `null` takes one away.
pub(crate) fn claims_with(changes: Value) -> Value {
    let mut document = serde_json::to_value(claims()).unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            document.as_object_mut().unwrap().remove(name);
        } else {
            document[name] = value.clone();
        }
    }
    document
}

/// The header of a mandate with some parameters replaced; `null` takes one away.
pub(crate) fn header_with(changes: Value) -> Value {
    let mut header = json!({"alg": "ES256", "kid": KID, "typ": "JWT"});
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            header.as_object_mut().unwrap().remove(name);
        } else {
            header[name] = value.clone();
        }
    }
    header
}

/// What a JWS signs: header and payload, whatever they say.
pub(crate) fn signing_input(header: &str, payload: &[u8]) -> String {
    format!("{}.{}", base64(header.as_bytes()), base64(payload))
}

/// A compact JWS by `key` that says exactly this, however wrong.
pub(crate) fn jws(header: &str, payload: &[u8], key: &SigningKey) -> String {
    let signed = signing_input(header, payload);
    format!("{signed}.{}", base64(&raw_signature(&signed, key)))
}

/// A mandate of the zone with [`claims_with`] these changes.
pub(crate) fn token(changes: Value) -> String {
    payload_token(claims_with(changes).to_string().as_bytes())
}

/// A token of the zone, rightly signed, over any payload.
pub(crate) fn payload_token(payload: &[u8]) -> String {
    jws(&header_with(json!({})).to_string(), payload, &zone_key())
}

/// A rightly signed token with another header.
pub(crate) fn header_token(changes: Value) -> String {
    let header = header_with(changes).to_string();
    jws(
        &header,
        claims_with(json!({})).to_string().as_bytes(),
        &zone_key(),
    )
}

/// The same for the same message each time, so that a token that is made again is the same.
pub(crate) fn raw_signature(message: &str, key: &SigningKey) -> [u8; 64] {
    let signature = key.sign_without_randomness(message.as_bytes());
    signature.to_bytes().into()
}

/// The other signature that verifies: `(r, n - s)` instead of `(r, s)`.
pub(crate) fn twin(signature: [u8; 64]) -> [u8; 64] {
    let mut twin = signature;
    let mut borrow = 0i16;
    for place in (0..32).rev() {
        let difference = i16::from(ORDER[place]) - i16::from(signature[32 + place]) - borrow;
        borrow = i16::from(difference < 0);
        twin[32 + place] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    twin
}

/// The classes of mandate that a gateway accepts.
pub(crate) const GATEWAY: [MandateUse; 2] = [MandateUse::Gateway, MandateUse::Resource];

/// Verifies as the zone, whatever the class.
pub(crate) fn verify_as(
    token: &str,
    uses: &[MandateUse],
    now: Timestamp,
) -> Result<Arc<Mandate>, Refusal> {
    let zone = ZONE.into();
    let expected = Expected {
        issuer: ISSUER,
        zone: &zone,
        uses,
    };
    verify(token, &keys(), &expected, now)
}

/// By which tests keep mandates.
pub(crate) const TAG_KEY: TagKey = TagKey::new([7; TagKey::BYTES]);

/// Verifies as a gateway of the zone does.
pub(crate) fn verified(token: &str) -> Result<Arc<Mandate>, Refusal> {
    verify_as(token, &GATEWAY, NOW)
}

#[track_caller]
pub(crate) fn refused(name: &str, token: &str, reason: Reason) {
    match verified(token) {
        Ok(_) => panic!("{name} passed"),
        Err(refusal) => assert_eq!(refusal.reason(), &reason, "{name}: {refusal}"),
    }
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

pub(crate) fn unbase64(text: &str) -> Vec<u8> {
    Base64UrlUnpadded::decode_vec(text).unwrap()
}

pub(crate) fn kid(text: &str) -> KeyId {
    text.into()
}

/// [`DEMO`]: items that are read and written, and an area for administrators.
pub(crate) fn demo_resource() -> ResourceSpec {
    let operation = |method: &str, path: &str, scope: &str| Operation {
        method: method.to_owned(),
        path: path.to_owned(),
        scope: scope.to_owned(),
    };
    ResourceSpec {
        id: "res-1".into(),
        identifier: DEMO.to_owned(),
        scopes: ["read", "write"].map(str::to_owned).to_vec(),
        operations: vec![
            operation("GET", "/demo/items", "read"),
            operation("GET", "/demo/items/{id}", "read"),
            operation("POST", "/demo/items", "write"),
        ],
        operation_enforcement: OperationEnforcement::Enforced,
        single_use: false,
        end_streams_at_expiry: false,
        require_chain_contains: Vec::new(),
        forward: None,
    }
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn validator(schema: &str) -> jsonschema::Validator {
    let schema: Value = serde_json::from_str(schema).unwrap();
    jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)
        .unwrap()
}

#[cfg(not(target_arch = "wasm32"))]
#[track_caller]
pub(crate) fn assert_valid(validator: &jsonschema::Validator, document: &Value) {
    let errors: Vec<String> = validator
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:?} in {document:#}");
}

/// A bundle of the zone with [`demo_resource`], without a policy.
pub(crate) fn bundle() -> Bundle {
    Bundle {
        format: FORMAT.to_owned(),
        zone_id: ZONE.into(),
        zone_slug: SLUG.to_owned(),
        issuer: ISSUER.to_owned(),
        sequence: 7,
        keys: jwks(),
        resources: vec![demo_resource()],
        policy: None,
        shadow: None,
    }
}

/// The key of the zone's digests.
pub(crate) const HASH_KEY: HashKey = HashKey([7; 16]);

/// A filter of the zone that holds these anchors.
pub(crate) fn revoking(anchors: &[(AnchorKind, &str)]) -> Filter {
    let digests = anchors
        .iter()
        .map(|&(kind, id)| HASH_KEY.digest(Anchor { kind, id }));
    Filter::new(whole(1, digests.collect())).unwrap()
}

/// A whole publication of the zone.
pub(crate) fn whole(epoch: u64, digests: Vec<Digest>) -> Publication {
    Publication {
        zone_id: ZONE.into(),
        key: HASH_KEY,
        epoch,
        changed_at: 0,
        changes: Changes::default(),
        content: Content::Whole {
            load: digests.len().try_into().unwrap(),
            base: Base::of(digests),
        },
    }
}

/// The claims as a policy sees them that reads so much of the object that they are told in.
pub(crate) fn told_claims(mandate: &Mandate, reads: &Reads) -> regorus::Value {
    let mut object = BTreeMap::new();
    mandate.tell_claims(&mut Members::new(reads, &mut object), "claims");
    object.remove(&"claims".into()).unwrap()
}
