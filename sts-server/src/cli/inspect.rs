//! `caracal inspect`: what a mandate says, and whether its signature stands.

use std::path::{Path, PathBuf};

use authority::{
    ids::ZoneId,
    jwks::KeySet,
    mandate::{self, Expected, MandateUse},
    refusal::Reason,
    time::Timestamp,
};
use base64ct::{Base64UrlUnpadded, Encoding};
use clap::Args;
use serde_json::{Map, Value, json};

use super::{
    Context,
    client::encoded,
    error::CliError,
    instant::{now, relative, rfc3339},
    output::printable,
    policy_source::read_text,
};

/// Arguments of `caracal inspect`.
#[derive(Debug, Args)]
#[command(after_help = "\
Fails if the signature was checked and does not stand; an expired mandate is no failure.

Examples:
  caracal mint ... | caracal inspect -
  caracal inspect - --jwks jwks.json < mandate.txt")]
pub(super) struct InspectArgs {
    /// The mandate, or - for standard input, which keeps it out of the shell's history
    token: String,
    /// Check the signature with the keys in this file instead of the server's
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// Only decode: ask no server for keys
    #[arg(long, conflicts_with = "jwks")]
    offline: bool,
}

type Object = Map<String, Value>;

/// What became of the signature.
enum Signature {
    NotChecked {
        why: String,
    },
    Valid {
        keys: String,
        problem: Option<String>,
    },
    Invalid {
        keys: String,
        problem: String,
    },
}

pub(super) fn run(arguments: &InspectArgs, context: &Context<'_>) -> Result<(), CliError> {
    let text = if arguments.token == "-" {
        read_text(Path::new("-"))?
    } else {
        arguments.token.clone()
    };
    let token = text.trim();
    let token = token.strip_prefix("Bearer ").unwrap_or(token).trim();
    let (header, claims) = decode(token)?;
    let now = now();
    let signature = match keys(arguments, context, &claims) {
        Ok((keys, source)) => check(token, &keys, source, &claims, now),
        Err(Unavailable::Fatal(error)) => return Err(error),
        Err(Unavailable::Why(why)) => Signature::NotChecked { why },
    };
    let state = state(&claims, now);
    let report = json!({
        "header": header, "claims": claims, "signature": signature.json(), "state": state.0,
    });
    let text = format!(
        "header\n{}claims\n{}signature  {}\nstate      {}\n",
        members(&header, now),
        members(&claims, now),
        printable(&signature.text()),
        state.1
    );
    context.output.either(&text, &report)?;
    match signature {
        Signature::Invalid { problem, .. } => Err(CliError::Finding(problem)),
        _ => Ok(()),
    }
}

/// Takes a compact JWS apart (RFC 7515 section 3.1) without believing it.
fn decode(token: &str) -> Result<(Object, Object), CliError> {
    let wrong = |problem: String| CliError::usage(format!("this is not a mandate: {problem}"));
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, _] = parts.as_slice() else {
        return Err(wrong(format!(
            "expected three parts between dots, found {}",
            parts.len()
        )));
    };
    let object = |name: &str, part: &str| {
        let bytes = Base64UrlUnpadded::decode_vec(part)
            .map_err(|_| wrong(format!("the {name} is not base64url")))?;
        serde_json::from_slice(&bytes)
            .map_err(|error| wrong(format!("the {name} is not a JSON object: {error}")))
    };
    Ok((object("header", header)?, object("payload", claims)?))
}

/// Why there are no keys.
enum Unavailable {
    /// The user named them, so this ends the command.
    Fatal(CliError),
    /// Nobody named them; the report says so.
    Why(String),
}

/// The keys to check with, and where they come from.
fn keys(
    arguments: &InspectArgs,
    context: &Context<'_>,
    claims: &Object,
) -> Result<(KeySet, String), Unavailable> {
    if let Some(file) = &arguments.jwks {
        let text = read_text(file).map_err(Unavailable::Fatal)?;
        let bad =
            |error| Unavailable::Fatal(CliError::usage(format!("{}: {error}", file.display())));
        return KeySet::parse(text.as_bytes())
            .map(|keys| (keys, file.display().to_string()))
            .map_err(bad);
    }
    if arguments.offline {
        return Err(Unavailable::Why("no keys were asked for".to_owned()));
    }
    let client = context.public().map_err(Unavailable::Fatal)?;
    let Some(zone) = claims.get("zone_id").and_then(Value::as_str) else {
        return Err(Unavailable::Why("the token names no zone".to_owned()));
    };
    let path = format!("/.well-known/jwks.json?zone_id={}", encoded(zone));
    let set = client
        .get(&path)
        .map_err(|error| Unavailable::Why(error.to_string()))?;
    match KeySet::parse(set.to_string().as_bytes()) {
        Ok(keys) => Ok((keys, client.url().to_owned())),
        Err(error) => Err(Unavailable::Why(format!("{}: {error}", client.url()))),
    }
}

/// Checks as a gateway would, but for any issuer, zone and use: those are what is inspected.
fn check(token: &str, keys: &KeySet, source: String, claims: &Object, now: u64) -> Signature {
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    let zone = ZoneId::from(text("zone_id"));
    let uses = [
        MandateUse::Session,
        MandateUse::Gateway,
        MandateUse::Resource,
    ];
    let expected = Expected {
        issuer: text("iss"),
        zone: &zone,
        uses: &uses,
    };
    let Err(refusal) = mandate::verify(token, keys, &expected, Timestamp(now)) else {
        return Signature::Valid {
            keys: source,
            problem: None,
        };
    };
    let problem = refusal.description().to_owned();
    match refusal.reason() {
        // Looked at after the signature has been found good.
        Reason::TokenExpired | Reason::TokenNotYetValid => Signature::Valid {
            keys: source,
            problem: None,
        },
        Reason::ClaimMissing
        | Reason::ClaimMalformed
        | Reason::IssuerMismatch
        | Reason::ZoneMismatch
        | Reason::UseNotAllowed
        | Reason::AudienceMismatch => Signature::Valid {
            keys: source,
            problem: Some(problem),
        },
        _ => Signature::Invalid {
            keys: source,
            problem,
        },
    }
}

impl Signature {
    fn text(&self) -> String {
        match self {
            Self::NotChecked { why } => format!("not checked ({why})"),
            Self::Valid {
                keys,
                problem: None,
            } => format!("valid, by the keys of {keys}"),
            Self::Valid {
                keys,
                problem: Some(problem),
            } => format!("valid, by the keys of {keys}, but {problem}"),
            Self::Invalid { keys, problem } => {
                format!("NOT VALID by the keys of {keys}: {problem}")
            }
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::NotChecked { why } => json!({"checked": false, "why": why}),
            Self::Valid { keys, problem } => {
                json!({"checked": true, "valid": true, "keys": keys, "problem": problem})
            }
            Self::Invalid { keys, problem } => {
                json!({"checked": true, "valid": false, "keys": keys, "problem": problem})
            }
        }
    }
}

/// Where `now` stands to the claimed times, without leeway: as a code and in words.
fn state(claims: &Object, now: u64) -> (&'static str, String) {
    let time = |name: &str| claims.get(name).and_then(Value::as_u64);
    let start = time("nbf").max(time("iat"));
    match (start, time("exp")) {
        (_, None) => ("no_expiry", "no exp: no verifier accepts it".to_owned()),
        (_, Some(exp)) if exp <= now => ("expired", format!("expired {}", relative(exp, now))),
        (Some(start), _) if start > now => (
            "not_yet_valid",
            format!("becomes valid {}", relative(start, now)),
        ),
        (_, Some(exp)) => ("current", format!("expires {}", relative(exp, now))),
    }
}

/// A line for each member, times also as dates and relative to now.
fn members(object: &Object, now: u64) -> String {
    let width = object
        .keys()
        .map(|name| name.chars().count())
        .max()
        .unwrap_or_default();
    object.iter().fold(String::new(), |text, (name, value)| {
        let shown = match (name.as_str(), value) {
            ("exp" | "iat" | "nbf", Value::Number(number)) => number.as_u64().map_or_else(
                || number.to_string(),
                |seconds| {
                    format!(
                        "{seconds}  {}, {}",
                        rfc3339(seconds),
                        relative(seconds, now)
                    )
                },
            ),
            (_, Value::String(text)) => printable(text),
            (_, Value::Array(items)) if items.iter().all(Value::is_string) => items
                .iter()
                .filter_map(Value::as_str)
                .map(printable)
                .collect::<Vec<_>>()
                .join(" "),
            (_, other) => printable(&other.to_string()),
        };
        text + &format!("  {:width$}  {shown}\n", printable(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, claims: &str) -> String {
        let part = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
        format!("{}.{}.c2ln", part(header), part(claims))
    }

    #[test]
    fn a_token_is_taken_apart_without_being_believed() {
        let (header, claims) = decode(&token(r#"{"alg":"none"}"#, r#"{"exp":1}"#)).unwrap();
        assert_eq!(header["alg"], "none");
        assert_eq!(claims["exp"], 1);
        for wrong in [
            "",
            "a.b",
            "a.b.c.d",
            "!.!.!",
            &token("[]", "{}"),
            &token("{}", "1"),
        ] {
            assert!(decode(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_told_relative_to_now() {
        let claims = |text: &str| serde_json::from_str::<Object>(text).unwrap();
        assert_eq!(
            state(&claims(r#"{"exp":160}"#), 100),
            ("current", "expires in 1 min".to_owned())
        );
        assert_eq!(
            state(&claims(r#"{"exp":40}"#), 100),
            ("expired", "expired 1 min ago".to_owned())
        );
        assert_eq!(
            state(&claims(r#"{"exp":500,"iat":101}"#), 100).0,
            "not_yet_valid"
        );
        assert_eq!(state(&claims("{}"), 100).0, "no_expiry");
        assert_eq!(
            members(&claims(r#"{"exp":160}"#), 100),
            "  exp  160  1970-01-01T00:02:40Z, in 1 min\n"
        );
    }

    #[test]
    fn claims_cannot_drive_the_terminal() {
        let claims =
            serde_json::from_str::<Object>(r#"{"sub\u001b":"\u001b[2J","x":["\u001b"]}"#).unwrap();
        assert!(!members(&claims, 0).contains('\u{1b}'));
    }
}
