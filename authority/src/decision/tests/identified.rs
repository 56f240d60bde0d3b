//! Who calls, and for what: paths, bindings, the token's place, and whom the mandate addresses.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;

#[test]
fn only_a_valid_mandate_learns_which_resources_there_are() {
    let unknown = |call: Call| call.to("GET", "/x").naming(&["resource://nowhere"]);
    for (name, call, reason) in [
        ("nobody", read().authorized_by(&[]), Reason::TokenMissing),
        ("a stranger", Call::bearing("a.b.c"), Reason::TokenMalformed),
        (
            "a forger",
            Call::bearing(&forged()),
            Reason::SignatureInvalid,
        ),
        (
            "someone of the past",
            Call::with(json!({"exp": 1})),
            Reason::TokenExpired,
        ),
        (
            "a revoked application",
            Call::with(json!({"client_id": "app-9"})),
            Reason::TokenRevoked,
        ),
        ("a caller", read(), Reason::ResourceUnknown),
    ] {
        deny(name, unknown(call.clone()), reason.clone());
        // A binding to what the zone does not have says no more than a header does.
        deny(name, call.to("GET", "/gone/x"), reason);
    }
    let known = read().to("GET", "/x").naming(&[UNBOUND]);
    deny("a known one", known, Reason::AudienceMismatch);
    let mut request = Request {
        method: "GET",
        target: "/x",
        authority: "x",
        authorization: SingleHeader::Absent,
        resource: SingleHeader::One(b"resource://\xff"),
    };
    denied(
        "no UTF-8",
        decide(&mut snapshot(), None, &request, NOW).0,
        Reason::ResourceUnknown,
    );
    request.resource = SingleHeader::Absent;
    denied(
        "none",
        decide(&mut snapshot(), None, &request, NOW).0,
        Reason::ResourceMissing,
    );
}

#[test]
fn there_is_exactly_one_authorization() {
    let token = token(json!({}));
    let once = format!("Bearer {token}");
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        let call = read().authorized_by(&[&format!("{scheme} {token}")]);
        allowed(scheme, call.decided_by(&mut snapshot()));
    }
    for spaced in [format!("Bearer  {token}"), format!(" Bearer {token} ")] {
        allowed(
            "spaces",
            read().authorized_by(&[&spaced]).decided_by(&mut snapshot()),
        );
    }
    let joined = format!("{once}, {once}");
    for values in [
        &[once.as_str(), once.as_str()][..],
        &[&once, "Basic eDp5"],
        &[&once, ""],
        &[&once, &once, &once],
        &[&joined],
        &[&format!("{once},")],
        &[&format!("Basic eDp5,{once}")],
    ] {
        let call = read().authorized_by(values);
        deny(&format!("{values:?}"), call, Reason::AuthorizationAmbiguous);
    }
    let glued = format!("Bearer{token}");
    for value in [
        "",
        "Bearer",
        "Bearer ",
        "Basic eDp5",
        "Token x",
        &token,
        &glued,
        "DPoP x",
    ] {
        deny(value, read().authorized_by(&[value]), Reason::TokenMissing);
    }
    let trailing = format!("{once} x");
    for value in ["Bearer x", "Bearer Bearer x", &trailing] {
        deny(
            value,
            read().authorized_by(&[value]),
            Reason::TokenMalformed,
        );
    }
    let mut call = read();
    call.authorization = vec![b"Bearer \xff\xfe".to_vec()];
    deny("no UTF-8", call, Reason::TokenMalformed);
}
