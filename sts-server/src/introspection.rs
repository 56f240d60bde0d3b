//! What tokens are worth: introspection (RFC 7662) for whoever is to honour one, and revocation by its
//! client (RFC 7009).

use authority::{
    audit::Actor,
    mandate::{Mandate, MandateUse},
};
use serde_json::{Map, Value, json};

use crate::{
    clock::Moment,
    error::{Code, Error, Result},
    exchange::{AboutToken, invalid_client, too_many_failures},
    provenance::proven,
    secret::Secret,
    store::{Application, Zone},
    sts::Sts,
};

/// Every use of a mandate.
const ALL_USES: [MandateUse; 3] = [
    MandateUse::Session,
    MandateUse::Gateway,
    MandateUse::Resource,
];

/// Who asks about a token.
enum Asker {
    /// Whoever holds the admin token.
    Operator,
    /// Somebody of one zone: an application, or a gateway.
    Application(Box<Application>),
    Gateway,
}

impl Sts {
    /// What a token is worth now. Of one that is worth nothing, or that is not for the asker to know of,
    /// it says only that (RFC 7662 section 2.2).
    pub(crate) async fn introspect(
        &self,
        body: &[u8],
        authorization: Option<&str>,
    ) -> Result<Value> {
        let form = AboutToken::parse(body, authorization)?;
        let (_, zone) = self.asker(&form).await?;
        let inactive = json!({"active": false});
        let Ok(mandate) = self
            .presented_mandate(&zone, &form.token, &ALL_USES)
            .await?
        else {
            return Ok(inactive);
        };
        if !self.is_in_force(&zone, &mandate).await? {
            return Ok(inactive);
        }
        let mut claims: Map<String, Value> = match serde_json::to_value(mandate.claims()) {
            Ok(Value::Object(claims)) => claims,
            _ => return Err(Error::internal("claims that are no object")),
        };
        claims.insert("active".to_owned(), json!(true));
        claims.insert("token_type".to_owned(), json!("Bearer"));
        Ok(Value::Object(claims))
    }

    /// Revokes a token of the client that asks, and what came of it. A token that is worth nothing is
    /// revoked already (RFC 7009 section 2.2).
    pub(crate) async fn revoke_token(
        &self,
        body: &[u8],
        authorization: Option<&str>,
    ) -> Result<()> {
        let form = AboutToken::parse(body, authorization)?;
        let (asker, zone) = self.asker(&form).await?;
        let Ok(mandate) = self
            .presented_mandate(&zone, &form.token, &ALL_USES)
            .await?
        else {
            return Ok(());
        };
        let own = match &asker {
            Asker::Operator => true,
            Asker::Application(application) => application.id == mandate.claims().client_id,
            Asker::Gateway => false,
        };
        if !own {
            return Err(Error::new(
                Code::INVALID_GRANT,
                "the token was issued to another application",
            )
            .reason("client_mismatch"));
        }
        self.revoke_mandate(&zone, &mandate).await
    }

    /// Whether what the mandate rests on stands, beyond what its anchors say.
    async fn is_in_force(&self, zone: &Zone, mandate: &Mandate) -> Result<bool> {
        let claims = mandate.claims();
        let application = self
            .store
            .application(&zone.id, claims.client_id.as_str())
            .await?;
        if application.is_none() {
            return Ok(false);
        }
        let path: Vec<String> = claims
            .delegation_path
            .iter()
            .map(ToString::to_string)
            .collect();
        let edges = self.store.delegations_along(&path).await?;
        let now = Moment::now();
        Ok(edges.len() == path.len() && edges.iter().all(|edge| edge.status(now) == "active"))
    }

    async fn asker(&self, form: &AboutToken) -> Result<(Asker, Zone)> {
        let client = &form.client;
        if let Some(token) = &client.gateway {
            if self.admin_token.matches(token.expose()) {
                let zone = form.zone.as_deref().ok_or_else(|| {
                    Error::invalid("zone_id: missing; with the admin token it says in which zone")
                })?;
                proven(Actor::Operator);
                return Ok((Asker::Operator, self.zone(zone).await?));
            }
            let gateway = self.gateway(token).await?;
            let gateway = gateway.ok_or_else(|| unknown_client(false))?;
            return Ok((Asker::Gateway, self.zone(gateway.zone_id.as_str()).await?));
        }
        match (&client.id, &client.secret) {
            (Some(id), Some(secret)) => self.client(id, secret, client.basic).await,
            _ => Err(Error::new(
                Code::INVALID_CLIENT,
                "client authentication is missing: client_id and client_secret in the form, HTTP Basic, \
                 or a gateway's or the admin token as Bearer",
            )),
        }
    }

    async fn client(&self, id: &str, secret: &Secret, basic: bool) -> Result<(Asker, Zone)> {
        let Some(application) = self.store.application_anywhere(id).await? else {
            return Err(unknown_client(basic));
        };
        let key = (application.zone_id.clone(), Some(application.id.clone()));
        if let Err(wait) = self.auth_failures.check(&key) {
            return Err(too_many_failures(wait));
        }
        let hash = &application.secret_hash;
        if !self
            .credentials
            .verify(&application.id, hash, secret)
            .await?
        {
            return Err(match self.auth_failures.take(key) {
                Ok(()) => unknown_client(basic),
                Err(wait) => too_many_failures(wait),
            });
        }
        let zone = self.zone(application.zone_id.as_str()).await?;
        proven(Actor::Application {
            id: application.id.to_string(),
        });
        Ok((Asker::Application(Box::new(application)), zone))
    }
}

fn unknown_client(basic: bool) -> Error {
    invalid_client("unknown client, or not its secret", basic)
}
