//! Forms, and what is read from them.

use super::*;

const HEAD: &str = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&zone_id=z";

fn parse(rest: &str, authorization: Option<&str>) -> Result<Request, &'static str> {
    Request::parse(format!("{HEAD}&{rest}").as_bytes(), authorization)
        .map_err(|error| error.code().0)
}

#[test]
fn resources_and_scopes_are_sorted_and_each_is_there_once() {
    let request =
        parse("application_id=a&client_secret=s&resource=r%3A2&resource=+r%3A1&resource=r%3A2&scope=b+a++b", None)
            .unwrap();
    assert_eq!(request.resources, ["r:1", "r:2"]);
    assert_eq!(request.scopes, ["a", "b"]);
    assert_eq!(request.ttl_seconds().unwrap(), 900);
    assert!(!request.client.basic);
}

#[test]
fn what_has_the_wrong_form_is_refused_with_the_code_for_it() {
    let token = "subject_token=t&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token";
    for (rest, code) in [
        ("", "invalid_request"),
        ("resource=r", "invalid_request"),
        ("scope=a", "invalid_request"),
        ("resource=r&scope=a&scope=b", "invalid_request"),
        ("resource=r&scope=a&zone_id=y", "invalid_request"),
        ("resource=r&resource=&scope=a", "invalid_request"),
        ("resource=r&scope=+", "invalid_request"),
        ("resource=r&scope=a&ttl_seconds=1.5", "invalid_request"),
        ("resource=r&scope=a&ttl_seconds=0", "invalid_request"),
        ("resource=r&scope=a&ttl_seconds=-1", "invalid_request"),
        ("resource=r&scope=a&actor_token=x", "invalid_request"),
        ("resource=r&scope=a&delegation_edge_id=x", "invalid_request"),
        ("resource=r&scope=a&approval_id=x", "invalid_request"),
        ("resource=r&scope=a&subject_token=x", "invalid_request"),
        (
            "resource=r&scope=a&subject_token=x&subject_token_type=y",
            "invalid_request",
        ),
        (
            "resource=r&scope=a&requested_token_type=y",
            "invalid_request",
        ),
        (
            "resource=r&scope=a&application_id=1&client_id=2",
            "invalid_request",
        ),
        ("resource=r&scope=a&scope%00=b&client_id=%ff", "none"),
        ("resource=r&scope=a%22", "invalid_scope"),
        ("resource=r&scope=agent:lifecycle+a", "invalid_scope"),
        (
            &format!("resource=r&scope=agent:lifecycle&{token}"),
            "invalid_request",
        ),
    ] {
        let code_of = parse(rest, None).err().unwrap_or("none");
        assert_eq!(code_of, code, "{rest}");
    }
    let grant = Request::parse(b"grant_type=password", None).err().unwrap();
    assert_eq!(grant.code(), Code::UNSUPPORTED_GRANT_TYPE);
}

#[test]
fn basic_authentication_is_understood_encoded_or_plain() {
    let rest = "resource=r&scope=a";
    for (pair, secret) in [
        ("app:s+%25%3A", "s+%:"),
        ("app:cs_a-b", "cs_a-b"),
        ("app:a=b&c", "a=b&c"),
    ] {
        let header = format!("Basic {}", Base64::encode_string(pair.as_bytes()));
        let request = parse(rest, Some(&header)).unwrap();
        assert_eq!(request.client.id.as_deref(), Some("app"));
        assert!(
            request.client.basic && request.client.secret.unwrap().matches(secret),
            "{pair}"
        );
        assert!(parse(&format!("{rest}&client_secret=x"), Some(&header)).is_err());
        assert!(parse(&format!("{rest}&client_id=other"), Some(&header)).is_err());
    }
    for header in ["Basic", "Basic !", "Basic YQ==", "Bearer x", "Basic Og=="] {
        assert!(parse(rest, Some(header)).is_err(), "{header}");
    }
}
