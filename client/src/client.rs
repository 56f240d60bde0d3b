//! The connection to the STS: who the application is, and the session mandate by which it manages its
//! sessions.

use std::{fmt, sync::Arc, time::Duration};

use reqwest::{Method, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::{
    Error,
    session::SessionBuilder,
    token::{ACCESS_TOKEN, Cached, GRANT_TYPE, Granted, Mandate},
};

/// How long a call may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How often a call that may be made again is.
const TRIES: u32 = 3;
/// The scope of the session mandate.
const LIFECYCLE_SCOPE: &str = "agent:lifecycle";

/// An application at an STS. Cheap to clone; the clones share their mandates.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    sts: Url,
    pub(crate) zone: String,
    pub(crate) application_id: String,
    client_secret: Zeroizing<String>,
    bootstrap_resource: Option<String>,
    pub(crate) http: reqwest::Client,
    lifecycle: Cached,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("sts", &self.inner.sts.as_str())
            .field("zone", &self.inner.zone)
            .field("application_id", &self.inner.application_id)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// The application `application_id` of `zone`, at the STS under `sts_url`.
    ///
    /// # Errors
    /// [`Error::InsecureUrl`] for http to another machine, [`Error::Protocol`] for what is no URL.
    pub fn new(
        sts_url: &str,
        zone: &str,
        application_id: &str,
        client_secret: impl Into<String>,
    ) -> Result<Self, Error> {
        let sts = Url::parse(sts_url).map_err(|error| Error::Protocol(error.to_string()))?;
        let is_local = matches!(sts.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        if sts.scheme() != "https" && !(sts.scheme() == "http" && is_local) {
            return Err(Error::InsecureUrl(sts_url.to_owned()));
        }
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            // A redirect would carry the secret elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            inner: Arc::new(Inner {
                sts,
                zone: zone.to_owned(),
                application_id: application_id.to_owned(),
                client_secret: Zeroizing::new(client_secret.into()),
                bootstrap_resource: None,
                http,
                lifecycle: Cached::default(),
            }),
        })
    }

    /// Names a resource on which the policy grants the application something: what its first step, the
    /// session mandate, is asked for.
    #[must_use]
    pub fn bootstrap_on(self, resource: &str) -> Self {
        let Inner {
            sts,
            zone,
            application_id,
            client_secret,
            http,
            ..
        } = &*self.inner;
        Self {
            inner: Arc::new(Inner {
                sts: sts.clone(),
                zone: zone.clone(),
                application_id: application_id.clone(),
                client_secret: client_secret.clone(),
                bootstrap_resource: Some(resource.to_owned()),
                http: http.clone(),
                lifecycle: Cached::default(),
            }),
        }
    }

    /// A session to be started.
    pub fn session(&self) -> SessionBuilder {
        SessionBuilder::new(self.clone())
    }

    /// The session mandate, from memory or anew.
    pub(crate) async fn lifecycle(&self) -> Result<Mandate, Error> {
        let resource = self.inner.bootstrap_resource.as_deref().ok_or_else(|| {
            Error::Protocol("name a resource with bootstrap_on before starting sessions".to_owned())
        })?;
        let fields = [("scope", LIFECYCLE_SCOPE), ("resource", resource)];
        self.inner.lifecycle.get(|| self.exchange(&fields)).await
    }

    /// A token exchange by client secret.
    pub(crate) async fn exchange(&self, fields: &[(&str, &str)]) -> Result<Mandate, Error> {
        let own = [
            ("grant_type", GRANT_TYPE),
            ("requested_token_type", ACCESS_TOKEN),
            ("zone_id", self.inner.zone.as_str()),
            ("application_id", &self.inner.application_id),
            ("client_secret", &self.inner.client_secret),
        ];
        // What is asked for last counts: a caller may want another type.
        let own = own
            .into_iter()
            .filter(|(name, _)| !fields.iter().any(|(given, _)| given == name));
        let form: Vec<(&str, &str)> = own.chain(fields.iter().copied()).collect();
        let url = self.url(&["oauth", "2", "token"])?;
        let granted: Granted = read(self.inner.http.post(url).form(&form).send().await?).await?;
        Ok(granted.into_mandate())
    }

    /// A call with the session mandate, which is asked for anew if it is not taken. A call with an
    /// idempotency key is made again where its answer may have been lost.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        segments: &[&str],
        body: Option<&Value>,
        idempotency_key: Option<&str>,
    ) -> Result<T, Error> {
        let url = self.url(&[&["zones", self.inner.zone.as_str()], segments].concat())?;
        let (mut tries, mut renewed) = (0, false);
        loop {
            tries += 1;
            let mandate = self.lifecycle().await?;
            let mut request = self
                .inner
                .http
                .request(method.clone(), url.clone())
                .bearer_auth(mandate.token());
            if let Some(body) = body {
                request = request.json(body);
            }
            if let Some(key) = idempotency_key {
                request = request
                    .header("idempotency-key", key)
                    .header("idempotency-key-kind", "generated");
            }
            let answer = match request.send().await {
                Ok(response) => read(response).await,
                Err(error) => Err(error.into()),
            };
            match answer {
                Err(Error::Refused { status: 401, .. }) if !renewed => {
                    renewed = true;
                    self.inner.lifecycle.forget(&mandate).await;
                }
                Err(error) if error.is_passing() && idempotency_key.is_some() && tries < TRIES => {
                    tokio::time::sleep(Duration::from_millis(250) * tries).await;
                }
                answer => return answer,
            }
        }
    }

    fn url(&self, segments: &[&str]) -> Result<Url, Error> {
        let mut url = self.inner.sts.clone();
        url.path_segments_mut()
            .map_err(|()| Error::Protocol("the STS's URL has no path".to_owned()))?
            .pop_if_empty()
            .extend(segments);
        Ok(url)
    }
}

/// Reads an answer; no body counts as `null`.
async fn read<T: DeserializeOwned>(response: reqwest::Response) -> Result<T, Error> {
    let status = response.status();
    let header = response.headers().get("x-request-id");
    let request_id = header
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let body = response.bytes().await?;
    if !status.is_success() {
        return Err(Error::read(status.as_u16(), &request_id, &body));
    }
    let body = if body.is_empty() { b"null" } else { &body[..] };
    serde_json::from_slice(body).map_err(|error| Error::Protocol(error.to_string()))
}
