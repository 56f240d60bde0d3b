//! One audit event: who did or was refused what, when, under whose authority and by which policy. Its
//! names are those of the published schema where that has one.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

use super::scanner::is_canonical;
use crate::{
    decision::shadow::{MAX_PATH_BYTES, Text},
    ids::ZoneId,
    mandate::{Claims, MandateUse},
};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventType {
    /// A request for a mandate, whatever came of it.
    TokenExchange,
    /// A request at a gateway, whatever came of it.
    GatewayRequest,
    /// A change to what a zone consists of.
    AdminChange,
    /// A governed session began, changed or ended.
    Session,
    /// A delegation was made or revoked.
    Delegation,
    /// Something was revoked, or a revocation withdrawn.
    Revocation,
    /// Another policy decides.
    Activation,
    /// Requests at a gateway of which there is no event of their own.
    AuditGap,
    /// Old events were removed.
    AuditPruned,
}

impl EventType {
    /// All of them.
    pub const ALL: [EventType; 9] = [
        EventType::TokenExchange,
        EventType::GatewayRequest,
        EventType::AdminChange,
        EventType::Session,
        EventType::Delegation,
        EventType::Revocation,
        EventType::Activation,
        EventType::AuditGap,
        EventType::AuditPruned,
    ];

    /// As it stands in events and queries.
    pub fn name(self) -> &'static str {
        match self {
            EventType::TokenExchange => "token_exchange",
            EventType::GatewayRequest => "gateway_request",
            EventType::AdminChange => "admin_change",
            EventType::Session => "session",
            EventType::Delegation => "delegation",
            EventType::Revocation => "revocation",
            EventType::Activation => "activation",
            EventType::AuditGap => "audit_gap",
            EventType::AuditPruned => "audit_pruned",
        }
    }
}

/// Whether it was let happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It was.
    Allow,
    /// It was not.
    Deny,
}

impl Decision {
    /// As it stands in events and queries.
    pub fn name(self) -> &'static str {
        match self {
            Decision::Allow => "allow",
            Decision::Deny => "deny",
        }
    }
}

/// A point in time in microseconds since the Unix epoch; in JSON an RFC 3339 text in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct OccurredAt(pub u64);

/// Past the year 9999 there is no RFC 3339.
const END_OF_TIME: u64 = 253_402_300_799_999_999;

impl fmt::Display for OccurredAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text()
            .iter()
            .try_for_each(|byte| f.write_char(char::from(*byte)))
    }
}

impl OccurredAt {
    /// As RFC 3339 has it, in ASCII.
    pub(crate) fn text(self) -> [u8; 27] {
        let micros = self.0.min(END_OF_TIME);
        let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        // Until the end of time each of them fits, and is taken apart sooner.
        let (days, second, fraction) = (days as u32, second as u32, fraction as u32);
        // Days to a date of the proleptic Gregorian calendar, in years that begin in March, so that the
        // leap day comes last: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
        let days = days + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = year_of_era + era * 400 + u32::from(month <= 2);
        let mut text = *b"yyyy-mm-ddThh:mm:ss.ffffffZ";
        let numbers = [
            (0, year / 100),
            (2, year % 100),
            (5, month),
            (8, day),
            (11, second / 3600),
            (14, second / 60 % 60),
            (17, second % 60),
            (20, fraction / 10_000),
            (22, fraction / 100 % 100),
            (24, fraction % 100),
        ];
        for (place, number) in numbers {
            if let Some([tens, ones]) = text.get_mut(place..).and_then(<[u8]>::first_chunk_mut) {
                // None has more than two digits.
                *tens = b'0' + (number / 10) as u8;
                *ones = b'0' + (number % 10) as u8;
            }
        }
        text
    }

    /// Reads what [`Display`](fmt::Display) writes, and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: &[u8; 27] = text.as_bytes().try_into().ok()?;
        let number = |range: std::ops::Range<usize>| {
            bytes.get(range)?.iter().try_fold(0_u64, |number, byte| {
                byte.is_ascii_digit()
                    .then(|| number * 10 + u64::from(byte - b'0'))
            })
        };
        let separated = [
            (4, b'-'),
            (7, b'-'),
            (10, b'T'),
            (13, b':'),
            (16, b':'),
            (19, b'.'),
            (26, b'Z'),
        ];
        if separated
            .iter()
            .any(|(place, byte)| bytes.get(*place) != Some(byte))
        {
            return None;
        }
        let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
        let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
        let fraction = number(20..26)?;
        let is_leap =
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days_of_month = match month {
            2 => 28 + u64::from(is_leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        if !(1..=days_of_month).contains(&day) || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        // The inverse of the above.
        let year = if month <= 2 {
            year.checked_sub(1)?
        } else {
            year
        };
        let month = if month > 2 { month - 3 } else { month + 9 };
        let day_of_year = (153 * month + 2) / 5 + day - 1;
        let (era, year_of_era) = (year / 400, year % 400);
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
        let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
        Some(Self(seconds * 1_000_000 + fraction))
    }
}

impl Serialize for OccurredAt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for OccurredAt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom("expected a time in UTC as in 2026-05-21T12:00:00.000000Z")
        })
    }
}

/// Who does something to a zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Actor {
    /// Whoever holds the admin token.
    Operator,
    /// An application, by a mandate or its secret.
    Application {
        /// Its id.
        id: String,
    },
    /// A gateway.
    Gateway {
        /// Its id.
        id: String,
    },
    /// The STS itself, when something's time has come.
    Sts,
}

/// What something was done to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Object {
    /// Its id.
    pub id: String,
    /// What it is: `application`, `resource`, ...
    #[serde(rename = "type")]
    pub kind: String,
}

/// The policy that decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct PolicyFacts {
    /// The policy set.
    #[serde(default)]
    pub policy_set_id: Option<String>,
    /// Its version.
    #[serde(default)]
    pub policy_set_version_id: Option<String>,
    /// SHA-256 over the version's manifest, in hexadecimal.
    #[serde(default)]
    pub manifest_sha: Option<String>,
}

/// The mandate that was used, or that was minted: ids, and never the token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct MandateFacts {
    /// `client_id`; of a failed authentication, who it claimed to be.
    #[serde(default)]
    pub client_id: Option<String>,
    /// `sub`.
    #[serde(default)]
    pub sub: Option<String>,
    /// `sid`.
    #[serde(default)]
    pub sid: Option<String>,
    /// `root_sid`.
    #[serde(default)]
    pub root_sid: Option<String>,
    /// `jti`.
    #[serde(default)]
    pub jti: Option<String>,
    /// `use`.
    #[serde(default, rename = "use")]
    pub mandate_use: Option<MandateUse>,
    /// `agent_session_id`.
    #[serde(default)]
    pub agent_session_id: Option<String>,
    /// `session_path`: the session's ancestors from the root down, itself last.
    #[serde(default)]
    pub session_path: Vec<String>,
    /// `delegation_path`: the delegations from the first to the one that the mandate rests on.
    #[serde(default)]
    pub delegation_path: Vec<String>,
    /// The applications of `delegation_chain`, from the first issuer to the receiver.
    #[serde(default)]
    pub delegation_chain: Vec<String>,
}

impl From<&Claims> for MandateFacts {
    fn from(claims: &Claims) -> Self {
        let texts = |ids: &mut dyn Iterator<Item = &str>| ids.map(str::to_owned).collect();
        Self {
            client_id: Some(claims.client_id.to_string()),
            sub: Some(claims.sub.to_string()),
            sid: Some(claims.sid.to_string()),
            root_sid: Some(claims.root_sid.to_string()),
            jti: Some(claims.jti.to_string()),
            mandate_use: Some(claims.mandate_use),
            agent_session_id: claims.agent_session_id.as_ref().map(ToString::to_string),
            session_path: texts(&mut claims.session_path.iter().map(|id| id.as_str())),
            delegation_path: texts(&mut claims.delegation_path.iter().map(|id| id.as_str())),
            delegation_chain: texts(
                &mut claims
                    .delegation_chain
                    .iter()
                    .map(|hop| hop.application_id.as_str()),
            ),
        }
    }
}

/// An audit event. It is written in the order of [RFC 8785](super::canonical()).
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Event {
    /// Its own id, a UUIDv7.
    pub id: String,
    /// The zone.
    pub zone_id: ZoneId,
    /// What happened.
    pub event_type: EventType,
    /// What exactly, of changes: `application.create`, `session.terminate`, ...
    #[serde(default)]
    pub action: Option<String>,
    /// In which request.
    pub request_id: String,
    /// The caller's trace context (W3C Trace Context), as it was sent.
    #[serde(default)]
    pub traceparent: Option<String>,
    /// Whether it was let happen.
    pub decision: Decision,
    /// Why not.
    #[serde(default)]
    pub reason: Option<String>,
    /// `complete`, or what kept a policy from deciding.
    pub evaluation_status: String,
    /// By which policy.
    #[serde(flatten)]
    pub policy: PolicyFacts,
    /// What in it decided.
    #[serde(default)]
    pub determining_policies_json: Vec<Map<String, Value>>,
    /// What it remarked.
    #[serde(default)]
    pub diagnostics_json: Vec<Map<String, Value>>,
    /// By whose authority.
    #[serde(flatten)]
    pub mandate: MandateFacts,
    /// The resource that was called.
    #[serde(default)]
    pub resource: Option<String>,
    /// Method of the call.
    #[serde(default)]
    pub method: Option<String>,
    /// Normalised path of the call, without its query.
    #[serde(default)]
    pub path: Option<String>,
    /// The gateway.
    #[serde(default)]
    pub gateway_id: Option<String>,
    /// How many requests like this one it stands for, where only one in so many is recorded.
    #[serde(default)]
    pub stands_for: Option<u64>,
    /// The scopes that were asked for.
    #[serde(default)]
    pub requested_scopes: Vec<String>,
    /// The resources that were asked for, and what was decided on each.
    #[serde(default)]
    pub resources: Vec<Map<String, Value>>,
    /// Who changed something.
    #[serde(default)]
    pub actor: Option<Actor>,
    /// What was changed.
    #[serde(default)]
    pub object: Option<Object>,
    /// What it was before, without secrets.
    #[serde(default)]
    pub before: Option<Value>,
    /// What it is now, without secrets.
    #[serde(default)]
    pub after: Option<Value>,
    /// What else belongs to an event of this type.
    #[serde(default)]
    pub metadata_json: Option<Map<String, Value>>,
    /// How long it took to decide, in microseconds.
    #[serde(default)]
    pub latency_us: Option<u64>,
    /// When.
    pub occurred_at: OccurredAt,
}

impl Event {
    /// An event of which no more is known than that it happened.
    pub fn new(
        id: String,
        zone_id: ZoneId,
        event_type: EventType,
        request_id: String,
        occurred_at: OccurredAt,
    ) -> Self {
        Self {
            id,
            zone_id,
            event_type,
            action: None,
            request_id,
            traceparent: None,
            decision: Decision::Allow,
            reason: None,
            evaluation_status: "complete".to_owned(),
            policy: PolicyFacts::default(),
            determining_policies_json: Vec::new(),
            diagnostics_json: Vec::new(),
            mandate: MandateFacts::default(),
            resource: None,
            method: None,
            path: None,
            gateway_id: None,
            stands_for: None,
            requested_scopes: Vec::new(),
            resources: Vec::new(),
            actor: None,
            object: None,
            before: None,
            after: None,
            metadata_json: None,
            latency_us: None,
            occurred_at,
        }
    }

    /// A text that a stranger chose, cut to what an event holds.
    pub fn text(text: &str) -> String {
        Text::<MAX_PATH_BYTES>::cut(text).into()
    }

    /// The form in which the event is stored and hashed (RFC 8785).
    ///
    /// # Errors
    /// None that can be provoked: an event is always a JSON document.
    pub fn canonical(&self) -> Result<String, serde_json::Error> {
        let text = serde_json::to_string(self)?;
        if is_canonical(&text) {
            return Ok(text);
        }
        serde_json::to_value(self).map(|value| super::canonical(&value))
    }
}

/// Whether `text` is a `traceparent` (W3C Trace Context section 3.2), worth keeping.
pub fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str, digits: usize| {
        part.len() == digits
            && part
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    match parts.as_slice() {
        [version, trace, parent, flags] => {
            hex(version, 2)
                && *version != "ff"
                && hex(trace, 32)
                && hex(parent, 16)
                && hex(flags, 2)
                && trace.bytes().any(|byte| byte != b'0')
                && parent.bytes().any(|byte| byte != b'0')
        }
        _ => false,
    }
}
