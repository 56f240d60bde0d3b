//! Gateways: known by a token that is shown once, and bound to one zone.

use serde::{Deserialize, Serialize};

use crate::{
    clock::Moment,
    entropy,
    error::{Code, Error, Result},
    ledger::Changed,
    name,
    presence::Known,
    secret::Secret,
    store::{Gateway, Page, PageRequest, Zone},
    sts::Sts,
};

/// A gateway to be registered.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewGateway {
    name: String,
}

/// A gateway with its token, shown this once.
#[derive(Serialize)]
pub(crate) struct RegisteredGateway {
    #[serde(flatten)]
    gateway: Gateway,
    token: String,
}

/// A gateway, what it knew when it was last heard of, and what there is to know.
#[derive(Serialize)]
pub(crate) struct GatewayView {
    #[serde(flatten)]
    gateway: Gateway,
    state: Known,
    zone_bundle_sequence: u64,
    zone_revocation_epoch: u64,
}

impl Sts {
    /// The gateways of a zone.
    pub(crate) async fn gateways(
        &self,
        zone: &Zone,
        page: &PageRequest,
    ) -> Result<Page<GatewayView>> {
        let epoch = self
            .store
            .revocation_state(&zone.id)
            .await?
            .map_or(0, |state| state.epoch);
        let Page { items, next_cursor } = self.store.gateways(&zone.id, page).await?;
        let view = |gateway: Gateway| GatewayView {
            state: self.presence.of(&gateway.id),
            gateway,
            zone_bundle_sequence: zone.sequence,
            zone_revocation_epoch: epoch,
        };
        Ok(Page {
            items: items.into_iter().map(view).collect(),
            next_cursor,
        })
    }

    pub(crate) async fn create_gateway(
        &self,
        zone: &Zone,
        new: NewGateway,
    ) -> Result<RegisteredGateway> {
        let token = Secret::generate("gt_")?;
        let gateway = Gateway {
            id: entropy::id(),
            zone_id: zone.id.clone(),
            name: name::name(&new.name)?,
            created_at: Moment::now(),
        };
        let mut change = self.store.begin().await?;
        change.insert_gateway(&gateway, &token.sha256()).await?;
        let created = Changed::new("gateway.create", &gateway.id).after(&gateway);
        change.record(&zone.id, created).await?;
        change.commit().await?;
        Ok(RegisteredGateway {
            gateway,
            token: token.expose().to_owned(),
        })
    }

    pub(crate) async fn revoke_gateway(&self, zone: &Zone, id: &str) -> Result<()> {
        let mut change = self.store.begin().await?;
        if !change.revoke_gateway(&zone.id, id, Moment::now()).await? {
            return Err(Error::new(
                Code::GATEWAY_NOT_FOUND,
                "no gateway of this zone has this id",
            ));
        }
        change
            .record(&zone.id, Changed::new("gateway.revoke", id))
            .await?;
        change.commit().await?;
        tracing::info!(zone = %zone.id, gateway = id, "gateway token revoked");
        Ok(())
    }

    /// The gateway that holds `token`.
    pub(crate) async fn gateway(&self, token: &Secret) -> Result<Option<Gateway>> {
        Ok(self.store.gateway_by_token(&token.sha256()).await?)
    }
}
