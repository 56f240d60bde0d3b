//! The form of an exchange (RFC 8693 section 2.1), read into something that holds together.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use authority::{
    mandate::{
        DEFAULT_TTL_SECONDS, LIFECYCLE_SCOPE, MAX_SESSION_TTL_SECONDS, MAX_TTL_SECONDS, MandateUse,
    },
    resource::is_scope,
};
use base64ct::{Base64, Encoding};
use url::form_urlencoded;

use crate::{
    error::{Code, Error, Result},
    secret::Secret,
};

pub(crate) const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub(super) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
pub(super) const RESOURCE_MANDATE: &str = "urn:caracal:params:oauth:token-type:resource-mandate";

/// Most resources or scopes of one exchange.
const MAX_ITEMS: usize = 64;

/// Every field that is looked at; others are passed over (RFC 6749 section 3.2).
const FIELDS: [&str; 22] = [
    "grant_type",
    "zone_id",
    "application_id",
    "client_id",
    "client_secret",
    "resource",
    "scope",
    "ttl_seconds",
    "subject_token",
    "subject_token_type",
    "requested_token_type",
    "session_id",
    "agent_session_id",
    "delegation_edge_id",
    "approval_id",
    "actor_token",
    "actor_token_type",
    "client_assertion",
    "client_assertion_type",
    "audience",
    "request_method",
    "token",
];
const NOT_SERVED: [&str; 2] = ["session_id", "approval_id"];
const NEVER_SERVED: [&str; 4] = [
    "client_assertion",
    "client_assertion_type",
    "audience",
    "request_method",
];

/// Who asks, as it says itself.
pub(crate) struct Client {
    pub(crate) id: Option<String>,
    pub(crate) secret: Option<Secret>,
    /// With HTTP Basic, which a refusal must answer in kind.
    pub(crate) basic: bool,
    /// A gateway's token, by which it asks in the name of whoever presented a mandate to it.
    pub(crate) gateway: Option<Secret>,
}

/// A request about a token, not for one (RFC 7009 section 2.1, RFC 7662 section 2.1).
pub(crate) struct AboutToken {
    pub(crate) token: Secret,
    pub(crate) zone: Option<String>,
    pub(crate) client: Client,
}

impl AboutToken {
    /// Reads a form and the `Authorization` header that came with it.
    pub(crate) fn parse(body: &[u8], authorization: Option<&str>) -> Result<Self> {
        let mut form = Form::parse(body)?;
        Ok(Self {
            token: Secret::new(form.required("token")?),
            zone: form.take("zone_id"),
            client: client(&mut form, authorization)?,
        })
    }
}

/// The zone that a form names, however malformed the rest of it is.
pub(super) fn named_zone(body: &[u8]) -> Option<String> {
    let mut named = form_urlencoded::parse(body).filter(|(name, _)| name == "zone_id");
    named.next().map(|(_, zone)| zone.trim().to_owned())
}

/// A well-formed request for a mandate.
pub(super) struct Request {
    pub(super) zone: String,
    pub(super) client: Client,
    /// Sorted, each once, at least one.
    pub(super) resources: Vec<String>,
    /// Sorted, each once, at least one.
    pub(super) scopes: Vec<String>,
    pub(super) ttl_seconds: Option<u64>,
    pub(super) subject_token: Option<Secret>,
    /// The session mandate of whom the subject delegates to.
    pub(super) actor_token: Option<Secret>,
    /// The governed session to act in.
    pub(super) agent_session_id: Option<String>,
    /// The delegation to act under.
    pub(super) delegation_edge_id: Option<String>,
    pub(super) mandate_use: MandateUse,
}

impl Request {
    /// Reads a form and the `Authorization` header that came with it.
    pub(super) fn parse(body: &[u8], authorization: Option<&str>) -> Result<Self> {
        let mut form = Form::parse(body)?;
        if form.required("grant_type")? != GRANT_TYPE {
            return Err(Error::new(
                Code::UNSUPPORTED_GRANT_TYPE,
                format!("grant_type: expected {GRANT_TYPE}"),
            ));
        }
        if let Some(field) = NEVER_SERVED
            .iter()
            .find(|field| form.single.contains_key(**field))
        {
            return Err(Error::invalid(format!(
                "{field}: not supported; leave it out"
            )));
        }
        if NOT_SERVED
            .iter()
            .any(|field| form.single.contains_key(*field))
        {
            return Err(Error::invalid(
                "session_id and approval_id are not available in this version; a governed session is named by agent_session_id",
            ));
        }
        let zone = form.required("zone_id")?;
        let client = client(&mut form, authorization)?;
        let subject_token = token(&mut form, "subject_token")?;
        let actor_token = token(&mut form, "actor_token")?;
        let agent_session_id = form.take("agent_session_id");
        let delegation_edge_id = form.take("delegation_edge_id");
        if delegation_edge_id.is_some() && agent_session_id.is_none() && subject_token.is_none() {
            return Err(Error::invalid(
                "delegation_edge_id: only with the agent_session_id of the session that was delegated to",
            ));
        }
        if actor_token.is_some()
            && (subject_token.is_none()
                || agent_session_id.is_some()
                || delegation_edge_id.is_some())
        {
            return Err(Error::invalid(
                "actor_token: only with a subject_token, and without agent_session_id and delegation_edge_id: \
                 the two tokens name their sessions",
            ));
        }
        let resources = form.resources()?;
        let requested = form.take("requested_token_type");
        let scopes = match &client.gateway {
            Some(_) => {
                let plain = subject_token.is_some()
                    && actor_token.is_none()
                    && agent_session_id.is_none()
                    && delegation_edge_id.is_none()
                    && client.id.is_none()
                    && resources.len() == 1
                    && requested.as_deref() == Some(RESOURCE_MANDATE)
                    && form.take("scope").is_none();
                if !plain {
                    return Err(Error::invalid(format!(
                        "a gateway sends subject_token, one resource and requested_token_type={RESOURCE_MANDATE}, \
                         and no scope, client or session"
                    )));
                }
                Vec::new()
            }
            None => scopes(&form.required("scope")?)?,
        };
        let mandate_use = if scopes.iter().any(|scope| scope == LIFECYCLE_SCOPE) {
            if scopes.len() > 1 {
                return Err(Error::new(
                    Code::INVALID_SCOPE,
                    format!(
                        "{LIFECYCLE_SCOPE} is asked for alone; ask for other scopes in an exchange of their own"
                    ),
                ));
            }
            if subject_token.is_some()
                || delegation_edge_id.is_some()
                || requested
                    .as_deref()
                    .is_some_and(|requested| requested != ACCESS_TOKEN)
            {
                return Err(Error::invalid(format!(
                    "{LIFECYCLE_SCOPE} is granted on client authentication alone, as a session mandate: \
                     leave out subject_token, delegation_edge_id and requested_token_type"
                )));
            }
            MandateUse::Session
        } else {
            match requested.as_deref() {
                None | Some(ACCESS_TOKEN) => MandateUse::Gateway,
                Some(RESOURCE_MANDATE) => MandateUse::Resource,
                Some(_) => {
                    return Err(Error::invalid(format!(
                        "requested_token_type: expected {ACCESS_TOKEN} or {RESOURCE_MANDATE}"
                    )));
                }
            }
        };
        let ttl_seconds = form
            .take("ttl_seconds")
            .map(|text| ttl_seconds(&text))
            .transpose()?;
        Ok(Self {
            zone,
            client,
            resources,
            scopes,
            ttl_seconds,
            subject_token,
            actor_token,
            agent_session_id,
            delegation_edge_id,
            mandate_use,
        })
    }

    /// How long the mandate is to live.
    pub(super) fn ttl_seconds(&self) -> Result<u64> {
        let cap = match self.mandate_use {
            MandateUse::Session => MAX_SESSION_TTL_SECONDS,
            MandateUse::Gateway | MandateUse::Resource => MAX_TTL_SECONDS,
        };
        match self.ttl_seconds {
            None => Ok(DEFAULT_TTL_SECONDS),
            Some(seconds) if seconds <= cap => Ok(seconds),
            Some(_) => Err(Error::invalid(format!(
                "ttl_seconds: {cap} at most for this kind of mandate"
            ))),
        }
    }
}

struct Form {
    single: BTreeMap<String, String>,
    resources: Vec<String>,
}

impl Form {
    fn parse(body: &[u8]) -> Result<Self> {
        if std::str::from_utf8(body).is_err() {
            return Err(Error::invalid("the form is not UTF-8"));
        }
        let mut form = Self {
            single: BTreeMap::new(),
            resources: Vec::new(),
        };
        for (name, value) in form_urlencoded::parse(body) {
            if !FIELDS.contains(&name.as_ref()) {
                continue;
            }
            let value = value.trim();
            if value.is_empty() {
                return Err(Error::invalid(format!(
                    "{name}: empty; give a value or leave the field out"
                )));
            }
            if name == "resource" {
                form.resources.push(value.to_owned());
            } else if form
                .single
                .insert(name.clone().into_owned(), value.to_owned())
                .is_some()
            {
                return Err(Error::invalid(format!("duplicate form field: {name}")));
            }
        }
        Ok(form)
    }

    fn take(&mut self, field: &str) -> Option<String> {
        self.single.remove(field)
    }

    fn required(&mut self, field: &str) -> Result<String> {
        self.take(field)
            .ok_or_else(|| Error::invalid(format!("missing form field: {field}")))
    }

    fn resources(&mut self) -> Result<Vec<String>> {
        let resources: BTreeSet<String> = std::mem::take(&mut self.resources).into_iter().collect();
        match resources.len() {
            0 => Err(Error::invalid("missing form field: resource")),
            1..=MAX_ITEMS => Ok(resources.into_iter().collect()),
            _ => Err(Error::invalid(format!("resource: {MAX_ITEMS} at most"))),
        }
    }
}

fn scopes(text: &str) -> Result<Vec<String>> {
    let scopes: BTreeSet<String> = text.split_ascii_whitespace().map(str::to_owned).collect();
    if scopes.len() > MAX_ITEMS {
        return Err(Error::new(
            Code::INVALID_SCOPE,
            format!("scope: {MAX_ITEMS} at most"),
        ));
    }
    match scopes.iter().find(|scope| !is_scope(scope)) {
        Some(scope) => {
            let shown: String = scope.chars().take(80).collect();
            Err(Error::new(
                Code::INVALID_SCOPE,
                format!("scope: {shown:?} is not a scope (RFC 6749 section 3.3)"),
            ))
        }
        None => Ok(scopes.into_iter().collect()),
    }
}

fn ttl_seconds(text: &str) -> Result<u64> {
    text.parse()
        .ok()
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| Error::invalid("ttl_seconds: expected a whole number of seconds, 1 or more"))
}

fn token(form: &mut Form, field: &str) -> Result<Option<Secret>> {
    let kind = format!("{field}_type");
    match (form.take(field), form.take(&kind)) {
        (None, None) => Ok(None),
        (Some(token), Some(given)) if given == ACCESS_TOKEN => Ok(Some(Secret::new(token))),
        (Some(_), Some(_)) => Err(Error::invalid(format!("{kind}: expected {ACCESS_TOKEN}"))),
        _ => Err(Error::invalid(format!("{field} and {kind} go together"))),
    }
}

fn client(form: &mut Form, authorization: Option<&str>) -> Result<Client> {
    let id = match (form.take("application_id"), form.take("client_id")) {
        (Some(one), Some(other)) if one != other => {
            return Err(Error::invalid(
                "application_id and client_id contradict each other; give one",
            ));
        }
        (one, other) => one.or(other),
    };
    let secret = form.take("client_secret").map(Secret::new);
    let Some(authorization) = authorization else {
        return Ok(Client {
            id,
            secret,
            basic: false,
            gateway: None,
        });
    };
    let malformed = || {
        Error::invalid(
            "Authorization: expected Basic with base64 of client id, colon, client secret, or a gateway's Bearer token",
        )
    };
    let (scheme, encoded) = authorization.split_once(' ').ok_or_else(malformed)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        if id.is_some() || secret.is_some() {
            return Err(Error::invalid(
                "Authorization: a Bearer token is a gateway's, which sends no application_id and no client_secret",
            ));
        }
        return Ok(Client {
            id: None,
            secret: None,
            basic: false,
            gateway: Some(Secret::new(encoded.trim().to_owned())),
        });
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(malformed());
    }
    let decoded =
        zeroize::Zeroizing::new(Base64::decode_vec(encoded.trim()).map_err(|_| malformed())?);
    let (basic_id, basic_secret) = std::str::from_utf8(&decoded)
        .ok()
        .and_then(|text| text.split_once(':'))
        .ok_or_else(malformed)?;
    // RFC 6749 section 2.3: one method of authentication in a request.
    if secret.is_some() {
        return Err(Error::invalid(
            "client_secret and Authorization: authenticate in one way only",
        ));
    }
    let basic_id = form_decoded(basic_id);
    if id.is_some_and(|id| id != basic_id) {
        return Err(Error::invalid(
            "the client id in the form and the one in Authorization contradict each other",
        ));
    }
    if basic_id.is_empty() || basic_secret.is_empty() {
        return Err(malformed());
    }
    Ok(Client {
        id: Some(basic_id),
        secret: Some(Secret::new(form_decoded(basic_secret))),
        basic: true,
        gateway: None,
    })
}

/// RFC 6749 section 2.3.1 has both halves of Basic form-encoded; many clients do not do it. A plus
/// stands for itself, as neither ids nor secrets hold a space, so both kinds are understood.
fn form_decoded(text: &str) -> String {
    let field = format!(
        "v={}",
        text.replace('+', "%2B")
            .replace('&', "%26")
            .replace('=', "%3D")
    );
    form_urlencoded::parse(field.as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}
