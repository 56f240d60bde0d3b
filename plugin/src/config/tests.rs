//! What is left out has a default, and every error names its key.

use serde_json::{Value, json};

use super::*;
use crate::evidence::OnOverflow;

fn with_sts() -> Value {
    json!({
        "zone": "demo", "issuer": "http://127.0.0.1:8080",
        "sts": {"cluster": "caracal_sts", "authority": "sts.internal", "token": "gt_secret"},
        "resources": [{"identifier": "resource://demo", "hosts": ["*"], "path_prefix": "/demo/"}],
    })
}

fn parse(config: &Value) -> Result<Config, String> {
    let environment = |name: &str| (name == "TOKEN").then(|| "gt_from_env\n".to_owned());
    let settle = |verifier| match verifier {
        Verifier::Host => Err(HostError::Lacking),
        Verifier::Fastest | Verifier::Wasm => Ok(()),
    };
    Config::parse(config.to_string().as_bytes(), environment, settle)
        .map_err(|error| error.to_string())
}

#[test]
fn what_is_left_out_has_a_default() {
    let config = parse(&with_sts()).unwrap();
    let Source::Sts(sts) = config.source else {
        panic!("not the STS")
    };
    assert_eq!(
        (sts.long_poll.as_secs(), sts.max_staleness.as_secs()),
        (25, 60)
    );
    assert_eq!(
        (config.mandate_cache, config.forward),
        (10_000, Forward::None)
    );
    assert_eq!(config.challenge.realm, "caracal");
}

#[test]
fn the_token_comes_from_the_environment() {
    let mut config = with_sts();
    config["sts"] = json!({"cluster": "c", "authority": "a", "token_env": "TOKEN"});
    let Source::Sts(sts) = parse(&config).unwrap().source else {
        panic!("not the STS")
    };
    assert_eq!(sts.token, "gt_from_env");
}

#[test]
fn every_error_names_its_key() {
    for (pointer, value, expected) in [
        (
            "/zone",
            json!(7),
            "zone: invalid type: integer `7`, expected a string",
        ),
        ("/zone", json!(""), "zone: is empty"),
        (
            "/sts/cluster",
            json!([]),
            "sts.cluster: invalid type: sequence, expected a string",
        ),
        (
            "/sts/long_poll_seconds",
            json!("5"),
            "sts.long_poll_seconds: invalid type: string \"5\", expected u64",
        ),
        (
            "/sts/long_poll_seconds",
            json!(26),
            "sts.long_poll_seconds: between 1 and 25",
        ),
        (
            "/sts/colour",
            json!(1),
            "sts.colour: unknown field `colour`",
        ),
        (
            "/sts/token_env",
            json!("TOKEN"),
            "sts.token_env: stands beside token",
        ),
        (
            "/max_staleness_seconds",
            json!(26),
            "max_staleness_seconds: at least 2 more than sts.long_poll_seconds",
        ),
        (
            "/fail_open",
            json!(true),
            "fail_open: unknown field `fail_open`",
        ),
        ("/replay_set", json!(10), "replay_set: between 1000"),
        (
            "/forward",
            json!("all"),
            "forward: unknown variant `all`, expected one of `none`, `mandate`, `resource_mandate`",
        ),
        (
            "/resources/0/hosts",
            json!([]),
            "resources[0]: hosts is empty",
        ),
        (
            "/resources/0/path_prefix",
            json!("demo"),
            "resources[0]: path_prefix: the path does not begin with /",
        ),
        (
            "/resources/0/scopes",
            json!(["a"]),
            "resources[0].scopes: comes from the STS",
        ),
        (
            "/jwks",
            json!({"keys": []}),
            "jwks: belongs to a gateway without sts",
        ),
        ("/realm", json!("a\"b"), "realm: is empty or has characters"),
        (
            "/signature_verification",
            json!("host"),
            "signature_verification: the host has no verify_signature",
        ),
        (
            "/signature_verification",
            json!("none"),
            "signature_verification: unknown variant `none`",
        ),
        (
            "/mandate_cache",
            json!(-1),
            "mandate_cache: invalid value: integer `-1`",
        ),
    ] {
        let mut config = with_sts();
        if pointer == "/sts/long_poll_seconds" && value == json!(26) {
            config["max_staleness_seconds"] = json!(120);
        }
        if pointer == "/max_staleness_seconds" {
            config["sts"]["long_poll_seconds"] = json!(25);
        }
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        config.pointer_mut(parent).unwrap()[key] = value;
        let error = parse(&config).err().unwrap_or_default();
        assert!(error.starts_with(expected), "{pointer}: {error}");
    }
    let mut config = with_sts();
    config["sts"] = json!({"cluster": "c", "authority": "a", "token_env": "MISSING"});
    assert!(
        parse(&config)
            .err()
            .unwrap()
            .starts_with("sts.token_env: MISSING is not in the VM's environment")
    );
    for text in [&b"{"[..], b""] {
        assert!(Config::parse(text, |_| None, |_| Ok(())).is_err());
    }
}

#[test]
fn a_gateway_without_sts_is_checked_at_start() {
    let mut config = json!({
        "zone": "z1", "issuer": "https://issuer",
        "jwks": {"keys": [{
            "kty": "EC", "crv": "P-256", "kid": "k1", "alg": "ES256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        }]},
        "policy": "package caracal.authz\nresult := {\"decision\": \"deny\"}",
        "resources": [{"identifier": "resource://demo", "scopes": ["read"],
                       "operations": [{"method": "GET", "path": "/demo", "scope": "read"}]}],
    });
    assert!(matches!(
        parse(&config).map(|config| config.source),
        Ok(Source::Inline(Some(_)))
    ));
    config["resources"][0]["operations"][0]["scope"] = json!("write");
    assert!(
        parse(&config)
            .err()
            .unwrap()
            .starts_with("resources: resource resource://demo: operation GET /demo")
    );
    config["resources"][0]["operations"] = json!([]);
    config["policy"] = json!("package caracal.authz\nresult := {");
    assert!(
        parse(&config)
            .err()
            .unwrap()
            .starts_with("policy: policy:2:")
    );
    config["policy"] = json!(null);
    assert_eq!(
        parse(&config).err().unwrap(),
        "policy: is missing beside jwks"
    );
}

#[test]
fn evidence_is_held_as_told_and_what_makes_no_sense_is_named() {
    let audit = |audit: Value| {
        let mut config = with_sts();
        config["audit"] = audit;
        parse(&config).map(|config| config.audit)
    };
    let defaults = parse(&with_sts()).unwrap().audit;
    assert_eq!(
        (defaults.buffer_events, defaults.flush.as_millis()),
        (10_000, 200)
    );
    assert_eq!(defaults.on_overflow, OnOverflow::Deny);
    assert!(!defaults.filter_state && defaults.sampling.is_empty());
    let told = audit(json!({
        "buffer_events": 500, "flush_ms": 50, "on_overflow": "drop", "filter_state": true,
        "sample_allows": [{"resource": "resource://hot", "one_in": 100}],
    }))
    .unwrap();
    assert_eq!((told.buffer_events, told.flush.as_millis()), (500, 50));
    assert_eq!(told.on_overflow, OnOverflow::Drop);
    assert_eq!(told.sampling[0].one_in, 100);
    let one = json!({"resource": "resource://hot", "one_in": 2});
    for (wrong, named) in [
        (json!({"buffer_events": 99}), "audit.buffer_events: between"),
        (
            json!({"buffer_events": 1_000_001}),
            "audit.buffer_events: between",
        ),
        (json!({"flush_ms": 10_001}), "audit.flush_ms: 10000 at most"),
        (
            json!({"on_overflow": "allow"}),
            "audit.on_overflow: unknown variant",
        ),
        (json!({"fail_open": true}), "audit.fail_open: unknown field"),
        (
            json!({"sample_allows": [{"resource": "r", "one_in": 1}]}),
            "audit.sample_allows[0].one_in: 2 at least",
        ),
        (
            json!({"sample_allows": [one, one]}),
            "audit.sample_allows[1].resource: stands there twice",
        ),
    ] {
        let error = audit(wrong.clone()).unwrap_err();
        assert!(error.starts_with(named), "{wrong}: {error}");
    }
}
