//! Claims out of the payload of a token, in one pass: those that are known as parts of its text, and the others looked
//! at and left there.

use std::fmt;

use arcstr::{ArcStr, Substr};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, MapAccess, Visitor},
};

use super::RawClaims;
use crate::mandate::document::{self, Checked, Text};

/// Reads `payload`, of which a [document](document::read) can then be made.
///
/// # Errors
/// If it is no object, or one that no policy could be told of, or a claim that is known is of the wrong type or there
/// twice.
pub(in crate::mandate) fn read(payload: &ArcStr) -> Result<RawClaims, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_str(payload);
    let claims = OfObject(payload).deserialize(&mut json)?;
    json.end()?;
    // What is unknown within these was passed over.
    if claims.act.is_some() || !claims.delegation_chain.is_empty() {
        document::check(payload)?;
    }
    Ok(claims)
}

/// The claims that are known.
#[derive(Clone, Copy, Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Name {
    Iss,
    Sub,
    Aud,
    Exp,
    Iat,
    Nbf,
    Jti,
    ZoneId,
    ClientId,
    Sid,
    RootSid,
    Use,
    SubType,
    Scope,
    Target,
    AgentSessionId,
    SessionPath,
    GrantingSessions,
    Labels,
    DelegationEdgeId,
    SourceSessionId,
    TargetSessionId,
    DelegationPath,
    DelegationChain,
    HopCount,
    Act,
    Once,
    #[serde(other)]
    Unknown,
}

struct OfObject<'o>(&'o ArcStr);

impl<'de> DeserializeSeed<'de> for OfObject<'_> {
    type Value = RawClaims;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<RawClaims, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OfObject<'_> {
    type Value = RawClaims;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<RawClaims, A::Error> {
        let mut claims = RawClaims::default();
        let mut seen = 0_u32;
        while let Some(name) = members.next_key()? {
            if !matches!(name, Name::Unknown) {
                let before = seen;
                seen |= 1 << name as u32;
                if seen == before {
                    return Err(A::Error::custom("a claim is there twice"));
                }
            }
            let from = &mut Member(self.0, &mut members);
            match name {
                Name::Iss => claims.iss = from.text()?,
                Name::Sub => claims.sub = from.text()?,
                Name::Aud => claims.aud = from.one_or_many()?,
                Name::Exp => claims.exp = from.value()?,
                Name::Iat => claims.iat = from.value()?,
                Name::Nbf => claims.nbf = from.value()?,
                Name::Jti => claims.jti = from.text()?,
                Name::ZoneId => claims.zone_id = from.text()?,
                Name::ClientId => claims.client_id = from.text()?,
                Name::Sid => claims.sid = from.text()?,
                Name::RootSid => claims.root_sid = from.text()?,
                Name::Use => claims.mandate_use = from.text()?,
                Name::SubType => claims.sub_type = from.value()?,
                Name::Scope => claims.scope = from.text()?,
                Name::Target => claims.target = from.texts()?,
                Name::AgentSessionId => claims.agent_session_id = from.text()?,
                Name::SessionPath => claims.session_path = from.texts()?,
                Name::GrantingSessions => claims.granting_sessions = from.texts()?,
                Name::Labels => claims.labels = from.texts()?,
                Name::DelegationEdgeId => claims.delegation_edge_id = from.text()?,
                Name::SourceSessionId => claims.source_session_id = from.text()?,
                Name::TargetSessionId => claims.target_session_id = from.text()?,
                Name::DelegationPath => claims.delegation_path = from.texts()?,
                Name::DelegationChain => claims.delegation_chain = from.value()?,
                Name::HopCount => claims.hop_count = from.value()?,
                Name::Act => claims.act = from.value()?,
                Name::Once => claims.once = from.value()?,
                Name::Unknown => {
                    from.value::<Checked>()?;
                }
            }
        }
        Ok(claims)
    }
}

/// The value of a member, within this text.
struct Member<'o, 'a, A>(&'o ArcStr, &'a mut A);

impl<'de, A: MapAccess<'de>> Member<'_, '_, A> {
    fn value<T: Deserialize<'de>>(&mut self) -> Result<T, A::Error> {
        self.1.next_value()
    }

    fn text<T: From<Substr>>(&mut self) -> Result<Option<T>, A::Error> {
        let text: Option<Text<'de>> = self.value()?;
        Ok(text.map(|text| self.part(&text)))
    }

    fn texts<T: From<Substr>>(&mut self) -> Result<Vec<T>, A::Error> {
        let texts: Vec<Text<'de>> = self.value()?;
        Ok(texts.iter().map(|text| self.part(text)).collect())
    }

    /// RFC 7519 section 4.1.3: an audience is an array, or one string.
    fn one_or_many(&mut self) -> Result<Vec<Substr>, A::Error> {
        Ok(match self.value()? {
            OneOrMany::One(text) => vec![self.part(&text)],
            OneOrMany::Many(texts) => texts.iter().map(|text| self.part(text)).collect(),
        })
    }

    /// A part of the text as it is, or one that was written with escapes.
    fn part<T: From<Substr>>(&self, Text(text): &Text<'_>) -> T {
        let part = self.0.try_substr_from(text);
        part.unwrap_or_else(|| text.as_ref().into()).into()
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<'a> {
    #[serde(borrow)]
    One(Text<'a>),
    Many(Vec<Text<'a>>),
}
