//! Who asks: a client secret, or a session mandate presented as `subject_token`.

use authority::{
    ids::ApplicationId,
    jwks::KeySet,
    mandate::{Expected, Mandate, MandateUse, verify},
};
use axum::http::{HeaderValue, header};

use super::{Trail, request::Request};
use crate::{
    clock::Moment,
    error::{Code, Error, Result},
    keys,
    secret::Secret,
    store::{Application, Zone},
    sts::Sts,
};

/// Who asks, as it was proven.
pub(super) struct Party {
    pub(super) application: Application,
    /// The session mandate that was presented.
    pub(super) subject: Option<Mandate>,
}

impl Sts {
    pub(super) async fn authenticate(
        &self,
        zone: &Zone,
        request: &Request,
        trail: &mut Trail,
    ) -> Result<Party> {
        let client = &request.client;
        let proven = match (&client.id, &client.secret) {
            (Some(id), Some(secret)) => Some(
                self.check_secret(zone, id, secret, client.basic, trail)
                    .await?,
            ),
            (None, Some(_)) => {
                let error = invalid_client(
                    "client_secret without application_id (or client_id)",
                    client.basic,
                );
                return Err(self.failed(zone, None, error, trail));
            }
            (_, None) if request.subject_token.is_some() => None,
            (_, None) => {
                let missing = "client authentication is missing: application_id and client_secret in the form, \
                               or HTTP Basic";
                return Err(self.failed(zone, None, invalid_client(missing, client.basic), trail));
            }
        };
        let Some(token) = &request.subject_token else {
            let application = proven.ok_or_else(|| Error::internal("no party was proven"))?;
            return Ok(Party {
                application,
                subject: None,
            });
        };
        let subject = match self.check_subject(zone, token).await? {
            Ok(subject) => subject,
            Err(error) => return Err(self.failed(zone, None, error, trail)),
        };
        let holder = subject.claims().client_id.clone();
        if client.id.as_deref().is_some_and(|id| id != holder.as_str()) {
            return Err(invalid_grant(
                "the subject_token was issued to another application",
                "client_mismatch",
            ));
        }
        let application = match proven {
            Some(application) => application,
            None => self
                .store
                .application(&zone.id, holder.as_str())
                .await?
                .ok_or_else(|| {
                    invalid_grant(
                        "the application that the subject_token was issued to is archived",
                        "application_archived",
                    )
                })?,
        };
        Ok(Party {
            application,
            subject: Some(subject),
        })
    }

    async fn check_secret(
        &self,
        zone: &Zone,
        id: &str,
        secret: &Secret,
        basic: bool,
        trail: &mut Trail,
    ) -> Result<Application> {
        let wrong = || invalid_client("unknown application, or not its client secret", basic);
        // No hash for an id that does not exist: ids are no secret, and hashing for strangers would
        // let them keep everybody else waiting.
        let Some(application) = self.store.application(&zone.id, id).await? else {
            return Err(self.failed(zone, None, wrong(), trail));
        };
        let key = (zone.id.clone(), Some(application.id.clone()));
        if let Err(wait) = self.auth_failures.check(&key) {
            trail.unrecorded = true;
            return Err(too_many_failures(wait));
        }
        if self
            .credentials
            .verify(&application.id, &application.secret_hash, secret)
            .await?
        {
            Ok(application)
        } else {
            Err(self.failed(zone, Some(application.id), wrong(), trail))
        }
    }

    /// The session mandate `token`, or what is wrong with it.
    async fn check_subject(&self, zone: &Zone, token: &Secret) -> Result<Result<Mandate>> {
        let now = Moment::now();
        let keys = keys::jwks(&self.store.keys(&zone.id).await?, now);
        let keys = KeySet::from_jwks(&keys).map_err(Error::internal)?;
        let expected = Expected {
            issuer: &self.issuer,
            zone: &zone.id,
            uses: &[MandateUse::Session],
        };
        let subject = match verify(token.expose(), &keys, &expected, now.timestamp()) {
            Ok(subject) => subject,
            Err(refusal) => {
                let description = format!("subject_token: {}", refusal.description());
                return Ok(Err(invalid_grant(&description, refusal.reason().code())));
            }
        };
        let claims = subject.claims();
        let record = self
            .store
            .authority_record(&zone.id, claims.sid.as_str())
            .await?;
        if record.is_some_and(|record| {
            record.application_id == claims.client_id && record.subject == claims.sub
        }) {
            Ok(Ok(subject))
        } else {
            Ok(Err(invalid_grant(
                "subject_token: there is no record of its issue",
                "record_not_found",
            )))
        }
    }

    /// Counts a failed authentication; past the limit it is the limit that answers, and no more
    /// events are written.
    fn failed(
        &self,
        zone: &Zone,
        application: Option<ApplicationId>,
        error: Error,
        trail: &mut Trail,
    ) -> Error {
        trail.event.evaluation_status = "authentication_failed".to_owned();
        match self.auth_failures.take((zone.id.clone(), application)) {
            Ok(()) => error,
            Err(wait) => {
                trail.unrecorded = true;
                too_many_failures(wait)
            }
        }
    }
}

fn invalid_client(description: &str, basic: bool) -> Error {
    let error = Error::new(Code::INVALID_CLIENT, description);
    if basic {
        error.header(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Basic realm=\"caracal\""),
        )
    } else {
        error
    }
}

fn invalid_grant(description: &str, reason: &str) -> Error {
    Error::new(Code::INVALID_GRANT, description).reason(reason)
}

fn too_many_failures(wait: std::time::Duration) -> Error {
    Error::new(
        Code::RATE_LIMITED,
        "too many failed authentications; try again after Retry-After",
    )
    .reason("rate_limited")
    .retry_after(wait)
}
