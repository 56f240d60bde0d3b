//! The walk: real calls through the gateway, each with what must come of it. One surprise fails it.

use std::{
    thread,
    time::{Duration, Instant},
};

use base64ct::{Base64UrlUnpadded, Encoding};

use super::{
    demo::{self, Demo},
    http::{self, Answer, Sts},
};
use crate::console::{self, Failure, Result};

/// How long a change of policy may take to reach every worker. It takes milliseconds.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);
/// Calls in a row that must agree, each on a new connection and so on any of Envoy's workers.
const AGREEING_CALLS: usize = 12;

/// What must come of a call.
#[derive(Clone, Copy)]
enum Expected {
    /// The upstream answers.
    Allowed,
    /// The gateway or the STS refuses, with this status, error and reason.
    Refused(u16, &'static str, &'static str),
}

/// One call through the gateway.
struct Call<'a> {
    title: &'a str,
    method: &'a str,
    path: &'a str,
    mandate: Option<(&'a str, &'a str)>,
    expected: Expected,
    why: &'a str,
}

struct Walk<'a> {
    gateway_url: &'a str,
    application_id: &'a str,
    calls: usize,
    surprises: usize,
}

/// Makes every call and prints it.
pub(super) fn run(sts: &Sts, demo: &Demo, gateway_url: &str) -> Result<()> {
    let mut walk = Walk {
        gateway_url,
        application_id: demo.application_id(),
        calls: 0,
        surprises: 0,
    };

    let minted = demo.exchange(sts, demo::READ_SCOPE)?;
    walk.exchange(
        "The agent asks the STS for demo:read",
        demo::READ_SCOPE,
        &minted,
        Expected::Allowed,
        "the policy grants it; here is a mandate for 15 minutes",
    );
    let mandate = minted.text("access_token").to_owned();
    if mandate.is_empty() {
        return Err(Failure::new(
            "there is no mandate to walk on with",
            "look into .caracal/sts.log",
        ));
    }
    let refused = demo.exchange(sts, demo::WRITE_SCOPE)?;
    walk.exchange(
        "It asks for demo:write",
        demo::WRITE_SCOPE,
        &refused,
        Expected::Refused(403, "access_denied", "role_scope_mismatch"),
        "the policy does not grant it, so no mandate ever says it",
    );

    let forged = with_scope(&mandate, demo::WRITE_SCOPE)?;
    let held = Some(("$MANDATE", mandate.as_str()));
    for call in [
        Call {
            title: "A read with the mandate",
            method: "GET",
            path: demo::READ_PATH,
            mandate: held,
            expected: Expected::Allowed,
            why: "GET /demo/items needs demo:read, and the mandate has it",
        },
        Call {
            title: "A write with the same mandate",
            method: "POST",
            path: demo::READ_PATH,
            mandate: held,
            expected: Expected::Refused(403, "insufficient_scope", "scope_missing"),
            why: "POST /demo/items needs demo:write",
        },
        Call {
            title: "No mandate",
            method: "GET",
            path: demo::READ_PATH,
            mandate: None,
            expected: Expected::Refused(401, "invalid_token", "token_missing"),
            why: "nothing passes without authority",
        },
        Call {
            title: "The mandate with its scope rewritten to demo:write",
            method: "POST",
            path: demo::READ_PATH,
            mandate: Some(("$FORGED", &forged)),
            expected: Expected::Refused(401, "invalid_token", "signature_invalid"),
            why: "the signature covers the claims",
        },
        Call {
            title: "A path that no operation covers",
            method: "GET",
            path: "/demo/admin",
            mandate: held,
            expected: Expected::Refused(403, "access_denied", "operation_not_permitted"),
            why: "what is not declared is denied",
        },
        Call {
            title: "The same path in disguise",
            method: "GET",
            path: "/demo/items/%2e%2e/admin",
            mandate: held,
            expected: Expected::Refused(400, "invalid_request", "path_ambiguous"),
            why: "upstreams could read it as /demo/admin",
        },
    ] {
        let answer = walk.call(&call)?;
        walk.report(&call, &answer, None);
    }

    let read = |title, expected, why| Call {
        title,
        method: "GET",
        path: demo::READ_PATH,
        mandate: held,
        expected,
        why,
    };
    demo.withdraw(sts)?;
    let settled = walk.settle(&read(
        "The policy withdraws the grant; the mandate is still valid",
        Expected::Refused(403, "access_denied", "role_scope_mismatch"),
        "the policy is evaluated on every call",
    ));
    // Whatever came of it, the demo is left as it was found.
    demo.grant(sts)?;
    settled?;
    walk.settle(&read(
        "The policy grants it again",
        Expected::Allowed,
        "no restart, no new mandate",
    ))?;

    walk.delegated(sts, demo)?;

    if walk.surprises == 0 {
        console::line(format_args!("  {} calls, each as expected", walk.calls));
        return Ok(());
    }
    Err(Failure::new(
        format!(
            "{} of {} calls did not go as expected",
            walk.surprises, walk.calls
        ),
        "they are marked UNEXPECTED above; .caracal/envoy.log and .caracal/sts.log may say why",
    ))
}

impl Walk<'_> {
    /// A child session with less than its parent.
    fn delegated(&mut self, sts: &Sts, demo: &Demo) -> Result<()> {
        let child = demo.delegate(sts)?;
        let minted = demo.exchange_as(sts, &child, demo::READ_SCOPE)?;
        self.exchange(
            "A session of the agent has delegated demo:read to a child, which asks for a mandate",
            demo::READ_SCOPE,
            &minted,
            Expected::Allowed,
            "it gets one of its own, which shows the chain",
        );
        let mandate = minted.text("access_token").to_owned();
        let call = Call {
            title: "The child reads",
            method: "GET",
            path: demo::READ_PATH,
            mandate: Some(("$CHILD", &mandate)),
            expected: Expected::Allowed,
            why: "by what was delegated to it",
        };
        let answer = self.call(&call)?;
        self.report(&call, &answer, None);
        self.exchange(
            "The child asks for demo:write, which its parent may",
            demo::WRITE_SCOPE,
            &demo.exchange_as(sts, &child, demo::WRITE_SCOPE)?,
            Expected::Refused(403, "access_denied", "delegation_scope_exceeded"),
            "a child never gets more than was passed on",
        );
        child.revoke(sts)?;
        self.settle(&Call {
            title: "The delegation is revoked; the child's mandate is in date",
            expected: Expected::Refused(401, "invalid_token", "token_revoked"),
            why: "the STS told the gateway, and every worker of it knows",
            ..call
        })?;
        let late = demo.exchange_as(sts, &child, demo::READ_SCOPE)?;
        child.end(sts)?;
        self.exchange(
            "The child asks for demo:read again",
            demo::READ_SCOPE,
            &late,
            Expected::Refused(403, "access_denied", "delegation_inactive"),
            "from the moment of the revocation nothing is minted on it",
        );
        Ok(())
    }

    fn call(&self, call: &Call<'_>) -> Result<Answer> {
        let url = format!("{}{}", self.gateway_url, call.path);
        http::call(
            call.method,
            &url,
            call.mandate.map(|(_, token)| token),
            None,
        )
        .map_err(|error| {
            Failure::new(
                format!("the gateway does not answer {} {url}: {error}", call.method),
                "look into .caracal/envoy.log",
            )
        })
    }

    /// Repeats a call until it goes as expected many times in a row, and prints how long that took.
    fn settle(&mut self, call: &Call<'_>) -> Result<()> {
        let started = Instant::now();
        let mut since: Option<(Duration, usize)> = None;
        loop {
            let answer = self.call(call)?;
            since = self
                .is(call.expected, &answer)
                .then(|| since.map_or((started.elapsed(), 1), |(first, count)| (first, count + 1)));
            match since {
                Some((first, count)) if count >= AGREEING_CALLS => {
                    self.report(call, &answer, Some(first));
                    return Ok(());
                }
                _ if started.elapsed() > SETTLE_LIMIT => {
                    self.report(call, &answer, None);
                    return Ok(());
                }
                Some(_) => {}
                None => thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    fn report(&mut self, call: &Call<'_>, answer: &Answer, after: Option<Duration>) {
        let method = if call.method == "GET" {
            String::new()
        } else {
            format!(" -X {}", call.method)
        };
        let header = call.mandate.map_or_else(String::new, |(name, _)| {
            format!(" -H \"Authorization: Bearer {name}\"")
        });
        let as_is = if call.path.contains("%2e") {
            " --path-as-is"
        } else {
            ""
        };
        let line = format!(
            "curl{method}{as_is}{header} {}{}",
            self.gateway_url, call.path
        );
        let outcome = match after {
            Some(after) => format!(
                "{}; from {} ms after the change on, {AGREEING_CALLS} calls in a row",
                outcome(answer),
                after.as_millis()
            ),
            None => outcome(answer),
        };
        let as_expected = self.is(call.expected, answer);
        self.print(
            call.title,
            &line,
            &outcome,
            call.why,
            as_expected,
            call.expected,
        );
    }

    fn exchange(
        &mut self,
        title: &str,
        scope: &str,
        answer: &Answer,
        expected: Expected,
        why: &str,
    ) {
        let line = format!(
            "POST /oauth/2/token  resource={} scope={scope}",
            demo::RESOURCE
        );
        let as_expected = match expected {
            Expected::Allowed => answer.status == 200 && answer.text("scope") == scope,
            Expected::Refused(..) => refused_as(expected, answer),
        };
        self.print(title, &line, &outcome(answer), why, as_expected, expected);
    }

    fn print(
        &mut self,
        title: &str,
        line: &str,
        outcome: &str,
        why: &str,
        as_expected: bool,
        expected: Expected,
    ) {
        self.calls += 1;
        console::line(format_args!(
            "{:>3}. {title}\n     {line}\n     -> {outcome}\n     {why}",
            self.calls
        ));
        if !as_expected {
            self.surprises += 1;
            console::line(format_args!("     UNEXPECTED: wanted {}", wanted(expected)));
        }
        console::line("");
    }

    fn is(&self, expected: Expected, answer: &Answer) -> bool {
        match expected {
            // The upstream shows what reached it: who calls, and not the mandate.
            Expected::Allowed => {
                answer.status == 200
                    && answer.text("upstream") == "demo"
                    && answer.text("x-caracal-client-id") == self.application_id
                    && answer
                        .body
                        .get("authorization")
                        .is_none_or(serde_json::Value::is_null)
            }
            Expected::Refused(..) => refused_as(expected, answer),
        }
    }
}

fn refused_as(expected: Expected, answer: &Answer) -> bool {
    matches!(expected, Expected::Refused(status, error, reason)
        if answer.status == status
            && answer.text("error") == error
            && answer.text("reason") == reason
            && answer.body.get("upstream").is_none())
}

fn outcome(answer: &Answer) -> String {
    match answer.status {
        200 if answer.body.get("access_token").is_some() => {
            format!(
                "200, scope {}, expires in {} s",
                answer.text("scope"),
                answer
                    .body
                    .get("expires_in")
                    .map_or_else(String::new, ToString::to_string)
            )
        }
        200 => format!("200, upstream saw {}", seen(answer)),
        status => format!(
            "{status} {}, reason {}: {}",
            answer.text("error"),
            answer.text("reason"),
            answer.text("error_description"),
        ),
    }
}

/// What of the caller reached the upstream.
fn seen(answer: &Answer) -> String {
    ["x-caracal-client-id", "x-caracal-scope", "authorization"]
        .iter()
        .map(|header| match answer.text(header) {
            "" => format!("no {header}"),
            value => format!("{header} {value}"),
        })
        .collect::<Vec<_>>()
        .join(", ")
}

fn wanted(expected: Expected) -> String {
    match expected {
        Expected::Allowed => "200 from the upstream".to_owned(),
        Expected::Refused(status, error, reason) => format!("{status} {error}, reason {reason}"),
    }
}

/// The token with another scope in its claims, under the signature it had.
fn with_scope(token: &str, scope: &str) -> Result<String> {
    let forge = || {
        let [header, claims, signature] =
            <[&str; 3]>::try_from(token.split('.').collect::<Vec<_>>()).ok()?;
        let mut claims: serde_json::Value =
            serde_json::from_slice(&Base64UrlUnpadded::decode_vec(claims).ok()?).ok()?;
        *claims.get_mut("scope")? = scope.into();
        Some(format!(
            "{header}.{}.{signature}",
            Base64UrlUnpadded::encode_string(claims.to_string().as_bytes())
        ))
    };
    forge().ok_or_else(|| {
        Failure::new(
            "the STS minted something that is no JWT with a scope",
            "look into .caracal/sts.log",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forged_token_says_another_scope_under_the_same_signature() {
        let claims = Base64UrlUnpadded::encode_string(br#"{"scope":"demo:read","sub":"a"}"#);
        let forged = with_scope(&format!("h.{claims}.s"), "demo:write").unwrap();
        let parts: Vec<&str> = forged.split('.').collect();
        assert_eq!((parts[0], parts[2]), ("h", "s"));
        let claims = String::from_utf8(Base64UrlUnpadded::decode_vec(parts[1]).unwrap()).unwrap();
        assert_eq!(claims, r#"{"scope":"demo:write","sub":"a"}"#);
        assert!(with_scope("no token", "x").is_err());
    }

    #[test]
    fn a_refusal_must_match_in_status_error_and_reason() {
        let expected = Expected::Refused(403, "insufficient_scope", "scope_missing");
        let answer = |status, reason: &str| Answer {
            status,
            body: serde_json::json!({"error": "insufficient_scope", "reason": reason}),
        };
        assert!(refused_as(expected, &answer(403, "scope_missing")));
        assert!(!refused_as(expected, &answer(401, "scope_missing")));
        assert!(!refused_as(expected, &answer(403, "other")));
    }
}
