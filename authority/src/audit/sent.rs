//! Events as gateways send them. What they write is in canonical form already, so that the STS needs to look
//! over the text and not to take it apart: it reads what it checks and indexes, and puts in whose token brought
//! the event.

use std::ops::Range;

use super::{Decision, Event, EventType, OccurredAt, canonical::write_string, scanner::Scanner};
use crate::mandate::MandateUse;

/// Members of an event that it is checked, found and told of by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts<'a> {
    /// Its own id.
    pub id: &'a str,
    /// The zone.
    pub zone_id: &'a str,
    /// What happened.
    pub event_type: EventType,
    /// Whether it was let happen.
    pub decision: Decision,
    /// When.
    pub occurred_at: OccurredAt,
    /// In which request.
    pub request_id: &'a str,
    /// The caller's trace context.
    pub traceparent: Option<&'a str>,
    /// Why not.
    pub reason: Option<&'a str>,
    /// The mandate.
    pub jti: Option<&'a str>,
    /// Whose it is.
    pub client_id: Option<&'a str>,
    /// Of whom it speaks.
    pub sub: Option<&'a str>,
    /// In which session.
    pub agent_session_id: Option<&'a str>,
    /// The session's ancestors and itself.
    pub session_path: Vec<&'a str>,
    /// The delegations that the mandate rests on.
    pub delegation_path: Vec<&'a str>,
    /// The resource that was called.
    pub resource: Option<&'a str>,
    /// Those that were asked for.
    pub resources: Vec<&'a str>,
    /// The version of the policy that was asked.
    pub policy_set_version_id: Option<&'a str>,
    /// What was changed.
    pub object: Option<&'a str>,
}

impl<'a> From<&'a Event> for Facts<'a> {
    fn from(event: &'a Event) -> Self {
        let Event {
            mandate, policy, ..
        } = event;
        let identifier = |resource: &'a serde_json::Map<String, serde_json::Value>| {
            resource.get("identifier").and_then(|value| value.as_str())
        };
        Self {
            id: &event.id,
            zone_id: event.zone_id.as_str(),
            event_type: event.event_type,
            decision: event.decision,
            occurred_at: event.occurred_at,
            request_id: &event.request_id,
            traceparent: event.traceparent.as_deref(),
            reason: event.reason.as_deref(),
            jti: mandate.jti.as_deref(),
            client_id: mandate.client_id.as_deref(),
            sub: mandate.sub.as_deref(),
            agent_session_id: mandate.agent_session_id.as_deref(),
            session_path: mandate.session_path.iter().map(String::as_str).collect(),
            delegation_path: mandate.delegation_path.iter().map(String::as_str).collect(),
            resource: event.resource.as_deref(),
            resources: event.resources.iter().filter_map(identifier).collect(),
            policy_set_version_id: policy.policy_set_version_id.as_deref(),
            object: event.object.as_ref().map(|object| object.id.as_str()),
        }
    }
}

/// Before anything is read.
const NOTHING: Facts<'_> = Facts {
    id: "",
    zone_id: "",
    event_type: EventType::GatewayRequest,
    decision: Decision::Deny,
    occurred_at: OccurredAt(0),
    request_id: "",
    traceparent: None,
    reason: None,
    jti: None,
    client_id: None,
    sub: None,
    agent_session_id: None,
    session_path: Vec::new(),
    delegation_path: Vec::new(),
    resource: None,
    resources: Vec::new(),
    policy_set_version_id: None,
    object: None,
};

/// An event in canonical form, which its gateway wrote.
#[derive(Clone, Debug)]
pub struct Sent<'a> {
    facts: Facts<'a>,
    text: &'a str,
    /// Where its gateway stands, or would, with the comma behind it.
    gateway: Range<usize>,
}

impl<'a> Sent<'a> {
    /// The event with which `text` begins, and what comes after it. `None` if it is none, or not in canonical
    /// form, or has members that a gateway does not send: then it is for [`Event`] to say what it is.
    pub fn read(text: &'a str) -> Option<(Self, &'a str)> {
        let mut scanner = Scanner::new(text);
        let scanner = &mut scanner;
        let mut facts = NOTHING;
        let (mut event_type, mut decision, mut occurred_at) = (None, None, None);
        let (mut id, mut zone_id, mut request_id, mut gateway) = (None, None, None, None);
        let (mut determining, mut diagnostics, mut evaluation) = (None, None, None);
        let mut last = "";
        scanner.expect(b'{')?;
        loop {
            let begin = scanner.at();
            let name = scanner.string()?;
            if name <= last {
                return None;
            }
            last = name;
            scanner.expect(b':')?;
            match name {
                "action" | "manifest_sha" | "method" | "path" | "policy_set_id" | "root_sid"
                | "sid" => {
                    scanner.string()?;
                }
                "latency_us" | "stands_for" => {
                    scanner.number()?;
                }
                "agent_session_id" => facts.agent_session_id = Some(scanner.plain()?),
                "client_id" => facts.client_id = Some(scanner.plain()?),
                "decision" => {
                    decision = Some(named(
                        [Decision::Allow, Decision::Deny],
                        Decision::name,
                        scanner,
                    )?);
                }
                "delegation_chain" => drop(texts(scanner)?),
                "delegation_path" => facts.delegation_path = texts(scanner)?,
                "determining_policies_json" => {
                    determining = Some(scanner.array_of(Scanner::object)?);
                }
                "diagnostics_json" => diagnostics = Some(scanner.array_of(Scanner::object)?),
                "evaluation_status" => evaluation = Some(scanner.string()?),
                "event_type" => event_type = Some(named(EventType::ALL, EventType::name, scanner)?),
                "gateway_id" => {
                    scanner.string()?;
                    // The id comes next.
                    gateway = Some(begin..scanner.at() + 1);
                }
                "id" => {
                    gateway.get_or_insert(begin..begin);
                    id = Some(scanner.plain().filter(|id| is_uuid(id))?);
                }
                "jti" => facts.jti = Some(scanner.plain()?),
                "metadata_json" => scanner.object()?,
                "occurred_at" => occurred_at = Some(OccurredAt::parse(scanner.plain()?)?),
                "policy_set_version_id" => facts.policy_set_version_id = Some(scanner.plain()?),
                "reason" => facts.reason = Some(scanner.plain()?),
                "request_id" => request_id = Some(scanner.plain()?),
                "resource" => facts.resource = Some(scanner.plain()?),
                "session_path" => facts.session_path = texts(scanner)?,
                "sub" => facts.sub = Some(scanner.plain()?),
                "traceparent" => facts.traceparent = Some(scanner.plain()?),
                "use" => {
                    let uses = [
                        MandateUse::Session,
                        MandateUse::Gateway,
                        MandateUse::Resource,
                    ];
                    named(uses, MandateUse::name, scanner)?;
                }
                "zone_id" => zone_id = Some(scanner.plain()?),
                _ => return None,
            }
            if scanner.eats(b'}') {
                break;
            }
            scanner.expect(b',')?;
        }
        determining.and(diagnostics).and(evaluation)?;
        let sent = Self {
            facts: Facts {
                id: id?,
                zone_id: zone_id?,
                event_type: event_type?,
                decision: decision?,
                occurred_at: occurred_at?,
                request_id: request_id?,
                ..facts
            },
            text: text.get(..scanner.at())?,
            gateway: gateway?,
        };
        Some((sent, scanner.rest()))
    }

    /// What it says.
    pub fn facts(&self) -> &Facts<'a> {
        &self.facts
    }

    /// Adds its canonical form to `text`, with the gateway whose token brought it.
    pub fn write(&self, gateway_id: &str, text: &mut String) {
        text.push_str(self.text.get(..self.gateway.start).unwrap_or_default());
        text.push_str("\"gateway_id\":");
        write_string(text, gateway_id);
        text.push(',');
        text.push_str(self.text.get(self.gateway.end..).unwrap_or_default());
    }
}

/// A list that is left out where it is empty.
fn texts<'a>(scanner: &mut Scanner<'a>) -> Option<Vec<&'a str>> {
    let mut texts = Vec::new();
    scanner.array_of(|scanner| scanner.plain().map(|text| texts.push(text)))?;
    (!texts.is_empty()).then_some(texts)
}

/// One of `all` by its name.
fn named<T: Copy, const N: usize>(
    all: [T; N],
    name: impl Fn(T) -> &'static str,
    scanner: &mut Scanner<'_>,
) -> Option<T> {
    let told = scanner.plain()?;
    all.into_iter().find(|one| name(*one) == told)
}

/// Whether `id` is a UUID as it is written (RFC 9562 section 4).
fn is_uuid(id: &str) -> bool {
    id.len() == 36
        && id.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}
