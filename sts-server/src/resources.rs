//! Resources: what holds together and what does not is the decision core's to say.

use authority::{
    ids::{ApplicationId, ResourceId},
    resource::{Forward, Operation, OperationEnforcement, Resource, ResourceError},
};
use serde::{Deserialize, Deserializer};
use url::Url;

use crate::{
    clock::Moment,
    entropy,
    error::{Code, Error, Result},
    ledger::Changed,
    name,
    store::{ResourceRow, StoreError, Zone},
    sts::Sts,
};

/// A resource to be made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewResource {
    name: String,
    identifier: String,
    scopes: Vec<String>,
    #[serde(default)]
    operations: Vec<Operation>,
    #[serde(default)]
    operation_enforcement: OperationEnforcement,
    upstream_url: Option<String>,
    #[serde(default)]
    single_use: bool,
    #[serde(default)]
    end_streams_at_expiry: bool,
    #[serde(default)]
    require_chain_contains: Vec<ApplicationId>,
    forward: Option<Forward>,
}

/// A change to a resource.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResourcePatch {
    name: Option<String>,
    identifier: Option<String>,
    scopes: Option<Vec<String>>,
    operations: Option<Vec<Operation>>,
    operation_enforcement: Option<OperationEnforcement>,
    /// `null` takes it away.
    #[serde(default, deserialize_with = "nullable")]
    upstream_url: Option<Option<String>>,
    single_use: Option<bool>,
    end_streams_at_expiry: Option<bool>,
    require_chain_contains: Option<Vec<ApplicationId>>,
    /// `null` leaves it to the gateway.
    #[serde(default, deserialize_with = "nullable")]
    forward: Option<Option<Forward>>,
}

fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl Sts {
    /// The resource with this id in this zone.
    pub(crate) async fn resource(&self, zone: &Zone, id: &str) -> Result<ResourceRow> {
        self.store
            .resource(&zone.id, id)
            .await?
            .ok_or_else(not_found)
    }

    pub(crate) async fn create_resource(
        &self,
        zone: &Zone,
        new: NewResource,
    ) -> Result<ResourceRow> {
        let row = checked(ResourceRow {
            id: ResourceId::from(entropy::id()),
            zone_id: zone.id.clone(),
            name: name::name(&new.name)?,
            identifier: new.identifier,
            scopes: new.scopes,
            operations: new.operations,
            operation_enforcement: new.operation_enforcement,
            upstream_url: new.upstream_url,
            single_use: new.single_use,
            end_streams_at_expiry: new.end_streams_at_expiry,
            require_chain_contains: new.require_chain_contains,
            forward: new.forward,
            created_at: Moment::now(),
        })?;
        let mut change = self.store.begin().await?;
        change
            .insert_resource(&row)
            .await
            .map_err(|error| conflict(error, &row.identifier))?;
        let created = Changed::new("resource.create", &row.id).after(&row);
        change.record(&zone.id, created).await?;
        self.publish(change, &zone.id).await?;
        Ok(row)
    }

    pub(crate) async fn patch_resource(
        &self,
        zone: &Zone,
        id: &str,
        patch: ResourcePatch,
    ) -> Result<ResourceRow> {
        let mut change = self.store.begin().await?;
        let old = change.resource(&zone.id, id).await?.ok_or_else(not_found)?;
        let changed = Changed::new("resource.update", &old.id).before(&old);
        let row = checked(ResourceRow {
            name: patch
                .name
                .as_deref()
                .map(name::name)
                .transpose()?
                .unwrap_or(old.name),
            identifier: patch.identifier.unwrap_or(old.identifier),
            scopes: patch.scopes.unwrap_or(old.scopes),
            operations: patch.operations.unwrap_or(old.operations),
            operation_enforcement: patch
                .operation_enforcement
                .unwrap_or(old.operation_enforcement),
            upstream_url: patch.upstream_url.unwrap_or(old.upstream_url),
            single_use: patch.single_use.unwrap_or(old.single_use),
            end_streams_at_expiry: patch
                .end_streams_at_expiry
                .unwrap_or(old.end_streams_at_expiry),
            require_chain_contains: patch
                .require_chain_contains
                .unwrap_or(old.require_chain_contains),
            forward: patch.forward.unwrap_or(old.forward),
            ..old
        })?;
        change
            .update_resource(&row)
            .await
            .map_err(|error| conflict(error, &row.identifier))?;
        change.record(&zone.id, changed.after(&row)).await?;
        self.publish(change, &zone.id).await?;
        Ok(row)
    }

    pub(crate) async fn archive_resource(&self, zone: &Zone, id: &str) -> Result<()> {
        let mut change = self.store.begin().await?;
        if !change.archive_resource(&zone.id, id, Moment::now()).await? {
            return Err(not_found());
        }
        change
            .record(&zone.id, Changed::new("resource.archive", id))
            .await?;
        self.publish(change, &zone.id).await?;
        Ok(())
    }
}

fn checked(row: ResourceRow) -> Result<ResourceRow> {
    let http =
        |text: &String| Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    if !row.upstream_url.as_ref().is_none_or(http) {
        return Err(Error::new(
            Code::INVALID_RESOURCE,
            "upstream_url: expected an http or https URL",
        ));
    }
    Resource::new(row.spec()).map_err(|error| {
        let code = match error {
            ResourceError::Identifier(_) => Code::INVALID_RESOURCE_IDENTIFIER,
            ResourceError::OperationCount(_) | ResourceError::Operation { .. } => {
                Code::OPERATION_INVALID
            }
            _ => Code::INVALID_RESOURCE,
        };
        Error::new(code, error.to_string())
    })?;
    Ok(row)
}

fn not_found() -> Error {
    Error::new(
        Code::RESOURCE_NOT_FOUND,
        "no resource of this zone has this id",
    )
}

fn conflict(error: StoreError, identifier: &str) -> Error {
    match error {
        StoreError::Conflict => Error::new(
            Code::RESOURCE_IDENTIFIER_CONFLICT,
            format!("a resource of this zone already has the identifier {identifier}"),
        ),
        other => other.into(),
    }
}
