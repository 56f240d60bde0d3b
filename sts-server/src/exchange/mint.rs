//! The mandate itself: its claims, its signature, and the record of its issue.

use authority::{
    ids::{AuthorityRecordId, KeyId},
    mandate::{Actor, Claims, MAX_TOKEN_BYTES, MandateUse, SubjectType, sign},
    revocation::AnchorKind,
};

use super::{
    Response,
    client::Party,
    decide::Granted,
    request::{ACCESS_TOKEN, Request},
    standing::{Standing, denied},
};
use crate::{
    clock::Moment,
    error::{Error, Result},
    store::{AuthorityRecord, Zone},
    sts::Sts,
};

/// A mandate that is not given out yet, and the record without which it must not be.
pub(super) struct Minted {
    pub(super) record: AuthorityRecord,
    pub(super) response: Response,
    pub(super) claims: Claims,
    pub(super) kid: KeyId,
}

impl Sts {
    pub(super) async fn mint(
        &self,
        zone: &Zone,
        party: &Party,
        request: &Request,
        Granted {
            resources: granted,
            once,
        }: Granted,
        ttl_seconds: u64,
    ) -> Result<Minted> {
        let iat = Moment::now().timestamp();
        let sid = AuthorityRecordId::from(
            self.unsuspected_id(&zone.id, &[AnchorKind::Sid, AnchorKind::RootSid]),
        );
        let presented = party.subject.as_ref().map(|subject| subject.claims());
        let scope = party.scopes.join(" ");
        let standing = party.standing.as_ref();
        let session = standing.map(|standing| &standing.session);
        // Binding a session mandate to a session passes nothing on.
        let edge = standing.and_then(Standing::edge);
        let chain = standing.map(Standing::chain).unwrap_or_default();
        let path = standing.map(Standing::path).unwrap_or_default();
        let limits = [
            Some(iat.plus(ttl_seconds)),
            party.ends_by,
            standing.and_then(|standing| standing.mandate_end(iat)),
        ];
        let exp = limits.into_iter().flatten().min().unwrap_or(iat);
        if exp <= iat {
            return Err(denied(
                "delegation_inactive",
                "what the mandate would rest on is ending",
            ));
        }
        let root_id = presented
            .map(|claims| claims.root_sid.clone())
            .or_else(|| standing.and_then(|standing| standing.root_id.clone()));
        let claims = Claims {
            iss: self.issuer.as_str().into(),
            sub: match (standing, presented) {
                (Some(standing), _) => standing.subject.as_str().into(),
                (None, Some(presented)) => presented.sub.clone(),
                (None, None) => party.application.id.as_str().into(),
            },
            aud: match request.mandate_use {
                MandateUse::Session | MandateUse::Gateway => {
                    vec![self.issuer.as_str().into()]
                }
                MandateUse::Resource => texts(&granted),
            },
            exp,
            iat,
            nbf: None,
            jti: self.unsuspected_id(&zone.id, &[AnchorKind::Jti]).into(),
            zone_id: zone.id.clone(),
            client_id: party.application.id.clone(),
            root_sid: root_id.unwrap_or_else(|| sid.clone()),
            sid,
            mandate_use: request.mandate_use,
            sub_type: SubjectType::Application,
            scope: Some(scope.as_str().into()),
            target: texts(&granted),
            agent_session_id: session.map(|session| session.id.clone()),
            session_path: session
                .map(|session| texts(&session.path))
                .unwrap_or_default(),
            granting_sessions: standing
                .map(Standing::granting_sessions)
                .unwrap_or_default(),
            labels: session
                .map(|session| texts(&session.labels))
                .unwrap_or_default(),
            delegation_edge_id: edge.map(|edge| edge.id.clone()),
            source_session_id: edge.map(|edge| edge.source_session_id.clone()),
            target_session_id: edge.map(|edge| edge.target_session_id.clone()),
            delegation_path: texts(path),
            hop_count: edge.and_then(|_| u32::try_from(path.len()).ok()),
            act: Actor::of_chain(&chain),
            delegation_chain: chain,
            once,
        };
        let (kid, key) = self.signer(&zone.id).await?;
        let access_token = sign(&claims, &kid, &key).map_err(Error::internal)?;
        if access_token.len() > MAX_TOKEN_BYTES {
            return Err(Error::invalid(
                "the mandate would be larger than gateways take; ask for fewer resources or scopes at once",
            ));
        }
        let record = AuthorityRecord {
            id: claims.sid.clone(),
            root_id: claims.root_sid.clone(),
            zone_id: zone.id.clone(),
            parent_id: presented.map(|claims| claims.sid.to_string()),
            application_id: claims.client_id.clone(),
            subject: claims.sub.to_string(),
            jti: claims.jti.to_string(),
            mandate_use: request.mandate_use.name().to_owned(),
            scope: scope.clone(),
            targets: granted.clone(),
            issued_at: claims.iat.into(),
            expires_at: claims.exp.into(),
            agent_session_id: claims.agent_session_id.as_ref().map(ToString::to_string),
            delegation_edge_id: claims.delegation_edge_id.as_ref().map(ToString::to_string),
        };
        let response = Response {
            access_token,
            issued_token_type: ACCESS_TOKEN,
            token_type: "Bearer",
            expires_in: claims.exp.seconds().saturating_sub(claims.iat.seconds()),
            scope,
            target_resources: granted,
        };
        Ok(Minted {
            record,
            response,
            claims,
            kid,
        })
    }
}

fn texts<T: for<'t> From<&'t str>>(texts: &[String]) -> Vec<T> {
    texts.iter().map(|text| text.as_str().into()).collect()
}
