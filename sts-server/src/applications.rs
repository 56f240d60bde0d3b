//! Applications: registered with a secret that is shown once, refused everywhere once archived.

use authority::{
    ids::ApplicationId,
    revocation::{Anchor, AnchorKind},
};
use serde::{Deserialize, Serialize};

use crate::{
    clock::Moment,
    error::{Code, Error, Result},
    ledger::Changed,
    name,
    secret::Secret,
    store::{Application, StoreError, Zone},
    sts::Sts,
};

const MAX_TRAITS: usize = 32;
const MAX_TRAIT_CHARS: usize = 200;
/// Bounds for a secret that the administrator brings.
const SECRET_CHARS: std::ops::RangeInclusive<usize> = 32..=512;

/// An application to be registered.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewApplication {
    name: String,
    #[serde(default)]
    registration_method: RegistrationMethod,
    #[serde(default)]
    traits: Vec<String>,
}

/// How an application comes to be registered.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RegistrationMethod {
    /// By an administrator.
    #[default]
    Managed,
}

/// A change to an application.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApplicationPatch {
    name: Option<String>,
    traits: Option<Vec<String>>,
    client_secret: Option<Secret>,
}

/// An application with its new secret, shown this once.
#[derive(Serialize)]
pub(crate) struct Registered {
    #[serde(flatten)]
    application: Application,
    client_secret: String,
}

/// A secret that took another's place, shown this once.
#[derive(Serialize)]
pub(crate) struct Rotated {
    id: ApplicationId,
    client_secret: String,
}

impl Sts {
    /// The application with this id in this zone.
    pub(crate) async fn application(&self, zone: &Zone, id: &str) -> Result<Application> {
        self.store
            .application(&zone.id, id)
            .await?
            .ok_or_else(not_found)
    }

    pub(crate) async fn create_application(
        &self,
        zone: &Zone,
        new: NewApplication,
    ) -> Result<Registered> {
        let RegistrationMethod::Managed = new.registration_method;
        let (name, traits) = (name::name(&new.name)?, traits(new.traits)?);
        let secret = Secret::generate("cs_")?;
        let application = Application {
            id: ApplicationId::from(self.unsuspected_id(&zone.id, &[AnchorKind::Application])),
            zone_id: zone.id.clone(),
            name,
            registration_method: "managed".to_owned(),
            traits,
            secret_hash: self.credentials.hash(&secret).await?,
            created_at: Moment::now(),
        };
        let mut change = self.store.begin().await?;
        change
            .insert_application(&application)
            .await
            .map_err(|error| conflict(error, &application.name))?;
        let created = Changed::new("application.create", &application.id).after(&application);
        change.record(&zone.id, created).await?;
        change.commit().await?;
        Ok(Registered {
            application,
            client_secret: secret.expose().to_owned(),
        })
    }

    pub(crate) async fn patch_application(
        &self,
        zone: &Zone,
        id: &str,
        patch: ApplicationPatch,
    ) -> Result<Application> {
        self.application(zone, id).await?;
        let name = patch.name.as_deref().map(name::name).transpose()?;
        let traits = patch.traits.map(traits).transpose()?;
        let secret_hash = match patch.client_secret {
            Some(secret) => Some(self.credentials.hash(checked(&secret)?).await?),
            None => None,
        };
        let has_new_secret = secret_hash.is_some();
        let mut change = self.store.begin().await?;
        let mut application = change
            .application(&zone.id, id)
            .await?
            .ok_or_else(not_found)?;
        let patched = Changed::new("application.update", &application.id).before(&application);
        application.name = name.unwrap_or(application.name);
        application.traits = traits.unwrap_or(application.traits);
        application.secret_hash = secret_hash.unwrap_or(application.secret_hash);
        change
            .update_application(&application)
            .await
            .map_err(|error| conflict(error, &application.name))?;
        let patched = patched.after(&application);
        change.record(&zone.id, patched).await?;
        if has_new_secret {
            let rotated = Changed::new("application.rotate_secret", &application.id);
            change.record(&zone.id, rotated).await?;
        }
        change.commit().await?;
        Ok(application)
    }

    pub(crate) async fn rotate_secret(&self, zone: &Zone, id: &str) -> Result<Rotated> {
        self.application(zone, id).await?;
        let secret = Secret::generate("cs_")?;
        let secret_hash = self.credentials.hash(&secret).await?;
        let mut change = self.store.begin().await?;
        let mut application = change
            .application(&zone.id, id)
            .await?
            .ok_or_else(not_found)?;
        application.secret_hash = secret_hash;
        change.update_application(&application).await?;
        let rotated = Changed::new("application.rotate_secret", &application.id);
        change.record(&zone.id, rotated).await?;
        change.commit().await?;
        tracing::info!(zone = %zone.id, application = %application.id, "client secret rotated");
        Ok(Rotated {
            id: application.id,
            client_secret: secret.expose().to_owned(),
        })
    }

    /// Archives an application: mandates it already holds die with it, its sessions end, and what they
    /// delegated to others.
    pub(crate) async fn archive_application(&self, zone: &Zone, id: &str) -> Result<()> {
        let mut change = self.store.begin().await?;
        let now = Moment::now();
        if !change.archive_application(&zone.id, id, now).await? {
            return Err(not_found());
        }
        change
            .end_sessions_of(id, "application archived", now)
            .await?;
        let anchor = Anchor {
            kind: AnchorKind::Application,
            id,
        };
        change
            .revoke_for_good(&zone.id, anchor, "application archived", now)
            .await?;
        change
            .record(&zone.id, Changed::new("application.archive", id))
            .await?;
        self.publish_revocations(change, &zone.id).await?;
        tracing::info!(zone = %zone.id, application = id, "application archived");
        Ok(())
    }
}

fn not_found() -> Error {
    Error::new(
        Code::APPLICATION_NOT_FOUND,
        "no application of this zone has this id",
    )
}

fn conflict(error: StoreError, name: &str) -> Error {
    match error {
        StoreError::Conflict => Error::new(
            Code::APPLICATION_NAME_CONFLICT,
            format!(
                "an application of this zone is already named {name:?} (upper and lower case are the same)"
            ),
        ),
        other => other.into(),
    }
}

fn traits(traits: Vec<String>) -> Result<Vec<String>> {
    let fits = |text: &String| {
        !text.is_empty()
            && text.len() <= MAX_TRAIT_CHARS
            && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if traits.len() > MAX_TRAITS || !traits.iter().all(fits) {
        return Err(Error::invalid(format!(
            "traits: expected at most {MAX_TRAITS} texts of 1 to {MAX_TRAIT_CHARS} printable ASCII characters"
        )));
    }
    Ok(traits)
}

fn checked(secret: &Secret) -> Result<&Secret> {
    let text = secret.expose();
    if SECRET_CHARS.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(secret);
    }
    Err(Error::invalid(format!(
        "client_secret: expected {} to {} printable ASCII characters; leave it out and use rotate-secret to get one",
        SECRET_CHARS.start(),
        SECRET_CHARS.end(),
    )))
}
