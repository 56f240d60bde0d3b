//! The mandate itself: its claims, its signature, and the record of its issue.

use authority::{
    ids::AuthorityRecordId,
    mandate::{Claims, MAX_TOKEN_BYTES, MandateUse, SubjectType, sign},
};

use super::{
    Response,
    client::Party,
    request::{ACCESS_TOKEN, Request},
};
use crate::{
    clock::Moment,
    entropy,
    error::{Error, Result},
    store::{AuthorityRecord, Zone},
    sts::Sts,
};

/// A mandate that is not given out yet, and the record without which it must not be.
pub(super) struct Minted {
    pub(super) record: AuthorityRecord,
    pub(super) response: Response,
}

impl Sts {
    pub(super) async fn mint(
        &self,
        zone: &Zone,
        party: &Party,
        request: &Request,
        granted: Vec<String>,
        ttl_seconds: u64,
    ) -> Result<Minted> {
        let iat = Moment::now().timestamp();
        let sid = AuthorityRecordId::from(entropy::id());
        let presented = party.subject.as_ref().map(|subject| subject.claims());
        let scope = request.scopes.join(" ");
        let claims = Claims {
            iss: self.issuer.clone(),
            sub: party.application.id.to_string(),
            aud: match request.mandate_use {
                MandateUse::Session | MandateUse::Gateway => vec![self.issuer.clone()],
                MandateUse::Resource => granted.clone(),
            },
            exp: iat.plus(ttl_seconds),
            iat,
            nbf: None,
            jti: entropy::id(),
            zone_id: zone.id.clone(),
            client_id: party.application.id.clone(),
            root_sid: presented.map_or_else(|| sid.clone(), |claims| claims.root_sid.clone()),
            sid,
            mandate_use: request.mandate_use,
            sub_type: SubjectType::Application,
            scope: Some(scope.clone()),
            target: granted.clone(),
            agent_session_id: None,
            session_path: Vec::new(),
            labels: Vec::new(),
            delegation_edge_id: None,
            source_session_id: None,
            target_session_id: None,
            delegation_path: Vec::new(),
            delegation_chain: Vec::new(),
            hop_count: None,
            act: None,
            once: false,
        };
        let (kid, key) = self.signer(&zone.id).await?;
        let access_token = sign(&claims, &kid, &key).map_err(Error::internal)?;
        if access_token.len() > MAX_TOKEN_BYTES {
            return Err(Error::invalid(
                "the mandate would be larger than gateways take; ask for fewer resources or scopes at once",
            ));
        }
        let record = AuthorityRecord {
            id: claims.sid,
            root_id: claims.root_sid,
            parent_id: presented.map(|claims| claims.sid.to_string()),
            zone_id: claims.zone_id,
            application_id: claims.client_id,
            subject: claims.sub,
            jti: claims.jti,
            mandate_use: request.mandate_use.name().to_owned(),
            scope: scope.clone(),
            targets: granted.clone(),
            issued_at: claims.iat.into(),
            expires_at: claims.exp.into(),
        };
        let response = Response {
            access_token,
            issued_token_type: ACCESS_TOKEN,
            token_type: "Bearer",
            expires_in: ttl_seconds,
            scope,
            target_resources: granted,
        };
        Ok(Minted { record, response })
    }
}
